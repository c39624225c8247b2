"""One policy's place in a runtime: who waits for it, whose turn it is, and what its batches cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

import numpy as np

from cervello.agents.membership.table import ChangedError
from cervello.agents.policy.actions import Actions
from cervello.agents.policy.policy import Measure, Measured, Policy
from cervello.agents.runtime.batch import InFlightBatch
from cervello.agents.runtime.cost_model import CostModel
from cervello.agents.runtime.level_of_detail import Levels
from cervello.agents.runtime.ready_queue import ReadyQueue
from cervello.agents.runtime.wait_queue import WaitQueue
from cervello.batcher.pad import checked
from cervello.batcher.rows import by_agent, completed, odd_axes, owned
from cervello.errors import AgentError
from cervello.inferers.deadline_path import Limit
from cervello.native.execution.arguments import check_names, fitted
from cervello.spec import AgentId, Array

_MANY = 1024  # agents who wait


class PolicyQueue:
    """Mutable; whoever calls it holds the runtime's lock, except in `decide`.

    What a batch leaves to do when its results are in the frame (those for whom there was no time wait again, its memory is given back,
    costs are learnt) is done when the policy is needed next: by a push as a rule, so that no frame has to pay for it.

    Attributes:
      levels: how agents are treated.
      costs: what batches take; another object after a swap.
      measure: what times a model before it goes live; None to learn from the first row that it runs.
      under_way: batches that were taken and are neither decided nor put back.
      leaving: agents that the runtime itself is about to end or restart.
      last_frame: when it was run last, for those that wait equally long.
      gone: those who ended, or began anew, behind the runtime's back while they waited; somebody has to be told.
      odd: batch axes of outputs whose rows do not lie in front.
      seen: the policy's changes when it was looked for agents that are gone.
      number: of the order in which policies were added.
      accept: adds an agent in one compiled call, without a lock, where a push has nothing else to do; see `batcher.Queue.push`. Every
        change of that is made under the runtime's lock, with which nobody is accepted.
    """

    def __init__(self, name: str, policy: Policy, agenda: ReadyQueue[PolicyQueue], measure: Measure | None = None):
        self.name, self.policy = name, policy
        self.number = 0
        self.levels = Levels()
        self.deterministic: set[AgentId] = set()
        self.costs = CostModel(agenda.pace, policy.version)
        self.measure = measure
        self.under_way: list[InFlightBatch] = []
        self.leaving: set[AgentId] = set()
        self.last_frame = -1
        self.odd = odd_axes(policy.outputs)
        self.seen = policy.changes
        self.gone: list[AgentId] = []
        self._agenda = agenda
        self._line = WaitQueue(policy.all_inputs, policy.make_reader)
        self.accept = self._line.queue.push
        self._ended: list[InFlightBatch] = []  # batches that are not settled
        self._spare: list[WaitQueue] = []

    @property
    def line(self) -> WaitQueue:
        """The agents who wait, with everything settled."""
        if self._ended:
            self.settle()
        return self._line

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

    def enter(self, number: int) -> None:
        """It is in the runtime from here on."""
        self.number = number
        self._agenda.members[self] = number

    def leave(self) -> None:
        """It is no longer in the runtime, though a batch of it may still run."""
        own: ReadyQueue[PolicyQueue] = ReadyQueue()
        agenda, self._agenda = self._agenda, own
        agenda.forget(self)

    def _tell(self) -> None:
        """Somebody may wait, or no longer do so."""
        line, agenda = self._line, self._agenda
        agenda.changed[self] = None
        if line.queue.births and not self.under_way:
            agenda.ready[self] = line.head_since, self.last_frame, self.number
        elif self in agenda.ready:
            del agenda.ready[self]
        self._at_rest()

    def _at_rest(self) -> None:
        """A change is over, and noted."""
        if not self.under_way and not self._ended and self in self._agenda.dirty:
            del self._agenda.dirty[self]

    # Who waits ----------------------------------------------------------------------------------------------------------

    def set_level(self, agent: AgentId, every: int, priority: float, hold: str) -> None:
        """How an agent is treated from here on."""
        self._line.queue.shut()
        self._agenda.needs_sort[self] = None
        self.levels.set(agent, every, priority, hold)

    def forget(self, agent: AgentId) -> None:
        """Everything about an agent."""
        self.levels.forget(agent)
        self._forget_waiting(agent)

    def _forget_waiting(self, agent: AgentId) -> None:
        self._agenda.dirty[self] = None
        if self.line.forget(agent):
            self.deterministic.discard(agent)
        self._tell()

    def checked(self, agent: AgentId, observation: Mapping[str, Any]) -> dict[str, Array]:
        """An observation as arrays that fit; may run code of the caller's, so before any lock is taken."""
        return checked(self.policy.all_inputs, observation, agent, self.policy.name)

    def fitted(self, ids: Sequence[AgentId], columns: Mapping[str, Any]) -> dict[str, Array]:
        """Columns that fit distinct agents; as `checked`."""
        self.policy.check_distinct(ids)
        if isinstance(columns, Mapping):  # what it is otherwise, the next line refuses
            columns = completed(self.policy.all_inputs, columns, len(ids))
        check_names(self.policy.name, self.policy.all_inputs, columns)
        return {name: fitted(self.policy.name, spec, columns[name], len(ids)) for name, spec in self.policy.all_inputs.items()}

    def push(self, agent: AgentId, arrays: Mapping[str, Array], frame: int, deterministic: bool) -> None:
        """The newest observation of an agent, which keeps its place when it waits already."""
        line = self._settled()
        birth = self._births((agent,))[0]
        if not self.levels.is_due(agent, birth, frame, line.queue.births):
            self.levels.not_due[agent] = None
            self._agenda.changed[self] = None
            return
        self.levels.not_due.pop(agent, None)
        self._agenda.dirty[self] = None
        before = line.queue.changes
        line.put(agent, birth, arrays, frame)
        self._pushed(before)
        self._flag((agent,), deterministic)
        self.accept_others()

    def push_batch(self, ids: Sequence[AgentId], arrays: Mapping[str, Array], frame: int, deterministic: bool) -> None:
        """Newest observations of many, all or none."""
        line = self._settled()
        births = self._births(ids)
        if self.levels.of:
            due = [self.levels.is_due(agent, birth, frame, line.queue.births) for agent, birth in zip(ids, births, strict=True)]
            if not all(due):
                self.levels.not_due.update(dict.fromkeys(agent for agent, yes in zip(ids, due, strict=True) if not yes))
                self._agenda.changed[self] = None
                keep = [row for row, yes in enumerate(due) if yes]
                ids, births = [ids[i] for i in keep], [births[i] for i in keep]
                arrays = self._taken(arrays, keep)
        if self.levels.not_due:
            for agent in ids:
                self.levels.not_due.pop(agent, None)
        self._agenda.dirty[self] = None
        before = line.queue.changes
        line.put_columns(ids, births, arrays, frame)
        self._pushed(before)
        self._flag(ids, deterministic)
        if len(ids) <= len(line) < min(2 * len(ids), _MANY):  # else many small pushes would look everybody up again and again
            self.policy.look_up(line.queue.ids)
            line.queue.prepare()

    def _settled(self) -> WaitQueue:
        """The line before a push; also when the last one was interrupted."""
        if self in self._agenda.dirty:
            self.settle()
        if self in self._agenda.open:
            self.look()
        self._line.queue.shut()
        return self._line

    def accept_others(self) -> None:
        """Further pushes need no more than a row, if there is nothing special about agents, and those who wait are known."""
        agenda, levels, line = self._agenda, self.levels, self._line
        if levels.of or levels.not_due or self.deterministic or self.under_way or self._ended:
            return
        if not line.queue.births:
            agenda.open[self] = None
        elif self not in agenda.ready or self not in agenda.changed:
            return
        line.open()
        self.accept = line.queue.push

    def look(self) -> None:
        """Whoever has come since nobody waited is known from here on."""
        line = self._line
        if line.queue.births:
            line.look_at_head()
            self._tell()
        else:
            line.queue.shut()
        self._agenda.open.pop(self, None)  # last: an interrupt may come before

    def _pushed(self, before: int) -> None:
        """There is no news when all waited already."""
        if self._line.queue.changes != before:
            self._tell()
        else:
            self._at_rest()

    def _births(self, ids: Sequence[AgentId]) -> list[int]:
        """When agents began; raises AgentError for one that is not there."""
        births = self.policy.births(ids)
        if None in births:
            self.policy.check_agents(ids)
            raise AgentError(f"agents: expected agents that have begun, got {ids[births.index(None)]!r}")
        return births  # type: ignore[return-value]

    def _taken(self, columns: Mapping[str, Array], rows: Sequence[int]) -> dict[str, Array]:
        """Some rows of columns, as columns of their own."""
        return {name: columns[name] if spec.batch_axis is None else np.take(columns[name], rows, spec.batch_axis)
                for name, spec in self.policy.all_inputs.items()}

    def _flag(self, ids: Iterable[AgentId], deterministic: bool) -> None:
        if deterministic:
            self.deterministic.update(ids)
        elif self.deterministic:
            self.deterministic.difference_update(ids)

    def fill(self, ids: Sequence[AgentId], since: Sequence[int], rows: Mapping[str, Array]) -> None:
        """Those who wait, as a snapshot has them; whoever waited before does no longer."""
        self._line.queue.shut()
        line = WaitQueue(self.policy.all_inputs, self.policy.make_reader)
        line.fill(ids, self.policy.births(ids), since, rows)  # type: ignore[arg-type]
        self.settle()
        self._agenda.dirty[self] = self._agenda.needs_sort[self] = None
        self._line = line
        self.gone, self.seen = [], self.policy.changes
        self._tell()

    def saw(self, before: int) -> None:
        """The runtime itself has let agents begin or end, when the policy's changes were `before`: nothing to look after."""
        if self.seen == before and self.policy.changes == before + 1:
            self.seen = before + 1

    def prune_stale(self) -> None:
        """Takes out those who ended, or began anew, behind the runtime's back. Who began anew keeps its level."""
        if self.policy.changes == self.seen:
            return
        self.seen = self.policy.changes
        pushed = self.line.queue.births
        births = self.policy.births(list(pushed))
        gone = [agent for (agent, birth), now in zip(pushed.items(), births, strict=True) if birth != now]
        for agent in gone:
            self._forget_waiting(agent)
        treated = [*{**self.levels.of, **self.levels.not_due}]
        for agent, birth in zip(treated, self.policy.births(treated), strict=True):
            if birth is None:
                self.forget(agent)
        self.gone += [agent for agent in gone if agent not in self.leaving]
        self._tell()

    def skipped(self) -> tuple[AgentId, ...]:
        """Those who wait or rest."""
        ended = self._ended
        if len(ended) == 1 and not self._line.queue.births and not self.levels.not_due:
            taken = ended[0]  # nobody was pushed since its batch, which is not settled for so little
            if taken.line is not None and len(taken.line) == len(taken.ids):
                return taken.ids[taken.n_run:]
        ids = self.line.queue.ids
        return (*ids, *self.levels.not_due) if self.levels.not_due else ids

    def noticed(self) -> None:
        """The frame has looked at who waits; it must be told of others who come."""
        if self not in self._agenda.open:
            self._line.queue.shut()
        self._agenda.changed.pop(self, None)

    def divisible(self, frame: int) -> bool:
        """Whether a batch of all who wait may stop when its time is over. Not of very many: looking after all of them would take longer
        than a frame that decides for a few."""
        line = self.line
        n_waiting = len(line.queue.births)
        return (n_waiting <= _MANY and self.policy.supports_deadline and not self.deterministic and not line.queue.shares
                and line.eligible(frame) == n_waiting)

    # Whose turn it is ---------------------------------------------------------------------------------------------------

    @property
    def even(self) -> bool:
        """Whether those who wait are in the order of urgency as they stand: no levels, and nobody was put in another order."""
        return self not in self._agenda.needs_sort

    def urgency(self, frame: int) -> float:
        """The most urgent agent's: frames waited, this one included, times priority."""
        if self.even:
            return float(frame + 1 - self.line.head_since)
        return max(self.urgencies(frame))

    def urgencies(self, frame: int) -> list[float]:
        """Of all that may run in this frame, in the order of the line."""
        line, priority = self.line, self.levels.priority
        since, agents = line.since, islice(line.queue.births, line.eligible(frame))
        return [(frame + 1 - since.get(agent, frame)) * priority(agent) for agent in agents]

    def sort_by_urgency(self, n_rows: int, frame: int) -> None:
        """Puts the most urgent agents in front, when fewer than all run."""
        n_eligible = self.line.eligible(frame)
        if self.even or n_rows >= n_eligible:
            return
        order = np.argsort(-np.array(self.urgencies(frame)), kind="stable")
        if (order[:-1] > order[1:]).any():
            self.line.arrange(np.concatenate([order, np.arange(n_eligible, len(self.line))]))
            self._tell()
        if not self.levels.of:
            self._agenda.needs_sort.pop(self, None)

    # Running ------------------------------------------------------------------------------------------------------------

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
        batch = queue.head(n_rows)
        flags: bool | Array = False
        if self.deterministic:
            flags = np.fromiter((agent in self.deterministic for agent in batch.ids), np.bool_, n_rows)
            self.deterministic.difference_update(batch.ids)
        if whole:  # with its memory: nothing is copied
            spare = self._spare.pop(0) if self._spare else WaitQueue(self.policy.all_inputs, self.policy.make_reader)
            taken = InFlightBatch(batch.ids, batch.columns, queue.births, line.since, flags, self.seen, line, None, limit)
            # No call from here on, so no interrupt: it is in the line or under way.
            self.under_way, self._line = [*self.under_way, taken], spare
            agenda.dirty[self] = agenda.changed[self] = None
            if self in agenda.ready:
                del agenda.ready[self]
            if not self.levels.of and self in agenda.needs_sort:
                del agenda.needs_sort[self]
            return taken
        since = dict(zip(batch.ids, map(line.since.__getitem__, batch.ids), strict=True))
        taken = InFlightBatch(batch.ids, batch.columns, dict(islice(queue.births.items(), n_rows)), since, flags, self.seen, None,
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
        left, ended = ([other for other in batches if other is not taken] for batches in (self.under_way, self._ended))
        if len(left) + len(ended) == len(self.under_way) + len(self._ended):
            return
        self.under_way, self._ended = left, ended
        if taken.pad is not None:
            taken.pad.pin_count -= 1
        if taken.line is not None:
            taken.line.clear()
            self._spare.append(taken.line)
