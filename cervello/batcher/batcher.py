"""Collects observations one by one and runs them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from cervello.batcher.deterministic import by_row
from cervello.batcher.pad import Observation, Reader, checked
from cervello.batcher.queue import Batched, Queue
from cervello.batcher.rows import by_agent, odd_axes, owned
from cervello.errors import AgentError, InputError
from cervello.spec import AgentId, Specs


class Decider(Protocol):
    """What a batcher needs of a policy."""

    @property
    def name(self) -> str: ...

    def make_reader(self, specs: Specs) -> Reader | None: ...

    @property
    def all_inputs(self) -> Specs: ...

    @property
    def outputs(self) -> Specs: ...

    @property
    def changes(self) -> int:
        """Grows whenever agents begin or end."""

    def check_agents(self, ids: Sequence[AgentId]) -> None:
        """Raises AgentError unless all have begun."""

    def births(self, ids: Sequence[AgentId]) -> Sequence[int | None]:
        """When each agent began, as a number that grows with every begin; None for one that is not there."""

    def infer_batch(self, ids: Any, inputs: Mapping[str, Any], deterministic: Any = False, *, unchanged: int | None = None) -> Any:
        """Raises AgentError when the number of `changes` is not `unchanged` any more."""


class Batcher:
    """Observations of agents that wait for the next run. Mutable, one thread.

    Every push is checked completely before anything is written; a run that fails leaves the queue as it was.

    A finalizer or a signal handler may come in the midst of any call: what it discards is gone when that call is over, what it pushes is
    refused with an AgentError.

    Args:
      policy: decides for the batch; also an attribute.
    """

    def __init__(self, policy: Decider):
        self.policy = policy
        self._queue = Queue(policy.all_inputs, policy.make_reader)
        self._odd = odd_axes(policy.outputs)
        self._changes = policy.changes  # of the policy, when nobody waited or all were looked up
        self._busy = False  # whether a call is under way
        self._leaving: dict[AgentId, None] = {}  # agents that were discarded meanwhile

    def __len__(self) -> int:
        return len(self._queue)

    def __bool__(self) -> bool:
        """True, however many there are: `if batcher:` asks whether there is one."""
        return True

    def __contains__(self, agent: AgentId) -> bool:
        return agent in self._queue

    def push(self, agent: AgentId, observation: Observation | Any) -> None:
        """Adds one agent's observation: rows by input, or the row alone where there is one input.

        Raises:
          AgentError: it has not begun, or waits already.
          InputError: names, shapes or types that do not fit.
        """
        if self._busy or not self._queue.push(0, 0, agent, observation):
            self._push(agent, observation)

    def _push(self, agent: AgentId, observation: Observation | Any) -> None:
        """`push` for what does not fit as it is, and for what is refused."""
        queue = self._queue
        birth = self.policy.births((agent,))[0]
        if birth is None or agent in queue.births:
            raise self._refusal(agent, birth)
        self._enter("push")
        try:
            if queue.take(agent, birth, observation):
                queue.open()
                return
        finally:
            self._leave()
        arrays = checked(queue.pad.specs, observation, agent, self.policy.name)
        self._enter("push")
        try:
            queue.put(agent, birth, arrays)
            queue.open()
        finally:
            self._leave()

    def extend(self, observations: Mapping[AgentId, Observation]) -> None:
        """Adds many observations, {agent: {input: row}}; none when one does not fit.

        Raises:
          AgentError, InputError: as `push`.
        """
        if not isinstance(observations, Mapping):
            raise InputError(f"{self._where}, extend: expected a mapping {{agent: observation}}, got {type(observations).__name__}")
        queue, ids = self._queue, list(observations)
        births = self.policy.births(ids)
        for agent, birth in zip(ids, births, strict=True):
            if birth is None or agent in queue.births:
                raise self._refusal(agent, birth)
        if type(observations) is dict:
            self._enter("extend")
            try:
                if queue.take_all(ids, births, observations.values()):  # type: ignore[arg-type]
                    return
            finally:
                self._leave()
        specs = queue.pad.specs
        ready = [(agent, birth, checked(specs, observations[agent], agent, self.policy.name))
                 for agent, birth in zip(ids, births, strict=True)]
        self._enter("extend")
        try:
            for agent, birth, arrays in ready:
                queue.put(agent, birth, arrays)  # type: ignore[arg-type]
        finally:
            self._leave()

    def _enter(self, what: str) -> None:
        if self._busy:
            raise AgentError(f"{self._where}, {what}: expected a call after the last one has returned, got one from a finalizer, "
                             "a signal handler or a hook in the middle of it; call afterwards")
        self._busy = True

    def _leave(self) -> None:
        try:
            while self._leaving:
                self._queue.discard(self._leaving.popitem()[0])
        finally:
            self._busy = False
        if self._leaving:  # a signal handler came just before
            self.discard(next(iter(self._leaving)))

    @property
    def _where(self) -> str:
        """What messages begin with."""
        return f"policy {self.policy.name!r}"

    def _refusal(self, agent: AgentId, birth: int | None) -> AgentError:
        """The error for an agent that cannot be pushed."""
        if birth is None:
            self.policy.check_agents((agent,))  # raises as a rule
            return AgentError(f"{self._where}, push: expected an agent that has begun, got {agent!r}")
        return AgentError(f"{self._where}, push: expected one observation per agent and run, got {agent!r} twice; execute first")

    def batched(self) -> Batched:
        """What waits, as one batch; the columns are the pad's own memory."""
        self._enter("batched")
        try:
            ids, columns = self._queue.head(len(self._queue))
            return Batched(ids, dict(columns))
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
        queue, policy = self._queue, self.policy
        ids, columns = queue.head(len(queue))
        flags = deterministic if deterministic is False else by_row(ids, deterministic)
        while True:
            changes = policy.changes
            if changes != self._changes:
                self._check_births(ids)
            try:
                found = policy.infer_batch(ids, columns, flags, unchanged=changes)
                break
            except AgentError:
                if policy.changes == changes:
                    raise
        found = by_agent(ids, owned(found, columns), self._odd)
        queue.clear()
        self._changes = changes
        return found

    def _check_births(self, ids: tuple[AgentId, ...]) -> None:
        """Raises AgentError for agents that have ended, or begun anew, since they were pushed."""
        pushed = self._queue.births
        births = self.policy.births(ids)
        if births != list(pushed.values()):
            gone = [agent for agent, birth in zip(ids, births, strict=True) if birth != pushed[agent]]
            raise AgentError(f"{self._where}, execute: expected agents that have not ended since their push, got {gone}; discard "
                             "them, and push anew those that have begun again")

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
