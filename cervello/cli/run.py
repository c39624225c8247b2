"""`cervello run`: a policy on random observations, with a summary of its outputs and times."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cervello.cli import compiling, observations, options
from cervello.cli.formatting import duration, json_values, plain, plural, rate
from cervello.cli.table import Table
from cervello.cli.terminal import Terminal
from cervello.spec import Wrapper

if TYPE_CHECKING:
    from cervello.agents import Policy
    from cervello.native import Model

SUMMARY = "run a policy on random observations for N agents, and time it"
EXAMPLES: tuple[str, ...] = ("cervello run racer.onnx -b 64", "cervello run racer.onnx -b 8 -r h_in:h_out --print-output")
_INFERERS = ("basic", "fixed", "memoizing", "dynamic")


def configure(parser: argparse.ArgumentParser) -> None:
    options.add_model(parser)
    options.add_batch(parser)
    parser.add_argument("-n", "--calls", metavar="CALLS", type=options.calls, default=100,
                        help="calls to time, after a first one whose outputs are shown (default: 100)")
    options.add_seed(parser, "of the observations and of all noise")
    parser.add_argument("--deterministic", action="store_true", help="no noise: means and modes")
    options.add_wrappers(parser, "inputs named epsilon or noise are found without it", "usual names are found without it")
    parser.add_argument("--inferer", choices=_INFERERS, default="memoizing", help="how many rows run at once (default: memoizing)")
    parser.add_argument("--print-input", action="store_true", help="print the first call's observations")
    parser.add_argument("--print-output", action="store_true", help="print the first call's outputs")
    options.add_json(parser)


def execute(arguments: argparse.Namespace, terminal: Terminal) -> None:
    import numpy as np

    from cervello.agents import Policy
    from cervello.native import Model

    n_rows = arguments.batch
    with compiling.shown(terminal), terminal.busy("loading, and the first call"):
        model = Model.load(arguments.model, dims=dict(arguments.dims))
        policy = Policy(model, wrappers=_wrappers(model, arguments), inferer=arguments.inferer, seed=arguments.seed)
        batches = observations.batches(policy.inputs, n_rows, arguments.calls + 1, arguments.seed)
        ids = np.arange(n_rows)
        policy.begin_agents(ids)
        start = time.perf_counter()
        outputs = policy.infer_batch(ids, batches[0], arguments.deterministic)
        first_s = time.perf_counter() - start
    if not arguments.json:
        _print_first(terminal, policy, arguments, batches[0], outputs)

    times = np.empty(arguments.calls)
    with terminal.bar("running", arguments.calls) as bar:
        for call in range(arguments.calls):
            batch = batches[(call + 1) % len(batches)]
            start = time.perf_counter()
            policy.infer_batch(ids, batch, arguments.deterministic)
            times[call] = time.perf_counter() - start
            bar.show(call + 1, arguments.calls)
    p50, p99 = (float(p) for p in np.percentile(times, (50, 99)))
    if arguments.json:
        terminal.json({
            "name": model.name, "n_agents": n_rows, "wrappers": [repr(wrapper) for wrapper in policy.wrappers],
            "inputs": _arrays(batches[0]) if arguments.print_input else None,
            "outputs": [_figures(name, array) for name, array in outputs.items()],
            "values": _arrays(outputs) if arguments.print_output else None,
            "first_call_s": first_s, "calls": arguments.calls, "p50_s": p50, "p99_s": p99, "mean_s": float(times.mean())})
        return
    facts = terminal.grid()
    facts.add_row("first call", duration(first_s))
    facts.add_row(f"{plural(arguments.calls, 'call')}", f"p50 {duration(p50)}, p99 {duration(p99)}, mean {duration(float(times.mean()))}")
    facts.add_row("per agent", f"{duration(p50 / n_rows)}, {rate(n_rows / p50)} agent-steps per second")
    terminal.print("")
    terminal.print(facts)


def _print_first(terminal: Terminal, policy: Policy, arguments: argparse.Namespace, batch: Mapping[str, Any],
                 outputs: Mapping[str, Any]) -> None:
    """The first call: wrappers, arrays that are asked for, a summary of the outputs."""
    terminal.print(f"{plain(policy.model.name)}, {plural(arguments.batch, 'agent')}", style="bold")
    if policy.wrappers:
        terminal.print("wrappers: " + ", ".join(plain(repr(wrapper)) for wrapper in policy.wrappers))
    if arguments.print_input:
        _print_arrays(terminal, "input", batch)
    if arguments.print_output:
        _print_arrays(terminal, "output", outputs)
    terminal.print("")
    terminal.print(_summary(terminal, outputs))


def _wrappers(model: Model, arguments: argparse.Namespace) -> list[Wrapper]:
    """The suggested wrappers, with those of the command line instead where given."""
    from cervello.wrappers import Epsilon, Recurrent, suggest_wrappers

    given = options.recurrent_pairs(arguments.recurrent)
    pairs = given if isinstance(given, dict) else {}
    found: list[Wrapper] = []
    for wrapper in suggest_wrappers(model.spec):
        replaced = bool(pairs) if isinstance(wrapper, Recurrent) else isinstance(wrapper, Epsilon) and wrapper.key in arguments.with_epsilon
        if not replaced:
            found.append(wrapper)
    found += [Epsilon(key) for key in dict.fromkeys(arguments.with_epsilon)]
    if pairs:
        found.append(Recurrent(pairs))
    return found


def _print_arrays(terminal: Terminal, what: str, arrays: Mapping[str, Any]) -> None:
    for name, array in arrays.items():
        terminal.print("")
        terminal.print(f"{what} {plain(name)} {array.shape} {array.dtype}", style="bold")
        terminal.print(str(array))


def _figures(name: str, array: Any) -> dict[str, Any]:
    """Summary of an output; mean, least and largest of the finite values."""
    import numpy as np

    values = np.asarray(array).astype(np.float64)
    finite = values[np.isfinite(values)]
    mean, least, largest = (float(f(finite)) if finite.size else None for f in (np.mean, np.min, np.max))
    return {"name": name, "shape": list(array.shape), "dtype": str(array.dtype), "mean": mean, "min": least, "max": largest,
            "not_finite": int(values.size - finite.size)}


def _arrays(arrays: Mapping[str, Any]) -> dict[str, Any]:
    return {name: json_values(array) for name, array in arrays.items()}


def _summary(terminal: Terminal, outputs: Mapping[str, Any]) -> Table:
    table = terminal.table(["~output", "shape", "type", ">mean", ">min", ">max", ">not finite"])
    for name, array in outputs.items():
        facts = _figures(name, array)
        figures = ["-" if facts[key] is None else f"{facts[key]:.4g}" for key in ("mean", "min", "max")]
        table.add_row(plain(name), "×".join(map(str, array.shape)), str(array.dtype), *figures,
                      terminal.styled(f"{facts['not_finite']:,}", "red" if facts["not_finite"] else ""))
    return table
