"""`cervello doctor`: finds causes on this machine or in a policy that slow Cervello down or stop it, with remedies."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cervello.cli import compiling, options
from cervello.cli.formatting import plain, plural, size
from cervello.cli.terminal import Terminal

SUMMARY = "look at the CPU, versions, the code cache and a policy: what is slow, why, and what to do"
EXAMPLES: tuple[str, ...] = ("cervello doctor", "cervello doctor racer.onnx", "cervello doctor racer.onnx --json")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Exit status: 0 when nothing needs attention (hints do not count), 1 when something does, 2 an error."
    parser.add_argument("model", metavar="MODEL", nargs="?", type=Path, help="also look at this policy file")
    options.add_dims(parser)
    options.add_json(parser)


def execute(arguments: argparse.Namespace, terminal: Terminal) -> int:
    from cervello.cli import checks

    facts = checks.machine()
    findings = list(checks.of_machine(facts))
    policy: dict[str, Any] | None = None
    if arguments.model is not None:
        with compiling.shown(terminal), terminal.busy("loading"):
            policy, more = checks.of_policy(arguments.model, dict(arguments.dims))
        findings += more
    findings.sort(key=lambda finding: finding.level)  # attention comes before hints
    status = int(any(finding.level == "attention" for finding in findings))
    if arguments.json:
        terminal.json({"healthy": not status, "findings": checks.as_json(findings), **facts, "policy": policy})
        return status
    needs = sum(finding.level == "attention" for finding in findings)
    terminal.print(f"{plural(needs, 'thing')} to attend to" if needs else "nothing needs attention", style="bold red" if needs else
                   "bold green")
    listed = terminal.grid()
    for finding in findings:
        listed.add_row(finding.level, f"{plain(finding.what)}; {plain(finding.remedy)}", style="yellow" if finding.level == "attention" else
                     None)
    if findings:
        terminal.print(listed)
    terminal.print("")
    _print(facts, terminal)
    if policy is not None:
        _print_policy(policy, terminal)
    return status


def _print(facts: Mapping[str, Any], terminal: Terminal) -> None:
    cpu, cached, blas = facts["cpu"], facts["cache"], facts["blas"]
    grid = terminal.grid()
    grid.add_row("cervello", f"{facts['cervello']}, Python {facts['python']}, {facts['system']}")
    grid.add_row("CPU", f"{plain(cpu['name'])}, {plural(cpu['cores'], 'core')} for this process; {', '.join(cpu['features'])}")
    grid.add_row("lanes", f"{cpu['lanes']} of float32, in {plural(cpu['registers_per_vector'], 'register')} of {cpu['vector_bits']} bits; "
                          f"{'fused multiply-add' if cpu['fma'] else 'no fused multiply-add'}")
    for package, found in facts["packages"].items():
        low, high = found["bounds"]
        grid.add_row(package, f"{found['version']}, {'within' if found['tested'] else 'OUTSIDE'} what was run, >={low},<{high}",
                     style=None if found["tested"] else "yellow")
    where = "none that can be used" if cached["folder"] is None else (
        f"{plain(cached['folder'])}, {'trusted' if cached['trusted'] else 'not trusted'}, {cached['state']}: "
        f"{plural(cached['kernels'], 'kernel')}, {size(cached['n_bytes'])}; {cached['common_there']} of {cached['common']} usual ones")
    grid.add_row("cache", f"{where}{compiling.bundled_text(cached)}")
    threads = "as many threads as it likes" if blas["threads"] is None else plural(blas["threads"], "thread")
    variables = ", ".join(f"{name}={value}" for name, value in blas["variables"].items())
    grid.add_row("BLAS", f"{plain(blas['library'] or 'not known')}, {threads}{f', {plain(variables)}' if variables else ''}; only steps on "
                         "the numpy tier use it")
    for extra, packages in facts["extras"].items():
        there = [f"{package} {version}" for package, version in packages.items() if version is not None]
        absent = [package for package, version in packages.items() if version is None]
        parts = [", ".join(there), f"no {' and no '.join(absent)}; install the extra '{extra}'" if absent else ""]
        grid.add_row(extra, "; ".join(filter(None, parts)), style="dim" if not there else None)
    terminal.print(grid)


def _print_policy(policy: Mapping[str, Any], terminal: Terminal) -> None:
    terminal.print("")
    terminal.print(plain(policy["name"]), style="bold")
    grid = terminal.grid()
    grid.add_row("steps", ", ".join(f"{count} {tier}" for tier, count in policy["tiers"].items() if count) or "none")
    grid.add_row("rows", "one after another" if policy["one_row"] else "all at once")
    grid.add_row("code", f"cold: {plural(policy['compiled_now'], 'kernel')} compiled just now" if policy["compiled_now"] else
                 "warm: nothing to compile")
    grid.add_row("weights", size(policy["weight_bytes"]))
    terminal.print(grid)
    if policy["slow"]:
        table = terminal.table(["~slow node", "tier", "~why"])
        for step in policy["slow"]:
            table.add_row(plain(step["node"]), step["tier"], plain(step["why"]))
        terminal.print("")
        terminal.print(table)
