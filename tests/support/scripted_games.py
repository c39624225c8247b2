"""Games of several agents whose births, deaths and masks are written down ahead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo import AECEnv, ParallelEnv

ACTIONS = 3
SEEN = spaces.Box(-np.inf, np.inf, (4,), np.float32)


class ScriptedGame(ParallelEnv[str, Any, Any]):  # type: ignore[misc]
    """Agents observe (step, how many live, 0, 0) and are paid the step's number.

    Args:
      agents: that begin.
      length: of an episode.
      flashes: {step: agents that are born and die in it}.
      info_mask, seen_mask: [3] masks in every info and in every observation; None for none.
    """

    metadata: dict[str, Any] = {"name": "scripted_v0", "render_modes": []}  # noqa: RUF012  (PettingZoo's own form)

    def __init__(self, agents: Sequence[str] = ("a", "b"), length: int = 4, flashes: Mapping[int, Sequence[str]] | None = None,
                 info_mask: Any = None, seen_mask: Any = None):
        self._names, self._length, self._flashes = list(agents), length, dict(flashes or {})
        self._info_mask, self._seen_mask = info_mask, seen_mask
        self.possible_agents = self._names + [agent for born in self._flashes.values() for agent in born]
        self.agents: list[str] = []
        self._seen = SEEN if seen_mask is None else spaces.Dict({"observation": SEEN, "action_mask": spaces.Box(0, 1, (ACTIONS,), np.int8)})
        self._action = spaces.Discrete(ACTIONS)
        self._t = 0

    def observation_space(self, agent: str) -> Any:
        return self._seen

    def action_space(self, agent: str) -> Any:
        return self._action

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        self.agents, self._t = list(self._names), 0
        return self._observations(self.agents), self._infos(self.agents)

    def step(self, actions: Mapping[str, Any]) -> Any:
        assert set(actions) == set(self.agents)
        self._t += 1
        flashed = list(self._flashes.get(self._t, ()))
        shown = self.agents + flashed
        over = {agent: self._t >= self._length or agent in flashed for agent in shown}
        self.agents = [agent for agent in shown if not over[agent]]
        return self._observations(shown), dict.fromkeys(shown, float(self._t)), over, dict.fromkeys(shown, False), self._infos(shown)

    def _observations(self, agents: Sequence[str]) -> dict[str, Any]:
        row = np.array([self._t, len(agents), 0, 0], np.float32)
        return {agent: row if self._seen_mask is None else {"observation": row, "action_mask": np.array(self._seen_mask, np.int8)}
                for agent in agents}

    def _infos(self, agents: Sequence[str]) -> dict[str, Any]:
        return {agent: {} if self._info_mask is None else {"action_mask": np.array(self._info_mask, np.int8)} for agent in agents}


class ScriptedTurns(AECEnv):  # type: ignore[misc]
    """Two agents in turn; after so many moves both have lost.

    Args:
      length: moves of an episode.
      flash: a move after which "f" is born and dead, with a reward of 2; None for never.

    Attributes:
      observed: how often an observation was asked for.
    """

    metadata: dict[str, Any] = {"name": "turns_v0", "render_modes": []}  # noqa: RUF012

    def __init__(self, length: int = 6, flash: int | None = None):
        super().__init__()
        self.possible_agents, self._length, self._flash, self.observed = ["a", "b", "f"], length, flash, 0
        self._action = spaces.Discrete(ACTIONS)

    def observation_space(self, agent: str) -> Any:
        return SEEN

    def action_space(self, agent: str) -> Any:
        return self._action

    def reset(self, seed: int | None = None, options: Any = None) -> None:
        self.agents, self._moves = ["a", "b"], 0
        self.rewards, self._cumulative_rewards = dict.fromkeys(self.agents, 0.0), dict.fromkeys(self.agents, 0.0)
        self.terminations, self.truncations = dict.fromkeys(self.agents, False), dict.fromkeys(self.agents, False)
        self.infos: dict[str, Any] = {agent: {} for agent in self.agents}
        self.agent_selection = "a"

    def observe(self, agent: str) -> Any:
        self.observed += 1
        return np.full(4, self._moves, np.float32)

    def step(self, action: Any) -> None:
        agent = self.agent_selection
        if self.terminations[agent]:
            self._was_dead_step(action)
            return
        self._cumulative_rewards[agent] = 0
        self._moves += 1
        self.agent_selection = "b" if agent == "a" else "a"
        if self._moves == self._length:
            self.terminations, self.rewards = dict.fromkeys(self.agents, True), dict.fromkeys(self.agents, -1.0)
        if self._moves == self._flash:
            self.agents.append("f")
            self.rewards["f"], self._cumulative_rewards["f"], self.infos["f"] = 2.0, 0.0, {}
            self.terminations["f"], self.truncations["f"] = True, False
        self._accumulate_rewards()
        self._deads_step_first()
