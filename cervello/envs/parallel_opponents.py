"""A game of several agents as a smaller one for several learners: policies play the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
from pettingzoo import ParallelEnv

from cervello.envs.multiagent.assignment import PolicyCache
from cervello.envs.multiagent.inference import run_match
from cervello.envs.multiagent.making import check_action, make_game, make_match, spaces_of
from cervello.envs.multiagent.masks import allowed_actions
from cervello.envs.multiagent.match_mixin import MatchMixin
from cervello.errors import ConfigurationError, InputError

_WHERE = "Opponents"


class ParallelOpponents(MatchMixin, ParallelEnv[str, Any, Any]):  # type: ignore[misc]
    """A PettingZoo parallel environment of some agents of another one; policies play the rest. Made by `Opponents(learner=[...])`.

    The end of the last learner ends the episode: all opponents end then. Learners that have ended are absent.

    Args:
      env: a parallel environment, a function that makes one, or its name. It is closed with this one.
      learner: the agents that the caller plays.
      policies, seed, deterministic, per, env_kwargs, library: as of `Opponents`.

    Attributes:
      possible_agents: the learners, in the order given.
      agents: those that are alive.

    Raises:
      ConfigurationError: learners that do not exist or are named twice, several in a turn-based environment, or policies that do not fit.
    """

    def __init__(self, env: Any, learner: Sequence[str], policies: Any, *, seed: int | Sequence[int] = 0, deterministic: bool = False,
                 per: str = "episode", env_kwargs: Mapping[str, Any] | None = None, library: PolicyCache | None = None):
        learners = list(learner)
        if not learners or len({*map(str, learners)}) != len(learners) or not all(isinstance(name, str) for name in learners):
            raise ConfigurationError(f"{_WHERE}, learner: expected names of agents, each once, got {learners!r}")
        self._match, self._assignment = make_match(make_game(env, env_kwargs, _WHERE), learners, policies, seed, deterministic, per, _WHERE,
                                                library)
        game = self._match.env
        self.possible_agents: list[str] = learners
        self.agents: list[str] = []
        self.metadata = {"name": "opponents", "render_modes": [], **(getattr(game, "metadata", None) or {})}
        self.render_mode = getattr(game, "render_mode", None)
        self._spaces = {name: spaces_of(game, name, _WHERE) for name in learners}

    @property
    def unwrapped(self) -> Any:
        """This environment: a game with fewer agents."""
        return self

    @property
    def env(self) -> Any:
        """The PettingZoo environment within."""
        return self._match.env

    def observation_space(self, agent: str) -> Any:
        return self._spaces[agent][0]

    def action_space(self, agent: str) -> Any:
        return self._spaces[agent][1]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """({learner: observation}, {learner: info}). Raises ConfigurationError for an absent learner or one whose spaces have changed."""
        self.agents = []
        seen = run_match(self._match.reset(seed, options))
        for name, before in self._spaces.items():
            spaces = spaces_of(self._match.env, name, _WHERE)
            if spaces != before:
                self._match.roster.end_all()
                raise ConfigurationError(f"{_WHERE}, learner {name!r}: expected the same spaces after each reset, got {spaces}, before "
                                         f"{before}; choose a learner whose spaces stay")
        self.agents = list(self.possible_agents)
        return seen.observations, seen.infos

    def step(self, actions: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, Any]]:
        """Observations, rewards, terminations, truncations and infos of the learners that were alive before the step.

        Raises:
          InputError: actions of other agents than the living learners, or one outside its space; nothing has changed then.
          gymnasium.error.ResetNeeded: the episode has ended.
        """
        if not self.agents:
            raise gymnasium.error.ResetNeeded("Opponents: expected reset before step, got the end of an episode")
        if set(actions) != set(self.agents):
            raise InputError(f"{_WHERE}, step: expected actions of {self.agents}, got those of {list(actions)}")
        for name, action in actions.items():
            check_action(self._spaces[name][1], action, name, _WHERE)
        seen = run_match(self._match.step({name: actions[name] for name in self.agents}))
        self.agents = [name for name in self.agents if not (seen.terminated[name] or seen.truncated[name])]
        if not self.agents:
            self._match.roster.end_all()
        return seen.observations, seen.rewards, seen.terminated, seen.truncated, seen.infos

    def action_masks(self, agent: str) -> Any:
        """[K] bool, a learner's allowed actions; None where the game gives no mask."""
        return allowed_actions(_WHERE, self._spaces[agent][1], self._match.learner_masks(agent))

    def render(self) -> Any:
        return self._match.env.render()

    def close(self) -> None:
        """Ends all agents and closes the environment."""
        self.agents = []
        self._match.close()
