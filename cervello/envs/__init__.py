"""Policies in Gymnasium, PettingZoo, Stable-Baselines3 and EnvPool environments.

    policy = cervello.load("agent.onnx", wrappers="auto", spaces=env)
    result = envs.play("CartPole-v1", {"new": policy, "old": "old.onnx"}, episodes=100, seed=0)
    for step in envs.rollout(venv, policy, steps=10_000, seed=0): ...
"""

from cervello.envs.cross_play_result import CrossPlay, Game
from cervello.envs.crowd import Crowd, CrowdStep
from cervello.envs.decision import Decision
from cervello.envs.multiagent.pool import Pool
from cervello.envs.opponents import Opponents
from cervello.envs.play import play
from cervello.envs.play_result import PlayResult, Returns
from cervello.envs.ratings import Rating
from cervello.envs.recorded_policy import RecordedPolicy
from cervello.envs.recorder import Recorder
from cervello.envs.rollout import Rollout, Step, rollout
from cervello.envs.seeding import episode_seed
from cervello.envs.vector_opponents import VectorOpponents, make_vector_opponents
from cervello.spaces import Spaces

__all__ = [
    "CrossPlay",
    "Crowd",
    "CrowdStep",
    "Decision",
    "Game",
    "Opponents",
    "PlayResult",
    "Pool",
    "Rating",
    "RecordedPolicy",
    "Recorder",
    "Returns",
    "Rollout",
    "Spaces",
    "Step",
    "VectorOpponents",
    "episode_seed",
    "make_vector_opponents",
    "play",
    "rollout",
]
