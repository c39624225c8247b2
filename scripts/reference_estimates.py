"""Asks scope-rl 0.2.1 and obp 0.5.7 for their estimates of fixed data: the numbers of tests/evaluation/estimators/test_references.py.

    pip install scope-rl==0.2.1 && python scripts/reference_estimates.py scope-rl
    pip install obp==0.5.7 && python scripts/reference_estimates.py obp

Each needs an environment of its own (scope-rl pins gymnasium 1.0 by way of d3rlpy, obp wants Python before 3.11); numpy alone runs the code
that is asked. Writes tests/data/references/NAME.npz, the data, and NAME.json, the numbers.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "data" / "references"
N, T, K, GAMMA = 40, 4, 3, 0.9
Array = np.ndarray[Any, Any]


def trajectories(T: int) -> dict[str, Array]:
    """N episodes of T steps: actions, rewards and propensities [N · T], distributions of the target and values [N · T, K]."""
    rng = np.random.default_rng(T)
    behavior = rng.dirichlet(np.full(K, 4.0), N * T)
    action = np.array([rng.choice(K, p=row) for row in behavior])
    return {"action": action, "reward": rng.normal(size=N * T) + action, "propensity": behavior[np.arange(N * T), action],
            "target": rng.dirichlet(np.full(K, 4.0), N * T), "q": rng.normal(size=(N * T, K)) + np.arange(K)}


def scope_rl(data: dict[str, Array]) -> dict[str, float | list[float]]:
    from scope_rl.ope import discrete
    from scope_rl.utils import estimate_confidence_interval_by_hoeffding, estimate_confidence_interval_by_t_test

    logged = {"step_per_trajectory": T, "action": data["action"], "reward": data["reward"], "pscore": data["propensity"],
              "evaluation_policy_action_dist": data["target"], "gamma": GAMMA}
    values = {"state_action_value_prediction": data["q"]}
    found: dict[str, float | list[float]] = {
        "is": float(discrete.TrajectoryWiseImportanceSampling().estimate_policy_value(**logged)),
        "pdis": float(discrete.PerDecisionImportanceSampling().estimate_policy_value(**logged)),
        "wis": float(discrete.SelfNormalizedTIS().estimate_policy_value(**logged)),
        "cwpdis": float(discrete.SelfNormalizedPDIS().estimate_policy_value(**logged)),
        "dm": float(discrete.DirectMethod().estimate_policy_value(
            step_per_trajectory=T, evaluation_policy_action_dist=data["target"], **values)),
        "dr": float(discrete.DoublyRobust().estimate_policy_value(**logged, **values)),
        "wdr": float(discrete.SelfNormalizedDR().estimate_policy_value(**logged, **values))}
    samples = discrete.PerDecisionImportanceSampling()._estimate_trajectory_value(**logged)
    for name, interval in (("hoeffding", estimate_confidence_interval_by_hoeffding), ("student-t", estimate_confidence_interval_by_t_test)):
        bounds = interval(samples, alpha=0.05)
        found[f"pdis, {name}"] = [float(value) for key, value in bounds.items() if key != "mean"]
    return found


def obp(data: dict[str, Array]) -> dict[str, float | list[float]]:
    from obp import ope

    logged = {"reward": data["reward"], "action": data["action"], "action_dist": data["target"][:, :, None], "pscore": data["propensity"]}
    values = {"estimated_rewards_by_reg_model": data["q"][:, :, None]}
    return {"is": float(ope.InverseProbabilityWeighting().estimate_policy_value(**logged)),
            "wis": float(ope.SelfNormalizedInverseProbabilityWeighting().estimate_policy_value(**logged)),
            "dm": float(ope.DirectMethod().estimate_policy_value(action_dist=logged["action_dist"], **values)),
            "dr": float(ope.DoublyRobust().estimate_policy_value(**logged, **values)),
            "wdr": float(ope.SelfNormalizedDoublyRobust().estimate_policy_value(**logged, **values))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("library", choices=["scope-rl", "obp"])
    library = parser.parse_args().library
    data = trajectories(T if library == "scope-rl" else 1)
    found = scope_rl(data) if library == "scope-rl" else obp(data)
    FOLDER.mkdir(parents=True, exist_ok=True)
    name = library.replace("-", "_")
    np.savez(FOLDER / f"{name}.npz", **data)
    (FOLDER / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
