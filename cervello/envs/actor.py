"""A policy that acts in the rows of environments: an agent per row and episode."""

from __future__ import annotations

from typing import Any

import numpy as np

from cervello.agents import Policy
from cervello.envs.decision import Decision, decided
from cervello.envs.sources import Arrived
from cervello.envs.sources.base import take
from cervello.errors import ConfigurationError
from cervello.spec import Array


class Actor:
    """One policy in n rows of an environment. Begins an agent with every episode and ends it with the episode.

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
        self.policy, self.binding = policy, policy.binding
        self.deterministic = deterministic
        self._where, self._stream, self._by_episode = where, stream, by_episode
        self._agents: dict[int, str] = {}  # by row
        space = self.binding.spaces.action_space
        self._idle = np.clip(np.zeros(space.shape, space.dtype), space.low, space.high) if hasattr(space, "low") else np.asarray(
            getattr(space, "start", np.zeros(space.shape, space.dtype)))

    def begin(self, rows: Array, episodes: Array) -> None:
        """Episodes begin in rows: [m] int64 numbers of environments, and of their episodes."""
        for row, episode in zip(rows.tolist(), episodes.tolist(), strict=True):
            agent = f"{self._where} episode {episode}" if self._by_episode else f"{self._where} row {row}"
            self.policy.begin_agent(agent, self._stream, 0 if self._by_episode else episode)
            self._agents[row] = agent

    def end(self, rows: Array) -> None:
        """Episodes end in rows."""
        self.policy.end_agents([self._agents.pop(row) for row in rows.tolist()])

    def close(self) -> None:
        """Ends the agents of all rows."""
        self.end(np.array(list(self._agents), np.int64))

    def decide(self, arrived: Arrived) -> Decision:
        """Decides for the rows whose next action will be executed."""
        binding = self.binding
        places = np.flatnonzero(arrived.acts)
        every = len(places) == len(arrived.rows)
        observation = arrived.observation if every else take(arrived.observation, places)
        encoded = binding.encode(observation, self._masks(arrived, places))
        ids = [self._agents[row] for row in arrived.rows[places].tolist()]
        outputs = self.policy.infer_batch(ids, encoded.columns, self.deterministic)
        return decided(self.policy, outputs, places, self.deterministic, 0 if encoded.empty is None else int(encoded.empty.sum()))

    def actions(self, arrived: Arrived, decision: Decision) -> Array:
        """[n, …] for the environment: what was decided, and any action of the space for rows that do not act."""
        found = np.empty((len(arrived.rows), *np.shape(self._idle)), self.binding.spaces.action_space.dtype)
        found[...] = self._idle
        found[decision.places] = decision.action
        return found

    def _masks(self, arrived: Arrived, places: Array) -> Any:
        """[m, width], everything allowed where nothing is given; None when no row has a mask."""
        if arrived.masks is None:
            return None
        masks = [arrived.masks[i] for i in places.tolist()]
        if all(mask is None for mask in masks):
            return None
        return np.concatenate([self.binding.allowed(1) if mask is None else self.binding.flat_mask(mask, 1, True) for mask in masks])


def checked_policy(where: str, policy: Any) -> Policy:
    """A policy that was loaded with spaces. Raises ConfigurationError otherwise."""
    if not isinstance(policy, Policy):
        raise ConfigurationError(f"{where}: expected a cervello.Policy, got {policy!r:.200}")
    policy.binding  # noqa: B018  (raises, with the remedy)
    return policy
