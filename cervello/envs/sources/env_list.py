"""Single environments, stepped one after the other: each episode begins with a seed of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np

from cervello.envs.decision import Decision, find_recorders, slice_decision
from cervello.envs.sources.base import Seeds, TimeStep, copied, is_ragged, masks_by_row, stack, stack_observations
from cervello.envs.sources.innermost import InnermostReward
from cervello.errors import ConfigurationError
from cervello.spec import Array


class EnvList:
    """Gymnasium environments that are reset here, in the step in which their episodes end.

    Args:
      envs: one or more, of equal spaces.
      close: whether they are closed with this source.
      innermost: whether the rewards within all wrappers are asked for.

    Raises:
      ConfigurationError: spaces differ.
    """

    seeds_rows = steps_rows_apart = True
    innermost_missing = ""

    def __init__(self, envs: Sequence[Any], close: bool, innermost: bool):
        self._envs, self._close = list(envs), close
        spaces = [(env.observation_space, env.action_space) for env in self._envs]
        other = next((i for i, each in enumerate(spaces) if each != spaces[0]), None)
        if other is not None:
            raise ConfigurationError(f"env: expected environments of equal spaces, got {spaces[other]} for number {other} and {spaces[0]} "
                                     "for number 0; play them one after the other")
        self._innermost = [InnermostReward(env) for env in self._envs] if innermost else []
        self.n_envs = len(self._envs)
        self.observation_space, self.action_space = self._envs[0].observation_space, self._envs[0].action_space
        ragged = is_ragged(self.observation_space)
        self._stack: Callable[[Sequence[Any]], Any] = partial(stack_observations, self.observation_space) if ragged else stack
        self._copied: Callable[[Any], Any] = deepcopy if ragged else copied
        self._seeds: Seeds | None = None
        self._recorders = [find_recorders(env) for env in self._envs]

    def reset(self, seeds: Seeds | None, seed: int | None) -> TimeStep:
        self._seeds = seeds
        begun = [self._begin(row) for row in range(self.n_envs)]
        observations, infos = zip(*begun, strict=True)
        return TimeStep.restart(self._stack(observations), self.n_envs, masks_by_row(infos))

    def step(self, rows: Array, actions: Array) -> TimeStep:
        n = len(rows)
        reward, terminated, truncated = np.zeros(n), np.zeros(n, np.bool_), np.zeros(n, np.bool_)
        innermost = np.zeros(n) if self._innermost else None
        following, observations, infos = [], [], []
        for i, row in enumerate(rows.tolist()):
            observation, reward[i], terminated[i], truncated[i], info = self._envs[row].step(_plain(actions[i]))
            if innermost is not None:
                innermost[i] = self._innermost[row].collect()
            following.append(self._copied(observation))
            if terminated[i] or truncated[i]:
                observation, info = self._begin(row)
            observations.append(observation if terminated[i] or truncated[i] else following[-1])
            infos.append(info)
        yes = np.ones(n, np.bool_)
        return TimeStep(rows, self._stack(observations), terminated | truncated, yes, yes, reward, terminated, truncated,
                        self._stack(following), masks_by_row(infos), innermost=innermost)

    def tell(self, rows: Array, decision: Decision) -> None:
        for recorders, i in ((self._recorders[row], i) for i, row in enumerate(rows[decision.places].tolist())):
            for recorder in recorders:
                recorder.tell(slice_decision(decision, i, i + 1))

    def _begin(self, row: int) -> tuple[Any, Any]:
        seed = None if self._seeds is None else int(self._seeds(np.array([row]))[0])
        observation, info = self._envs[row].reset(seed=seed)
        if self._innermost:
            self._innermost[row].collect()  # a wrapper may step while it resets
        return self._copied(observation), info

    def close(self) -> None:
        for each in self._innermost:
            each.close()
        if self._close:
            for env in self._envs:
                env.close()


def _plain(action: Any) -> Any:
    """A Discrete action as a Python int, which every environment takes."""
    return int(action) if np.ndim(action) == 0 and np.asarray(action).dtype.kind in "iu" else action
