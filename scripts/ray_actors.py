"""A policy in Ray actors: pickled by the file's name, a hash and the agents' state, it decides there what it decides here.

    pip install ".[ray]"
    python scripts/ray_actors.py
"""

from __future__ import annotations

import sys

import numpy as np
import ray

import cervello
from cervello.demo import policy_path


@ray.remote
class Player:
    """One process with a copy of the policy."""

    def __init__(self, policy: cervello.Policy):
        self.policy = policy

    def act(self, observations: np.ndarray) -> np.ndarray:
        return np.array(self.policy.infer_batch(list(self.policy.agents), {"obs": observations})["action"])


def main() -> int:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    policy = cervello.load(str(policy_path("hunter")), wrappers="auto", seed=7)
    policy.begin_agents(range(64))
    observations = np.random.default_rng(0).standard_normal((64, 9)).astype(np.float32)
    policy.infer_batch(list(policy.agents), {"obs": observations})
    players = [Player.remote(policy) for _ in range(2)]
    here = policy.infer_batch(list(policy.agents), {"obs": observations})["action"]
    there = ray.get([player.act.remote(observations) for player in players])
    ray.shutdown()
    same = all(np.array_equal(here, each) for each in there)
    print(f"ray {ray.__version__}: 64 recurrent agents in {len(players)} actors, decisions {'bitwise equal' if same else 'DIFFER'}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
