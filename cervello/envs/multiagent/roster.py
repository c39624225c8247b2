"""The agents of a match that policies play: begun at their birth, ended at their death, exactly once each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from cervello.agents import Policy
from cervello.envs.multiagent.assignment import PolicyAssignment
from cervello.errors import AgentError, ConfigurationError
from cervello.spec import Array


class Roster:
    """The living agents of a match, and the policy of each. Mutable.

    An agent's noise depends on the match's seed, the seed of the last seeded reset, how many resets have come since, and its name.

    Args:
      env: of PettingZoo, whose spaces are asked for at a birth.
      assignment: the policy of each agent.
      seed: of the match, one or more numbers.
      deterministic: no noise.
      where: what messages begin with.

    Attributes:
      groups: by policy, the names of its agents, in the order of their births, and their names in the policy.
      stream: of the noise of this episode's agents.
      begun, ended: agents so far.
      never_lived: agents that were born and died in one step; they have neither begun nor ended.
    """

    def __init__(self, env: Any, assignment: PolicyAssignment, seed: tuple[int, ...], deterministic: bool, where: str):
        self._env, self._assignment, self._seed, self.deterministic, self._where = env, assignment, seed, deterministic, where
        self._played: dict[str, tuple[Policy, str]] = {}
        self._dead: set[str] = set()
        self._reset_seed, self._resets = -1, 0
        self.stream = 0
        self.groups: list[tuple[Policy, list[str], list[str]]] = []
        self.begun = self.ended = self.never_lived = 0

    def __len__(self) -> int:
        return len(self._played)

    def __contains__(self, agent: object) -> bool:
        return agent in self._played

    def player(self, agent: str) -> tuple[Policy, str]:
        """The policy that plays an agent, and the agent's name there."""
        return self._played[agent]

    def has_died(self, agent: str) -> bool:
        """Whether an agent has lived in this episode and ended."""
        return agent in self._dead

    def begin_episode(self, seed: int | None) -> None:
        """Begins an episode: ends all agents, and draws anew.

        Args:
          seed: of the reset; None goes on counting from the last one.
        """
        self.end_all()
        self._dead.clear()
        if seed is None:
            self._resets += 1
        else:
            self._reset_seed, self._resets = int(seed), 0
        entropy = [*self._seed, self._reset_seed + 1, self._resets]
        words: Array = np.random.SeedSequence(entropy).generate_state(2, np.uint64)
        self.stream = int(words[0] >> np.uint64(1))
        self._assignment.begin_episode(np.random.default_rng([*entropy, 1]))

    def birth(self, agents: Iterable[str]) -> None:
        """Begins agents, or none if one cannot begin.

        Raises:
          ConfigurationError: one of them has no policy. AgentError: one of them has died in this episode.
        """
        names = list(agents)
        for agent in names:
            if agent in self._dead:
                raise AgentError(f"{self._where}: expected agents that have not died in this episode, got {agent!r} again; give an "
                                 "agent that comes back another name")
        cast = [(agent, self._assignment.policy(agent, self._spaces(agent))) for agent in names]
        for agent, policy in cast:
            name = f"{self._where} {self._seed} {self.stream} {agent}"
            while name in policy:  # another game with the same seeds plays it too
                name += "'"
            policy.begin_agent(name, self.stream, 0)
            self._played[agent] = policy, name
            self.begun += 1
        if cast:
            self._regroup()

    def death(self, agents: Iterable[str]) -> None:
        """Ends agents; they may not come back in this episode."""
        changed = False
        for agent in agents:
            self._dead.add(agent)
            found = self._played.pop(agent, None)
            if found is not None:
                found[0].end_agent(found[1])
                self.ended += 1
                changed = True
        if changed:
            self._regroup()

    def end_all(self) -> None:
        """Ends all agents."""
        self.death(list(self._played))

    def _spaces(self, agent: str) -> tuple[Any, Any]:
        try:
            return self._env.observation_space(agent), self._env.action_space(agent)
        except (KeyError, LookupError, AttributeError) as error:
            raise ConfigurationError(f"{self._where}: expected spaces of agent {agent!r} from the environment, got {error!r}") from error

    def _regroup(self) -> None:
        groups: dict[int, tuple[Policy, list[str], list[str]]] = {}
        for agent, (policy, name) in self._played.items():
            _, agents, names = groups.setdefault(id(policy), (policy, [], []))
            agents.append(agent)
            names.append(name)
        self.groups = list(groups.values())
