"""EnvPool: NEXT_STEP, seeded when it is made; its asynchronous form steps those environments that are ready."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from cervello.envs.decision import Decision
from cervello.envs.sources.base import Seeds, TimeStep, copied, masks_of
from cervello.spec import Array

# Of asynchronous pools that have been used: the environments of the last batch. The results of all others are outstanding.
_answered: WeakKeyDictionary[Any, Array] = WeakKeyDictionary()


def is_asynchronous(env: Any) -> bool:
    """Whether a pool's steps have rows of some of its environments only."""
    return 0 < int(env.config["batch_size"]) < int(env.config["num_envs"])


class EnvPool:
    """An EnvPool of Gymnasium's interface. Its seed was given to `envpool.make`.

    In its asynchronous form (batch_size below num_envs) a step sends the actions of the environments that arrived last and receives
    those that are ready next; rows belong to `info["env_id"]`. A pool that is reset again still returns results of actions sent before:
    these rows arrive as ones that do not act, and their environments are reset then. A pool that other code has stepped
    asynchronously cannot be told apart from a new one.

    Args:
      env: the pool.
      close: whether it is closed with this source.
    """

    seeds_rows = steps_rows_apart = False
    innermost_missing = "EnvPool's environments run outside Python"

    def __init__(self, env: Any, close: bool = False):
        self._env, self._close = env, close
        self.n_envs = int(env.config["num_envs"])
        self._asynchronous = is_asynchronous(env)
        self.observation_space, self.action_space = env.observation_space, env.action_space
        self._ended, self._begun = np.zeros(self.n_envs, np.bool_), np.zeros(self.n_envs, np.bool_)
        self._outstanding, self._late = np.zeros(self.n_envs, np.bool_), np.zeros(self.n_envs, np.bool_)

    def reset(self, seeds: Seeds | None, seed: int | None) -> TimeStep:
        for flags in (self._ended, self._begun, self._outstanding, self._late):
            flags[:] = False
        if self._asynchronous:
            answered = _answered.get(self._env)
            if answered is None:
                self._env.async_reset()
            else:
                self._outstanding[:] = True
                self._outstanding[answered] = False
                self._reset_rows(answered)
            return self._received(self._env.recv())
        observation, info = self._env.reset()
        n = self.n_envs
        return self._received((observation, np.zeros(n), np.zeros(n, np.bool_), np.zeros(n, np.bool_), info))

    def step(self, rows: Array, actions: Array) -> TimeStep:
        if not self._asynchronous:
            return self._received(self._env.step(actions, rows))
        late = self._late[rows]
        if late.any():
            self._late[rows] = False
            self._reset_rows(rows[late])
            rows, actions = rows[~late], actions[~late]
        if len(rows):
            self._env.send(actions, rows)
        return self._received(self._env.recv())

    def _reset_rows(self, rows: Array) -> None:
        """Asks for resets without waiting for them; `reset` itself would wait."""
        self._env._reset(rows.astype(np.int32))

    def _received(self, given: Any) -> TimeStep:
        observation, reward, terminated, truncated, info = given
        rows = np.array(info["env_id"], np.int64)
        if self._asynchronous:
            _answered[self._env] = rows
        observation = copied(observation)
        late = self._outstanding[rows]  # answers to actions from before the reset
        self._outstanding[rows], self._late[rows] = False, late
        terminated, truncated = np.array(terminated, np.bool_) & ~late, np.array(truncated, np.bool_) & ~late
        fresh = (~self._begun[rows] | self._ended[rows]) & ~late  # what arrives first of an environment is its reset
        ended, valid = terminated | truncated, ~fresh & ~late
        self._begun[rows] |= ~late
        self._ended[rows] = ended
        reward = np.where(valid, np.array(reward, np.float64), 0.0)
        return TimeStep(rows, observation, fresh, ~ended & ~late, valid, reward, terminated, truncated, observation,
                        masks_of(info, len(rows)))

    def tell(self, rows: Array, decision: Decision) -> None:
        """There are no recorders around such an environment."""

    def close(self) -> None:
        if self._close:
            self._env.close()
