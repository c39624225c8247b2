"""One policy's place in a runtime: who waits for it, whose turn it is, and what its batches cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from cervello.agents.actions import Actions
from cervello.agents.costs import CostModel, Pace
from cervello.agents.levels import Level
from cervello.agents.policy import Policy
from cervello.batcher import Queue
from cervello.batcher.pad import checked
from cervello.batcher.rows import by_agent, odd_axes, owned
from cervello.native.arrays import check_names, fitted
from cervello.spec import AgentId, Array

_NOBODY = 1 << 62
_PLAIN = Level()


@dataclass(slots=True)
class Taken:
    """A batch on its way: who, what they observe, when they had begun, since when they wait, and whether they may draw.

    Attributes:
      queue: whose memory the columns are, when a whole crowd was taken with its queue.
    """

    ids: tuple[AgentId, ...]
    columns: Mapping[str, Array]
    births: Mapping[AgentId, int]
    since: Mapping[AgentId, int]
    deterministic: bool | Array
    queue: Queue | None


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
      busy: whether a batch of it is under way.
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
        self.busy = False
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
        level = Level(every, phase, priority, hold, was.next_frame)
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

    def push(self, agent: AgentId, observation: Mapping[str, Any], frame: int, deterministic: bool) -> None:
        """The newest observation of an agent, which keeps its place when it waits already."""
        birth = self.policy.births((agent,))[0]
        if birth is None:
            self.policy.check_agents((agent,))
        arrays = checked(self.queue.pad.specs, observation, agent)
        if not self._is_due(agent, frame):
            self.resting[agent] = None
            return
        self.resting.pop(agent, None)
        assert birth is not None
        self.queue.put(agent, birth, arrays)
        self._wait((agent,), frame)
        self._flag((agent,), deterministic)

    def push_batch(self, ids: Sequence[AgentId], columns: Mapping[str, Any], frame: int, deterministic: bool) -> None:
        """Newest observations of many, all or none."""
        policy, n_rows = self.policy, len(ids)
        births = policy.births(ids)
        if None in births:
            policy.check_agents(ids)
        policy.check_distinct(ids)
        check_names(policy.name, policy.inputs, columns)
        arrays = {name: fitted(policy.name, spec, columns[name], n_rows) for name, spec in policy.inputs.items()}
        if self.levels:
            due = [self._is_due(agent, frame) for agent in ids]
            if not all(due):
                self.resting.update(dict.fromkeys(agent for agent, yes in zip(ids, due, strict=True) if not yes))
                keep = [row for row, yes in enumerate(due) if yes]
                ids, births = [ids[i] for i in keep], [births[i] for i in keep]
                arrays = {name: array if spec.batch_axis is None else np.take(array, keep, spec.batch_axis)
                          for (name, spec), array in zip(policy.inputs.items(), arrays.values(), strict=True)}
        if self.resting:
            for agent in ids:
                self.resting.pop(agent, None)
        self.queue.put_columns(ids, births, arrays)  # type: ignore[arg-type]
        self._wait(ids, frame)
        self._flag(ids, deterministic)

    def _is_due(self, agent: AgentId, frame: int) -> bool:
        level = self.levels.get(agent)
        return level is None or level.next_frame <= frame or agent in self.queue

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

    def changed(self, change: Callable[[], None]) -> None:
        """Lets agents begin or end by way of the runtime, which is nothing to look after."""
        known = self.policy.changes == self.seen
        change()
        if known:
            self.seen = self.policy.changes

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
        for agent in [agent for agent in {**self.levels, **self.resting} if agent not in self.policy]:
            self.forget(agent)
        self.gone += gone

    @property
    def told(self) -> bool:
        """Whether the last `skipped` still says who is skipped: nobody else waits, nobody rests, holds a decision or is gone."""
        return self._skipped == self.queue.changes and not self.resting and not self.held and not self.gone

    def skipped(self) -> tuple[AgentId, ...]:
        """Those who wait or rest."""
        self._skipped = self.queue.changes
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
        self.bring_forward(n_rows, frame)
        self.busy, self.last_frame = True, frame
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
            return Taken(batch.ids, batch.columns, queue.births, since, flags, queue)
        births, since = queue.births, self.since
        taken = Taken(batch.ids, {name: column.copy() for name, column in batch.columns.items()},
                      {agent: births[agent] for agent in batch.ids}, {agent: since.pop(agent) for agent in batch.ids}, flags, None)
        queue.drop(n_rows)
        self.look_at_head()
        return taken

    def decide(self, taken: Taken) -> Actions:
        """{agent: {output: row}}."""
        results = self.policy.infer_batch(taken.ids, taken.columns, taken.deterministic)
        if taken.queue is not None:
            results = owned(results, taken.columns)
        return by_agent(taken.ids, results, self._odd)  # type: ignore[no-any-return]

    def decided(self, taken: Taken, actions: Actions, frame: int) -> None:
        """A batch has run."""
        self._give_back(taken)
        if self.levels:
            for agent in taken.ids:
                level = self.levels.get(agent)
                if level is not None:
                    level.decided(frame)
                    if level.hold == "last":
                        # Copies: a row is a window into its whole batch, which would live as long.
                        self.held[agent] = {name: np.array(row) for name, row in actions[agent].items()}

    def put_back(self, taken: Taken, since: int | None) -> None:
        """A batch could not run: those who have not been pushed anew meanwhile wait again.

        Args:
          since: the frame they wait from, behind those who have not been tried; None for the places they had.
        """
        now = self.policy.births(taken.ids)
        rows = [row for row, agent in enumerate(taken.ids) if now[row] == taken.births[agent] and agent not in self.queue]
        ids = [taken.ids[row] for row in rows]
        if ids:
            columns = {name: column if spec.batch_axis is None else np.take(column, rows, spec.batch_axis)
                       for (name, spec), column in zip(self.policy.inputs.items(), taken.columns.values(), strict=True)}
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
        """The batch is over: its queue's memory is used again."""
        self.busy = False
        if taken.queue is not None:
            taken.queue.clear()
            self._spare.append(taken.queue)
