"""The agents who wait for one policy of a runtime: how they come, how they are treated, and how urgent they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from cervello.agents.policy.policy import Policy
from cervello.agents.runtime.batch import InFlightBatch
from cervello.agents.runtime.level_of_detail import Levels
from cervello.agents.runtime.ready_queue import ReadyQueue
from cervello.agents.runtime.wait_queue import WaitQueue
from cervello.batcher import Queue
from cervello.batcher.pad import checked
from cervello.batcher.rows import completed, find_non_leading_axes
from cervello.errors import AgentError
from cervello.native.execution.arguments import check_names, fitted
from cervello.spec import AgentId, Array

_MANY = 1024  # agents who wait


class WaitingAgents:
    """Mutable; whoever calls it holds the runtime's lock. `PolicyQueue` runs them.

    Attributes:
      levels: how agents are treated.
      under_way: batches that were taken and are neither decided nor put back.
      read_in_place: whether a frame reads the observations of those who wait where they lie.
      leaving: agents that the runtime itself is about to end or restart.
      last_frame: when it was run last, for those that wait equally long.
      gone: those who ended, or began anew, behind the runtime's back while they waited; somebody has to be told.
      non_leading_axes: batch axes of outputs whose rows do not lie in front.
      seen: the policy's changes when it was looked for agents that are gone.
      number: of the order in which policies were added.
      accept: adds an agent in one compiled call, without a lock, where a push has nothing else to do; see `batcher.Queue.push`. Every
        change of that is made under the runtime's lock, with which nobody is accepted.
    """

    def __init__(self, name: str, policy: Policy, ready_queue: ReadyQueue[Any]):
        self.name, self.policy = name, policy
        self.number = 0
        self.levels = Levels()
        self.deterministic: set[AgentId] = set()
        self.under_way: list[InFlightBatch] = []
        self.read_in_place = False
        self.leaving: set[AgentId] = set()
        self.last_frame = -1
        self.non_leading_axes = find_non_leading_axes(policy.outputs)
        self.seen = policy.membership_version
        self.gone: list[AgentId] = []
        self._ready_queue = ready_queue
        self._wait_queue = WaitQueue(policy.all_inputs, policy.make_reader)
        self.accept = self._wait_queue.queue.push
        self._ended: list[InFlightBatch] = []  # batches that are not settled

    def finalize(self) -> None:
        """Does what batches that have run leave to do."""
        raise NotImplementedError

    @property
    def wait_queue(self) -> WaitQueue:
        """The agents who wait, with everything settled."""
        if self._ended or self.read_in_place:
            self.finalize()
        return self._wait_queue

    @property
    def pushed(self) -> Queue:
        """The agents who wait, as they stand: without what batches that have run leave to do."""
        return self._wait_queue.queue

    def enter(self, number: int) -> None:
        """It is in the runtime from here on."""
        self.number = number
        self._ready_queue.members[self] = number

    def leave(self) -> None:
        """It is no longer in the runtime, though a batch of it may still run."""
        if self.read_in_place:
            self.finalize()
        own: ReadyQueue[Any] = ReadyQueue()
        ready_queue, self._ready_queue = self._ready_queue, own
        ready_queue.forget(self)

    def _tell(self) -> None:
        """Somebody may wait, or no longer do so."""
        wait_queue, ready_queue = self._wait_queue, self._ready_queue
        ready_queue.changed[self] = None
        if wait_queue.queue.generations and not self.under_way:
            ready_queue.ready[self] = wait_queue.head_enqueued_frame, self.last_frame, self.number
        elif self in ready_queue.ready:
            del ready_queue.ready[self]
        self._at_rest()

    def _at_rest(self) -> None:
        """A change is over, and noted."""
        if not self.under_way and not self._ended and self in self._ready_queue.dirty:
            del self._ready_queue.dirty[self]

    # Who waits ----------------------------------------------------------------------------------------------------------

    def set_level(self, agent: AgentId, every: int, priority: float, hold: str) -> None:
        """How an agent is treated from here on."""
        if self.read_in_place:
            self.finalize()
        self._wait_queue.queue.shut()
        self._ready_queue.needs_sort[self] = None
        self.levels.set(agent, every, priority, hold)

    def forget(self, agent: AgentId) -> None:
        """Everything about an agent."""
        self.levels.forget(agent)
        self._forget_waiting(agent)

    def _forget_waiting(self, agent: AgentId) -> None:
        self._ready_queue.dirty[self] = None
        if self.wait_queue.forget(agent):
            self.deterministic.discard(agent)
        self._tell()

    def checked(self, agent: AgentId, observation: Mapping[str, Any]) -> dict[str, Array]:
        """An observation as arrays that fit; may run code of the caller's, so before any lock is taken."""
        return checked(self.policy.inputs_for(agent, observation), observation, agent, self.policy.name)

    def fitted(self, ids: Sequence[AgentId], columns: Mapping[str, Any]) -> dict[str, Array]:
        """Columns that fit distinct agents; as `checked`."""
        self.policy.check_distinct(ids)
        if isinstance(columns, Mapping):  # what it is otherwise, the next line refuses
            columns = completed(self.policy.all_inputs, columns, len(ids))
        check_names(self.policy.name, self.policy.all_inputs, columns)
        open_sizes = self.policy.open_sizes
        if open_sizes is not None:
            return open_sizes.fitted(ids, columns)
        return {name: fitted(self.policy.name, spec, columns[name], len(ids)) for name, spec in self.policy.all_inputs.items()}

    def push(self, agent: AgentId, arrays: Mapping[str, Array], frame: int, deterministic: bool) -> None:
        """The newest observation of an agent, which keeps its place when it waits already."""
        wait_queue = self._settled()
        generation = self._generations((agent,))[0]
        if not self.levels.is_due(agent, generation, frame, wait_queue.queue.generations):
            self.levels.not_due[agent] = None
            self._ready_queue.changed[self] = None
            return
        self.levels.not_due.pop(agent, None)
        self._ready_queue.dirty[self] = None
        before = wait_queue.queue.changes
        wait_queue.put(agent, generation, arrays, frame)
        self._pushed(before)
        self._flag((agent,), deterministic)
        self.accept_others()

    def push_batch(self, ids: Sequence[AgentId], arrays: Mapping[str, Array], frame: int, deterministic: bool) -> None:
        """Newest observations of many, all or none."""
        wait_queue = self._settled()
        generations = self._generations(ids)
        if self.levels.of:
            due = [self.levels.is_due(agent, generation, frame, wait_queue.queue.generations) for agent, generation in zip(ids,
                                                                                                                           generations,
                                                                                                                           strict=True)]
            if not all(due):
                self.levels.not_due.update(dict.fromkeys(agent for agent, yes in zip(ids, due, strict=True) if not yes))
                self._ready_queue.changed[self] = None
                keep = [row for row, yes in enumerate(due) if yes]
                ids, generations = [ids[i] for i in keep], [generations[i] for i in keep]
                arrays = self._taken(arrays, keep)
        if self.levels.not_due:
            for agent in ids:
                self.levels.not_due.pop(agent, None)
        self._ready_queue.dirty[self] = None
        before = wait_queue.queue.changes
        wait_queue.put_columns(ids, generations, arrays, frame)
        self._pushed(before)
        self._flag(ids, deterministic)
        if len(ids) <= len(wait_queue) < min(2 * len(ids), _MANY):  # else many small pushes would look everybody up again and again
            self.policy.look_up(wait_queue.queue.ids)
            wait_queue.queue.prepare()

    def _settled(self) -> WaitQueue:
        """The line before a push; also when the last one was interrupted."""
        if self in self._ready_queue.dirty or self.read_in_place:
            self.finalize()
        if self in self._ready_queue.open:
            self.look()
        self._wait_queue.queue.shut()
        return self._wait_queue

    def accept_others(self) -> None:
        """Further pushes need no more than a row, if there is nothing special about agents, and those who wait are known."""
        ready_queue, levels, wait_queue = self._ready_queue, self.levels, self._wait_queue
        if levels.of or levels.not_due or self.deterministic or self.under_way or self._ended:
            return
        if not wait_queue.queue.generations:
            ready_queue.open[self] = None
        elif self not in ready_queue.ready or self not in ready_queue.changed:
            return
        wait_queue.open()
        self.accept = wait_queue.queue.push

    def reopen(self) -> None:
        """After a frame that has read batches in place: further pushes need no more than a row, if nobody has come or gone meanwhile."""
        if self in self._ready_queue.open:
            if self._wait_queue.queue.generations:
                self.look()  # pushed during the frame, for the next one
            else:
                self._wait_queue.open()
                self.accept = self._wait_queue.queue.push

    def look(self) -> None:
        """Whoever has come since nobody waited is known from here on."""
        wait_queue = self._wait_queue
        if wait_queue.queue.generations:
            wait_queue.look_at_head()
            self._tell()
        else:
            wait_queue.queue.shut()
        self._ready_queue.open.pop(self, None)  # last: an interrupt may come before

    def _pushed(self, before: int) -> None:
        """There is no news when all waited already."""
        if self._wait_queue.queue.changes != before:
            self._tell()
        else:
            self._at_rest()

    def _generations(self, ids: Sequence[AgentId]) -> list[int]:
        """When agents began; raises AgentError for one that is not there."""
        generations = self.policy.generations(ids)
        if None in generations:
            self.policy.check_agents(ids)
            raise AgentError(f"agents: expected agents that have begun, got {ids[generations.index(None)]!r}")
        return generations  # type: ignore[return-value]

    def _taken(self, columns: Mapping[str, Array], rows: Sequence[int]) -> dict[str, Array]:
        """Some rows of columns, as columns of their own."""
        return {name: columns[name] if spec.batch_axis is None else np.take(columns[name], rows, spec.batch_axis)
                for name, spec in self.policy.all_inputs.items()}

    def _flag(self, ids: Iterable[AgentId], deterministic: bool) -> None:
        if deterministic:
            self.deterministic.update(ids)
        elif self.deterministic:
            self.deterministic.difference_update(ids)

    def fill(self, ids: Sequence[AgentId], enqueued_frame: Sequence[int], rows: Mapping[str, Array]) -> None:
        """Those who wait, as a snapshot has them; whoever waited before does no longer."""
        self._wait_queue.queue.shut()
        wait_queue = WaitQueue(self.policy.all_inputs, self.policy.make_reader)
        wait_queue.fill(ids, self.policy.generations(ids), enqueued_frame, rows)  # type: ignore[arg-type]
        self.finalize()
        self._ready_queue.dirty[self] = self._ready_queue.needs_sort[self] = None
        self._wait_queue = wait_queue
        self.gone, self.seen = [], self.policy.membership_version
        self._tell()

    def saw(self, before: int) -> None:
        """The runtime itself has let agents begin or end, when the policy's changes were `before`: nothing to look after."""
        if self.seen == before and self.policy.membership_version == before + 1:
            self.seen = before + 1

    def prune_stale(self) -> None:
        """Takes out those who ended, or began anew, behind the runtime's back. Who began anew keeps its level."""
        if self.policy.membership_version == self.seen:
            return
        self.seen = self.policy.membership_version
        pushed = self.wait_queue.queue.generations
        generations = self.policy.generations(list(pushed))
        gone = [agent for (agent, generation), now in zip(pushed.items(), generations, strict=True) if generation != now]
        for agent in gone:
            self._forget_waiting(agent)
        treated = [*{**self.levels.of, **self.levels.not_due}]
        for agent, generation in zip(treated, self.policy.generations(treated), strict=True):
            if generation is None:
                self.forget(agent)
        self.gone += [agent for agent in gone if agent not in self.leaving]
        self._tell()

    def skipped(self) -> tuple[AgentId, ...]:
        """Those who wait or rest."""
        ended = self._ended
        if len(ended) == 1 and not self._wait_queue.queue.generations and not self.levels.not_due:
            in_flight = ended[0]  # nobody was pushed since its batch, which is not settled for so little
            if in_flight.wait_queue is not None and len(in_flight.wait_queue) == len(in_flight.ids):
                return in_flight.ids[in_flight.n_run:]
        ids = self.wait_queue.queue.ids
        return (*ids, *self.levels.not_due) if self.levels.not_due else ids

    def noticed(self) -> None:
        """The frame has looked at who waits; it must be told of others who come."""
        if self not in self._ready_queue.open:
            self._wait_queue.queue.shut()
        self._ready_queue.changed.pop(self, None)

    def divisible(self, frame: int) -> bool:
        """Whether a batch of all who wait may stop when its time is over. Not of very many: looking after all of them would take longer
        than a frame that decides for a few."""
        wait_queue = self.wait_queue
        n_waiting = len(wait_queue.queue.generations)
        return (n_waiting <= _MANY and self.policy.supports_deadline and not self.deterministic and not wait_queue.queue.shares
                and wait_queue.eligible(frame) == n_waiting)

    # Whose turn it is ---------------------------------------------------------------------------------------------------

    @property
    def even(self) -> bool:
        """Whether those who wait are in the order of urgency as they stand: no levels, and nobody was put in another order."""
        return self not in self._ready_queue.needs_sort

    def urgency(self, frame: int) -> float:
        """The most urgent agent's: frames waited, this one included, times priority."""
        if self.even:
            return float(frame + 1 - self.wait_queue.head_enqueued_frame)
        return max(self.urgencies(frame))

    def urgencies(self, frame: int) -> list[float]:
        """Of all that may run in this frame, in the order of the line."""
        wait_queue, priority = self.wait_queue, self.levels.priority
        enqueued_frame, agents = wait_queue.enqueued_frame, islice(wait_queue.queue.generations, wait_queue.eligible(frame))
        return [(frame + 1 - enqueued_frame.get(agent, frame)) * priority(agent) for agent in agents]

    def sort_by_urgency(self, n_rows: int, frame: int) -> None:
        """Puts the most urgent agents in front, when fewer than all run."""
        n_eligible = self.wait_queue.eligible(frame)
        if self.even or n_rows >= n_eligible:
            return
        order = np.argsort(-np.array(self.urgencies(frame)), kind="stable")
        if (order[:-1] > order[1:]).any():
            self.wait_queue.arrange(np.concatenate([order, np.arange(n_eligible, len(self.wait_queue))]))
            self._tell()
        if not self.levels.of:
            self._ready_queue.needs_sort.pop(self, None)
