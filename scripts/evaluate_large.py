"""Evaluates policies over a log that never exists as a whole, and prints how much memory that takes.

    python scripts/evaluate_large.py                       # 20 million transitions, after a tenth of them
    python scripts/evaluate_large.py --steps 2000000 --candidates 3 --estimators pdis,wis

Episodes of 100 to 300 steps are generated while they are read. The peak memory of the process is printed after a tenth of the transitions
and after all of them, in one process: a second evaluation of ten times as many raises it by a few numbers per episode. Linux, macOS.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

import offline_logs as logs

import cervello
from cervello import evaluation, heads

ESTIMATORS = "is,pdis,wis,cwpdis,dm,dr,wdr,mis,agreement"


def q(observations: Any, actions: Any) -> Any:
    """A value function that is given: no fit, so no estimator holds all data."""
    return np.asarray(observations)[:, 0] + actions


def peak_bytes() -> int:
    """Of this process, since it began."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def run(steps: int, candidates: dict[str, cervello.Policy], estimators: list[str]) -> evaluation.Report:
    """Evaluates over so many transitions, with a line per 5% on the terminal."""
    start, shown = time.monotonic(), 0
    mean = 200  # steps of an episode

    def progress(n: int) -> None:
        nonlocal shown
        share = min(99, 100 * n * mean // steps)
        if share >= shown + 5:
            shown = share
            print(f"  {share}%, {n:,} episodes, {time.monotonic() - start:.0f} s, peak {peak_bytes() / 2**20:.0f} MiB", flush=True)

    report = evaluation.evaluate(lambda: logs.generated(steps, shortest=100, longest=300), candidates, head=heads.Categorical("logits"),
                                 estimators=estimators, gamma=0.99, q=q, progress=progress)
    elapsed = time.monotonic() - start
    print(f"{report.n_steps:,} transitions, {report.n_episodes:,} episodes: {report.n_steps / elapsed:,.0f} per second, peak memory of "
          f"the process {peak_bytes() / 2**20:.0f} MiB", flush=True)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20_000_000)
    parser.add_argument("--candidates", type=int, default=2)
    parser.add_argument("--estimators", default=ESTIMATORS)
    arguments = parser.parse_args()
    candidates = {str(k): cervello.load(logs.logits_policy(logs.behaviour_weights(4, 2, 0.02 * (k + 1)), np.zeros(2)))
                  for k in range(arguments.candidates)}
    estimators = arguments.estimators.split(",")
    print(f"{arguments.candidates} policies, {arguments.estimators}; before: {peak_bytes() / 2**20:.0f} MiB", flush=True)
    run(arguments.steps // 10, candidates, estimators)
    tenth = peak_bytes()
    report = run(arguments.steps, candidates, estimators)
    grown = peak_bytes() - tenth
    each = grown / (0.9 * report.n_episodes)
    print(f"ten times the transitions raised the peak by {grown / 2**20:.0f} MiB, {each:.0f} bytes for each further episode")
    print(report)


if __name__ == "__main__":
    main()
