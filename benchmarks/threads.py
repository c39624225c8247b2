"""What a second thread brings: `bind` handles with one and with several threads, by how long one thread takes.

    python benchmarks/threads.py [--models FOLDER] [--threads N] [--output FILE]

Batches follow each other at once ("close") or 4 ms apart ("apart": workers have fallen asleep, as between the ticks of a game). The goal:
on two cores at least 1.7 times as fast from 1 ms of work up, never slower below (0.95 is taken for equal: clocks and neighbours).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import generated
import numpy as np
from contenders import sample
from rich.console import Console
from rich.table import Table
from timing import Call, machine, models_folder, write_json

import cervello

ROUNDS, APART_S = 51, 0.004
LONG_S, GAIN, EQUAL = 1e-3, 1.7, 0.95
ROWS = (1, 4, 16, 32, 64, 128, 256, 512, 1024, 2048)
REAL = ("mlagents_SoccerTwos", "mlagents_Match3_tf2onnx", "cervo_test_complex", "overcooked_rllib_cnn_lstm", "godot_JumperHard_op15")


def once(call: Call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def paired(calls: Sequence[Call], pause_s: float) -> list[float]:
    """Medians of calls that take turns; without a pause each repeats, so that a thread that helps stays awake."""
    found: list[list[float]] = [[] for _ in calls]
    for _ in range(ROUNDS):
        for call, taken in zip(calls, found, strict=True):
            if pause_s:
                time.sleep(pause_s)
                taken.append(once(call))
            else:
                once(call)
                taken.append(statistics.median(once(call) for _ in range(3)))
    return [statistics.median(taken) for taken in found]


def rows_of(name: str, path: Path, threads: int) -> list[dict[str, Any]]:
    """The figures of one model."""
    model, found = cervello.Model.load(path), []
    for n_rows in ROWS:
        given = sample(model, n_rows, 0)
        outs = [{key: np.empty(spec.batched(n_rows), spec.dtype) for key, spec in model.outputs.items()} for _ in range(2)]
        calls = [model.bind(given, out, threads=count) for out, count in zip(outs, (1, threads), strict=True)]
        for call in calls:
            call()
        for how, pause_s in (("close", 0.0), ("apart", APART_S)):
            alone_s, shared_s = paired(calls, pause_s)
            goal = GAIN if alone_s >= LONG_S else EQUAL
            found.append({"model": name, "rows": n_rows, "batches": how, "one_s": alone_s, "shared_s": shared_s,
                          "ratio": alone_s / shared_s, "goal": goal, "holds": alone_s / shared_s >= goal})
        if alone_s > 0.05:
            break
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", help="folder of real policies with a manifest.json (default: ../shared/models beside the project)")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="threads (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("threads.json"), help="where to write the figures (default: %(default)s)")
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 140)
    facts = machine(["cervello", "numpy", "numba"])
    console.print(" · ".join(f"{name} {value}" for name, value in facts.items()), highlight=False)
    folder = models_folder(arguments.models)
    table = Table("model", "rows", "batches", "one thread µs", f"{arguments.threads} threads µs", "times faster", "goal", "")
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        paths = []
        for name, make in generated.POLICIES.items():
            path = Path(scratch) / f"{name}.onnx"
            path.write_bytes(make())
            paths.append((name, path))
        if folder is None:
            console.print("real policies: not found, their figures are left out; give --models")
        else:
            records = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
            paths += [(record["id"], folder / record["file"]) for record in records if record["id"] in REAL]
        for name, path in paths:
            with console.status(f"{name} …"):
                found += rows_of(name, path, arguments.threads)
    for row in found:
        table.add_row(row["model"], str(row["rows"]), row["batches"], f"{row['one_s'] * 1e6:.1f}", f"{row['shared_s'] * 1e6:.1f}",
                      f"{row['ratio']:.2f}", f"≥ {row['goal']:g}", "" if row["holds"] else "[red]MISSED[/]")
    console.print(table)
    for what, ratios, goal in ((f"{how}, {'from 1 ms up' if long else 'below'}", [
            row["ratio"] for row in found if row["batches"] == how and (row["one_s"] >= LONG_S) == long], GAIN if long else EQUAL)
            for how in ("close", "apart") for long in (True, False)):
        console.print(f"{what}: median {statistics.median(ratios):.2f}, least {min(ratios):.2f}, "
                      f"{sum(ratio >= goal for ratio in ratios)} of {len(ratios)} at least {goal}")
    write_json(arguments.output, {"machine": facts, "threads": arguments.threads, "rows": found})
    return 0


if __name__ == "__main__":
    sys.exit(main())
