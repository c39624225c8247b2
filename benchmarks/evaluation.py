"""Offline evaluation of five candidates, beside the same policies through onnxruntime, one episode at a time.

    python benchmarks/evaluation.py [--steps 200000] [--scope-rl PYTHON] [--output FILE]

200,000 logged transitions, policies of 4-64-64-2 tanh units, every estimator for discrete actions but FQE and MAGIC. Both peers run each
episode by itself through onnxruntime (one thread). One then computes IS, PDIS, WIS and CWPDIS with numpy: four of the nine estimators, and
no intervals. The other is scope-rl's own code with its default arguments, run by PYTHON, the interpreter of an environment of its own (pip
install scope-rl==0.2.1 onnxruntime; it pins gymnasium 1.0): seven of the nine estimators, with its intervals. Each peer is compared with
an evaluation here that asks for the same estimators alone, and with one that asks for all nine. Not compared: `mis`, for which scope-rl
trains networks, and `agreement`, which it lacks; and obp, whose estimators are for single decisions. How memory grows with the transitions
is shown by scripts/evaluate_large.py.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from timing import machine, write_json

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

from small_models import FLOAT, _mlp, graph, node

import cervello
from cervello import evaluation, heads
from cervello.recording import Episode

LENGTH, CANDIDATES = 200, 5
ESTIMATORS = ("is", "pdis", "wis", "cwpdis", "dm", "dr", "wdr", "mis", "agreement")  # with a value function that is given


def policy(seed: int) -> bytes:
    """obs [N, 4] ▸ logits [N, 2]."""
    constants: dict[str, Any] = {"tenth": np.float32(0.1)}
    nodes = [*_mlp("obs", "action", (4, 64, 64, 2), constants, seed), node("Mul", "action tenth", "logits")]
    return graph(nodes, {"obs": (FLOAT, ("N", 4))}, {"logits": (FLOAT, ("N", 2))}, constants)


def episodes(steps: int) -> Iterator[Episode]:
    """Episodes of 200 steps by an even behaviour."""
    rng = np.random.default_rng(0)
    ends = np.arange(LENGTH) == LENGTH - 1
    for i in range(steps // LENGTH):
        observations = rng.standard_normal((LENGTH + 1, 4), np.float32)
        yield Episode(i, observations, rng.integers(0, 2, LENGTH), rng.random(LENGTH), ends, np.zeros(LENGTH, np.bool_),
                      log_prob=np.full(LENGTH, np.float32(np.log(0.5))))


def q(observations: Any, actions: Any) -> Any:
    """A value function that costs nothing."""
    return np.zeros(len(actions))


def peer(logged: list[Episode], files: list[bytes]) -> dict[int, dict[str, float]]:
    """Estimates by loops over episodes."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    found = {}
    for k, file in enumerate(files):
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        weights, rewards = [], []
        for episode in logged:
            logits = session.run(None, {"obs": episode.observations[:-1]})[0].astype(np.float64)
            logs = logits - logits.max(1, keepdims=True)
            logs -= np.log(np.exp(logs).sum(1, keepdims=True))
            weights.append(np.exp(np.cumsum(logs[np.arange(len(episode)), episode.actions] - episode.log_prob)))
            rewards.append(episode.rewards)
        w, r = np.array(weights), np.array(rewards)
        found[k] = {"is": float((w[:, -1] * r.sum(1)).mean()), "pdis": float((w * r).sum(1).mean()),
                    "wis": float((w[:, -1] * r.sum(1)).sum() / w[:, -1].sum()), "cwpdis": float(((w * r).sum(0) / w.sum(0)).sum())}
    return found


def scope_rl(python: Path, logged: list[Episode], files: list[bytes]) -> dict[str, Any]:
    """What scope_rl_peer.py found, run by another interpreter."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for k, file in enumerate(files):
            (folder / f"{k}.onnx").write_bytes(file)
        np.savez(folder / "data.npz", **{column: np.stack([getattr(each, column) for each in logged])
                                         for column in ("observations", "actions", "rewards", "log_prob")})
        done = subprocess.run([python, Path(__file__).with_name("scope_rl_peer.py"), folder], stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def check(report: evaluation.Report, theirs: dict[str, dict[str, float]]) -> None:
    """Raises AssertionError where a peer estimates something else, or nothing is estimated here. What a verdict withholds is compared too:
    peers have none."""
    for policy_name, values in theirs.items():
        for name, value in values.items():
            ours = report[policy_name][name].moments.value
            assert np.isclose(np.nan if ours is None else ours, value, rtol=1e-4), (policy_name, name, ours, value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3, help="evaluations after the first, of which the fastest counts (default: 3)")
    parser.add_argument("--threads", type=int, default=2, help="that an evaluation here may use (default: 2)")
    parser.add_argument("--scope-rl", type=Path, metavar="PYTHON", help="interpreter of an environment with scope-rl and onnxruntime")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    files = [policy(seed) for seed in range(CANDIDATES)]
    head = heads.Categorical("logits")
    logged = list(episodes(arguments.steps))
    candidates = {str(k): cervello.load(file) for k, file in enumerate(files)}

    def ours(estimators: Sequence[str]) -> tuple[evaluation.Report, float, float]:
        """The report, and the seconds of the first evaluation and of the fastest later one."""
        times = []
        for _ in range(1 + arguments.rounds):
            start = time.perf_counter()
            report = evaluation.evaluate(logged, candidates, head=head, estimators=estimators, q=q, threads=arguments.threads)
            times.append(time.perf_counter() - start)
        return report, times[0], min(times[1:])

    report, first_s, best_s = ours(ESTIMATORS)
    peers_found: list[tuple[str, float, dict[str, dict[str, float]], bool]] = []
    start = time.perf_counter()
    theirs = {str(k): each for k, each in peer(logged, files).items()}
    peers_found.append(("onnxruntime and numpy", time.perf_counter() - start, theirs, False))
    versions = ""
    if arguments.scope_rl is not None:
        found = scope_rl(arguments.scope_rl, logged, files)
        versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
        for parts in (["policies", "values"], ["policies", "values", "intervals"]):
            rounds = [sum(each) for each in zip(*(found["seconds"][part] for part in parts), strict=True)]
            peers_found.append(("onnxruntime and scope-rl", min(rounds), found["values"], "intervals" in parts))
    rows = []
    for name, seconds, values, intervals in peers_found:
        check(report, values)
        both = tuple(next(iter(values.values())))
        same_s = ours(both)[2]
        rows.append({"peer": name, "estimators": list(both), "of": len(ESTIMATORS), "intervals": intervals, "seconds": seconds,
                     "ours_same_s": same_s, "ratio_same": seconds / same_s, "ratio_all": seconds / best_s})
    print(f"{arguments.steps:,} transitions, {CANDIDATES} candidates: {best_s:.2f} s for all {len(ESTIMATORS)} estimators with intervals "
          f"(first: {first_s:.2f} s)")
    for row in rows:
        print(f"{row['peer']}, {len(row['estimators'])} of {row['of']} estimators, {'with' if row['intervals'] else 'without'} intervals: "
              f"{row['seconds']:.2f} s; ours with intervals: {row['ours_same_s']:.2f} s for the same ones ({row['ratio_same']:.1f} times "
              "as fast), "
              f"{best_s:.2f} s for all ({row['ratio_all']:.1f} times as fast)")
    result: dict[str, Any] = {"machine": machine(["numpy", "onnxruntime"]), "scope_rl": versions, "transitions": arguments.steps,
                              "candidates": CANDIDATES, "threads": arguments.threads, "estimators": list(ESTIMATORS),
                              "first_s": first_s, "best_s": best_s, "peers": rows}
    if arguments.output:
        write_json(arguments.output, result)


if __name__ == "__main__":
    main()
