"""Policies in Gymnasium, PettingZoo, Stable-Baselines3 and EnvPool environments.

    policy = cervello.load("agent.onnx", wrappers="auto", spaces=env)
    for step in envs.rollout(venv, policy, steps=10_000, seed=0): ...
"""

from cervello.envs.rollout import Rollout, Step, rollout
from cervello.envs.seeding import episode_seed
from cervello.spaces import Spaces

__all__ = ["Rollout", "Spaces", "Step", "episode_seed", "rollout"]
