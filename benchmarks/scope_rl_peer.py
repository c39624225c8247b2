"""The estimators of scope-rl on logged data, timed: what benchmarks/evaluation.py starts in the environment that has scope-rl.

    python benchmarks/scope_rl_peer.py FOLDER

FOLDER holds data.npz (observations [n, T + 1, d], actions, rewards and log_prob [n, T]) and the policies 0.onnx, 1.onnx, …. Each policy
runs through onnxruntime (one thread), one episode at a time; then `OffPolicyEvaluation` estimates values and intervals with its default
arguments (percentile bootstrap, 100 resamples). The last line that is printed is JSON: seconds of three rounds, values by policy and
estimator, versions. numpy, onnxruntime and scope-rl alone run here.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

ROUNDS = 3
NAMES = {"tis": "is", "pdis": "pdis", "sntis": "wis", "snpdis": "cwpdis", "dm": "dm", "dr": "dr", "sndr": "wdr"}  # theirs: ours


def distributions(file: bytes, observations: Any) -> Any:
    """[n · T, K] the probabilities of all actions."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    found = []
    for rows in observations[:, :-1]:
        logits = session.run(None, {"obs": rows})[0].astype(np.float64)
        odds = np.exp(logits - logits.max(1, keepdims=True))
        found.append(odds / odds.sum(1, keepdims=True))
    return np.concatenate(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    warnings.simplefilter("ignore")
    from scope_rl.ope import OffPolicyEvaluation, discrete

    data = dict(np.load(folder / "data.npz"))
    files = [path.read_bytes() for path in sorted(folder.glob("*.onnx"))]
    n, T = data["actions"].shape
    seconds: dict[str, list[float]] = {"policies": [], "values": [], "intervals": []}
    for _ in range(ROUNDS):
        start = time.perf_counter()
        odds = [distributions(file, data["observations"]) for file in files]
        seconds["policies"].append(time.perf_counter() - start)
        start = time.perf_counter()
        K = odds[0].shape[1]
        logged = {"size": n * T, "n_trajectories": n, "step_per_trajectory": T, "action_type": "discrete", "n_actions": K, "action_dim": None,
                  "state_dim": data["observations"].shape[2], "state": data["observations"][:, :-1].reshape(n * T, -1),
                  "action": data["actions"].reshape(-1), "reward": data["rewards"].reshape(-1),
                  "pscore": np.exp(data["log_prob"].astype(np.float64)).reshape(-1),
                  "done": np.zeros(n * T), "terminal": np.tile(np.arange(T) == T - 1, n)}  # it drops the reward of a step that is done
        inputs = {str(k): {"evaluation_policy_action": None, "evaluation_policy_action_dist": each,
                           "state_action_value_prediction": np.zeros((n * T, K)), "initial_state_value_prediction": np.zeros(n),
                           "state_action_marginal_importance_weight": None, "state_marginal_importance_weight": None,
                           "on_policy_policy_value": None, "gamma": 1.0} for k, each in enumerate(odds)}
        ope = OffPolicyEvaluation(logged, [
            discrete.TrajectoryWiseImportanceSampling(), discrete.PerDecisionImportanceSampling(), discrete.SelfNormalizedTIS(),
            discrete.SelfNormalizedPDIS(), discrete.DirectMethod(), discrete.DoublyRobust(), discrete.SelfNormalizedDR()])
        values = ope.estimate_policy_value(inputs)
        seconds["values"].append(time.perf_counter() - start)
        start = time.perf_counter()
        ope.estimate_intervals(inputs, random_state=0)
        seconds["intervals"].append(time.perf_counter() - start)
    print(json.dumps({
        "seconds": seconds,
        "values": {policy: {NAMES[name]: float(value) for name, value in its.items() if name in NAMES} for policy, its in values.items()},
        "versions": {name: importlib.metadata.version(name) for name in ("scope-rl", "numpy", "onnxruntime")}}))


if __name__ == "__main__":
    main()
