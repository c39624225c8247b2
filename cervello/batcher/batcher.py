"""Collects observations one by one and runs them as one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from cervello.batcher.deterministic import by_row
from cervello.batcher.observation import Observation, checked
from cervello.batcher.pad import Reader
from cervello.batcher.queue import Batched, Queue
from cervello.batcher.rows import by_agent, find_non_leading_axes, owned
from cervello.errors import AgentError, ConfigurationError, InputError
from cervello.spec import AgentId, Specs


class Decider(Protocol):
    """What a batcher uses: the internal object of a policy, or an object of one's own."""

    @property
    def name(self) -> str: ...

    def make_reader(self, specs: Specs) -> Reader | None: ...

    @property
    def all_inputs(self) -> Specs: ...

    def inputs_for(self, agent: AgentId, observation: Any) -> Specs:
        """`all_inputs`, with the sizes of an observation where the file leaves them open; raises InputError for sizes that do not fit."""

    @property
    def outputs(self) -> Specs: ...

    @property
    def membership_version(self) -> int:
        """Grows whenever agents begin or end."""

    def check_agents(self, ids: Sequence[AgentId]) -> None:
        """Raises AgentError unless all are active."""

    def generations(self, ids: Sequence[AgentId]) -> Sequence[int | None]:
        """Generation of each agent, a number that grows with every begin; None for an agent that is not active."""

    def infer_batch(self, ids: Any, inputs: Mapping[str, Any], deterministic: Any = False, *, expected_version: int | None = None) -> Any:
        """Raises AgentError if `membership_version` is no longer `expected_version`."""


class HasDecider(Protocol):
    """A `Policy`: its internal object is a `Decider`."""

    @property
    def _core(self) -> Decider: ...


class Batcher:
    """Observations of agents that wait for the next run. Mutable, not thread-safe.

    Every push is checked completely before anything is written. A run that fails leaves the queue unchanged. Where the file leaves sizes
    open, agents may differ in them: agents of one size run together, and the run fails or succeeds for all.

    A finalizer or a signal handler may interrupt any call. An agent that it discards is removed when that call is over; its push is
    rejected with an AgentError.

    Args:
      policy: decides for the batch; also an attribute.
    Raises:
      ConfigurationError: it is no policy.
    """

    def __init__(self, policy: HasDecider | Decider):
        decider: Decider = getattr(policy, "_core", policy)  # type: ignore[arg-type]
        if isinstance(decider, type) or not hasattr(decider, "all_inputs"):
            raise ConfigurationError(f"batcher: expected a cervello.Policy, got {policy!r}; cervello.load makes one")
        self.policy = policy
        self._decider = decider
        self._queue = Queue(decider.all_inputs, decider.make_reader)
        self._has_open_axes = any(spec.open_axes for spec in decider.all_inputs.values())  # whether observations may differ in size
        self._non_leading_axes = find_non_leading_axes(decider.outputs)
        self._membership_version = decider.membership_version  # the policy's version when the queue was empty or all agents were looked up
        self._busy = False  # whether a call is in progress
        self._leaving: dict[AgentId, None] = {}  # agents that were discarded meanwhile

    def __len__(self) -> int:
        return len(self._queue)

    def __bool__(self) -> bool:
        """Always True: `if batcher:` asks whether there is a batcher, not whether agents wait."""
        return True

    def __contains__(self, agent: AgentId) -> bool:
        return agent in self._queue

    def push(self, agent: AgentId, observation: Observation | Any) -> None:
        """Queues one agent's observation: rows by input, or the row alone if there is one input.

        Raises:
          AgentError: it is not active, or is already queued.
          InputError: names, shapes or types that do not fit.
        """
        if self._busy or not self._queue.push(agent, observation):
            self._push(agent, observation)

    def _push(self, agent: AgentId, observation: Observation | Any) -> None:
        """General path of `push`: conversion and errors."""
        queue = self._queue
        generation = self._decider.generations((agent,))[0]
        if generation is None or agent in queue.generations:
            raise self._refusal(agent, generation)
        self._enter("push")
        try:
            if queue.try_put((agent,), (generation,), (observation,)):
                queue.open()
                return
        finally:
            self._leave()
        arrays = checked(self._specs_for(agent, observation), observation, agent, self._decider.name)
        self._enter("push")
        try:
            queue.put(agent, generation, arrays)
            queue.open()
        finally:
            self._leave()

    def extend(self, observations: Mapping[AgentId, Observation]) -> None:
        """Queues many observations, {agent: {input: row}}; none if one does not fit.

        Raises:
          AgentError, InputError: as `push`.
        """
        if not isinstance(observations, Mapping):
            raise InputError(f"{self._where}, extend: expected a mapping {{agent: observation}}, got {type(observations).__name__}")
        queue, ids = self._queue, list(observations)
        generations = self._decider.generations(ids)
        for agent, generation in zip(ids, generations, strict=True):
            if generation is None or agent in queue.generations:
                raise self._refusal(agent, generation)
        if type(observations) is dict:
            self._enter("extend")
            try:
                if queue.try_put(ids, generations, observations.values()):  # type: ignore[arg-type]
                    return
            finally:
                self._leave()
        ready = [(agent, generation, checked(self._specs_for(agent, observations[agent]), observations[agent], agent, self._decider.name))
                 for agent, generation in zip(ids, generations, strict=True)]
        self._enter("extend")
        try:
            for agent, generation, arrays in ready:
                queue.put(agent, generation, arrays)  # type: ignore[arg-type]
        finally:
            self._leave()

    def _specs_for(self, agent: AgentId, observation: Any) -> Specs:
        """Specs that an agent's observation must fit."""
        return self._decider.inputs_for(agent, observation) if self._has_open_axes else self._queue.pad.specs

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
        """The beginning of messages."""
        return f"policy {self._decider.name!r}"

    def _refusal(self, agent: AgentId, generation: int | None) -> AgentError:
        """The error for an agent that cannot be pushed."""
        if generation is None:
            self._decider.check_agents((agent,))  # usually raises
            return AgentError(f"{self._where}, push: expected an agent that has begun, got {agent!r}")
        return AgentError(f"{self._where}, push: expected one observation per agent and run, got {agent!r} twice; execute first")

    def batched(self) -> Batched:
        """All queued rows as one batch; the columns are the pad's own memory. An input whose open sizes differ between agents is an [n]
        array of type object."""
        self._enter("batched")
        try:
            ids, columns = self._queue.front(len(self._queue))
            return Batched(ids, dict(columns))
        finally:
            self._leave()

    def execute(self, deterministic: bool | Mapping[AgentId, bool] = False) -> Any:
        """Runs the queued rows and empties the queue; without rows the result is empty.

        Args:
          deterministic: no noise, for all or by agent.
        Returns:
          Actions by agent.
        Raises:
          AgentError: agents have ended or restarted since they were pushed. After any error the queue is unchanged; `discard`
            removes single agents.
        """
        if self._busy:
            self._enter("execute")  # raises
        self._busy = True
        queue, policy = self._queue, self._decider
        try:
            ids, columns = queue.front(len(queue.generations))
            flags = deterministic if deterministic is False else by_row(ids, deterministic)
            while True:
                changes = policy.membership_version
                if changes != self._membership_version:
                    self._check_generations(ids)
                try:
                    found = policy.infer_batch(ids, columns, flags, expected_version=changes)
                    break
                except AgentError:
                    if policy.membership_version == changes:
                        raise
            actions = by_agent(ids, owned(found, columns), self._non_leading_axes)
            queue.clear()
            self._membership_version = changes
            return actions
        finally:
            if self._leaving:
                self._leave()
            else:
                self._busy = False  # no call in between, so no interrupt

    def _check_generations(self, ids: tuple[AgentId, ...]) -> None:
        """Raises AgentError for agents that have ended or restarted since they were pushed."""
        pushed = self._queue.generations
        generations = self._decider.generations(ids)
        if generations != list(pushed.values()):
            gone = [agent for agent, generation in zip(ids, generations, strict=True) if generation != pushed[agent]]
            raise AgentError(f"{self._where}, execute: expected agents that have not ended since their push, got {gone}; discard "
                             "them, and push anew those that have begun again")

    def discard(self, agent: AgentId) -> bool:
        """Removes one agent's observation; returns whether it was queued."""
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
        """Empties the queue; returns the agents that were queued."""
        self._enter("clear")
        try:
            ids = tuple(self._queue.generations)
            self._queue.clear()
        finally:
            self._leave()
        return ids
