"""A parallel environment of PettingZoo that records what is played in it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import numpy as np

from cervello.envs.decision import Decision, slice_decision
from cervello.envs.game_recorder import GameRecorder, ParallelWrapper
from cervello.envs.info_columns import info_columns
from cervello.envs.sources.base import stack
from cervello.recording import Writer


class ParallelRecorder(GameRecorder, ParallelWrapper):  # type: ignore[misc]
    """A parallel environment of PettingZoo that records every agent's life as an episode of its match. Use `Recorder`.

    Other attributes are the environment's.
    """

    def __init__(self, env: Any, target: str | os.PathLike[str] | Writer, durable: bool = False):
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
        with self._log.no_gaps():
            self._note(actions, *found)
        return found

    def _note(self, actions: Mapping[str, Any], observations: Any, rewards: Any, terminated: Any, truncated: Any, infos: Any) -> None:
        told, self._decisions = self._decisions, {}
        for agent, action in actions.items():
            if agent not in self._log or agent not in observations:
                continue
            if agent in told:
                decision, row = told[agent]
                self._log.tell(slice_decision(decision, row, row + 1))
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
        with closing(self._log):
            self.env.close()
