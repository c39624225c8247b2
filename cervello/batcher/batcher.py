"""Collects observations one by one and runs them together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from cervello.batcher.pad import Observation, ScratchPad, checked
from cervello.errors import AgentError
from cervello.spec import AgentId, Array, Specs


class Decider(Protocol):
    """What a batcher needs of a policy."""

    @property
    def inputs(self) -> Specs: ...

    @property
    def outputs(self) -> Specs: ...

    def check_agents(self, ids: list[AgentId]) -> None:
        """Raises AgentError unless all have begun."""

    def infer_batch(self, ids: Any, inputs: Mapping[str, Any]) -> Any: ...


@dataclass(frozen=True, slots=True)
class Batched:
    """A batch that has been checked: row i of every column belongs to ids[i]."""

    ids: tuple[AgentId, ...]
    columns: Mapping[str, Array]


class Batcher:
    """Observations of agents that wait for the next run. Mutable, one thread.

    Every push is checked completely before anything is written; a run that fails leaves the queue as it was.
    """

    def __init__(self, policy: Decider):
        self.policy = policy
        self._ids: dict[AgentId, int] = {}
        self._pad = ScratchPad(policy.inputs)
        self._odd = odd_axes(policy.outputs)

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, agent: AgentId) -> bool:
        return agent in self._ids

    def push(self, agent: AgentId, observation: Observation) -> None:
        """Adds one agent's observation.

        Raises:
          AgentError: it has not begun, or waits already.
          InputError: names, shapes or types that do not fit.
        """
        self._check(agent)
        arrays = checked(self._pad.specs, observation, agent)
        self._pad.put(len(self._ids), arrays)
        self._ids[agent] = len(self._ids)

    def extend(self, observations: Mapping[AgentId, Observation]) -> None:
        """Adds many; none when one does not fit."""
        ready = []
        for agent, observation in observations.items():
            self._check(agent)
            ready.append((agent, checked(self._pad.specs, observation, agent)))
        for agent, arrays in ready:
            self._pad.put(len(self._ids), arrays)
            self._ids[agent] = len(self._ids)

    def _check(self, agent: AgentId) -> None:
        self.policy.check_agents([agent])
        if agent in self._ids:
            raise AgentError(f"push: expected one observation per agent and run, got {agent!r} twice; execute first")

    def batched(self) -> Batched:
        """What waits, as one batch; the columns are the pad's own memory."""
        return Batched(tuple(self._ids), self._pad.columns(len(self._ids)))

    def execute(self) -> Any:
        """Runs what waits and empties the queue; with nothing waiting the result is empty.

        Returns:
          Actions by agent.
        """
        batch = self.batched()
        results = self.policy.infer_batch(batch.ids, batch.columns)
        self._ids.clear()
        return by_agent(batch.ids, results, self._odd)

    def clear(self) -> tuple[AgentId, ...]:
        """Forgets what waits; returns whose it was."""
        ids = tuple(self._ids)
        self._ids.clear()
        return ids


def odd_axes(specs: Specs) -> dict[str, int | None]:
    """The batch axis of outputs whose rows do not lie in front; nearly always empty."""
    return {name: spec.batch_axis for name, spec in specs.items() if spec.batch_axis != 0}


def by_agent(ids: tuple[AgentId, ...], results: Any, odd: Mapping[str, int | None]) -> Any:
    """Columns of results as one mapping per agent, of the same type with the same attributes.

    Args:
      odd: as `odd_axes` says; what has no rows goes to every agent.
    """
    names, columns = list(results), list(results.values())
    for i, name in enumerate(names):
        if name in odd:
            axis = odd[name]
            columns[i] = [columns[i]] * len(ids) if axis is None else np.moveaxis(columns[i], axis, 0)
    if len(names) == 1:
        name = names[0]
        split = {agent: {name: row} for agent, row in zip(ids, columns[0], strict=True)}
    else:
        rows = zip(*columns, strict=True)
        split = {agent: dict(zip(names, row, strict=True)) for agent, row in zip(ids, rows, strict=True)}
    return results.like(split)
