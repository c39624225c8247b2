"""What evaluation on Ray costs: a model of the time, fitted at two sizes and one and two workers, and checked at a third size.

    pip install ".[ray]"
    python benchmarks/ray_cost.py [--steps 100000] [--rounds 3] [--output FILE]

    seconds = workers · start + transitions · (driver + actor / workers)

`start` is the start of one actor: its process imports the package and loads the policies, which keeps a processor busy. On this one machine
the starts hinder each other; on a cluster they overlap. `driver` is what the calling process does for each transition (reading, pickling,
merging, estimating), and `actor` what an actor does (unpickling, running the policies, scoring). Ray itself runs before the clock starts.
Medians of rounds. Exits with 1 where the model misses a measurement of the third size by more than 25%.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
import ray
from evaluation import LENGTH, episodes, policy, q
from rich.console import Console
from rich.table import Table
from scipy.optimize import nnls
from timing import machine, write_json

import cervello
from cervello import evaluation, heads

WORKERS = (1, 2)
MOST_OFF = 0.25
CANDIDATES = 3


def seconds(steps: int, workers: int, candidates: dict[str, cervello.Policy], rounds: int) -> float:
    """The median time of one evaluation by so many actors."""
    logged = list(episodes(steps))
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        evaluation.evaluate(logged, candidates, head=heads.Categorical("logits"), estimators=["pdis", "wis", "dr"], q=q, ray=workers)
        found.append(time.perf_counter() - start)
    return median(found)


def shares(steps: int, workers: int) -> list[float]:
    """What start, driver and actor count in the time of one evaluation."""
    return [workers, steps, steps / workers]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--steps", type=int, default=100_000, help="transitions of the third size (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="evaluations of each (default: %(default)s)")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    if arguments.steps < 8 * LENGTH:
        parser.error(f"--steps: expected at least {8 * LENGTH}, got {arguments.steps}")
    candidates = {str(i): cervello.load(policy(i)) for i in range(CANDIDATES)}
    ray.init(num_cpus=max(WORKERS), include_dashboard=False, log_to_driver=False)
    seconds(8 * LENGTH, max(WORKERS), candidates, 1)  # imports and compiled code
    sizes = (arguments.steps // 4, 2 * arguments.steps, arguments.steps)
    measured = {}
    for steps, workers in itertools.product(sizes, WORKERS):
        measured[steps, workers] = seconds(steps, workers, candidates, arguments.rounds)
        print(f"{steps} transitions, {workers} worker(s): {measured[steps, workers]:.2f} s", flush=True)
    ray.shutdown()
    fitted = [key for key in measured if key[0] != arguments.steps]
    weights = 1 / np.array([measured[key] for key in fitted])  # relative errors count
    rows = np.array([shares(*key) for key in fitted]) * weights[:, None]
    start, driver, actor = nnls(rows, np.ones(len(fitted)))[0]  # no part takes less than no time
    table = Table("transitions", "workers", "measured, s", "model, s", "off", "")
    records, worst = [], 0.0
    for (steps, workers), found in measured.items():
        said = float(np.dot(shares(steps, workers), (start, driver, actor)))
        checked = steps == arguments.steps
        worst = max(worst, abs(said / found - 1)) if checked else worst
        kind = "checked" if checked else "fitted"
        table.add_row(f"{steps:,}", str(workers), f"{found:.2f}", f"{said:.2f}", f"{said / found - 1:+.0%}", kind)
        records.append({"transitions": steps, "workers": workers, "seconds": found, "model": said, "checked": checked})
    Console().print(table)
    print(f"start {start:.2f} s per worker; driver {driver * 1e6:.1f} µs and actor {actor * 1e6:.1f} µs per transition; "
          f"{CANDIDATES} candidates")
    if arguments.output:
        write_json(arguments.output, {"machine": machine(["ray"]), "candidates": CANDIDATES, "start_s": start, "driver_s": driver,
                                      "actor_s": actor, "runs": records})
    return int(worst > MOST_OFF)


if __name__ == "__main__":
    sys.exit(main())
