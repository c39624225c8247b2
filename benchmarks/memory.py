"""What a run keeps in memory beside the peak of its buffers, tract's partitions, Static Runtime's groups and the graph without fusion.

    python benchmarks/memory.py [--models FOLDER] [--seeds COUNT] [--output FILE]

Arena bytes are those of the plan that would run; everything else is computed from its steps by `tests/support/yardsticks.py`, which asks
the planner nothing. Inputs and outputs are callers' arrays and count nowhere; scratch counts everywhere. Sizes are in units of 64 bytes.
Graphs exported for one row are shown at N = 1 only, the rows of a larger batch run through the same arena one after another.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from timing import machine, models_folder, write_json

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

from random_programs import random_program
from yardsticks import executed, peak, sized, static_runtime, tract, unfused

from cervello.native import Model
from cervello.native.memory import arena_plan

ROW_COUNTS = (1, 7, 64, 1000)
SIZES = 2000  # row counts that are resolved once each
GOALS = {"arena / peak": 1.02, "arena / tract": 1.0, "arena / static_runtime": 1.0, "peak / unfused": 1.0}


def policy(path: Path) -> dict[str, Any]:
    """The figures of one model."""
    model = Model.load(path)
    steps, nodes = model.program.steps, unfused(model, path)
    start = time.perf_counter()
    arena_plan.plan(steps, model.batched)
    planned_ms = (time.perf_counter() - start) * 1e3
    rows = {}
    for n_rows in ROW_COUNTS if model.batched else (1,):
        buffers = sized(executed(steps), n_rows)
        rows[n_rows] = {"arena": model.program.resolve(n_rows).arena_bytes, "peak": peak(buffers), "tract": tract(buffers),
                        "static_runtime": static_runtime(buffers), "unfused": nodes.peak(n_rows),
                        "unfused_without_scratch": nodes.peak(n_rows, scratch=False)}
    return {"steps": len(steps), "buffers": len(model.program.layout.lifetimes), "piles": len(model.program.layout.orders),
            "plan_ms": planned_ms, "resolve_us": resolving(model) if model.batched else None, "rows": rows}


def resolving(model: Model) -> float:
    """Microseconds that a row count never seen takes, median."""
    counts, taken = list(range(2, SIZES + 2)), []
    random.Random(0).shuffle(counts)
    resolve = model.resolve
    for n_rows in counts:
        start = time.perf_counter()
        resolve(n_rows)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken) * 1e6


def random_graphs(count: int) -> dict[str, Any]:
    """Arena beside peak, tract and Static Runtime over random graphs, and how long planning takes."""
    ratios: dict[int, list[float]] = {n_rows: [] for n_rows in ROW_COUNTS}
    above, times = 0, []
    for seed in range(count):
        steps = random_program(seed, most_steps=200)
        start = time.perf_counter()
        layout = arena_plan.plan(steps)
        times.append((time.perf_counter() - start) * 1e3)
        for n_rows in ROW_COUNTS:
            buffers = sized(executed(steps), n_rows)
            arena = layout.arena_bytes(n_rows)
            ratios[n_rows].append(ratio(arena, peak(buffers)))
            above += arena > min(tract(buffers), static_runtime(buffers))
    return {"graphs": count, "above tract or Static Runtime": above, "plan_ms": {"median": statistics.median(times), "worst": max(times)},
            "arena / peak": {n_rows: {"geometric mean": statistics.geometric_mean(found), "worst": max(found)}
                             for n_rows, found in ratios.items()}}


def ratio(a: int, b: int) -> float:
    return a / b if b else 1.0


def summaries(found: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Geometric means and worst cases of the ratios over all models, by N."""
    lines = []
    for what, goal in [*GOALS.items(), ("peak / unfused_without_scratch", None)]:
        over, under = what.split(" / ")
        for n_rows in ROW_COUNTS:
            values = {name: ratio(facts["rows"][n_rows][over], facts["rows"][n_rows][under])
                      for name, facts in found.items() if n_rows in facts["rows"]}
            worst = max(values, key=lambda name: values[name])
            lines.append({"ratio": what, "N": n_rows, "geometric mean": statistics.geometric_mean(values.values()), "worst": values[worst],
                          "model": worst, "goal": goal, "holds": None if goal is None else values[worst] <= goal})
    return lines


def show(console: Console, found: dict[str, dict[str, Any]], lines: Sequence[dict[str, Any]]) -> None:
    table = Table("model", "steps", "buffers", "N", "arena", "peak", "arena / peak", "tract", "Static Runtime", "unfused",
                  "… without scratch", "plan ms", "resolve µs")
    for name, facts in found.items():
        for n_rows, row in facts["rows"].items():
            head = n_rows == 1
            resolve = "" if facts["resolve_us"] is None else f"{facts['resolve_us']:.1f}"
            table.add_row(name if head else "", str(facts["steps"]) if head else "", str(facts["buffers"]) if head else "", str(n_rows),
                          f"{row['arena']:,}", f"{row['peak']:,}", f"{ratio(row['arena'], row['peak']):.3f}", f"{row['tract']:,}",
                          f"{row['static_runtime']:,}", f"{row['unfused']:,}", f"{row['unfused_without_scratch']:,}",
                          f"{facts['plan_ms']:.1f}" if head else "", resolve if head else "")
    console.print(table)
    table = Table("ratio", "N", "geometric mean", "worst", "goal", "", "worst at")
    for line in lines:
        verdict = {None: "", True: "holds", False: "MISSED"}[line["holds"]]
        table.add_row(line["ratio"], str(line["N"]), f"{line['geometric mean']:.3f}", f"{line['worst']:.3f}",
                      "" if line["goal"] is None else f"≤ {line['goal']:g}", verdict, line["model"])
    console.print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", help="folder of real policies with a manifest.json (default: ../shared/models beside the project)")
    parser.add_argument("--seeds", type=int, default=400, help="random graphs to plan (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("memory.json"), help="where to write the figures (default: %(default)s)")
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 180)
    facts = machine(["cervello", "numpy", "numba"])
    console.print(" · ".join(f"{name} {value}" for name, value in facts.items()), highlight=False)
    folder = models_folder(arguments.models)
    report: dict[str, Any] = {"machine": facts}
    if folder is None:
        console.print("real policies: not found, their figures are left out; give --models")
    else:
        found: dict[str, dict[str, Any]] = {}
        for record in json.loads((folder / "manifest.json").read_text(encoding="utf-8")):
            if record["kind"] == "valid":
                with console.status(f"planning {record['id']} …"):
                    found[record["id"]] = policy(folder / record["file"])
        lines = summaries(found)
        show(console, found, lines)
        resolve = {name: each["resolve_us"] for name, each in found.items() if each["resolve_us"] is not None}
        slowest = max(resolve, key=lambda name: resolve[name])
        console.print(f"a row count never seen: {statistics.median(resolve.values()):.1f} µs, slowest {resolve[slowest]:.1f} µs "
                      f"({slowest}); goal < 20 µs: {'holds' if resolve[slowest] < 20 else 'MISSED'}")
        report |= {"models": found, "ratios": lines}
    with console.status("planning random graphs …"):
        report["random"] = drawn = random_graphs(arguments.seeds)
    table = Table("random graphs", "N", "geometric mean", "worst", "goal", "")
    for n_rows, each in drawn["arena / peak"].items():
        table.add_row("arena / peak", str(n_rows), f"{each['geometric mean']:.4f}", f"{each['worst']:.3f}", "≤ 1.05",
                      "holds" if each["worst"] <= 1.05 else "MISSED")
    console.print(table)
    console.print(f"{drawn['graphs']} random graphs of up to 200 steps: {drawn['above tract or Static Runtime']} plans above tract's or "
                  f"Static Runtime's; planning {drawn['plan_ms']['median']:.1f} ms, slowest {drawn['plan_ms']['worst']:.0f} ms")
    write_json(arguments.output, report)
    console.print(f"written to {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
