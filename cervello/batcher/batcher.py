"""Collects observations one by one and runs them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from cervello.batcher.deterministic import by_row
from cervello.batcher.pad import Observation, Reader, checked
from cervello.batcher.queue import Batched, Queue
from cervello.batcher.rows import by_agent, find_non_leading_axes, owned
from cervello.errors import AgentError, InputError
from cervello.spec import AgentId, Specs


class Decider(Protocol):
    """What a batcher needs of a policy."""

    @property
    def name(self) -> str: ...

    def make_reader(self, specs: Specs) -> Reader | None: ...

    @property
    def all_inputs(self) -> Specs: ...

    def inputs_for(self, agent: AgentId, observation: Any) -> Specs:
        """`all_inputs`, with the sizes that an observation has where the file leaves these open; raises InputError for others."""

    @property
    def outputs(self) -> Specs: ...

    @property
    def membership_version(self) -> int:
        """Grows whenever agents begin or end."""

    def check_agents(self, ids: Sequence[AgentId]) -> None:
        """Raises AgentError unless all have begun."""

    def generations(self, ids: Sequence[AgentId]) -> Sequence[int | None]:
        """When each agent began, as a number that grows with every begin; None for one that is not there."""

    def infer_batch(self, ids: Any, inputs: Mapping[str, Any], deterministic: Any = False, *, expected_version: int | None = None) -> Any:
        """Raises AgentError when the number of `membership_version` is not `expected_version` any more."""


class Batcher:
    """Observations of agents that wait for the next run. Mutable, one thread.

    Every push is checked completely before anything is written; a run that fails leaves the queue as it was. Where the file leaves sizes
    open, agents may differ in them: those of one size run together, and the run fails or succeeds for all.

    A finalizer or a signal handler may come in the midst of any call: what it discards is gone when that call is over, what it pushes is
    refused with an AgentError.

    Args:
      policy: decides for the batch; also an attribute.
    """

    def __init__(self, policy: Decider):
        self.policy = policy
        self._queue = Queue(policy.all_inputs, policy.make_reader)
        self._are_open = any(spec.open_axes for spec in policy.all_inputs.values())  # whether observations may differ in size
        self._odd = find_non_leading_axes(policy.outputs)
        self._changes = policy.membership_version  # of the policy, when nobody waited or all were looked up
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
        generation = self.policy.generations((agent,))[0]
        if generation is None or agent in queue.generations:
            raise self._refusal(agent, generation)
        self._enter("push")
        try:
            if queue.take(agent, generation, observation):
                queue.open()
                return
        finally:
            self._leave()
        arrays = checked(self._specs_for(agent, observation), observation, agent, self.policy.name)
        self._enter("push")
        try:
            queue.put(agent, generation, arrays)
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
        generations = self.policy.generations(ids)
        for agent, generation in zip(ids, generations, strict=True):
            if generation is None or agent in queue.generations:
                raise self._refusal(agent, generation)
        if type(observations) is dict:
            self._enter("extend")
            try:
                if queue.take_all(ids, generations, observations.values()):  # type: ignore[arg-type]
                    return
            finally:
                self._leave()
        ready = [(agent, generation, checked(self._specs_for(agent, observations[agent]), observations[agent], agent, self.policy.name))
                 for agent, generation in zip(ids, generations, strict=True)]
        self._enter("extend")
        try:
            for agent, generation, arrays in ready:
                queue.put(agent, generation, arrays)  # type: ignore[arg-type]
        finally:
            self._leave()

    def _specs_for(self, agent: AgentId, observation: Any) -> Specs:
        """What an observation has to be."""
        return self.policy.inputs_for(agent, observation) if self._are_open else self._queue.pad.specs

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

    def _refusal(self, agent: AgentId, generation: int | None) -> AgentError:
        """The error for an agent that cannot be pushed."""
        if generation is None:
            self.policy.check_agents((agent,))  # raises as a rule
            return AgentError(f"{self._where}, push: expected an agent that has begun, got {agent!r}")
        return AgentError(f"{self._where}, push: expected one observation per agent and run, got {agent!r} twice; execute first")

    def batched(self) -> Batched:
        """What waits, as one batch; the columns are the pad's own memory. Of an input in whose open sizes agents differ, it is an array of
        type object, of n rows."""
        self._enter("batched")
        try:
            ids, columns = self._queue.front(len(self._queue))
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
        if self._busy:
            self._enter("execute")  # raises
        self._busy = True
        queue, policy = self._queue, self.policy
        try:
            ids, columns = queue.front(len(queue.generations))
            flags = deterministic if deterministic is False else by_row(ids, deterministic)
            while True:
                changes = policy.membership_version
                if changes != self._changes:
                    self._check_births(ids)
                try:
                    found = policy.infer_batch(ids, columns, flags, expected_version=changes)
                    break
                except AgentError:
                    if policy.membership_version == changes:
                        raise
            actions = by_agent(ids, owned(found, columns), self._odd)
            queue.clear()
            self._changes = changes
            return actions
        finally:
            if self._leaving:
                self._leave()
            else:
                self._busy = False  # no call in between, so no interrupt

    def _check_births(self, ids: tuple[AgentId, ...]) -> None:
        """Raises AgentError for agents that have ended, or begun anew, since they were pushed."""
        pushed = self._queue.generations
        generations = self.policy.generations(ids)
        if generations != list(pushed.values()):
            gone = [agent for agent, generation in zip(ids, generations, strict=True) if generation != pushed[agent]]
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
            ids = tuple(self._queue.generations)
            self._queue.clear()
        finally:
            self._leave()
        return ids
