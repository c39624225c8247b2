"""EnvPool: NEXT_STEP, seeded when it is made; its asynchronous form steps those environments that are ready."""

from __future__ import annotations

from typing import Any

import numpy as np

from cervello.envs.decision import Decision
from cervello.envs.sources.base import Arrived, Seeds, copied
from cervello.spec import Array


class EnvPool:
    """An EnvPool of Gymnasium's interface. Its seed was given to `envpool.make`.

    In its asynchronous form (batch_size below num_envs) a step sends the actions of the environments that arrived last and receives
    those that are ready next; rows belong to `info["env_id"]`.

    Args:
      env: stays open.
    """

    seeds_rows = False
    innermost_missing = "EnvPool's environments run outside Python"

    def __init__(self, env: Any):
        self._env = env
        self.n_envs = int(env.config["num_envs"])
        batch = int(env.config["batch_size"] or self.n_envs)
        self._asynchronous = 0 < batch < self.n_envs
        self.observation_space, self.action_space = env.observation_space, env.action_space
        self._ended = np.zeros(self.n_envs, np.bool_)
        self._begun = np.zeros(self.n_envs, np.bool_)
        self._actions: Array = np.zeros(0)

    def reset(self, seeds: Seeds | None, seed: int | None) -> Arrived:
        self._ended[:], self._begun[:] = False, False
        if self._asynchronous:
            self._env.async_reset()
            return self._received(self._env.recv())
        observation, info = self._env.reset()
        n = self.n_envs
        return self._received((observation, np.zeros(n), np.zeros(n, np.bool_), np.zeros(n, np.bool_), info))

    def step(self, rows: Array, actions: Array) -> Arrived:
        if self._asynchronous:
            self._env.send(actions, rows)
            return self._received(self._env.recv())
        return self._received(self._env.step(actions, rows))

    def _received(self, given: Any) -> Arrived:
        observation, reward, terminated, truncated, info = given
        rows = np.array(info["env_id"], np.int64)
        observation = copied(observation)
        reward, terminated, truncated = np.array(reward, np.float64), np.array(terminated, np.bool_), np.array(truncated, np.bool_)
        first = ~self._begun[rows]  # what arrives first of an environment is its reset
        fresh = first | self._ended[rows]
        ended = terminated | truncated
        self._begun[rows], self._ended[rows] = True, ended
        return Arrived(rows, observation, fresh, ~ended, ~fresh, reward, terminated, truncated, observation)

    def tell(self, rows: Array, decision: Decision) -> None:
        """There are no recorders around such an environment."""

    def close(self) -> None:
        """The pool belongs to its maker."""
