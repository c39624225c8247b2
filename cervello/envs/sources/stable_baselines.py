"""Vector environments of Stable-Baselines3, which reset themselves in the step in which an episode ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from cervello.envs.decision import Decision
from cervello.envs.sources.base import Seeds, TimeStep, copied, masks_by_row, put, stack
from cervello.envs.sources.innermost import InnermostReward
from cervello.spec import Array


class StableBaselinesVector:
    """A VecEnv. It is seeded once. The statistics of a VecNormalize around it stay as they are until `close`.

    Args:
      env: the VecEnv.
      innermost: whether the rewards within all wrappers are asked for.
      close: whether it is closed with this source.
    """

    seeds_rows = steps_rows_apart = False

    def __init__(self, env: Any, innermost: bool, close: bool = False):
        self._env, self._close = env, close
        self.n_envs = int(env.num_envs)
        self.observation_space, self.action_space = env.observation_space, env.action_space
        inner = getattr(env.unwrapped, "envs", None) if innermost else None
        self._innermost = [InnermostReward(each) for each in inner] if inner else []
        self.innermost_missing = "" if inner else "the VecEnv does not show its environments"
        self._frozen = [layer for layer in _layers(env) if _normalizes(layer) and layer.training]
        for layer in self._frozen:
            layer.training = False

    def reset(self, seeds: Seeds | None, seed: int | None) -> TimeStep:
        if seed is not None:
            core = self._env.unwrapped
            if hasattr(core, "seed"):
                self._env.seed(seed)
            else:  # SuperSuit's, beneath a wrapper of Stable-Baselines3
                core.reset(seed=seed)
        observation = copied(self._env.reset())
        for each in self._innermost:
            each.collect()
        return TimeStep.restart(observation, self.n_envs, masks_by_row(self._env.reset_infos or ()))

    def step(self, rows: Array, actions: Array) -> TimeStep:
        observation, reward, done, infos = self._env.step(actions)
        observation, ended = copied(observation), np.array(done, np.bool_)
        cut = np.array([bool(info.get("TimeLimit.truncated", False)) for info in infos]) & ended
        following = observation
        if ended.any():
            following = put(observation, ended, stack([infos[i]["terminal_observation"] for i in np.flatnonzero(ended).tolist()]))
        innermost = np.array([each.collect() for each in self._innermost]) if self._innermost else None
        yes = np.ones(self.n_envs, np.bool_)
        infos = [self._env.reset_infos[i] if ended[i] else info for i, info in enumerate(infos)]
        return TimeStep(rows, observation, ended, yes, yes, np.array(reward, np.float64), ended & ~cut, cut, following, masks_by_row(infos),
                        innermost=innermost)

    def tell(self, rows: Array, decision: Decision) -> None:
        """There are no recorders around such an environment."""

    @property
    def normalizes(self) -> bool:
        """Whether a VecNormalize around the environments normalises their observations."""
        return any(_normalizes(layer) and layer.norm_obs for layer in _layers(self._env))

    def close(self) -> None:
        for layer in self._frozen:
            layer.training = True
        for each in self._innermost:
            each.close()
        if self._close:
            self._env.close()


def _layers(env: Any) -> Iterator[Any]:
    """The wrappers of a VecEnv, outermost first."""
    while hasattr(env, "venv"):
        yield env
        env = env.venv


def _normalizes(layer: Any) -> bool:
    return any(kind.__name__ == "VecNormalize" for kind in type(layer).__mro__)
