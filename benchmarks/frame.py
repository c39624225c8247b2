"""Frame budgets: twenty real policies, two thousand agents that all want to decide in every frame, and too little time.

    python benchmarks/frame.py [--models FOLDER] [--frames 1000] [--budgets 0.5,1,2,5] [--output FILE]

Every agent is pushed in every frame, outside of the budget; `Runtime.run(budget_s)` decides for as many as it can. Reported per budget:

    over      frames that took more than 1.1 times the budget; the goal is at most 1%
    work      decisions made, each counted with what it costs in the largest batch of its crowd that fits into one budget (when all policies
              decide one after the other, without a runtime, after the game has pushed everybody: with caches as they are in a frame), over
              the budget; the goal is at least 90%. Results are columns in both; rows by agent are made when somebody asks for them
    stalls    the machine's own: how often a loop that does nothing but look at the clock misses the same mark
    longest   frames that the agent waited who waited longest

Beside it the rule of cervo 0.9 (a policy runs with its whole crowd or not at all, oldest ticket first, the first one always, by the mean
time of batches of this size), on the same policies. Exits with 1 when a goal is missed.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from timing import machine, models_folder

import cervello
from cervello.inferers.testing import sample_columns

CROWD = 100
# Of every exporter and kind some: networks for vectors, pictures, sequences and sets, those left out that take most of the smallest budget
# for a few decisions.
POLICIES = ("cervo_test", "cervo_test_complex", "godot_BallChase", "godot_MultiAgent_platform", "gymgodot_ppo_1d", "mlagents_3DBall",
            "mlagents_DungeonEscape", "mlagents_GridFoodCollector", "mlagents_Hallway", "mlagents_Match3VectorObs",
            "mlagents_Match3_tf2onnx", "mlagents_PushBlockCollab", "mlagents_Sorter", "mlagents_test_discrete1vis",
            "overcooked_rllib_lstm", "robot_d00t_duck", "robot_go2_apg_ln", "robot_h1v2_stochastic", "robot_kinfer_multiinput",
            "robot_tron2_encoder_1d")
MOST_OVER, LEAST_WORK, SLACK = 0.01, 0.9, 1.1
WARM_FRAMES = 200
ROUND_EVERY = 10


class Crowd:
    """A policy with its agents and what they observe."""

    def __init__(self, path: Path):
        self.name = path.stem
        self.policy = cervello.load(path, wrappers="auto", seed=1)
        self.ids = list(range(CROWD))
        self.policy.begin_agents(self.ids)
        self.columns = sample_columns(self.policy.inputs, self.ids)

    def part(self, n_rows: int) -> dict[str, Any]:
        """The first rows of the columns."""
        found = {}
        for name, spec in self.policy.inputs.items():
            column = self.columns[name]
            found[name] = column if spec.batch_axis is None else np.ascontiguousarray(np.take(column, range(n_rows), spec.batch_axis))
        return found

    def seconds(self, n_rows: int, between: Callable[[], None], rounds: int = 3) -> float:
        """What a batch takes when a game has been at work before it."""
        ids, columns = tuple(self.ids[:n_rows]), self.part(n_rows)
        found = []
        for _ in range(rounds + 1):
            between()
            start = time.perf_counter()
            self.policy.infer_batch(ids, columns)
            found.append(time.perf_counter() - start)
        return median(found[1:])


class Reference:
    """What decisions cost without a runtime: one policy after the other decides in every round, in the largest batch of its crowd that
    fits into the budget, and all results are kept until the round is over. Rounds alternate with the frames that are judged by them,
    since the machine is not equally fast all the time."""

    def __init__(self, crowds: list[Crowd], budget_s: float, push: Callable[[], None]):
        self._push = push
        self._parts: list[tuple[Crowd, tuple[int, ...], dict[str, Any]]] = []
        for crowd in crowds:
            n_rows = CROWD
            while n_rows > 1 and crowd.seconds(n_rows, push, 1) > budget_s:
                n_rows = max(1, n_rows * 3 // 4)
            self._parts.append((crowd, tuple(crowd.ids[:n_rows]), crowd.part(n_rows)))
        self._times: dict[str, list[float]] = {crowd.name: [] for crowd in crowds}
        self._kept: list[Any] = []

    def round(self) -> None:
        self._push()
        self._kept.clear()
        for crowd, ids, columns in self._parts:
            start = time.perf_counter()
            self._kept.append(crowd.policy.infer_batch(ids, columns))
            self._times[crowd.name].append(time.perf_counter() - start)

    def row_costs(self) -> dict[str, float]:
        """Seconds of a decision, by policy; medians of all rounds but the first."""
        return {crowd.name: median(self._times[crowd.name][1:]) / len(ids) for crowd, ids, _ in self._parts}


class Cervo:
    """The rule of cervo's `run_for`, on policies of this library."""

    def __init__(self, crowds: list[Crowd]):
        self.crowds = crowds
        self.tickets = list(range(len(crowds)))  # oldest first
        self.means: list[tuple[float, int]] = [(0.0, 0)] * len(crowds)
        self.waited = [0] * len(crowds)

    def run(self, budget_s: float) -> dict[str, int]:
        left_s, ran, order = budget_s, [], list(self.tickets)
        for k in order:
            crowd, (mean_s, n) = self.crowds[k], self.means[k]
            if ran and n and mean_s > left_s:
                continue
            start = time.perf_counter()
            crowd.policy.infer_batch(crowd.ids, crowd.columns)
            took_s = time.perf_counter() - start
            left_s = max(0.0, left_s - took_s)
            self.means[k] = mean_s + (took_s - mean_s) / (n + 1), n + 1
            ran.append(k)
        self.tickets = [k for k in order if k not in ran] + ran
        for k in range(len(self.crowds)):
            self.waited[k] = 0 if k in ran else self.waited[k] + 1
        return {self.crowds[k].name: CROWD for k in ran}

    def longest(self) -> int:
        return max(self.waited)


class Ours:
    """`cervello.Runtime`."""

    def __init__(self, crowds: list[Crowd]):
        self.crowds = crowds
        self.runtime = cervello.Runtime()
        for crowd in crowds:
            self.runtime.add(crowd.name, crowd.policy)
        self.last = {crowd.name: np.zeros(CROWD, np.int64) for crowd in crowds}
        self.number = 0

    def push(self) -> None:
        for crowd in self.crowds:
            self.runtime.push_batch(crowd.name, crowd.ids, crowd.columns)

    def run(self, budget_s: float) -> Any:
        return self.runtime.run(budget_s=budget_s)

    def counts(self, frame: Any) -> dict[str, int]:
        self.number += 1
        for name, actions in frame.items():
            self.last[name][list(actions)] = self.number
        return {name: len(actions) for name, actions in frame.items()}

    def longest(self) -> int:
        return int(self.number - min(last.min() for last in self.last.values()))


def stall_share(budget_s: float, frames: int) -> float:
    """How often the machine itself takes more than the slack."""
    over = 0
    for _ in range(frames):
        start = now = time.perf_counter()
        while now - start < budget_s:
            now = time.perf_counter()
        over += now - start > SLACK * budget_s
    return over / frames


def play(who: Any, push: Callable[[], None], count: Callable[[Any], dict[str, int]], reference: Reference, budget_s: float,
         frames: int) -> dict[str, Any]:
    """Frames of one budget."""
    elapsed, decisions, longest = [], Counter[str](), 0
    reference.round()
    for number in range(-WARM_FRAMES, frames):
        push()
        if number >= 0 and number % ROUND_EVERY == 0:
            reference.round()
            count(who.run(budget_s))  # a frame as usual before the next one counts
            push()
        frame = None  # the game lets go of the last frame when it likes
        start = time.perf_counter()
        frame = who.run(budget_s)
        took_s = time.perf_counter() - start
        counts = count(frame)
        if number >= 0:
            elapsed.append(took_s)
            decisions.update(counts)
            longest = max(longest, who.longest())
    times, cost_s = np.array(elapsed), reference.row_costs()
    work = sum(cost_s[name] * n for name, n in decisions.items())
    return {"over": float((times > SLACK * budget_s).mean()), "median": float(np.median(times) / budget_s),
            "slowest": float(times.max() / budget_s), "work": work / (frames * budget_s), "rows": decisions.total() / frames,
            "longest": longest}


def chosen(folder: Path) -> list[Crowd]:
    """The policies that are there."""
    found = {path.stem: path for path in folder.rglob("*.onnx")}
    return [Crowd(found[name]) for name in track(POLICIES, "loading", transient=True) if name in found]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=None, help="folder of policy files")
    parser.add_argument("--frames", type=int, default=1000, help="frames per budget (default: 1000)")
    parser.add_argument("--budgets", default="0.5,1,2,5", help="milliseconds (default: 0.5,1,2,5)")
    parser.add_argument("--output", type=Path, help="write JSON here")
    arguments = parser.parse_args()
    console = Console()
    facts = machine(["numpy", "numba"])
    console.print(", ".join(f"{key} {value}" for key, value in facts.items()))
    crowds = chosen(models_folder(arguments.models))
    ours, yardstick = Ours(crowds), Cervo(crowds)
    whole_s = sum(crowd.seconds(CROWD, ours.push) for crowd in crowds)
    console.print(f"{len(crowds)} policies, {CROWD} agents each; all of them take {whole_s * 1e3:.1f} ms")
    console.print(", ".join(crowd.name for crowd in crowds))
    results, good = [], True
    table = Table("budget", "", "over 110%", "median", "slowest", "work", "decisions", "longest wait")
    gc.collect()
    gc.freeze()  # the benchmark's own objects are not the game's
    for budget_ms in [float(text) for text in arguments.budgets.split(",")]:
        budget_s = budget_ms * 1e-3
        reference = Reference(crowds, budget_s, ours.push)
        stalls = stall_share(budget_s, arguments.frames)
        found = play(ours, ours.push, ours.counts, reference, budget_s, arguments.frames)
        theirs = play(yardstick, ours.push, lambda counts: counts, reference, budget_s, arguments.frames)
        good = good and found["over"] <= MOST_OVER and found["work"] >= LEAST_WORK
        results.append({"budget_s": budget_s, "stalls": stalls, "cervello": found, "cervo_rule": theirs})
        for name, row in (("cervello", found), ("cervo's rule", theirs)):
            table.add_row(f"{budget_ms:g} ms", name, f"{row['over']:.1%}", f"{row['median']:.2f}", f"{row['slowest']:.2f}",
                          f"{row['work']:.0%}", f"{row['rows']:.0f}", str(row["longest"]))
        table.add_row(f"{budget_ms:g} ms", "only the clock", f"{stalls:.1%}", "", "", "", "", "")
    console.print(table)
    console.print("goals hold" if good else f"missed: at most {MOST_OVER:.0%} over, at least {LEAST_WORK:.0%} of the work", style="bold")
    if arguments.output:
        report = {"machine": facts, "policies": [crowd.name for crowd in crowds], "agents": CROWD * len(crowds), "whole_s": whole_s,
                  "budgets": results}
        arguments.output.write_text(json.dumps(report, indent=1) + "\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
