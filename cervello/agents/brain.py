"""One policy's place in a runtime: who waits for it, whose turn it is, and what its batches cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
from cervello.native.arrays import check_names, fitted
from cervello.spec import AgentId, Array

_NOBODY = 1 << 62
_PLAIN = Level()


@dataclass(slots=True)
class Taken:
    """A batch on its way: who, what they observe, when they had begun, since when they wait, and whether they may draw.

    Attributes:
      changes: the policy's, when everybody was looked at last.
      queue: whose memory the columns are, when a whole crowd was taken with its queue.
      pad: whose memory they are otherwise.
    """

    ids: tuple[AgentId, ...]
    columns: Mapping[str, Array]
    births: Mapping[AgentId, int]
    since: Mapping[AgentId, int]
    deterministic: bool | Array
    changes: int
    queue: Queue | None
    pad: ScratchPad | None


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
      picked_s: the clock when its batch was chosen; what it costs is counted from here.
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
        self._odd = odd_axes(policy.outputs)
        self.phases: dict[int, int] = {}
        self.seen = policy.changes
        self.head_since = _NOBODY
        self.gone: list[AgentId] = []
        self.picked_s = 0.0
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
    def busy(self) -> bool:
        """Whether a batch of it is under way."""
        return bool(self.under_way)

    @property
    def told(self) -> bool:
        """Whether the last `skipped` still says who is skipped: nobody else waits, nobody rests, holds a decision or is gone."""
        return self._skipped == self.queue.changes and not self.resting and not self.held and not self.gone

    def skipped(self) -> tuple[AgentId, ...]:
        """Those who wait or rest."""
        self._skipped = -1 if self.resting else self.queue.changes
        return (*self.queue.births, *self.resting)

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

    def take(self, n_rows: int, frame: int) -> Taken:
        """The n most urgent agents with their observations, which wait no longer; pushes from here on are for another frame. Fewer, when
        they differ in a value that all rows of a batch share: those run in a batch of their own."""
        if not self.plain:
            self.bring_forward(n_rows, frame)
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
            since, self.since = self.since, {}
            self.head_since, self.plain, self._skipped = _NOBODY, not self.levels, -1
            self.queue = self._spare.pop() if self._spare else Queue(self.policy.inputs)
            taken = Taken(batch.ids, batch.columns, queue.births, since, flags, self.seen, queue, None)
            self.under_way.append(taken)
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

    def decide(self, taken: Taken) -> Actions:
        """{agent: {output: row}}. Agents that have ended meanwhile, or begun anew, are left out of the batch."""
        while taken.ids:
            try:
                results = self.policy.infer_batch(taken.ids, taken.columns, taken.deterministic, unchanged=taken.changes)
            except ChangedError:
                self._leave_out_the_gone(taken)
                continue
            return by_agent(taken.ids, owned(results, taken.columns), self._odd)  # type: ignore[no-any-return]
        return Actions()

    def _leave_out_the_gone(self, taken: Taken) -> None:
        taken.changes = self.policy.changes
        now = self.policy.births(taken.ids)
        rows = [row for row, agent in enumerate(taken.ids) if now[row] == taken.births[agent]]
        if len(rows) == len(taken.ids):
            return
        taken.ids, taken.columns = tuple(taken.ids[row] for row in rows), self._taken(taken.columns, rows)
        if not isinstance(taken.deterministic, bool):
            taken.deterministic = taken.deterministic[rows]

    def decided(self, taken: Taken, actions: Actions, frame: int) -> None:
        """A batch has run."""
        if self.levels:
            for agent in taken.ids:
                level = self.levels.get(agent)
                if level is not None and level.birth == taken.births[agent]:
                    level.decided(frame)
                    if level.hold == "last":
                        # Copies: a row is a window into its whole batch, which would live as long.
                        self.held[agent] = {name: np.array(row) for name, row in actions[agent].items()}
        self._give_back(taken)

    def put_back(self, taken: Taken, since: int | None) -> None:
        """A batch could not run: those who have not been pushed anew meanwhile wait again.

        Args:
          since: the frame they wait from, behind those who have not been tried; None for the places they had.
        """
        now = self.policy.births(taken.ids)
        rows = [row for row, agent in enumerate(taken.ids) if now[row] == taken.births[agent] and agent not in self.queue]
        ids = [taken.ids[row] for row in rows]
        if ids:
            columns = self._taken(taken.columns, rows)
            before = len(self.queue)
            self.queue.put_columns(ids, [taken.births[agent] for agent in ids], columns)
            if since is None:
                self.since.update((agent, taken.since[agent]) for agent in ids)
                if before:
                    self.queue.arrange([*range(before, len(self.queue)), *range(before)])
                    self.plain = False
                self.look_at_head()
            else:
                self._wait(ids, since)
            if not isinstance(taken.deterministic, bool):
                self.deterministic.update(agent for agent, row in zip(ids, rows, strict=True) if taken.deterministic[row])
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
