"""One policy's place in a runtime: its batches, from the queue to the results, and what they cost."""

from __future__ import annotations

from contextlib import suppress
from itertools import islice

import numpy as np

from cervello.agents.membership.table import ChangedError
from cervello.agents.policy.actions import Actions
from cervello.agents.policy.policy import Measure, Measured, Policy
from cervello.agents.runtime.batch import InFlightBatch
from cervello.agents.runtime.cost_model import CostModel
from cervello.agents.runtime.ready_queue import ReadyQueue
from cervello.agents.runtime.wait_queue import WaitQueue
from cervello.agents.runtime.waiting_agents import WaitingAgents
from cervello.batcher.rows import by_agent, owned
from cervello.inferers.deadline_path import Limit
from cervello.spec import AgentId, Array


class PolicyQueue(WaitingAgents):
    """Mutable; whoever calls it holds the runtime's lock, except in `decide`.

    What a batch leaves to do when its results are in the frame (those for whom there was no time wait again, its memory is given back,
    costs are learnt) is done when the policy is needed next: by a push as a rule, so that no frame with a budget has to pay for it.

    Attributes:
      costs: what batches take; another object after a swap.
      measure: what times a model before it goes live; None to learn from the first row that it runs.
    """

    def __init__(self, name: str, policy: Policy, agenda: ReadyQueue[PolicyQueue], measure: Measure | None = None):
        super().__init__(name, policy, agenda)
        self.costs = CostModel(agenda.pace, policy.version)
        self.measure = measure
        self._spare: list[WaitQueue] = []

    def swapped(self, version: int, measured: Measured | None) -> None:
        """Another model decides from here on. Called by the thread that replaces it, with the policy's turn and without the runtime's lock:
        so costs are replaced by one assignment.

        Args:
          measured: what `measure` gave for it.
        """
        costs = CostModel(self._agenda.pace, version)
        if measured is not None:
            costs.set(*measured)
        self.costs = costs

    def take(self, n_rows: int, frame: int, limit: Limit | None = None) -> InFlightBatch:
        """The n most urgent agents with their observations, which wait no longer; pushes from here on are for another frame. Fewer, when
        they differ in a value that all rows of a batch share: those run in a batch of their own.

        Args:
          limit: with it all who wait are taken, and those wait again for whom there is no time; only where `divisible` says so.
        """
        line, agenda = self.line, self._agenda
        line.queue.shut()
        if self in agenda.needs_sort:
            self.sort_by_urgency(n_rows if limit is None else 0, frame)  # with a limit, any number of them may run
        self.last_frame = frame
        queue = line.queue
        n_rows = queue.alike(n_rows)
        whole = n_rows == len(queue.births)
        ids, columns = queue.front(n_rows)
        flags: bool | Array = False
        if self.deterministic:
            flags = np.fromiter((agent in self.deterministic for agent in ids), np.bool_, n_rows)
            self.deterministic.difference_update(ids)
        if whole:  # with its memory: nothing is copied
            spare = self._spare.pop(0) if self._spare else WaitQueue(self.policy.all_inputs, self.policy.make_reader)
            taken = InFlightBatch(ids, columns, queue.births, line.since, flags, self.seen, line, None, limit)
            # No call from here on, so no interrupt: it is in the line or under way.
            self.under_way, self._line = [*self.under_way, taken], spare
            agenda.dirty[self] = agenda.changed[self] = None
            if self in agenda.ready:
                del agenda.ready[self]
            if not self.levels.of and self in agenda.needs_sort:
                del agenda.needs_sort[self]
            return taken
        since = dict(zip(ids, map(line.since.__getitem__, ids), strict=True))
        taken = InFlightBatch(ids, columns, dict(islice(queue.births.items(), n_rows)), since, flags, self.seen, None,
                              queue.pad)
        queue.pad.pin_count += 1
        agenda.dirty[self] = None
        self.under_way = [*self.under_way, taken]  # before they leave the line: an interrupt loses nobody
        line.drop(n_rows)
        self._tell()
        return taken

    def decide(self, taken: InFlightBatch) -> tuple[tuple[AgentId, ...], Actions]:
        """Who has decided, and columns by output. Agents that have ended meanwhile, or begun anew, are left out of the batch."""
        limit = taken.limit
        if limit is not None:
            with suppress(ChangedError):
                actions = self.policy.infer_within(taken.ids, taken.columns, taken.changes, limit)
                if actions is not None:
                    return taken.ids[:limit.n_rows], actions
            limit.n_rows = limit.sure
            taken = self._first(taken, limit.sure)
        while taken.ids:
            try:
                results = self.policy.infer_batch(taken.ids, taken.columns, taken.deterministic, unchanged=taken.changes)
            except ChangedError:
                self._leave_out_the_gone(taken)
                continue
            return taken.ids, owned(results, taken.columns)
        return (), Actions()

    def _leave_out_the_gone(self, taken: InFlightBatch) -> None:
        taken.changes = self.policy.changes
        now = self.policy.births(taken.ids)
        rows = [row for row, agent in enumerate(taken.ids) if now[row] == taken.births[agent]]
        if len(rows) == len(taken.ids):
            return
        taken.ids, taken.columns = tuple(taken.ids[row] for row in rows), self._taken(taken.columns, rows)
        if not isinstance(taken.deterministic, bool):
            taken.deterministic = taken.deterministic[rows]

    def decided(self, taken: InFlightBatch, ids: tuple[AgentId, ...], columns: Actions, frame: int) -> None:
        """A batch has run; of one with a limit, those for whom there was no time wait again, in the places they had."""
        n_run = len(taken.ids) if taken.limit is None else taken.limit.n_rows
        taken.version = columns.version
        if self.levels.of:
            self.levels.decided(ids, taken.births, lambda: by_agent(ids, columns, self.odd), frame)
        self._end(taken, n_run)
        if taken.line is None:
            self._tell()  # others wait in the same line

    def _end(self, taken: InFlightBatch, n_run: int) -> None:
        """A batch is no longer under way, though not settled."""
        left = [other for other in self.under_way if other is not taken]
        if len(left) == len(self.under_way):
            return  # after an interrupt it was put back
        has_remainder = n_run < len(taken.ids)
        if has_remainder and self.policy.changes != taken.changes:
            self._leave_out_later(taken, n_run)
        # No call from here on.
        taken.n_run, taken.has_remainder, self.under_way, self._ended = n_run, has_remainder, left, [*self._ended, taken]

    def _leave_out_later(self, taken: InFlightBatch, n_run: int) -> None:
        """Of those who are to wait again, some have ended meanwhile or begun anew."""
        assert taken.line is not None
        later = taken.ids[n_run:]
        for agent, now in zip(later, self.policy.births(later), strict=True):
            if now != taken.births.get(agent):
                taken.line.forget(agent)

    def _first(self, taken: InFlightBatch, n_rows: int) -> InFlightBatch:
        """The first rows of a batch, as one of its own."""
        ids, columns = taken.ids[:n_rows], self._taken(taken.columns, range(n_rows))
        births, since = ({agent: of[agent] for agent in ids} for of in (taken.births, taken.since))
        return InFlightBatch(ids, columns, births, since, taken.deterministic, taken.changes, None, None)

    def settle(self) -> None:
        """Does what batches that have run leave to do."""
        while self._ended:
            taken = self._ended[0]
            if taken.has_remainder:
                if taken.broken:
                    self._return_rows(taken, None, self._line)
                else:
                    taken.broken = True  # if an interrupt comes
                    self._wait_again(taken)
            self._give_back(taken)
            if taken.ended_s and taken.version == self.costs.version:  # not of a model that has been replaced
                self.costs.learn(taken.n_run, taken.limit, taken.picked_s, taken.ended_s, taken.opens, taken.gross_s)
        self._line.look_at_head()  # after an interrupt there is nothing to settle, and it was not looked at
        self._tell()

    def _wait_again(self, taken: InFlightBatch) -> None:
        """Those behind the rows that have run of a batch of all who waited. Who has been pushed meanwhile keeps the place, and decides on
        the newest."""
        line, newer = taken.line, self._line
        assert line is not None
        pad = line.queue.pad  # which is another one afterwards, if nobody is left
        pad.pin_count += 1  # after an interrupt, the batch is still read here
        line.drop(taken.n_run)
        line.absorb(newer)
        pad.pin_count -= 1
        # The line comes back, and its stand-in goes; no call in between, so no interrupt.
        taken.line, taken.has_remainder, self._line = newer, False, line

    def failed(self, taken: InFlightBatch, frame: int) -> tuple[AgentId, ...]:
        """A batch has failed: those who were tried wait again behind all others, which keep their places. Returns who was tried."""
        n_tried = len(taken.ids) if taken.limit is None else min(taken.limit.sure, len(taken.ids))
        tried = taken if n_tried == len(taken.ids) else self._first(taken, n_tried)
        self.requeue(tried, frame + 1)
        if tried is not taken:
            self._end(taken, n_tried)
            self.settle()
        return tried.ids

    def requeue(self, taken: InFlightBatch, since: int | None) -> None:
        """A batch could not run: those who have not been pushed anew meanwhile wait again.

        Args:
          since: the frame they wait from, behind those who have not been tried; None for the places they had.
        """
        self._return_rows(taken, since, self.line)
        self._give_back(taken)
        self._tell()  # also when nobody had to be put back: an interrupt may have come just before

    def _return_rows(self, taken: InFlightBatch, since: int | None, line: WaitQueue) -> None:
        """Into a line, those who have not run, have not ended and have not been pushed anew."""
        later = taken.ids[taken.n_run:]
        now = self.policy.births(later)
        births, since_when = taken.births, taken.since  # those who have decided may be missing in both, after an interrupt in one only
        rows = [row for row, (agent, birth) in enumerate(zip(later, now, strict=True), taken.n_run)
                if agent in since_when and agent in births and birth == births[agent] and agent not in line.queue]
        ids = [taken.ids[row] for row in rows]
        if ids:
            before = len(line)
            line.return_columns(ids, [births[agent] for agent in ids], self._taken(taken.columns, rows),
                                [since_when[agent] if since is None else since for agent in ids])
            if since is None and before:
                line.arrange([*range(before, len(line)), *range(before)])
                self._agenda.needs_sort[self] = None
            if not isinstance(taken.deterministic, bool):
                self.deterministic.update(agent for agent, row in zip(ids, rows, strict=True) if taken.deterministic[row])
        line.look_at_head()

    def _give_back(self, taken: InFlightBatch) -> None:
        """The batch is over: its memory is used again. Once, whoever else says so: after an interrupt a batch may end that was put back."""
        left = [other for other in self.under_way if other is not taken]
        ended = [other for other in self._ended if other is not taken]
        if len(left) + len(ended) == len(self.under_way) + len(self._ended):
            return
        self.under_way, self._ended = left, ended
        if taken.pad is not None:
            taken.pad.pin_count -= 1
        if taken.line is not None:
            taken.line.clear()
            self._spare.append(taken.line)
