"""`cervello benchmark`: the time per agent by batch size. Flags and JSON fields are those of `cervo benchmark`.

As there, a call is what a game does in a tick: every agent's observation, by name, goes into a batcher, and the actions come back by
name. Inputs that hold state or noise are observations too unless -r and -w say otherwise.
Source: EmbarkStudios/cervo 0.9.2, crates/cervo-cli.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from cervello.cli import compiling, observations, options, pictures
from cervello.cli.formatting import duration, plain, rate
from cervello.cli.terminal import Bar, Terminal

if TYPE_CHECKING:
    from cervello.agents import Policy
    from cervello.spec import AgentId

SUMMARY = "time a policy by batch size, with the flags and JSON fields of cervo's benchmark"
EXAMPLES: tuple[str, ...] = ("cervello benchmark racer.onnx -b 1-4,64",
                              "cervello benchmark racer.onnx -b 1,8,64 -r auto --picture racer.svg")
_WARM_CALLS = 10
_Record = dict[str, int | float]


def configure(parser: argparse.ArgumentParser) -> None:
    options.add_model(parser)
    parser.add_argument("-b", "--batch-sizes", metavar="N1-N2,N3", type=options.row_counts, default=[1],
                        help="batch sizes to time: numbers and ranges by comma, such as 1-4,8 (default: 1)")
    parser.add_argument("-c", "--count", metavar="COUNT", type=options.calls, default=1000,
                        help="agent-steps to time per batch size; at least one batch is timed (default: 1000)")
    options.add_wrappers(parser, "without it noise is an observation", "without it states are observations")
    parser.add_argument("--columns", action="store_true", help="time infer_batch on columns instead of a batcher with observations by name")
    options.add_seed(parser, "of the observations and of all noise")
    pictures.add(parser, "the time per agent by batch size")
    options.add_output(parser)


def execute(arguments: argparse.Namespace, terminal: Terminal) -> None:
    from cervello.agents import Policy
    from cervello.native import Model

    sizes: list[int] = arguments.batch_sizes
    total = sum(max(1, arguments.count // n_rows) for n_rows in sizes)
    with compiling.shown(terminal):
        with terminal.busy("loading"):
            model = Model.load(arguments.model, dims=dict(arguments.dims))
            policy = Policy(model, wrappers=options.wrappers(arguments), seed=arguments.seed)
        with terminal.bar("timing", total) as bar:
            records: list[_Record] = []
            done = 0
            for n_rows in sizes:
                bar.show(done, total, f"batch size {n_rows:,}")
                calls = max(1, arguments.count // n_rows)
                records.append(_record(policy, n_rows, calls, arguments, bar, done, total))
                done += calls
    if arguments.picture is not None:
        pictures.write(_picture(policy, records, arguments), arguments.picture, arguments)
    if arguments.output == "json":
        terminal.json(records)
        return
    terminal.print(plain(model.name), style="bold")
    if policy.wrappers:
        terminal.print("wrappers: " + ", ".join(plain(repr(wrapper)) for wrapper in policy.wrappers))
    table = terminal.table([">batch size", ">per agent", ">±", ">per batch", "?>agent-steps/s"])
    for record in records:
        mean_s, stddev_s, total_s = (record[key] / 1000 for key in ("mean", "stddev", "total"))
        table.add_row(f"{record['batch_size']:,}", duration(mean_s), duration(stddev_s), duration(total_s), rate(1 / mean_s))
    terminal.print("")
    terminal.print(table)
    pictures.remark(arguments.picture, terminal)


def _picture(policy: Policy, records: list[_Record], arguments: argparse.Namespace) -> str:
    """A bar per batch size."""
    from cervello import __version__
    from cervello.codegen import cache
    from cervello.pictures.bars import Bar, bar_chart

    how = "infer_batch on columns" if arguments.columns else "a batcher with observations by name"
    note = f"{how}, mean and standard deviation of calls; one thread on {cache.cpu()[0]}, cervello {__version__}"
    bars = [Bar(f"{record['batch_size']:,} agent{'s' * (record['batch_size'] != 1)}", record["mean"],
                f"{duration(record['mean'] / 1000)} ± {duration(record['stddev'] / 1000)}", "time per agent") for record in records]
    return bar_chart(f"{policy.name}: time per agent by batch size", note, bars, {"time per agent": "#4e79a7"})


def _record(policy: Policy, n_rows: int, calls: int, arguments: argparse.Namespace, bar: Bar, done: int, total: int) -> _Record:
    """One batch size: mean and standard deviation over the calls of ms per agent, and ms per batch."""
    from cervello.native.report.step_timer import without_gc

    given = observations.batches(policy.inputs, n_rows, calls + _WARM_CALLS, arguments.seed)
    ids = range(n_rows)
    policy.begin_agents(ids)
    try:
        ticks = _ticks(policy, given, n_rows, arguments.columns)
        for _ in range(_WARM_CALLS):
            next(ticks)()
        times_ms = []
        with without_gc():
            for call in range(calls):
                tick = next(ticks)
                start = time.perf_counter()
                tick()
                times_ms.append((time.perf_counter() - start) * 1000 / n_rows)
                bar.show(done + call + 1, total)
    finally:
        policy.end_agents(ids)
    mean = statistics.fmean(times_ms)
    return {"batch_size": n_rows, "mean": mean, "stddev": statistics.pstdev(times_ms, mean), "total": mean * n_rows}


def _ticks(policy: Policy, given: list[dict[str, Any]], n_rows: int, columns: bool) -> Iterator[Callable[[], object]]:
    """Calls, with the batches in rotation."""
    import numpy as np

    from cervello.batcher import Batcher

    ids, batcher = np.arange(n_rows), Batcher(policy)

    def by_name(observed: dict[AgentId, dict[str, Any]]) -> None:
        batcher.extend(observed)
        batcher.execute()

    if columns:
        return itertools.cycle([lambda batch=batch: policy.infer_batch(ids, batch) for batch in given])
    named = [observations.by_agent(policy.inputs, batch, n_rows) for batch in given]
    return itertools.cycle([lambda observed=observed: by_name(observed) for observed in named])
