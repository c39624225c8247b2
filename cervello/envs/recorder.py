"""Environments that record what is played in them."""

from __future__ import annotations

import os
from contextlib import closing
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper

from cervello.envs.autoreset import autoreset_mode
from cervello.envs.decision import Decision
from cervello.envs.episode_log import EpisodeLog
from cervello.envs.info_columns import info_columns, infos_of_the_step, vector_info_columns
from cervello.envs.named import is_envpool, is_game, makes_environments
from cervello.envs.seeding import row_seeds
from cervello.envs.sources.base import columns_of, put, stack, take
from cervello.envs.sources.envpool import is_asynchronous
from cervello.envs.sources.gymnasium_vector import last_observations
from cervello.errors import ConfigurationError
from cervello.recording import Writer
from cervello.spec import Array

Target = str | os.PathLike[str] | Writer


class EnvRecorder(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A Gymnasium environment that records. Use `Recorder`."""

    def __init__(self, env: Any, target: Target, durable: bool = False):
        super().__init__(env)
        self._log = EpisodeLog(target, (env.observation_space, env.action_space), durable)

    @property
    def writer(self) -> Writer:
        """What it writes to."""
        return self._log.writer

    def tell(self, decision: Decision) -> None:
        """Notes what a policy decided for the next step; see `Decision`."""
        self._log.tell(decision)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        self._log.begin([0], stack([observation]), info_columns([info]), [seed])
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        self._log.check()
        found = self.env.step(action)
        observation, reward, terminated, truncated, info = found
        with self._log.no_gaps():
            self._log.step([0], stack([observation]), stack([action]), np.array([reward], np.float64), np.array([terminated], np.bool_),
                           np.array([truncated], np.bool_), info_columns([info]))
        return found

    def close(self) -> None:
        with closing(self._log):
            super().close()


class VectorRecorder(VectorWrapper):
    """A vector environment of Gymnasium that records every row's episodes. Use `Recorder`."""

    def __init__(self, env: Any, target: Target, durable: bool = False, autoreset: Any = None):
        super().__init__(env)
        self._mode = autoreset_mode(env, autoreset)
        self._log = EpisodeLog(target, (env.single_observation_space, env.single_action_space), durable)
        self._ended = np.zeros(env.num_envs, np.bool_)

    @property
    def writer(self) -> Writer:
        """What it writes to."""
        return self._log.writer

    def tell(self, decision: Decision) -> None:
        """Notes what a policy decided for the next step; see `Decision`."""
        self._log.tell(decision)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        mask = None if not options else options.get("reset_mask")
        chosen = np.ones(self.num_envs, np.bool_) if mask is None else np.array(mask, np.bool_)
        observation, infos = self.env.reset(seed=seed, options=options)
        seeds = row_seeds(None if is_envpool(self.env) else seed, self.num_envs)  # EnvPool was seeded when it was made
        rows = np.flatnonzero(chosen)
        first = take(columns_of(self.env.single_observation_space, observation), rows)
        self._log.begin(rows.tolist(), first, vector_info_columns(infos, rows, self.num_envs), [seeds[i] for i in rows])
        self._ended = self._ended & ~chosen
        return observation, infos

    def step(self, actions: Any) -> tuple[Any, Array, Array, Array, dict[str, Any]]:
        self._log.check()
        found = self.env.step(actions)
        with self._log.no_gaps():
            self._note(actions, found)
        return found

    def _note(self, actions: Any, found: tuple[Any, Array, Array, Array, dict[str, Any]]) -> None:
        observation, reward, terminated, truncated, infos = found
        observation = columns_of(self.env.single_observation_space, observation)
        ended = np.asarray(terminated | truncated)
        following, fresh = observation, np.zeros(self.num_envs, np.bool_)
        if self._mode is AutoresetMode.NEXT_STEP:
            fresh, self._ended = self._ended, ended
        elif self._mode is AutoresetMode.SAME_STEP and ended.any():
            following = put(observation, ended, last_observations(self.env.single_observation_space, infos, ended))
        stepped = np.flatnonzero(~fresh)
        if len(stepped):
            told = infos_of_the_step(infos, ended) if self._mode is AutoresetMode.SAME_STEP and ended.any() else infos
            shown = vector_info_columns(told, stepped, self.num_envs)
            self._log.step(stepped.tolist(), take(following, stepped), take(actions, stepped), np.asarray(reward, np.float64)[stepped],
                           np.asarray(terminated, np.bool_)[stepped], np.asarray(truncated, np.bool_)[stepped], shown, stepped)
        begun = np.flatnonzero(fresh if self._mode is AutoresetMode.NEXT_STEP else ended)
        if len(begun) and self._mode is not AutoresetMode.DISABLED:
            self._log.begin(begun.tolist(), take(observation, begun), vector_info_columns(infos, begun, self.num_envs))

    def close(self, **options: Any) -> None:
        with closing(self._log):
            super().close(**options)


def Recorder(env: Any, target: Target, *, durable: bool = False, autoreset: Any = None) -> Any:  # noqa: N802  (reads as the class it makes)
    """An environment that records all that is played in it: observations, actions, rewards, both flags, infos.

    Of infos it records numbers, bools, strings, arrays, and dicts and tuples of these, of one kind and shape for each key; a warning names
    a key whose later values differ, which are left out.

    `rollout`, `play`, `Opponents`, `Crowd` and `RecordedPolicy` tell it what their policies decided, so that log-probabilities, flags of
    deterministic rows, versions and noise streams are recorded too; of other steps the executed action is recorded, with a
    log-probability of NaN and the source "unknown".

    Episodes are added to a log that exists already, also those of another environment or policy; give each run a file of its own to
    evaluate it by itself.

    A step that cannot be recorded (the disk is full) raises; what was recorded before is whole. Its episode ends there, as truncated, and
    steps are refused until the next reset.

    Args:
      env: an environment or vector environment of Gymnasium, or a parallel or turn-based environment of PettingZoo.
      target: a path, or a `recording.Writer` that several environments share.
      durable: wait for the disk whenever an episode ends.
      autoreset: what a vector environment does when an episode ends, where its metadata do not say it.
    Raises:
      ConfigurationError: another kind of environment. RecordingError: the file cannot be written.
    """
    if isinstance(env, VectorEnv):
        if not hasattr(env, "single_observation_space"):
            raise ConfigurationError(f"Recorder, env: expected a vector environment that tells the spaces of one row, got "
                                     f"{type(env).__name__}; record the PettingZoo environment within: Crowd(Recorder(game, path), …)")
        if is_envpool(env) and is_asynchronous(env):
            raise ConfigurationError(f"Recorder, env: expected a pool whose steps have all rows, got {type(env).__name__} with a "
                                     "batch_size below num_envs; make it without batch_size")
        return VectorRecorder(env, target, durable, autoreset)
    if isinstance(env, gymnasium.Env):
        return EnvRecorder(env, target, durable)
    if is_game(env) and not makes_environments(env):
        if hasattr(env, "agent_iter"):  # imported here: these import PettingZoo, where it is installed
            from cervello.envs.turn_recorder import TurnRecorder

            return TurnRecorder(env, target, durable)
        from cervello.envs.parallel_recorder import ParallelRecorder

        return ParallelRecorder(env, target, durable)
    raise ConfigurationError(f"Recorder, env: expected an environment or vector environment of Gymnasium, or an environment of PettingZoo, "
                             f"got {type(env).__name__}")
