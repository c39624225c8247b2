"""Parts of an observation whose elements differ in shape: policies do not take them, rollouts hold them as they are."""

from __future__ import annotations

from typing import Any

import games
import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import cervello
from cervello import InputError, envs

BOX = spaces.Box(-1, 1, (2,), np.float32)
RAGGED = {"graph": spaces.Graph(BOX, spaces.Discrete(2)), "sequence": spaces.Sequence(spaces.Discrete(3)),
          "one": spaces.OneOf((spaces.Discrete(3), BOX))}


class Sampling(gymnasium.Env[Any, Any]):
    """Shows samples of its space; episodes of three steps.

    Attributes:
      shown: every observation.
    """

    def __init__(self, observation_space: Any):
        self.observation_space, self.action_space = observation_space, spaces.Discrete(2)
        self.shown: list[Any] = []

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.observation_space.seed(int(self.np_random.integers(1 << 31)))
        self.t = 0
        return self._seen(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.t += 1
        return self._seen(), 0.0, self.t == 3, False, {}

    def _seen(self) -> Any:
        self.shown.append(self.observation_space.sample())
        return self.shown[-1]


def dictionary() -> spaces.Dict:
    return spaces.Dict({"obs": BOX, **RAGGED})


def policy(space: Any, keys: dict[Any, str | None]) -> cervello.Policy:
    return cervello.load(games.linear(2, 2), wrappers="auto", spaces=envs.Spaces((space, spaces.Discrete(2)), keys=keys))


def same(a: Any, b: Any) -> bool:
    if isinstance(a, tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return a is b is None or np.array_equal(a, b)


@pytest.mark.parametrize("mode", ["single", "next_step", "same_step", "disabled"])
def test_they_are_columns_of_objects_beside_what_the_policy_takes(mode: str) -> None:
    made = [Sampling(dictionary()) for _ in range(1 if mode == "single" else 2)]
    env: Any = made[0] if mode == "single" else SyncVectorEnv([lambda each=each: each for each in made],  # type: ignore[misc]
                                                              autoreset_mode=AutoresetMode[mode.upper()])
    steps = list(envs.rollout(env, policy(made[0].observation_space, dict.fromkeys(RAGGED)), steps=10, seed=3))
    for row, each in enumerate(made):
        at = 0
        for step in steps:
            at += bool(step.valid[row]) and same(step.observation["obs"][row], each.shown[at + 1]["obs"])  # a reset came between
            for key in RAGGED:
                assert same(step.observation[key][row], each.shown[at][key])
                assert same(step.next_observation[key][row], each.shown[at + 1][key])
            at += 1
        assert at == (10 if mode == "next_step" else 13)


def test_steps_of_them_become_columns() -> None:
    env = Sampling(dictionary())
    columns = envs.rollout(env, policy(env.observation_space, dict.fromkeys(RAGGED)), steps=7, seed=3).columns()
    assert {key: columns.observation[key].shape for key in RAGGED} == dict.fromkeys(RAGGED, (7, 1))


def test_they_stand_in_tuples_too() -> None:
    space = spaces.Tuple((BOX, spaces.Sequence(spaces.Discrete(3))))
    env = Sampling(space)
    for step in envs.rollout(env, policy(space, {0: "obs", 1: None}), steps=5):
        assert step.observation[1].dtype == object


def test_play_takes_such_environments_and_recorders_refuse_them(tmp_path: Any) -> None:
    env = Sampling(dictionary())
    assert envs.play(env, policy(env.observation_space, dict.fromkeys(RAGGED)), episodes=3)["model"].lengths.tolist() == [3] * 3
    with pytest.raises(InputError, match="expected Box, Discrete, MultiDiscrete, MultiBinary, Text, Dict or Tuple, got"):
        envs.Recorder(env, tmp_path / "sampling.log")
