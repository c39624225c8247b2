"""`cervello profile`: time of a run by step, its distance from the machine's limit, and memory leaks."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING, Any

from cervello.cli import compiling, observations, options, pictures
from cervello.cli.formatting import count, duration, plain, plural, rate, share, size
from cervello.cli.terminal import Terminal
from cervello.spec import View

if TYPE_CHECKING:
    from cervello.native import Model
    from cervello.native.report.leaks import Growth
    from cervello.native.report.profile import Profile

SUMMARY = "the time of every step of a policy, its share, and the share of what the machine allows"
EXAMPLES: tuple[str, ...] = ("cervello profile racer.onnx -b 64", "cervello profile racer.onnx --leaks 1000 --picture steps.svg")


def configure(parser: argparse.ArgumentParser) -> None:
    options.add_model(parser)
    options.add_batch(parser)
    options.add_wrappers(parser, "of the seed, for an agent's first step", "states are those of an agent's first step")
    parser.add_argument("--rounds", metavar="ROUNDS", type=options.rounds, default=9,
                        help="measurements per step, of which the median counts (default: 9)")
    options.add_seed(parser, "of the observations and of all noise")
    parser.add_argument("--trace", metavar="FILE", type=options.new_file, help="also write a trace for chrome://tracing or Perfetto")
    parser.add_argument("--leaks", metavar="CALLS", type=options.calls,
                        help="also run the policy CALLS times and say what memory the calls kept; from 100 on a leak in every call shows")
    pictures.add(parser, "the time of each step")
    options.add_output(parser)


def execute(arguments: argparse.Namespace, terminal: Terminal) -> int:
    from cervello.codegen import linker
    from cervello.native import Model
    from cervello.native.report import roofline
    from cervello.native.report.profile import profile

    with compiling.shown(terminal), terminal.busy("loading"):
        model = Model.load(arguments.model, dims=dict(arguments.dims))
        linker.link(roofline.REFERENCES)
        n_rows = arguments.batch if model.batched else 1
        given = _given(model, n_rows, arguments)
    with terminal.bar("timing steps", arguments.rounds) as bar:
        found = profile(model, given, n_rows, arguments.rounds, seed=arguments.seed, progress=bar.show)
    growth = None if arguments.leaks is None else _growth(model, given, arguments, terminal)
    if arguments.trace is not None:
        arguments.trace.write_text(json.dumps(found.to_trace()), encoding="utf-8")
    if arguments.picture is not None:
        pictures.write(found.to_svg(), arguments.picture, arguments)
    leaks = growth is not None and growth.leaks
    if arguments.output == "json":
        terminal.json(_facts(found, growth))
        return int(leaks)
    _print(found, terminal)
    if growth is not None:
        _print_growth(growth, terminal)
    if arguments.trace is not None:
        terminal.remark(f"trace: {plain(str(arguments.trace))}")
    pictures.remark(arguments.picture, terminal)
    return int(leaks)


def _given(model: Model, n_rows: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Columns for the model: random ones, but for what the wrappers of -w and -r give in an agent's first step."""
    from cervello.agents import Policy

    wrappers = options.wrappers(arguments)
    if not wrappers:
        return observations.batches(model.inputs, n_rows, 1, arguments.seed)[0]
    keeping = _Keeping(model)
    policy = Policy(model, inferer=keeping, wrappers=wrappers, seed=arguments.seed)
    policy.begin_agents(range(n_rows))
    policy.infer_batch(range(n_rows), observations.batches(policy.inputs, n_rows, 1, arguments.seed)[0])
    return keeping.columns


class _Keeping:
    """An inferer that keeps its last arguments."""

    def __init__(self, model: Model):
        self.model = model
        self.raw_inputs = self.inputs = model.inputs
        self.raw_outputs = self.outputs = model.outputs
        self.columns: dict[str, Any] = {}

    def select_batch_size(self, max_rows: int) -> int:
        """All rows."""
        return max_rows

    def infer_raw(self, view: View) -> None:
        """Runs all rows of view.inputs, without noise of the file's own."""
        self.columns = {name: column.copy() for name, column in view.inputs.items()}
        view.outputs.update(self.model.run(view.inputs, deterministic=bool(self.model.random_nodes)))

    def begin_agent(self, slot: int) -> None:
        """Nothing to do."""

    def end_agent(self, slot: int) -> None:
        """Nothing to do."""


def _growth(model: Model, given: dict[str, Any], arguments: argparse.Namespace, terminal: Terminal) -> Growth:
    from cervello.native.report.leaks import growth

    seed = arguments.seed if model.random_nodes else None
    with terminal.bar("looking for leaks") as bar:
        bar.show(0)
        return growth(lambda: model.run(given, seed=seed), arguments.leaks)


def _facts(found: Profile, growth: Growth | None) -> dict[str, Any]:
    """The profile as JSON; seconds, bytes, shares from 0 to 1."""
    from cervello.native.report import roofline

    plan = found.plan
    steps = [dataclasses.asdict(step) | {"limit_s": step.limit_s, "limit_share": step.limit_share} for step in found.steps]
    return {
        "name": found.name, "n_rows": found.n_rows, "rounds": found.rounds, "whole_s": found.whole_s, "steps_s": found.steps_s,
        "limit_s": found.limit_s, "limit_share": found.limit_share,
        "machine": {"flops": roofline.flops(), "weight_bandwidth": roofline.bandwidth(plan.weight_bytes)},
        "arena_bytes": plan.arena_bytes, "peak_bytes": plan.peak_bytes, "weight_bytes": plan.weight_bytes,
        "shared_bytes": plan.shared_bytes, "slow": plan.slow, "one_row": plan.one_row, "fused": plan.fused,
        "tiers": [dataclasses.asdict(tier) for tier in found.tiers], "kinds": [dataclasses.asdict(kind) for kind in found.kinds],
        "steps": steps,
        "leaks": None if growth is None else dataclasses.asdict(growth) | {"leaks": growth.leaks}}


def _print(found: Profile, terminal: Terminal) -> None:
    from cervello.native.report import roofline

    plan = found.plan
    terminal.print(f"{plain(found.name)}, {plural(found.n_rows, 'row')}", style="bold")
    facts = terminal.grid()
    facts.add_row("run", f"{duration(found.whole_s)}; its {plural(len(found.steps), 'step')} one by one {duration(found.steps_s)}")
    facts.add_row("limit", f"{duration(found.limit_s)} on one core, {share(found.limit_share)} of it reached; multiply-adds at "
                           f"{roofline.flops() / 1e9:.0f} GFLOP/s, weights at {roofline.bandwidth(plan.weight_bytes) / 1e9:.0f} GB/s")
    facts.add_row("arena", f"{size(plan.arena_bytes)}, peak {size(plan.peak_bytes)}")
    facts.add_row("weights", f"{size(plan.weight_bytes)}, {size(plan.shared_bytes)} of them shared")
    tiers = [f"{tier.steps:,} {tier.kind} ({share(tier.share)} of the time)" for tier in found.tiers]
    facts.add_row("steps", f"{', '.join(tiers) or 'none'}; {plural(plan.fused, 'node')} fused into others")
    if plan.one_row:
        facts.add_row("one row", f"rows run one after another: {plain(plan.one_row)}", style="yellow")
    for node, reason in plan.slow.items():
        facts.add_row("slow", f"{plain(node)}: {plain(reason)}", style="yellow")
    terminal.print(facts)
    if not found.steps:
        return
    kinds = terminal.table(["~kind", ">steps", ">time", ">share", "?>multiply-adds", "?>elements", "?>read", "?>written"])
    for kind in found.kinds:
        kinds.add_row(plain(kind.kind), f"{kind.steps:,}", duration(kind.seconds), share(kind.share), count(kind.multiply_adds),
                      count(kind.elements), size(kind.read_bytes), size(kind.written_bytes))
    terminal.print("")
    terminal.print(kinds)
    steps = terminal.table([">step", "~runs", ">time", ">share", ">of limit", "?>multiply-adds", "?>elements", "?>read", "?>written",
                            "~node"])
    longest = max(step.seconds for step in found.steps)
    for number, step in enumerate(found.steps):
        runs = plain(step.runs) if step.times == 1 else f"{plain(step.runs)} × {step.times}"
        steps.add_row(str(number), runs, duration(step.seconds),
                      terminal.styled(share(step.share), "bold" if step.seconds == longest else ""),
                      "-" if step.limit_share is None else share(step.limit_share), count(step.multiply_adds), count(step.elements),
                      size(step.read_bytes), size(step.written_bytes), plain(step.node or step.op),
                      style=None if step.tier == "planned" else "yellow")
    terminal.print("")
    terminal.print(steps)


def _print_growth(growth: Growth, terminal: Terminal) -> None:
    """Growth per 1000 calls, and its interpretation."""
    resident = "not known on this system" if growth.resident_bytes is None else _grown(growth, growth.resident_bytes, "bytes")
    facts = terminal.grid()
    facts.add_row("calls", f"{growth.calls:,}, growth per 1000 of them:")
    facts.add_row("arrays", _grown(growth, growth.array_bytes, "bytes"))
    facts.add_row("objects", _grown(growth, growth.blocks, "blocks"))
    facts.add_row("process", resident)
    facts.add_row("verdict", terminal.styled("runs keep memory", "red") if growth.leaks else "no leak found")
    terminal.print("")
    terminal.print("leak check", style="bold")
    terminal.print(facts)


def _grown(growth: Growth, by: int, unit: str) -> str:
    return f"{rate(growth.per_1000_calls(by))} {unit}"
