"""Which policy plays which agent: by name pattern, or by a function; drawn from pools, once per episode or at each birth."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from cervello.agents import Policy, load
from cervello.agents.policy.core import core_of
from cervello.envs.multiagent.pool import Entry, Pool
from cervello.errors import ConfigurationError
from cervello.spaces import Spaces


class PolicyCache:
    """Policies loaded from paths, once for each path and spaces. Mutable; matches of one game share it.

    Args:
      seed: of policies loaded from paths.
    """

    def __init__(self, seed: int):
        self._seed = seed
        self._loaded: dict[tuple[str, str], Policy] = {}

    def policy(self, entry: Entry, agent: str, spaces: tuple[Any, Any]) -> Policy:
        """The policy of an entry for an agent. A Policy object is used as it is."""
        if isinstance(entry, Policy):
            core_of(entry).binding  # noqa: B018  (raises, with the remedy)
            return entry
        key = str(entry), repr(spaces)
        found = self._loaded.get(key)
        if found is None:
            found = self._loaded[key] = load(entry, wrappers="auto", spaces=Spaces(spaces), seed=self._seed)
        return found


class PolicyAssignment:
    """The policies that may play an agent. Mutable: pools grow, and each episode draws anew.

    Args:
      policies: {pattern: policy, path, pool or {policy or path: weight}}, or a function agent → one of these, called at birth.
      library: where paths are loaded.
      per: "episode" draws once for each pattern and episode, "agent" for each agent at its birth.
      where: what messages begin with.

    Raises:
      ConfigurationError: something else.
    """

    def __init__(self, policies: Any, library: PolicyCache, per: str, where: str):
        self._where, self._library = where, library
        if per not in ("episode", "agent"):
            raise ConfigurationError(f"{where}, per: expected 'episode' or 'agent', got {per!r}")
        self._per = per
        self._function: Callable[[str], Any] | None = None
        self.pools: dict[str, Pool] = {}
        if isinstance(policies, Mapping):
            self.pools = {pattern: _pool(given, f"{where}, policies[{pattern!r}]") for pattern, given in policies.items()}
        elif callable(policies) and not isinstance(policies, Policy):
            self._function = policies
        else:
            raise ConfigurationError(f"{where}, policies: expected {{pattern: policy, path or pool}} or a function of the agent, got "
                                     f"{policies!r:.100}; for one policy for all: {{'*': policy}}")
        self._rng = np.random.default_rng(0)
        self._drawn: dict[str, Entry] = {}

    def check(self, agents: Sequence[str]) -> None:
        """Checks the patterns against all possible agents.

        Raises:
          ConfigurationError: one that no pattern matches, or two do; a pattern that matches no agent.
        """
        if self._function is not None:
            return
        matched = [self.pattern(agent) for agent in agents]
        for pattern in self.pools:
            if pattern not in matched:
                raise ConfigurationError(f"{self._where}, policies: expected patterns that match an agent, got {pattern!r}, which "
                                         f"matches none of {list(agents)[:16]}")

    def pattern(self, agent: str) -> str:
        """The one pattern that matches an agent. Raises ConfigurationError for none and for two."""
        found = [pattern for pattern in self.pools if fnmatch.fnmatchcase(str(agent), pattern)]
        if len(found) != 1:
            got = f"{found[0]!r} and {found[1]!r}" if found else f"none of {list(self.pools)}"
            raise ConfigurationError(f"{self._where}, policies: expected one pattern that matches agent {agent!r}, got {got}; "
                                     f"{'let one of them match it' if found else 'give it a policy'}")
        return found[0]

    def pool(self, pattern: str) -> Pool:
        """The pool of a pattern. Raises ConfigurationError for an unknown pattern."""
        if pattern not in self.pools:
            raise ConfigurationError(f"{self._where}, pool: expected a pattern among {list(self.pools)}, got {pattern!r}")
        return self.pools[pattern]

    def begin_episode(self, rng: np.random.Generator) -> None:
        """Begins an episode, which draws from its pools anew."""
        self._rng, self._drawn = rng, {}

    def policy(self, agent: str, spaces: tuple[Any, Any]) -> Policy:
        """The policy of an agent that is born. Raises ConfigurationError where there is none, or it does not fit the agent's spaces."""
        if self._function is not None:
            given = self._function(agent)
            pool = given if isinstance(given, Pool) else _pool(given, f"{self._where}, policies({agent!r})")
            return self._library.policy(pool.draw(self._rng), agent, spaces)
        pattern = self.pattern(agent)
        if self._per == "agent":
            return self._library.policy(self.pools[pattern].draw(self._rng), agent, spaces)
        if pattern not in self._drawn:
            self._drawn[pattern] = self.pools[pattern].draw(self._rng)
        return self._library.policy(self._drawn[pattern], agent, spaces)


def _pool(given: Any, where: str) -> Pool:
    return given if isinstance(given, Pool) else Pool(given, where)
