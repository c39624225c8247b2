"""Offline evaluation of five candidates, beside the same policies through onnxruntime, one episode at a time.

    python benchmarks/evaluation.py [--steps 200000] [--output FILE]

200,000 logged transitions, policies of 4-64-64-2 tanh units, every estimator for discrete actions but FQE and MAGIC. The peer runs each
episode by itself through onnxruntime (one thread) and computes IS, PDIS, WIS and CWPDIS with loops in numpy, as incumbents do. How
memory grows with the transitions is shown by scripts/evaluate_large.py.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200_000)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    files = [policy(seed) for seed in range(CANDIDATES)]
    head = heads.Categorical("logits")
    logged = list(episodes(arguments.steps))
    candidates = {str(k): cervello.load(file, threads=2) for k, file in enumerate(files)}
    times = []
    for _ in range(3):  # the first one warms up
        start = time.perf_counter()
        report = evaluation.evaluate(logged, candidates, head=head, estimators=ESTIMATORS, q=q)
        times.append(time.perf_counter() - start)
    start = time.perf_counter()
    theirs = peer(logged, files)
    peer_s = time.perf_counter() - start
    for k, each in theirs.items():
        for name, value in each.items():
            assert np.isclose(report[str(k)][name].value or np.nan, value, rtol=1e-4) or report[str(k)][name].value is None
    result: dict[str, Any] = {"machine": machine(["numpy", "onnxruntime"]), "transitions": arguments.steps, "candidates": CANDIDATES,
                              "first_s": times[0], "best_s": min(times[1:]), "peer_s": peer_s, "ratio": peer_s / min(times[1:])}
    for name, value in result.items():
        print(name, value)
    if arguments.output:
        write_json(arguments.output, result)


if __name__ == "__main__":
    main()
