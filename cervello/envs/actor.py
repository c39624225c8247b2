"""A policy that acts in the rows of environments: an agent per row and episode."""

from __future__ import annotations

from typing import Any

import numpy as np

from cervello.agents import Policy
from cervello.agents.membership.ids import Ids, Subset
from cervello.agents.policy.core import core_of
from cervello.envs.decision import Decision, decision_of
from cervello.envs.sources import Source, TimeStep
from cervello.envs.sources.base import take
from cervello.envs.sources.stable_baselines import StableBaselinesVector
from cervello.envs.spreading import spread
from cervello.errors import ConfigurationError
from cervello.spec import Array
from cervello.wrappers import Normalize


class Actor:
    """One policy in n rows of an environment. Begins an agent with every episode and ends it when the next one begins.

    Where every episode is seeded by itself, its agent is the episode's number, so that an episode is the same in one environment and in
    many; else it is the row.

    Args:
      policy: its agents of other names go on as they are.
      where: what messages begin with; it is part of the agents' names.
      stream: of the noise.
      by_episode: whether episodes are seeded by themselves.
      deterministic: no noise.

    Raises:
      ConfigurationError: a policy without spaces.
    """

    def __init__(self, policy: Policy, where: str, stream: int, by_episode: bool, deterministic: bool):
        self.policy, self.binding = policy, core_of(policy).binding
        self.deterministic = deterministic
        self._where, self._stream, self._by_episode = where, stream, by_episode
        self._agents: dict[int, str] = {}  # by row
        self._all_places: Array = np.zeros(0, np.int64)
        self._every_row: Array | None = None  # the rows 0, 1, … of all agents as they arrived last
        self._row_agents: list[str] | None = None  # the agents of rows 0, 1, …; the same list while they stay, which infer_batch recognises
        space = self.binding.spaces.action_space
        idle = np.zeros(space.shape, space.dtype)
        self._idle: Array = np.asarray(np.clip(idle, space.low, space.high) if hasattr(space, "low") else getattr(space, "start", idle),
                                       space.dtype)

    def begin(self, rows: Array, episodes: Array) -> None:
        """Begins episodes in rows, and ends those that are open there.

        Args:
          rows, episodes: [m] int64 numbers of environments, and of their episodes.

        Raises:
          ConfigurationError: another one acts with this policy under the same name and seed.
        """
        agents, numbers = self._agents, rows.tolist()
        if not self._by_episode and agents.keys() >= set(numbers):  # the same agents go on with their next episodes
            self.policy.restart_agents(self._ids(rows), self._stream, episodes)
            return
        ended = [agents.pop(row) for row in numbers if row in agents]
        if ended:
            self.policy.end_agents(ended)
        each, what = (episodes, "episode") if self._by_episode else (rows, "row")
        ids = [f"{self._where} {self._stream} {what} {number}" for number in each.tolist()]
        taken = next((agent for agent in ids if agent in self.policy), None)
        if taken is not None:
            raise ConfigurationError(f"{self._where}: expected a policy that no other {self._where} of seed {self._stream} is acting with, "
                                     f"got {self.policy.name!r}, in which {taken!r} is alive; close() the other one, or give another seed")
        self.policy.begin_agents(ids, self._stream, 0 if self._by_episode else episodes)
        agents.update(zip(numbers, ids, strict=True))
        self._row_agents = self._every_row = None

    def close(self) -> None:
        """Ends the agents of all rows."""
        ended, self._agents, self._row_agents, self._every_row = list(self._agents.values()), {}, None, None
        self.policy.end_agents(ended)

    def decide(self, timestep: TimeStep) -> Decision:
        """Decides for the rows whose next action will be executed."""
        rows, observation = timestep.rows, timestep.observation
        if timestep.mid_episode or np.count_nonzero(timestep.acts) == len(rows):
            places = self._all(len(rows))
        else:
            places = timestep.acts.nonzero()[0]
            rows, observation = rows[places], take(observation, places)
        encoded = self.binding.encode(observation, None if timestep.masks is None else self._masks(timestep, places))
        outputs = self.policy.infer_batch(self._ids(rows), encoded.columns, self.deterministic)
        n_empty = 0 if encoded.empty is None else int(encoded.empty.sum())
        return decision_of(self.policy, outputs, places, self.deterministic, n_empty, self._stream)

    def actions(self, timestep: TimeStep, decision: Decision) -> Array:
        """[n, …] for the environment: what was decided, and any action of the space for rows that do not act."""
        if len(decision.places) == len(timestep.rows):
            return decision.action.copy()  # the environment may write into it
        found: Array = np.empty((len(timestep.rows), *self._idle.shape), self._idle.dtype)
        if self._idle.ndim:
            found[...] = self._idle
        else:
            found.fill(self._idle)
        spread(timestep.acts, decision.action, found)
        return found

    def _ids(self, rows: Array) -> Ids:
        """The agents of rows."""
        agents, agent_list = self._agents, self._row_agents
        if agent_list is None:
            if not all(row in agents for row in range(len(agents))):  # some environments have not answered yet
                return [agents[row] for row in rows.tolist()]
            agent_list, self._every_row = [agents[row] for row in range(len(agents))], None
            self._row_agents = agent_list
        if rows is not self._every_row:
            if len(rows) != len(agent_list) or not np.array_equal(rows, self._all(len(rows))):
                return Subset(agent_list, rows)
            self._every_row = rows
        return agent_list

    def _all(self, n: int) -> Array:
        """[n] int64, 0, 1, …; the same array while n stays."""
        if len(self._all_places) != n:
            self._all_places = np.arange(n)
            self._all_places.flags.writeable = False
        return self._all_places

    def _masks(self, timestep: TimeStep, places: Array) -> Any:
        """[m, width] of a time step with masks, everything allowed where nothing is given; None when no row that acts has a mask."""
        if isinstance(timestep.masks, np.ndarray):
            return self.binding.flat_mask(timestep.masks[places], len(places))
        assert timestep.masks is not None
        masks = [timestep.masks[i] for i in places.tolist()]
        if all(mask is None for mask in masks):
            return None
        return np.concatenate([self.binding.allowed(1) if mask is None else self.binding.flat_mask(mask, 1, True) for mask in masks])


def checked_policy(where: str, policy: Any, source: Source) -> Policy:
    """A policy that was loaded for an environment like this one. Raises ConfigurationError otherwise."""
    if not isinstance(policy, Policy):
        raise ConfigurationError(f"{where}: expected a cervello.Policy, got {policy!r:.200}")
    known = core_of(policy).binding.spaces.action_space
    if known != source.action_space:
        raise ConfigurationError(f"{where}: expected a policy loaded with spaces whose actions are {source.action_space}, got "
                                 f"{policy.name!r} for {known}; load it with spaces=env of this environment")
    inner = next((w for w in policy.wrappers if isinstance(w, Normalize)), None)
    if isinstance(source, StableBaselinesVector) and source.normalizes and inner is not None:
        raise ConfigurationError(f"{where}: expected observations to be normalised once, got a VecNormalize around the environment and "
                                 f"{inner!r} in {policy.name!r}; take one of them off")
    return policy
