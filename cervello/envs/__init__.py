"""Policies in Gymnasium, PettingZoo, Stable-Baselines3 and EnvPool environments.

    policy = cervello.load("agent.onnx", wrappers="auto", spaces=env)
    result = envs.play("CartPole-v1", {"new": policy, "old": "old.onnx"}, episodes=100, seed=0)
    for step in envs.rollout(venv, policy, steps=10_000, seed=0): ...
"""

from cervello.envs.play import play
from cervello.envs.play_result import PlayResult, Returns
from cervello.envs.rollout import Rollout, Step, rollout
from cervello.envs.seeding import episode_seed
from cervello.spaces import Spaces

__all__ = ["PlayResult", "Returns", "Rollout", "Spaces", "Step", "episode_seed", "play", "rollout"]
