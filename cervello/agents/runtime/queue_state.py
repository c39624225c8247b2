"""State of one policy's queue in a runtime: who waits, how urgently, and what the ready queue knows of it."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np

from cervello.agents.policy.core import PolicyCore
from cervello.agents.runtime.batch import InFlightBatch
from cervello.agents.runtime.level_of_detail import Levels
from cervello.agents.runtime.ready_queue import ReadyQueue
from cervello.agents.runtime.wait_queue import WaitQueue
from cervello.batcher import Queue
from cervello.batcher.rows import find_non_leading_axes
from cervello.spec import AgentId

MANY_WAITING = 1024  # agents


class QueueState:
    """The agents of one policy that wait in a runtime, and the policy's place in the ready queue. Mutable; the caller holds the runtime's
    lock. `WaitingAgents` changes it.

    Attributes:
      levels: levels of detail.
      in_flight: batches in flight: dequeued, and neither decided nor requeued.
      read_in_place: whether a frame reads the queued observations in place.
      ending: agents that the runtime itself is about to end or restart.
      last_frame: the frame it last ran in; breaks ties of urgency.
      stale: agents that ended or restarted on the policy while queued; still to be reported.
      non_leading_axes: batch axes of outputs where they are not 0.
      pruned_version: the policy's membership version when stale agents were last pruned.
      number: position in the order in which policies were added.
      fast_push: adds an agent in one compiled call, without a lock, if a push has nothing else to do; see `batcher.Queue.push`. What
        gives a push more to do (levels, flags, batches in flight) changes only under the runtime's lock, which also shuts the queue: no
        agent is accepted while that lock is held.
    """

    def __init__(self, name: str, policy: PolicyCore, ready_queue: ReadyQueue[Any]):
        self.name, self.policy = name, policy
        self.number = 0
        self.levels = Levels()
        self.deterministic: set[AgentId] = set()
        self.in_flight: list[InFlightBatch] = []
        self.read_in_place = False
        self.ending: set[AgentId] = set()
        self.last_frame = -1
        self.non_leading_axes = find_non_leading_axes(policy.outputs)
        self.pruned_version = policy.membership_version
        self.stale: list[AgentId] = []
        self._ready_queue = ready_queue
        self._wait_queue = WaitQueue(policy.all_inputs, policy.make_reader)
        self.fast_push = self._wait_queue.queue.push
        self._ended: list[InFlightBatch] = []  # batches that are not finalized

    def finalize(self) -> None:
        """Finalizes batches that have run."""
        raise NotImplementedError

    @property
    def wait_queue(self) -> WaitQueue:
        """The wait queue, after finalization."""
        if self._ended or self.read_in_place:
            self.finalize()
        return self._wait_queue

    @property
    def pushed(self) -> Queue:
        """The wait queue as it is, before finalization of batches that have run."""
        return self._wait_queue.queue

    def enter(self, number: int) -> None:
        """Adds the policy to the runtime."""
        self.number = number
        self._ready_queue.members[self] = number

    def leave(self) -> None:
        """Removes the policy from the runtime; a batch of it may still run."""
        if self.read_in_place:
            self.finalize()
        own: ReadyQueue[Any] = ReadyQueue()
        ready_queue, self._ready_queue = self._ready_queue, own
        ready_queue.forget(self)

    def _notify(self) -> None:
        """Updates the ready queue: agents may have begun or ceased to wait."""
        wait_queue, ready_queue = self._wait_queue, self._ready_queue
        ready_queue.changed[self] = None
        if wait_queue.queue.generations and not self.in_flight:
            ready_queue.ready[self] = wait_queue.head_enqueued_frame, self.last_frame, self.number
        elif self in ready_queue.ready:
            del ready_queue.ready[self]
        self._mark_clean()

    def _mark_clean(self) -> None:
        """Marks a change as complete."""
        if not self.in_flight and not self._ended and self in self._ready_queue.dirty:
            del self._ready_queue.dirty[self]

    def skipped(self) -> tuple[AgentId, ...]:
        """Agents that wait or are not due."""
        ended = self._ended
        if len(ended) == 1 and not self._wait_queue.queue.generations and not self.levels.not_due:
            in_flight = ended[0]  # no push since its batch, so it need not be finalized for this
            if in_flight.wait_queue is not None and len(in_flight.wait_queue) == len(in_flight.ids):
                return in_flight.ids[in_flight.n_run:]
        ids = self.wait_queue.queue.ids
        return (*ids, *self.levels.not_due) if self.levels.not_due else ids

    def mark_reported(self) -> None:
        """Marks the waiting agents as seen by the frame; later changes must be reported to it."""
        if self not in self._ready_queue.open:
            self._wait_queue.queue.shut()
        self._ready_queue.changed.pop(self, None)

    def supports_limit(self, frame: int) -> bool:
        """Whether a batch of all waiting agents may stop at its time limit. Not for very many agents: their bookkeeping would take longer
        than a frame that decides for a few."""
        wait_queue = self.wait_queue
        n_waiting = len(wait_queue.queue.generations)
        return (n_waiting <= MANY_WAITING and self.policy.supports_deadline and not self.deterministic and not wait_queue.queue.shares
                and wait_queue.eligible(frame) == n_waiting)

    # Urgency ------------------------------------------------------------------------------------------------------------

    @property
    def is_sorted(self) -> bool:
        """Whether waiting agents are already in order of urgency: no levels, and no reordering."""
        return self not in self._ready_queue.needs_sort

    def urgency(self, frame: int) -> float:
        """Urgency of the most urgent agent: frames waited, this one included, times priority."""
        if self.is_sorted:
            return float(frame + 1 - self.wait_queue.head_enqueued_frame)
        return max(self.urgencies(frame))

    def urgencies(self, frame: int) -> list[float]:
        """Urgency of all agents that may run in this frame, in queue order."""
        wait_queue, priority = self.wait_queue, self.levels.priority
        enqueued_frame, agents = wait_queue.enqueued_frame, islice(wait_queue.queue.generations, wait_queue.eligible(frame))
        return [(frame + 1 - enqueued_frame.get(agent, frame)) * priority(agent) for agent in agents]

    def sort_by_urgency(self, n_rows: int, frame: int) -> None:
        """Moves the most urgent agents to the front, if fewer than all run."""
        n_eligible = self.wait_queue.eligible(frame)
        if self.is_sorted or n_rows >= n_eligible:
            return
        order = np.argsort(-np.array(self.urgencies(frame)), kind="stable")
        if (order[:-1] > order[1:]).any():
            self.wait_queue.arrange(np.concatenate([order, np.arange(n_eligible, len(self.wait_queue))]))
            self._notify()
        if not self.levels.by_agent:
            self._ready_queue.needs_sort.pop(self, None)
