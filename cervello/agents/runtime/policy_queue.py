"""Queue of one policy in a runtime: its batches from dequeue to results, and their costs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from itertools import islice

import numpy as np

from cervello.agents.membership.table import ChangedError
from cervello.agents.policy.actions import Actions
from cervello.agents.policy.core import Measure, Measured, PolicyCore
from cervello.agents.runtime.batch import InFlightBatch
from cervello.agents.runtime.cost_model import CostModel
from cervello.agents.runtime.ready_queue import ReadyQueue
from cervello.agents.runtime.wait_queue import WaitQueue
from cervello.agents.runtime.waiting_agents import WaitingAgents
from cervello.batcher.rows import by_agent, owned
from cervello.inferers.deadline_path import Limit
from cervello.spec import AgentId, Array


class PolicyQueue(WaitingAgents):
    """Queue of one policy. Mutable; the caller holds the runtime's lock, except in `decide`.

    Finalization of a batch (requeuing rows that were out of time, releasing its memory, learning costs) is deferred until the policy
    is next used, usually by a push, so that it does not count against a frame's budget.

    Attributes:
      costs: cost model of its batches; replaced when the model is replaced.
      measure: times a model before it goes live; None to learn from the first row that runs.
    """

    def __init__(self, name: str, policy: PolicyCore, ready_queue: ReadyQueue[PolicyQueue], measure: Measure | None = None):
        super().__init__(name, policy, ready_queue)
        self.costs = CostModel(ready_queue.slowdown, policy.version)
        self.measure = measure
        self._spare: list[WaitQueue] = []

    def on_swap(self, version: int, measured: Measured | None) -> None:
        """Replaces the costs after a change of model. The replacing thread calls it with the policy's exclusive lock and without the
        runtime's lock, so it is one assignment.

        Args:
          measured: result of `measure` for the new model.
        """
        costs = CostModel(self._ready_queue.slowdown, version)
        if measured is not None:
            costs.initialize(*measured)
        self.costs = costs

    def dequeue(self, n_rows: int, frame: int, limit: Limit | None = None) -> InFlightBatch:
        """Dequeues the n most urgent agents with their observations; later pushes are for another frame. Returns fewer if agents differ in
        a value shared by all rows of a batch, or in size: those run in a batch of their own.

        Args:
          limit: all waiting agents are dequeued, and those out of time are requeued; only where `supports_limit` allows it.
        """
        wait_queue, ready_queue = self.wait_queue, self._ready_queue
        wait_queue.queue.shut()
        if self in ready_queue.needs_sort:
            self.sort_by_urgency(n_rows if limit is None else 0, frame)  # with a limit, any number of them may run
        self.last_frame = frame
        queue = wait_queue.queue
        if queue.shares:
            ready_queue.needs_sort[self] = None  # until the gathered agents have been removed
            n_rows = queue.gather_equal(n_rows)
        whole = n_rows == len(queue.generations)
        ids, columns = queue.front(n_rows)
        flags: bool | Array = False
        if self.deterministic:
            flags = np.fromiter((agent in self.deterministic for agent in ids), np.bool_, n_rows)
            self.deterministic.difference_update(ids)
        if whole:  # with its memory: nothing is copied
            spare = self._spare.pop(0) if self._spare else WaitQueue(self.policy.all_inputs, self.policy.make_reader)
            in_flight = InFlightBatch(ids, columns, queue.generations, wait_queue.enqueued_frame, flags, self.pruned_version, wait_queue,
                                      None, limit)
            # No call from here on, so no interrupt: the batch is either queued or in flight.
            self.in_flight, self._wait_queue = [*self.in_flight, in_flight], spare
            ready_queue.dirty[self] = ready_queue.changed[self] = None
            if self in ready_queue.ready:
                del ready_queue.ready[self]
            if not self.levels.by_agent and self in ready_queue.needs_sort:
                del ready_queue.needs_sort[self]
            return in_flight
        enqueued_frame = dict(zip(ids, map(wait_queue.enqueued_frame.__getitem__, ids), strict=True))
        in_flight = InFlightBatch(ids, columns, dict(islice(queue.generations.items(), n_rows)), enqueued_frame, flags,
                                  self.pruned_version, None, queue.pad)
        queue.pad.pin_count += 1
        ready_queue.dirty[self] = None
        self.in_flight = [*self.in_flight, in_flight]  # before they are dequeued: an interrupt loses no agent
        wait_queue.drop(n_rows)
        self._notify()
        return in_flight

    def postpone(self, fitted_s: float, frame: int) -> None:
        """Called if not even one row of the first agents fits into a frame. Does nothing: all agents of this queue cost the same.
        `SizedQueue`, whose agents differ in cost, moves the slow ones behind the others.

        Args:
          fitted_s: fitted seconds that are available in the frame.
        """

    def read(self, frame: int) -> tuple[PolicyQueue, tuple[AgentId, ...], Mapping[str, Array], int]:
        """All waiting agents, with their observations in place, for `in_place_frame`; later pushes are for another frame."""
        queue = self._wait_queue.queue
        queue.shut()
        self.last_frame = frame
        self.read_in_place = True
        return self, *queue.front(len(queue.generations)), self.pruned_version

    def detach(self) -> InFlightBatch:
        """Turns the batch that is read in place into a dequeued one; returns the same one if called again."""
        if self.read_in_place:
            self.read_in_place = False
            try:
                in_flight = self.dequeue(len(self._wait_queue.queue.generations), self.last_frame)
            except BaseException:  # nothing was taken: the batch is still read in place
                self.read_in_place = True
                raise
            self._ready_queue.open.pop(self, None)  # last: until then an interrupted frame finds the agents by it
            return in_flight
        return self.in_flight[-1]

    def decided_in_place(self, ids: tuple[AgentId, ...], columns: Actions, frame: int) -> None:
        """Removes a batch that was read in place and has run; agents pushed meanwhile stay queued."""
        if self.read_in_place:
            self.read_in_place = False
            self._wait_queue.clear()
        else:
            self.decided(self.in_flight[-1], ids, columns, frame)

    def decide(self, in_flight: InFlightBatch) -> tuple[tuple[AgentId, ...], Actions]:
        """Runs a batch; returns ids and columns by output. Agents that have ended or restarted meanwhile are left out."""
        limit = in_flight.limit
        if limit is not None:
            with suppress(ChangedError):
                actions = self.policy.infer_within(in_flight.ids, in_flight.columns, in_flight.membership_version, limit)
                if actions is not None:
                    return in_flight.ids[:limit.n_rows], actions
            limit.n_rows = limit.guaranteed_rows
            in_flight = self._prefix(in_flight, limit.guaranteed_rows)
        while in_flight.ids:
            try:
                results = self.policy.infer_batch(in_flight.ids, in_flight.columns, in_flight.deterministic,
                                                  expected_version=in_flight.membership_version)
            except ChangedError:
                self._drop_stale_rows(in_flight)
                continue
            return in_flight.ids, owned(results, in_flight.columns)
        return (), Actions()

    def _drop_stale_rows(self, in_flight: InFlightBatch) -> None:
        in_flight.membership_version = self.policy.membership_version
        now = self.policy.generations(in_flight.ids)
        rows = [row for row, agent in enumerate(in_flight.ids) if now[row] == in_flight.generations[agent]]
        if len(rows) == len(in_flight.ids):
            return
        in_flight.ids, in_flight.columns = tuple(in_flight.ids[row] for row in rows), self._select_rows(in_flight.columns, rows)
        if not isinstance(in_flight.deterministic, bool):
            in_flight.deterministic = in_flight.deterministic[rows]

    def decided(self, in_flight: InFlightBatch, ids: tuple[AgentId, ...], columns: Actions, frame: int) -> None:
        """Records that a batch has run. Rows of a batch with a limit that were out of time are requeued in their old places."""
        n_run = len(in_flight.ids) if in_flight.limit is None else in_flight.limit.n_rows
        in_flight.version = columns.version
        if self.levels.by_agent:
            self.levels.decided(ids, in_flight.generations, lambda: by_agent(ids, columns, self.non_leading_axes), frame)
        self._mark_ended(in_flight, n_run)
        if in_flight.wait_queue is None:
            self._notify()  # others wait in the same queue

    def _mark_ended(self, in_flight: InFlightBatch, n_run: int) -> None:
        """Removes a batch from those in flight; it is not finalized yet."""
        left = [other for other in self.in_flight if other is not in_flight]
        if len(left) == len(self.in_flight):
            return  # it was requeued after an interrupt
        has_remainder = n_run < len(in_flight.ids)
        if has_remainder and self.policy.membership_version != in_flight.membership_version:
            self._forget_stale_remainder(in_flight, n_run)
        # No call from here on.
        in_flight.n_run, in_flight.has_remainder, self.in_flight, self._ended = n_run, has_remainder, left, [*self._ended, in_flight]

    def _forget_stale_remainder(self, in_flight: InFlightBatch, n_run: int) -> None:
        """Marks that some agents to be requeued have ended or restarted meanwhile."""
        assert in_flight.wait_queue is not None
        later = in_flight.ids[n_run:]
        for agent, now in zip(later, self.policy.generations(later), strict=True):
            if now != in_flight.generations.get(agent):
                in_flight.wait_queue.forget(agent)

    def _prefix(self, in_flight: InFlightBatch, n_rows: int) -> InFlightBatch:
        """The first rows of a batch, as a batch of its own."""
        ids, columns = in_flight.ids[:n_rows], self._select_rows(in_flight.columns, range(n_rows))
        generations, enqueued_frame = ({agent: of[agent] for agent in ids} for of in (in_flight.generations, in_flight.enqueued_frame))
        return InFlightBatch(ids, columns, generations, enqueued_frame, in_flight.deterministic, in_flight.membership_version, None, None)

    def finalize(self) -> None:
        """Finalizes batches that have run, and detaches the batch that is read in place, since the queue is about to change."""
        if self.read_in_place:
            self.detach()
        while self._ended:
            in_flight = self._ended[0]
            if in_flight.has_remainder:
                if in_flight.interrupted:
                    self._return_rows(in_flight, None, self._wait_queue)
                else:
                    in_flight.interrupted = True  # detected if an interrupt comes
                    self._requeue_remainder(in_flight)
            self._release(in_flight)
            if in_flight.ended_s:
                costs = self._costs_of_batch(in_flight)
                if in_flight.version == costs.version:  # not of a model that has been replaced
                    costs.learn(in_flight.n_run, in_flight.limit, in_flight.picked_s, in_flight.ended_s, in_flight.is_first,
                                in_flight.gross_s)
        self._wait_queue.look_at_head()  # an interrupt may have left nothing to finalize and the head not updated
        self._notify()

    def _costs_of_batch(self, in_flight: InFlightBatch) -> CostModel:
        """The cost model that learns from a batch."""
        return self.costs

    def _requeue_remainder(self, in_flight: InFlightBatch) -> None:
        """Requeues the rows of a whole-queue batch that have not run. Agents pushed meanwhile keep their places and their newest
        observation."""
        wait_queue, newer = in_flight.wait_queue, self._wait_queue
        assert wait_queue is not None
        pad = wait_queue.queue.pad  # replaced later if no agent is left
        pad.pin_count += 1  # after an interrupt, the batch is still read here
        wait_queue.drop(in_flight.n_run)
        wait_queue.merge(newer)
        pad.pin_count -= 1
        # The original queue replaces the one that took later pushes; no call in between, so no interrupt.
        in_flight.wait_queue, in_flight.has_remainder, self._wait_queue = newer, False, wait_queue

    def failed(self, in_flight: InFlightBatch, frame: int) -> tuple[AgentId, ...]:
        """Handles a failed batch: its agents are requeued behind all others, which keep their places. Returns the agents tried."""
        n_tried = len(in_flight.ids) if in_flight.limit is None else min(in_flight.limit.guaranteed_rows, len(in_flight.ids))
        tried = in_flight if n_tried == len(in_flight.ids) else self._prefix(in_flight, n_tried)
        self.requeue(tried, frame + 1)
        if tried is not in_flight:
            self._mark_ended(in_flight, n_tried)
            self.finalize()
        return tried.ids

    def requeue(self, in_flight: InFlightBatch, enqueued_frame: int | None) -> None:
        """Requeues a batch that could not run, except agents that have been pushed again meanwhile.

        Args:
          enqueued_frame: the frame they wait from, behind agents that have not been tried; None for their old places.
        """
        self._return_rows(in_flight, enqueued_frame, self.wait_queue)
        self._release(in_flight)
        self._notify()  # also if no row was requeued: an interrupt may have come just before

    def _return_rows(self, in_flight: InFlightBatch, enqueued_frame: int | None, wait_queue: WaitQueue) -> None:
        """Returns to a queue the agents that have not run, have not ended and have not been pushed again."""
        later = in_flight.ids[in_flight.n_run:]
        now = self.policy.generations(later)
        # Agents that have decided may be missing in both; after an interrupt, in one only.
        generations, enqueued_frames = in_flight.generations, in_flight.enqueued_frame
        rows = [row for row, (agent, generation) in enumerate(zip(later, now, strict=True), in_flight.n_run)
                if agent in enqueued_frames and agent in generations and generation == generations[agent] and agent not in wait_queue.queue]
        ids = [in_flight.ids[row] for row in rows]
        if ids:
            before = len(wait_queue)
            wait_queue.return_columns(ids, [generations[agent] for agent in ids], self._select_rows(in_flight.columns, rows),
                                      [enqueued_frames[agent] if enqueued_frame is None else enqueued_frame for agent in ids])
            if enqueued_frame is None and before:
                wait_queue.arrange([*range(before, len(wait_queue)), *range(before)])
                self._ready_queue.needs_sort[self] = None
            if not isinstance(in_flight.deterministic, bool):
                self.deterministic.update(agent for agent, row in zip(ids, rows, strict=True) if in_flight.deterministic[row])
        wait_queue.look_at_head()

    def _release(self, in_flight: InFlightBatch) -> None:
        """Releases the batch's memory, once: after an interrupt, a batch that was requeued may also end."""
        left = [other for other in self.in_flight if other is not in_flight]
        ended = [other for other in self._ended if other is not in_flight]
        if len(left) + len(ended) == len(self.in_flight) + len(self._ended):
            return
        self.in_flight, self._ended = left, ended
        if in_flight.pad is not None:
            in_flight.pad.pin_count -= 1
        if in_flight.wait_queue is not None:
            in_flight.wait_queue.clear()
            self._spare.append(in_flight.wait_queue)
