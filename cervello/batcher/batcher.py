"""Collects observations one by one and runs them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from cervello.batcher.deterministic import by_row
from cervello.batcher.pad import Observation, checked
from cervello.batcher.queue import Batched, Queue
from cervello.batcher.rows import by_agent, odd_axes, owned
from cervello.errors import AgentError, InputError
from cervello.spec import AgentId, Specs


class Decider(Protocol):
    """What a batcher needs of a policy."""

    @property
    def all_inputs(self) -> Specs: ...

    @property
    def outputs(self) -> Specs: ...

    def check_agents(self, ids: Sequence[AgentId]) -> None:
        """Raises AgentError unless all have begun."""

    def births(self, ids: Sequence[AgentId]) -> Sequence[int | None]:
        """When each agent began, as a number that grows with every begin; None for one that is not there."""

    def infer_batch(self, ids: Any, inputs: Mapping[str, Any], deterministic: Any = False) -> Any: ...


class Batcher:
    """Observations of agents that wait for the next run. Mutable, one thread.

    Every push is checked completely before anything is written; a run that fails leaves the queue as it was.

    A finalizer or a signal handler may come in the midst of any call: what it discards is gone when that call is over, what it pushes is
    refused with an AgentError.
    """

    def __init__(self, policy: Decider):
        self.policy = policy
        self._queue = Queue(policy.all_inputs)
        self._odd = odd_axes(policy.outputs)
        self._busy = False  # whether a call is under way
        self._leaving: dict[AgentId, None] = {}  # agents that were discarded meanwhile

    def __len__(self) -> int:
        return len(self._queue)

    def __bool__(self) -> bool:
        """True, however many there are: `if batcher:` asks whether there is one."""
        return True

    def __contains__(self, agent: AgentId) -> bool:
        return agent in self._queue

    def push(self, agent: AgentId, observation: Observation) -> None:
        """Adds one agent's observation.

        Raises:
          AgentError: it has not begun, or waits already.
          InputError: names, shapes or types that do not fit.
        """
        birth = self._birth(agent)
        arrays = checked(self._queue.pad.specs, observation, agent)
        self._enter("push")
        try:
            self._queue.put(agent, birth, arrays)
        finally:
            self._leave()

    def extend(self, observations: Mapping[AgentId, Observation]) -> None:
        """Adds many; none when one does not fit."""
        if not isinstance(observations, Mapping):
            raise InputError(f"extend: expected a mapping {{agent: observation}}, got {type(observations).__name__}")
        specs = self._queue.pad.specs
        ready = [(agent, self._birth(agent), checked(specs, observation, agent)) for agent, observation in observations.items()]
        self._enter("extend")
        try:
            for agent, birth, arrays in ready:
                self._queue.put(agent, birth, arrays)
        finally:
            self._leave()

    def _enter(self, what: str) -> None:
        if self._busy:
            raise AgentError(f"{what}: expected a call after the last one has returned, got one from a finalizer, a signal handler or a "
                             "hook in the middle of it; call afterwards")
        self._busy = True

    def _leave(self) -> None:
        try:
            while self._leaving:
                self._queue.discard(self._leaving.popitem()[0])
        finally:
            self._busy = False
        if self._leaving:  # a signal handler came just before
            self.discard(next(iter(self._leaving)))

    def _birth(self, agent: AgentId) -> int:
        birth = self.policy.births((agent,))[0]
        if birth is None:
            self.policy.check_agents((agent,))
            raise AgentError(f"push: expected an agent that has begun, got {agent!r}")
        if agent in self._queue:
            raise AgentError(f"push: expected one observation per agent and run, got {agent!r} twice; execute first")
        return birth

    def batched(self) -> Batched:
        """What waits, as one batch; the columns are the pad's own memory."""
        self._enter("batched")
        try:
            return self._queue.head(len(self._queue))
        finally:
            self._leave()

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
        self._enter("execute")
        try:
            return self._execute(deterministic)
        finally:
            self._leave()

    def _execute(self, deterministic: bool | Mapping[AgentId, bool]) -> Any:
        batch = self._queue.head(len(self._queue))
        births = self.policy.births(batch.ids)
        pushed = self._queue.births
        if births != list(pushed.values()):
            gone = [agent for agent, birth in zip(batch.ids, births, strict=True) if birth != pushed[agent]]
            raise AgentError(f"execute: expected agents that have not ended since their push, got {gone}; discard them, and push anew "
                             "those that have begun again")
        results = self.policy.infer_batch(batch.ids, batch.columns, by_row(batch.ids, deterministic))
        found = by_agent(batch.ids, owned(results, batch.columns), self._odd)
        self._queue.clear()
        return found

    def discard(self, agent: AgentId) -> bool:
        """Forgets what one agent waits with; returns whether it waited."""
        if self._busy:
            waits = agent in self._queue and agent not in self._leaving
            if waits:
                self._leaving[agent] = None
            return waits
        self._enter("discard")
        try:
            return self._queue.discard(agent)
        finally:
            self._leave()

    def clear(self) -> tuple[AgentId, ...]:
        """Forgets what waits; returns whose it was."""
        self._enter("clear")
        try:
            ids = tuple(self._queue.births)
            self._queue.clear()
        finally:
            self._leave()
        return ids
