"""One policy's place in a runtime: who waits for it, whose turn it is, and what its batches cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from cervello.agents.actions import Actions
from cervello.agents.costs import CostModel, Pace
from cervello.agents.levels import Level
from cervello.agents.policy import Policy
from cervello.agents.table import ChangedError
from cervello.batcher import Queue
from cervello.batcher.pad import ScratchPad, checked
from cervello.batcher.rows import by_agent, odd_axes, owned
from cervello.errors import AgentError
from cervello.inferers.timely import Limit
from cervello.native.arrays import check_names, fitted
from cervello.spec import AgentId, Array

_NOBODY = 1 << 62
_MANY = 1024  # agents who wait
_PLAIN = Level()


@dataclass(slots=True)
class Taken:
    """A batch on its way: who, what they observe, when they had begun, since when they wait, and whether they may draw.

    Attributes:
      changes: the policy's, when everybody was looked at last.
      queue: whose memory the columns are, when a whole crowd was taken with its queue.
      pad: whose memory they are otherwise.
      limit: how long it may take, for one that need not run as a whole; it says afterwards how many rows have run.
    """

    ids: tuple[AgentId, ...]
    columns: Mapping[str, Array]
    births: Mapping[AgentId, int]
    since: dict[AgentId, int]
    deterministic: bool | Array
    changes: int
    queue: Queue | None
    pad: ScratchPad | None
    limit: Limit | None = None


class Brain:
    """Mutable; whoever calls it holds the runtime's lock, except in `decide`.

    Attributes:
      queue: the newest observation of everybody who waits, longest waiting first where all have one priority.
      since: the frame in which each of them began to wait.
      levels: of agents that are not treated as all others.
      resting: agents that were pushed in this frame and whose turn it is not.
      held: last decisions of agents that want them repeated.
      phases: the phase that the next agent gets, by `every`.
      costs: what batches take.
      under_way: batches that were taken and are neither decided nor put back.
      leaving: agents that the runtime itself is about to end or restart.
      plain: whether the queue is in the order of urgency as it stands: no levels, and nobody was put in another order.
      last_frame: when it was run last, for those that wait equally long.
      head_since: the frame from which the first of the queue waits; a number beyond all frames when nobody does. Kept up to date by every
        change, most of which happen between frames, so that a frame need not ask for it.
      gone: those who ended, or began anew, behind the runtime's back while they waited; somebody has to be told.
      odd: batch axes of outputs whose rows do not lie in front.
      picked_s: the clock when its batch was chosen; what it costs is counted from here.
      opens: whether that was the first batch of its frame.
      seen: the policy's changes when it was looked for agents that are gone.
    """

    def __init__(self, name: str, policy: Policy, pace: Pace):
        self.name, self.policy = name, policy
        self.queue = Queue(policy.inputs)
        self.since: dict[AgentId, int] = {}
        self.levels: dict[AgentId, Level] = {}
        self.resting: dict[AgentId, None] = {}
        self.held: dict[AgentId, dict[str, Array]] = {}
        self.deterministic: set[AgentId] = set()
        self.costs = CostModel(pace)
        self.under_way: list[Taken] = []
        self.leaving: set[AgentId] = set()
        self.last_frame = -1
        self.odd = odd_axes(policy.outputs)
        self.phases: dict[int, int] = {}
        self.seen = policy.changes
        self.head_since = _NOBODY
        self.gone: list[AgentId] = []
        self.picked_s, self.opens = 0.0, False
        self._spare: list[Queue] = []
        self.plain = True
        self._fresh = (-1, 0)
        self._skipped = -1

    # Who waits ----------------------------------------------------------------------------------------------------------

    def begin(self, agent: AgentId, every: int, priority: float, hold: str) -> None:
        """Sets an agent's level; its phase is the next in turn, so that a crowd does not decide in one frame."""
        was = self.levels.get(agent, _PLAIN)
        self.plain = False
        if (every, priority, hold) == (1, 1.0, "none"):
            self.levels.pop(agent, None)
            self.held.pop(agent, None)
            return
        phase = was.phase
        if every != was.every or agent not in self.levels:
            phase = self.phases.get(every, 0)
            self.phases[every] = (phase + 1) % every
        level = Level(every, phase, priority, hold, was.next_frame, was.birth)
        if agent in self.levels and every != was.every:
            level.next_frame = min(was.next_frame, was.next_frame - was.every + every)
        self.levels[agent] = level
        if hold == "none":
            self.held.pop(agent, None)

    def forget(self, agent: AgentId) -> None:
        """Everything about an agent."""
        for kept in (self.levels, self.resting, self.held):
            kept.pop(agent, None)
        self._forget_waiting(agent)

    def _forget_waiting(self, agent: AgentId) -> None:
        if not self.queue.discard(agent):
            return
        newest, n_fresh = self._fresh
        if self.since.pop(agent) == newest:
            self._fresh = newest, n_fresh - 1
        self.deterministic.discard(agent)
        self.look_at_head()

    def checked(self, agent: AgentId, observation: Mapping[str, Any]) -> dict[str, Array]:
        """An observation as arrays that fit; may run code of the caller's, so before any lock is taken."""
        return checked(self.queue.pad.specs, observation, agent)

    def fitted(self, ids: Sequence[AgentId], columns: Mapping[str, Any]) -> dict[str, Array]:
        """Columns that fit distinct agents; as `checked`."""
        self.policy.check_distinct(ids)
        check_names(self.policy.name, self.policy.inputs, columns)
        return {name: fitted(self.policy.name, spec, columns[name], len(ids)) for name, spec in self.policy.inputs.items()}

    def push(self, agent: AgentId, arrays: Mapping[str, Array], frame: int, deterministic: bool) -> None:
        """The newest observation of an agent, which keeps its place when it waits already."""
        if self.costs.noted:
            self.costs.learn()
        birth = self._births((agent,))[0]
        if not self._is_due(agent, birth, frame):
            self.resting[agent] = None
            return
        self.resting.pop(agent, None)
        self.queue.put(agent, birth, arrays)
        self._wait((agent,), frame)
        self._flag((agent,), deterministic)

    def push_batch(self, ids: Sequence[AgentId], arrays: Mapping[str, Array], frame: int, deterministic: bool) -> None:
        """Newest observations of many, all or none."""
        if self.costs.noted:
            self.costs.learn()
        births = self._births(ids)
        if self.levels:
            due = [self._is_due(agent, birth, frame) for agent, birth in zip(ids, births, strict=True)]
            if not all(due):
                self.resting.update(dict.fromkeys(agent for agent, yes in zip(ids, due, strict=True) if not yes))
                keep = [row for row, yes in enumerate(due) if yes]
                ids, births = [ids[i] for i in keep], [births[i] for i in keep]
                arrays = self._taken(arrays, keep)
        if self.resting:
            for agent in ids:
                self.resting.pop(agent, None)
        self.queue.put_columns(ids, births, arrays)
        self._wait(ids, frame)
        self._flag(ids, deterministic)
        if len(ids) <= len(self.queue.births) < min(2 * len(ids), _MANY):  # else many small pushes would look everybody up again and again
            self.policy.look_up(self.queue.ids)

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
                for name, spec in self.policy.inputs.items()}

    def _is_due(self, agent: AgentId, birth: int, frame: int) -> bool:
        level = self.levels.get(agent)
        if level is None:
            return True
        if level.birth != birth:  # another episode than the one it decided in last
            if level.birth is not None:
                level.next_frame = frame
                self.held.pop(agent, None)
            level.birth = birth
        return level.next_frame <= frame or agent in self.queue

    def _wait(self, ids: Iterable[AgentId], frame: int) -> None:
        """Notes since when agents wait; those of the newest frame lie at the back of the queue and are counted."""
        since = self.since
        before = len(since)
        for agent in ids:
            since.setdefault(agent, frame)
        newest, n_fresh = self._fresh
        self._fresh = frame, len(since) - before + (n_fresh if newest == frame else 0)
        if not before:
            self.look_at_head()

    def look_at_head(self) -> None:
        """Notes since when the first of the queue waits."""
        births = self.queue.births
        self.head_since = self.since[next(iter(births))] if births else _NOBODY

    def eligible(self, frame: int) -> int:
        """How many of the queue, from the front, may run in a frame: those who were pushed before the next one began."""
        newest, n_fresh = self._fresh
        return len(self.queue.births) - (n_fresh if newest > frame else 0)

    def _flag(self, ids: Iterable[AgentId], deterministic: bool) -> None:
        if deterministic:
            self.deterministic.update(ids)
        elif self.deterministic:
            self.deterministic.difference_update(ids)

    def fill(self, ids: Sequence[AgentId], since: Sequence[int], rows: Mapping[str, Array]) -> None:
        """Those who wait, as a snapshot has them; whoever waited before does no longer."""
        self.queue.clear()
        self.queue.put_rows(ids, self.policy.births(ids), rows)  # type: ignore[arg-type]
        self.plain = False
        self.since, self._fresh = dict(zip(ids, since, strict=True)), (-1, 0)
        self.gone, self.seen = [], self.policy.changes
        self.look_at_head()

    def saw(self, before: int) -> None:
        """The runtime itself has let agents begin or end, when the policy's changes were `before`: nothing to look after."""
        if self.seen == before and self.policy.changes == before + 1:
            self.seen = before + 1

    def drop_the_gone(self) -> None:
        """Takes out those who ended, or began anew, behind the runtime's back. Who began anew keeps its level."""
        if self.policy.changes == self.seen:
            return
        self.seen = self.policy.changes
        pushed = self.queue.births
        births = self.policy.births(list(pushed))
        gone = [agent for (agent, birth), now in zip(pushed.items(), births, strict=True) if birth != now]
        for agent in gone:
            self._forget_waiting(agent)
        treated = [*{**self.levels, **self.resting}]
        for agent, birth in zip(treated, self.policy.births(treated), strict=True):
            if birth is None:
                self.forget(agent)
        self.gone += [agent for agent in gone if agent not in self.leaving]

    @property
    def told(self) -> bool:
        """Whether the last `skipped` still says who is skipped: nobody else waits, nobody rests, holds a decision or is gone."""
        return self._skipped == self.queue.changes and not self.resting and not self.held and not self.gone

    def skipped(self) -> tuple[AgentId, ...]:
        """Those who wait or rest."""
        self._skipped = -1 if self.resting else self.queue.changes
        return (*self.queue.ids, *self.resting) if self.resting else self.queue.ids

    def divisible(self, frame: int) -> bool:
        """Whether a batch of all who wait may stop when its time is over. Not of very many: looking after all of them would take longer
        than a frame that decides for a few."""
        n_waiting = len(self.queue.births)
        return (n_waiting <= _MANY and self.policy.can_stop and not self.deterministic and not self.queue.shares
                and self.eligible(frame) == n_waiting)

    # Whose turn it is ---------------------------------------------------------------------------------------------------

    def urgency(self, frame: int) -> float:
        """The most urgent agent's: frames waited, this one included, times priority."""
        if self.plain:
            return float(frame + 1 - self.head_since)
        return max(self.urgencies(frame))

    def urgencies(self, frame: int) -> list[float]:
        """Of all that may run in this frame, in the order of the queue."""
        levels, since, agents = self.levels, self.since, islice(self.queue.births, self.eligible(frame))
        return [(frame + 1 - since[agent]) * levels.get(agent, _PLAIN).priority for agent in agents]

    def bring_forward(self, n_rows: int, frame: int) -> None:
        """Puts the most urgent agents in front, when fewer than all run."""
        n_eligible = self.eligible(frame)
        if self.plain or n_rows >= n_eligible:
            return
        order = np.argsort(-np.array(self.urgencies(frame)), kind="stable")
        if (order[:-1] > order[1:]).any():
            self.queue.arrange(np.concatenate([order, np.arange(n_eligible, len(self.queue))]))
            self.look_at_head()
        self.plain = not self.levels

    # Running ------------------------------------------------------------------------------------------------------------

    def take(self, n_rows: int, frame: int, limit: Limit | None = None) -> Taken:
        """The n most urgent agents with their observations, which wait no longer; pushes from here on are for another frame. Fewer, when
        they differ in a value that all rows of a batch share: those run in a batch of their own.

        Args:
          limit: with it all who wait are taken, and those wait again for whom there is no time; only where `divisible` says so.
        """
        if not self.plain:
            self.bring_forward(n_rows if limit is None else 0, frame)  # with a limit, any number of them may run
        self.last_frame = frame
        queue = self.queue
        n_rows = queue.alike(n_rows)
        whole = n_rows == len(queue.births)
        batch = queue.head(n_rows)
        flags: bool | Array = False
        if self.deterministic:
            flags = np.fromiter((agent in self.deterministic for agent in batch.ids), np.bool_, n_rows)
            self.deterministic.difference_update(batch.ids)
        if whole:  # with its memory: nothing is copied
            spare = self._spare.pop() if self._spare else Queue(self.policy.inputs)
            taken = Taken(batch.ids, batch.columns, queue.births, self.since, flags, self.seen, queue, None, limit)
            # No call from here on, so no interrupt: it is in the queue or under way.
            self.under_way, self.queue, self.since = [*self.under_way, taken], spare, {}
            self.head_since, self.plain, self._skipped = _NOBODY, not self.levels, -1
            return taken
        since = dict(zip(batch.ids, map(self.since.__getitem__, batch.ids), strict=True))
        taken = Taken(batch.ids, batch.columns, dict(islice(queue.births.items(), n_rows)), since, flags, self.seen, None, queue.pad)
        queue.pad.lent += 1
        self.under_way.append(taken)  # before they leave the queue: an interrupt loses nobody
        queue.drop(n_rows)
        for agent in batch.ids:
            del self.since[agent]
        self.look_at_head()
        return taken

    def decide(self, taken: Taken) -> tuple[tuple[AgentId, ...], Actions]:
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

    def _leave_out_the_gone(self, taken: Taken) -> None:
        taken.changes = self.policy.changes
        now = self.policy.births(taken.ids)
        rows = [row for row, agent in enumerate(taken.ids) if now[row] == taken.births[agent]]
        if len(rows) == len(taken.ids):
            return
        taken.ids, taken.columns = tuple(taken.ids[row] for row in rows), self._taken(taken.columns, rows)
        if not isinstance(taken.deterministic, bool):
            taken.deterministic = taken.deterministic[rows]

    def decided(self, taken: Taken, ids: tuple[AgentId, ...], columns: Actions, frame: int) -> None:
        """A batch has run; of one with a limit, those for whom there was no time wait again, in the places they had."""
        n_rows = len(taken.ids) if taken.limit is None else taken.limit.n_rows
        if self.levels:
            rows: Any = None
            for agent in ids:
                level = self.levels.get(agent)
                if level is not None and level.birth == taken.births[agent]:
                    level.decided(frame)
                    if level.hold == "last":
                        rows = by_agent(ids, columns, self.odd) if rows is None else rows
                        # Copies: a row is a window into its whole batch, which would live as long.
                        self.held[agent] = {name: np.array(row) for name, row in rows[agent].items()}
        if n_rows < len(taken.ids):
            self._wait_again(taken, n_rows)
        self._give_back(taken)

    def _first(self, taken: Taken, n_rows: int) -> Taken:
        """The first rows of a batch, as one of its own."""
        ids, columns = taken.ids[:n_rows], self._taken(taken.columns, range(n_rows))
        births, since = ({agent: of[agent] for agent in ids} for of in (taken.births, taken.since))
        return Taken(ids, columns, births, since, taken.deterministic, taken.changes, None, None)

    def _wait_again(self, taken: Taken, n_rows: int) -> None:
        """Those behind the first rows of a batch that took the whole queue. Who has been pushed meanwhile keeps the place, and decides on
        the newest."""
        queue, newer = taken.queue, self.queue
        assert queue is not None
        queue.pad.lent += 1  # after an interrupt, the batch is still read here
        since = taken.since
        queue.drop(n_rows)
        for agent in taken.ids[:n_rows]:
            since.pop(agent, None)
        if self.policy.changes != taken.changes:
            births = self.policy.births(queue.ids)
            for agent, birth, now in zip(queue.ids, list(queue.births.values()), births, strict=True):
                if birth != now:
                    queue.discard(agent)
                    del since[agent]
        fresh = self._fresh
        if newer.births:
            queue.absorb(newer)
            since = {**self.since, **since}
            fresh = fresh[0], sum(when == fresh[0] for when in since.values())
        head_since = since[next(iter(queue.births))] if queue.births else _NOBODY
        queue.pad.lent -= 1
        # The queue comes back, and its stand-in goes; no call in between, so no interrupt.
        taken.queue, self.queue, self.since, self.head_since, self._fresh = newer, queue, since, head_since, fresh

    def failed(self, taken: Taken, frame: int) -> tuple[AgentId, ...]:
        """A batch has failed: those who were tried wait again behind all others, which keep their places. Returns who was tried."""
        n_tried = len(taken.ids) if taken.limit is None else min(taken.limit.sure, len(taken.ids))
        tried = taken if n_tried == len(taken.ids) else self._first(taken, n_tried)
        if tried is not taken:
            self._wait_again(taken, n_tried)
        self.put_back(tried, frame + 1)
        self._give_back(taken)
        return tried.ids

    def note(self, taken: Taken) -> None:
        """What a batch took that has run."""
        self.costs.note(len(taken.ids) if taken.limit is None else taken.limit.n_rows, taken.limit, self.picked_s, self.opens)

    def put_back(self, taken: Taken, since: int | None) -> None:
        """A batch could not run: those who have not been pushed anew meanwhile wait again.

        Args:
          since: the frame they wait from, behind those who have not been tried; None for the places they had.
        """
        now = self.policy.births(taken.ids)
        births, since_when = taken.births, taken.since  # those who have decided may be missing in both, after an interrupt in one only
        rows = [row for row, agent in enumerate(taken.ids) if agent in since_when and agent in births and now[row] == births[agent]
                and agent not in self.queue]
        ids = [taken.ids[row] for row in rows]
        if ids:
            columns = self._taken(taken.columns, rows)
            before = len(self.queue)
            self.queue.put_columns(ids, [taken.births[agent] for agent in ids], columns)
            if since is None:
                self.since.update((agent, since_when[agent]) for agent in ids)
                if before:
                    self.queue.arrange([*range(before, len(self.queue)), *range(before)])
                    self.plain = False
            else:
                self._wait(ids, since)
            if not isinstance(taken.deterministic, bool):
                self.deterministic.update(agent for agent, row in zip(ids, rows, strict=True) if taken.deterministic[row])
        self.look_at_head()  # also when nobody had to be put back: an interrupt may have come just before
        self._give_back(taken)

    def _give_back(self, taken: Taken) -> None:
        """The batch is over: its memory is used again. Once, whoever else says so: after an interrupt a batch may end that was put back."""
        left = [other for other in self.under_way if other is not taken]
        if len(left) == len(self.under_way):
            return
        self.under_way = left
        if taken.pad is not None:
            taken.pad.lent -= 1
        if taken.queue is not None:
            taken.queue.clear()
            self._spare.append(taken.queue)
