"""Environments that record what is played in them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper

from cervello.envs.autoreset import autoreset_mode
from cervello.envs.decision import Decision, rows_of
from cervello.envs.episode_log import EpisodeLog, info_columns, infos_of_the_step, vector_info_columns
from cervello.envs.named import is_game, makes_environments
from cervello.envs.sources.base import columns_of, put, stack, take
from cervello.envs.turn_recorder import GameRecorder, TurnRecorder
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
        with self._log.whole():
            self._log.step([0], stack([observation]), stack([action]), np.array([reward], np.float64), np.array([terminated], np.bool_),
                           np.array([truncated], np.bool_), info_columns([info]))
        return found

    def close(self) -> None:
        super().close()
        self._log.close()


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
        seeds: list[Any] = [None] * self.num_envs if seed is None else list(seed) if not isinstance(seed, int) else [
            seed + i for i in range(self.num_envs)]
        rows = np.flatnonzero(chosen)
        first = take(columns_of(self.env.single_observation_space, observation), rows)
        self._log.begin(rows.tolist(), first, vector_info_columns(infos, rows, self.num_envs), [seeds[i] for i in rows])
        self._ended = self._ended & ~chosen
        return observation, infos

    def step(self, actions: Any) -> tuple[Any, Array, Array, Array, dict[str, Any]]:
        self._log.check()
        found = self.env.step(actions)
        with self._log.whole():
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
            last = stack([infos["final_obs"][i] for i in np.flatnonzero(ended)])
            following = put(observation, ended, last)
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
        super().close(**options)
        self._log.close()


class ParallelRecorder(GameRecorder):
    """A parallel environment of PettingZoo that records every agent's life as an episode of its match. Use `Recorder`.

    What is not asked for here goes to the environment.
    """

    def __init__(self, env: Any, target: Target, durable: bool = False):
        super().__init__(env, target, durable)
        self._decisions: dict[str, tuple[Decision, int]] = {}

    def tell_agents(self, agents: list[str], decision: Decision) -> None:
        """Notes what a policy decided for agents, row i of the decision for agents[i]."""
        self._decisions.update({agent: (decision, i) for i, agent in enumerate(agents)})

    def reset(self, seed: int | None = None, options: Mapping[str, Any] | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        observations, infos = self.env.reset(seed=seed, options=options)
        self._match = next(self.writer.match_numbers)
        self._decisions.clear()
        self._log.cut()
        for agent in self.env.agents:
            self._begin(agent, observations[agent], (infos or {}).get(agent), seed)
        return observations, infos

    def step(self, actions: Mapping[str, Any]) -> Any:
        self._log.check()
        found = self.env.step(actions)
        with self._log.whole():
            self._note(actions, *found)
        return found

    def _note(self, actions: Mapping[str, Any], observations: Any, rewards: Any, terminated: Any, truncated: Any, infos: Any) -> None:
        told, self._decisions = self._decisions, {}
        for agent, action in actions.items():
            if agent not in self._log or agent not in observations:
                continue
            if agent in told:
                decision, row = told[agent]
                self._log.tell(rows_of(decision, row, row + 1))
            self._log.step([agent], stack([observations[agent]]), stack([action]), np.array([rewards.get(agent, 0.0)], np.float64),
                           np.array([bool(terminated.get(agent))]), np.array([bool(truncated.get(agent))]),
                           info_columns([(infos or {}).get(agent)]))
        for agent in self.env.agents:
            if agent not in self._log and not terminated.get(agent) and not truncated.get(agent):
                self._begin(agent, observations[agent], (infos or {}).get(agent), None)

    def _begin(self, agent: str, observation: Any, info: Any, seed: int | None) -> None:
        self._log.begin([agent], stack([observation]), info_columns([info]), [seed], [agent], self._match)

    def close(self) -> None:
        """Closes the environment, and the recording when it was opened here."""
        self.env.close()
        self._log.close()


def Recorder(env: Any, target: Target, *, durable: bool = False, autoreset: Any = None) -> Any:  # noqa: N802  (reads as the class it makes)
    """An environment that records all that is played in it: observations, actions, rewards, both flags, infos.

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
        return VectorRecorder(env, target, durable, autoreset)
    if isinstance(env, gymnasium.Env):
        return EnvRecorder(env, target, durable)
    if is_game(env) and not makes_environments(env):
        return TurnRecorder(env, target, durable) if hasattr(env, "agent_iter") else ParallelRecorder(env, target, durable)
    raise ConfigurationError(f"Recorder, env: expected an environment or vector environment of Gymnasium, or an environment of PettingZoo, "
                             f"got {type(env).__name__}")
