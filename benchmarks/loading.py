"""Loading policies: time beside onnxruntime's session creation, and what a loaded model holds beside its weights.

    python benchmarks/loading.py [--models FOLDER] [--rounds 7] [--output FILE]

Both read the same file, in alternation in one process, with kernels already in the cache; medians. Memory is what Python and numpy have
allocated when a model is loaded and everything else is collected. Goals: at most 3 times the session; no second copy of the weights, that
is at most 1.1 times their bytes and 4 KiB per step. Exits with 1 when one is missed.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
import tracemalloc
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any

from contenders import session
from rich.console import Console
from rich.progress import track
from rich.table import Table
from timing import models_folder

from cervello import Model

MOST_TIMES = 3.0
MOST_HELD = 1.1
STEP_BYTES = 4 << 10  # what a step, its tensors and its place in the plan may take


def _seconds(make: Any) -> float:
    start = time.perf_counter()
    make()
    return time.perf_counter() - start


def _held(path: Path) -> tuple[int, int, int]:
    """Bytes that a loaded model holds, those of its weights, and its steps."""
    gc.collect()
    tracemalloc.start()
    model = Model.load(path)
    gc.collect()
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return held, model.weights.n_bytes, len(model.program.steps)


def measure(path: Path, rounds: int) -> dict[str, Any]:
    """One model."""
    Model.load(path)  # compiles what the cache lacks
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(_seconds(lambda: Model.load(path)))
        theirs.append(_seconds(lambda: session(str(path))))
    held, weights, steps = _held(path)
    return {"model": path.stem, "load_s": median(ours), "onnxruntime_s": median(theirs), "ratio": median(ours) / median(theirs),
            "held_bytes": held, "weight_bytes": weights, "steps": steps,
            "fits": held <= MOST_HELD * weights + STEP_BYTES * steps}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--models", help="folder of real policies with a manifest.json (default: ../shared/models beside the project)")
    parser.add_argument("--rounds", type=int, default=7, help="loads of each (default: %(default)s)")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    folder = models_folder(arguments.models)
    if folder is None:
        parser.error("expected --models FOLDER with a manifest.json, found none")
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    paths = [folder / record["file"] for record in manifest if record["kind"] == "valid"]
    found = [measure(path, arguments.rounds) for path in track(paths, "loading", disable=not sys.stdout.isatty(), transient=True)]
    table = Table("model", "load, ms", "session, ms", "ratio", "held, KiB", "weights, KiB")
    for one in sorted(found, key=lambda one: -one["ratio"]):
        bad = one["ratio"] > MOST_TIMES or not one["fits"]
        table.add_row(one["model"], f"{one['load_s'] * 1e3:.1f}", f"{one['onnxruntime_s'] * 1e3:.1f}", f"{one['ratio']:.2f}",
                      f"{one['held_bytes'] / 1024:.0f}", f"{one['weight_bytes'] / 1024:.0f}", style="red" if bad else None)
    console = Console()
    console.print(table)
    slow = [one["model"] for one in found if one["ratio"] > MOST_TIMES]
    heavy = [one["model"] for one in found if not one["fits"]]
    console.print(f"load / session: geometric mean {geometric_mean(one['ratio'] for one in found):.2f}, "
                  f"slowest {max(one['ratio'] for one in found):.2f} [{MOST_TIMES}]; too slow: {slow or 'none'}")
    console.print(f"more than {MOST_HELD} times the weights and {STEP_BYTES >> 10} KiB per step held: {heavy or 'none'}")
    if arguments.output:
        arguments.output.write_text(json.dumps({"models": found}, indent=1) + "\n")
    return 1 if slow or heavy else 0


if __name__ == "__main__":
    sys.exit(main())
