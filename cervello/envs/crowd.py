"""A game in which policies play all agents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from operator import add
from typing import Any

from cervello.envs.multiagent.inference import run_match
from cervello.envs.multiagent.making import make_game, make_match
from cervello.envs.multiagent.match_mixin import MatchMixin
from cervello.envs.seeding import checked_seeds, episode_seed
from cervello.errors import AgentError


@dataclass(slots=True)
class CrowdStep:
    """The result of one step of the environment: of all agents in a parallel one, of one agent's turn in a turn-based one.

    Attributes:
      agents: the agents that are alive now.
      rewards: by agent, of this step.
      terminated, truncated: by agent.
    """

    agents: list[str]
    rewards: dict[str, float]
    terminated: dict[str, bool]
    truncated: dict[str, bool]


class Crowd(MatchMixin):
    """A PettingZoo environment whose agents are all played by policies. Iterating plays one episode, a step at a time: the first time
    episode 0 of the seed, then 1, 2, …

        for step in envs.Crowd(battle.parallel_env(), {"red_*": "red.onnx", "blue_*": "blue.onnx"}, seed=3):
            print(sum(step.rewards.values()))

    Args:
      env: a parallel or turn-based environment, a function that makes one, or its name, "module:function". It is closed with this.
      policies, deterministic, per: as in `Opponents`.
      seed: of the policies' noise, and of the episodes that iterating plays: `reset` gets the upper 31 bits of `episode_seed(seed, k)`. A
        number or several.

    Attributes:
      begun, ended: agents so far; their difference is how many are alive.
      returns: by agent, of the episode.
    """

    def __init__(self, env: Any, policies: Any, seed: int | Sequence[int] = 0, *, deterministic: bool = False, per: str = "episode"):
        self._match, self._assignment = make_match(make_game(env, None, "Crowd"), (), policies, seed, deterministic, per, "Crowd")
        self._seed, self._episodes = checked_seeds("Crowd", seed), 0
        self._is_reset = False
        self.returns: dict[str, float] = {}

    @property
    def env(self) -> Any:
        """The PettingZoo environment."""
        return self._match.env

    @property
    def agents(self) -> list[str]:
        """The agents that are alive."""
        return list(self._match.agents)

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Begins an episode with a seed for the environment; None lets the environment choose. The environment gets `options` as
        they are.
        """
        self.returns = {}
        run_match(self._match.reset(seed, options))
        self._is_reset = True

    def step(self) -> CrowdStep:
        """One step of the environment, in which every agent whose turn it is decides.

        Raises:
          AgentError: no agent is alive: before the first reset, and at the end of an episode.
        """
        if not self._is_reset or not self._match.agents:
            got = "none" if self._is_reset else "no reset so far"
            raise AgentError(f"Crowd, step: expected agents that are alive, got {got}; reset it")
        run_match(self._match.step({}))
        given, terminated, truncated = self._match.outcome
        rewards = dict(zip(given, map(float, given.values()), strict=True))
        self.returns.update(zip(rewards, map(add, map(self.returns.get, rewards, repeat(0.0)), rewards.values()), strict=True))
        return CrowdStep(self.agents, rewards, dict(terminated), dict(truncated))

    def __iter__(self) -> Iterator[CrowdStep]:
        episode, self._episodes = self._episodes, self._episodes + 1
        self.reset(episode_seed(self._seed, episode) >> 32)  # some games (Hanabi) take no more than 31 bits
        while self._match.agents:
            yield self.step()

    def close(self) -> None:
        """Ends all agents and closes the environment."""
        self._match.close()
