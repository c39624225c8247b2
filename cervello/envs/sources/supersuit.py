"""SuperSuit's vector environments: the agents of PettingZoo games as rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from cervello.envs.decision import Decision
from cervello.envs.sources.base import Seeds, TimeStep, columns_of, masks_by_row, put, stack
from cervello.errors import ConfigurationError
from cervello.spec import Array


class SuperSuitVector:
    """What `pettingzoo_env_to_vec_env_v1` and `concat_vec_envs_v1` make. It is seeded once, and resets a game in its last step.

    Its spaces are those of one row, and its infos are a list, unlike Gymnasium's. Of its form for Stable-Baselines3 the part within is
    stepped, since only that tells time-outs from terminations.

    Args:
      env: the vector environment.
      close: whether it is closed with this source.
    """

    seeds_rows = steps_rows_apart = False
    innermost_missing = "SuperSuit does not show the environments of its rows"

    def __init__(self, env: Any, close: bool = False):
        self._outer, self._close = env, close
        self._env = getattr(env, "venv", env)
        self.n_envs = int(env.num_envs)
        self.observation_space, self.action_space = env.observation_space, env.action_space

    def reset(self, seeds: Seeds | None, seed: int | None) -> TimeStep:
        observation, infos = self._env.reset(seed=seed)
        return TimeStep.restart(columns_of(self.observation_space, observation), self.n_envs, masks_by_row(infos))

    def step(self, rows: Array, actions: Array) -> TimeStep:
        observation, reward, terminated, truncated, infos = self._env.step(actions)
        observation = following = columns_of(self.observation_space, observation)
        terminated, truncated = np.array(terminated, np.bool_), np.array(truncated, np.bool_)
        ended = terminated | truncated
        if ended.any():
            last = [infos[row].get("terminal_observation") for row in np.flatnonzero(ended).tolist()]
            if any(each is None for each in last):
                raise ConfigurationError("env: expected agents that live as long as their game, got one that ended before the others; play "
                                         "such games with envs.Opponents, envs.VectorOpponents or envs.Crowd")
            following = put(observation, ended, stack(last))
        yes = np.ones(self.n_envs, np.bool_)
        return TimeStep(rows, observation, ended, yes, yes, np.array(reward, np.float64), terminated, truncated, following,
                        masks_by_row(infos))

    def tell(self, rows: Array, decision: Decision) -> None:
        """There are no recorders around such an environment."""

    def close(self) -> None:
        if self._close:
            self._outer.close()
