"""Collects observations one by one and runs them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cervello.batcher.deterministic import by_row
from cervello.batcher.pad import Observation, ScratchPad, checked
from cervello.batcher.rows import by_agent, odd_axes, owned
from cervello.errors import AgentError, InputError
from cervello.spec import AgentId, Array, Specs


class Decider(Protocol):
    """What a batcher needs of a policy."""

    @property
    def inputs(self) -> Specs: ...

    @property
    def outputs(self) -> Specs: ...

    def check_agents(self, ids: Sequence[AgentId]) -> None:
        """Raises AgentError unless all have begun."""

    def births(self, ids: Sequence[AgentId]) -> Sequence[int | None]:
        """When each agent began, as a number that grows with every begin; None for one that is not there."""

    def infer_batch(self, ids: Any, inputs: Mapping[str, Any], deterministic: Any = False) -> Any: ...


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
        self._births: dict[AgentId, int] = {}  # who waits, in the order of rows, and when they had begun
        self._pad = ScratchPad(policy.inputs)
        self._odd = odd_axes(policy.outputs)

    def __len__(self) -> int:
        return len(self._births)

    def __contains__(self, agent: AgentId) -> bool:
        return agent in self._births

    def push(self, agent: AgentId, observation: Observation) -> None:
        """Adds one agent's observation.

        Raises:
          AgentError: it has not begun, or waits already.
          InputError: names, shapes or types that do not fit.
        """
        birth = self._birth(agent)
        self._pad.put(len(self._births), checked(self._pad.specs, observation, agent))
        self._births[agent] = birth

    def extend(self, observations: Mapping[AgentId, Observation]) -> None:
        """Adds many; none when one does not fit."""
        if not isinstance(observations, Mapping):
            raise InputError(f"extend: expected a mapping {{agent: observation}}, got {type(observations).__name__}")
        births, ready = {}, []
        for agent, observation in observations.items():
            births[agent] = self._birth(agent)
            ready.append(checked(self._pad.specs, observation, agent))
        for row, arrays in enumerate(ready, len(self._births)):
            self._pad.put(row, arrays)
        self._births.update(births)

    def _birth(self, agent: AgentId) -> int:
        birth = self.policy.births((agent,))[0]
        if birth is None:
            self.policy.check_agents((agent,))
            raise AgentError(f"push: expected an agent that has begun, got {agent!r}")
        if agent in self._births:
            raise AgentError(f"push: expected one observation per agent and run, got {agent!r} twice; execute first")
        return birth

    def batched(self) -> Batched:
        """What waits, as one batch; the columns are the pad's own memory."""
        return Batched(tuple(self._births), self._pad.columns(len(self._births)))

    def execute(self, deterministic: bool | Mapping[AgentId, bool] = False) -> Any:
        """Runs what waits and empties the queue; with nothing waiting the result is empty.

        Args:
          deterministic: no noise, for all or by agent.
        Returns:
          Actions by agent.
        Raises:
          AgentError: agents have ended, or begun anew, since they were pushed. Whatever is raised, the queue is as before; `discard`
            takes single agents out.
        """
        batch = self.batched()
        births = self.policy.births(batch.ids)
        if births != list(self._births.values()):
            gone = [agent for agent, birth in zip(batch.ids, births, strict=True) if birth != self._births[agent]]
            raise AgentError(f"execute: expected agents that have not ended since their push, got {gone}; discard them, and push anew "
                             "those that have begun again")
        results = self.policy.infer_batch(batch.ids, batch.columns, by_row(batch.ids, deterministic))
        found = by_agent(batch.ids, owned(results, batch.columns), self._odd)
        self._births.clear()
        return found

    def discard(self, agent: AgentId) -> bool:
        """Forgets what one agent waits with; returns whether it waited."""
        if agent not in self._births:
            return False
        self._pad.remove(list(self._births).index(agent), len(self._births))
        del self._births[agent]
        return True

    def clear(self) -> tuple[AgentId, ...]:
        """Forgets what waits; returns whose it was."""
        ids = tuple(self._births)
        self._births.clear()
        return ids
