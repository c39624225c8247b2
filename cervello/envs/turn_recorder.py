"""A turn-based environment of PettingZoo that records what is played in it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import numpy as np

from cervello.envs.decision import Decision, slice_decision
from cervello.envs.game_recorder import GameRecorder, TurnWrapper
from cervello.envs.info_columns import info_columns
from cervello.envs.sources.base import stack
from cervello.recording import Writer


class TurnRecorder(GameRecorder, TurnWrapper):  # type: ignore[misc]
    """A turn-based (AEC) environment of PettingZoo that records every agent's life as an episode of its match. Use `Recorder`.

    An agent's step reaches from one of its turns to the next: its reward is what has been counted for it in between.
    """

    def __init__(self, env: Any, target: str | os.PathLike[str] | Writer, durable: bool = False):
        super().__init__(env, target, durable)
        self._seed: int | None = None
        self._decisions: dict[str, Decision] = {}
        self._acted: dict[str, tuple[Any, Decision | None]] = {}  # by agent, since its last turn

    def tell_agents(self, agents: list[str], decision: Decision) -> None:
        """Notes what a policy decided for agents, row i of the decision for agents[i]."""
        self._decisions.update({agent: slice_decision(decision, i, i + 1) for i, agent in enumerate(agents)})

    def reset(self, seed: int | None = None, options: Mapping[str, Any] | None = None) -> None:
        self._finish(list(self._acted))
        self._log.cut()
        self._decisions.clear()
        self.env.reset(seed=seed, options=options)
        self._match = next(self.writer.match_numbers)
        self._seed = seed
        self._record_turn()

    def step(self, action: Any) -> None:
        env, agent = self.env, self.env.agent_selection
        self._log.check()
        acts = agent in self._log and not env.terminations[agent] and not env.truncations[agent]
        decision = self._decisions.pop(agent, None)
        env.step(action)
        if acts:
            self._acted[agent] = action, decision
        self._record_turn()
        self._finish([each for each in self._acted if each not in env.agents])

    def _record_turn(self) -> None:
        """Records what the last action of the agent in turn has led to, or begins its episode."""
        env = self.env
        if not env.agents:
            return
        agent = env.agent_selection
        observation, reward, terminated, truncated, info = env.last()
        if agent in self._acted:
            self._write(agent, observation, reward, terminated, truncated, info)
        elif agent not in self._log and not terminated and not truncated:
            self._log.begin([agent], stack([observation]), info_columns([info]), [self._seed], [agent], self._match)

    def _finish(self, agents: list[str]) -> None:
        """Writes the last actions of agents that will have no turn any more, with the current state."""
        env = self.env
        for agent in agents:
            if agent not in self._log:  # a step of the match could not be recorded
                del self._acted[agent]
                continue
            self._write(agent, env.observe(agent), env._cumulative_rewards.get(agent, 0.0), bool(env.terminations.get(agent)),
                        bool(env.truncations.get(agent)), env.infos.get(agent))

    def _write(self, agent: str, observation: Any, reward: float, terminated: bool, truncated: bool, info: Any) -> None:
        action, decision = self._acted.pop(agent)
        if decision is not None:
            self._log.tell(decision)
        with self._log.no_gaps():
            self._log.step([agent], stack([observation]), stack([action]), np.array([reward], np.float64), np.array([terminated], np.bool_),
                           np.array([truncated], np.bool_), info_columns([info]))

    def close(self) -> None:
        """Closes the environment, and the recording when it was opened here."""
        with closing(self._log), closing(self.env):
            self._finish(list(self._acted))
