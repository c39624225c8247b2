"""Gymnasium's vector environments in their three modes of resetting."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from cervello.envs.decision import Decision, find_recorders
from cervello.envs.sources.base import Masks, Seeds, TimeStep, columns_of, masks_of, put, stack_observations
from cervello.envs.sources.innermost import InnermostReward
from cervello.spec import Array


class GymnasiumVector:
    """A vector environment of Gymnasium. With DISABLED its rows are reset here, each episode with a seed of its own.

    Args:
      env: the vector environment.
      mode: what it does when an episode ends.
      innermost: whether the rewards within all wrappers are asked for.
      close: whether it is closed with this source.
    """

    steps_rows_apart = False

    def __init__(self, env: Any, mode: AutoresetMode, innermost: bool, close: bool = False):
        self._env, self._mode, self._close = env, mode, close
        self.n_envs = int(env.num_envs)
        self.observation_space, self.action_space = env.single_observation_space, env.single_action_space
        self.seeds_rows = mode is AutoresetMode.DISABLED
        self._told = innermost and hasattr(env.unwrapped, "innermost_rewards")
        inner = getattr(env.unwrapped, "envs", None) if innermost and not self._told else None
        self._innermost = [InnermostReward(each) for each in inner] if inner else []
        self.innermost_missing = "" if inner or self._told else "the vector environment does not show its environments"
        self._seeds: Seeds | None = None
        self._recorders = find_recorders(env)
        self._all = np.ones(self.n_envs, np.bool_)
        self._ended = np.zeros(self.n_envs, np.bool_)  # of the last step, where rows begin anew in a step of their own
        self._over = False  # whether there are such rows

    def reset(self, seeds: Seeds | None, seed: int | None) -> TimeStep:
        self._seeds = seeds
        given = list(map(int, seeds(np.arange(self.n_envs)))) if self.seeds_rows and seeds is not None else seed
        observation, infos = self._env.reset(seed=given)
        self._forget_rewards()
        self._ended, self._over = np.zeros(self.n_envs, np.bool_), False
        return TimeStep.restart(self._columns(observation), self.n_envs, masks_of(infos, self.n_envs))

    def step(self, rows: Array, actions: Array) -> TimeStep:
        n = self.n_envs
        observation, reward, terminated, truncated, infos = self._env.step(actions)
        observation = self._columns(observation)
        reward, terminated, truncated = np.array(reward, np.float64), np.array(terminated, np.bool_), np.array(truncated, np.bool_)
        innermost = np.array([each.collect() for each in self._innermost]) if self._innermost else None
        if self._told:
            innermost = np.array(self._env.unwrapped.innermost_rewards)
        ended, fresh = terminated | truncated, self._ended
        following, acts = observation, self._all
        masks = masks_of(infos, n)
        over = bool(np.count_nonzero(ended))
        mid_episode = not (over or self._over)
        valid = ~fresh if self._over else self._all.copy()
        if self._mode is AutoresetMode.NEXT_STEP:
            if over:
                acts = ~ended
            if self._over:  # this step was the reset of some
                np.putmask(reward, fresh, 0.0)
            self._ended, self._over = ended, over
        elif over:
            fresh = ended
            if self._mode is AutoresetMode.SAME_STEP:
                following = put(observation, ended, last_observations(self.observation_space, infos, ended))
            else:
                observation, masks = self._reset_rows(ended, masks)
        return TimeStep(rows, observation, fresh, acts, valid, reward, terminated, truncated, following, masks, innermost=innermost,
                        mid_episode=mid_episode)

    def tell(self, rows: Array, decision: Decision) -> None:
        for recorder in self._recorders:
            recorder.tell(decision)

    def _reset_rows(self, ended: Array, masks: Masks | None) -> tuple[Any, Masks | None]:
        """Begins the next episodes of some rows; the others keep what they have."""
        seeds: list[int | None] | None = None
        if self._seeds is not None:
            which = np.flatnonzero(ended)
            seeds = [None] * self.n_envs
            for row, seed in zip(which.tolist(), self._seeds(which), strict=True):
                seeds[row] = int(seed)
        observation, infos = self._env.reset(seed=seeds, options={"reset_mask": ended.copy()})
        self._forget_rewards()
        fresh = masks_of(infos, self.n_envs)  # zeros for rows that were not reset: theirs is the mask of their last step
        if isinstance(fresh, np.ndarray) and isinstance(masks, np.ndarray):
            fresh[~ended] = masks[~ended]
            return self._columns(observation), fresh
        if fresh is None and masks is None:
            return self._columns(observation), None
        after, before = ([None] * self.n_envs if each is None else each for each in (fresh, masks))
        return self._columns(observation), [(after if ended[i] else before)[i] for i in range(self.n_envs)]

    def _columns(self, observation: Any) -> Any:
        return columns_of(self.observation_space, observation)

    def _forget_rewards(self) -> None:
        for each in self._innermost:
            each.collect()

    def close(self) -> None:
        for each in self._innermost:
            each.close()
        if self._close:
            self._env.close()


def last_observations(space: Any, infos: Any, ended: Array) -> Any:
    """Tree of [n ended, …], the true last observations out of SAME_STEP's infos."""
    return stack_observations(space, [infos["final_obs"][i] for i in np.flatnonzero(ended).tolist()])
