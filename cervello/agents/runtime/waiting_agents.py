"""Waiting agents of one policy of a runtime: pushes, levels of detail, and removal of agents that have ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from cervello.agents.runtime.queue_state import MANY_WAITING, QueueState
from cervello.agents.runtime.wait_queue import WaitQueue
from cervello.batcher.observation import checked
from cervello.batcher.open_pad import is_ragged
from cervello.batcher.rows import completed
from cervello.errors import AgentError
from cervello.native.execution.arguments import check_names, fitted
from cervello.spec import AgentId, Array


class WaitingAgents(QueueState):
    """Waiting agents of one policy. Mutable; the caller holds the runtime's lock. `PolicyQueue` runs them."""

    def set_level(self, agent: AgentId, every: int, priority: float, hold: str) -> None:
        """Sets the level of detail of an agent."""
        if self.read_in_place:
            self.finalize()
        self._wait_queue.queue.shut()
        self._ready_queue.needs_sort[self] = None
        self.levels.set(agent, every, priority, hold)

    def forget(self, agent: AgentId) -> None:
        """Removes all state of an agent."""
        self.levels.forget(agent)
        self._forget_waiting(agent)

    def _forget_waiting(self, agent: AgentId) -> None:
        self._ready_queue.dirty[self] = None
        if self.wait_queue.forget(agent):
            self.deterministic.discard(agent)
        self._notify()

    def checked(self, agent: AgentId, observation: Mapping[str, Any]) -> dict[str, Array]:
        """An observation as arrays that fit. May run the caller's code, so it is called before any lock is acquired."""
        return checked(self.policy.inputs_for(agent, observation), observation, agent, self.policy.name)

    def fitted(self, ids: Sequence[AgentId], columns: Mapping[str, Any]) -> dict[str, Array]:
        """Columns that fit distinct agents; as `checked`."""
        self.policy.check_distinct(ids)
        if isinstance(columns, Mapping):  # anything else is rejected by the next line
            columns = completed(self.policy.all_inputs, columns, len(ids))
        check_names(self.policy.name, self.policy.all_inputs, columns)
        open_sizes = self.policy.engine.sizes
        if open_sizes is not None:
            return open_sizes.fitted(ids, columns)
        return {name: fitted(self.policy.name, spec, columns[name], len(ids)) for name, spec in self.policy.all_inputs.items()}

    def push(self, agent: AgentId, arrays: Mapping[str, Array], frame: int, deterministic: bool) -> None:
        """Queues the newest observation of an agent; an agent that is already queued keeps its place."""
        wait_queue = self._queue_for_push()
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
        self._set_deterministic((agent,), deterministic)
        self.open_fast_push()

    def push_batch(self, ids: Sequence[AgentId], arrays: Mapping[str, Array], frame: int, deterministic: bool) -> None:
        """Queues the newest observations of many agents, all or none."""
        wait_queue = self._queue_for_push()
        generations = self._generations(ids)
        if self.levels.by_agent:
            due = [self.levels.is_due(agent, generation, frame, wait_queue.queue.generations)
                   for agent, generation in zip(ids, generations, strict=True)]
            if not all(due):
                keep = [row for row, yes in enumerate(due) if yes]
                arrays = self._select_rows(arrays, keep)
                self.levels.not_due.update(dict.fromkeys(agent for agent, yes in zip(ids, due, strict=True) if not yes))
                self._ready_queue.changed[self] = None
                ids, generations = [ids[i] for i in keep], [generations[i] for i in keep]
        if self.levels.not_due:
            for agent in ids:
                self.levels.not_due.pop(agent, None)
        self._ready_queue.dirty[self] = None
        before = wait_queue.queue.changes
        wait_queue.put_columns(ids, generations, arrays, frame)
        self._pushed(before)
        self._set_deterministic(ids, deterministic)
        # Otherwise many small pushes would look up all agents again and again.
        if len(ids) <= len(wait_queue) < min(2 * len(ids), MANY_WAITING):
            self.policy.look_up(wait_queue.queue.ids)
            wait_queue.queue.prepare()

    def _queue_for_push(self) -> WaitQueue:
        """The wait queue before a push, repaired if the last push was interrupted."""
        if self in self._ready_queue.dirty or self.read_in_place:
            self.finalize()
        if self in self._ready_queue.open:
            self.collect_pushed()
        self._wait_queue.queue.shut()
        return self._wait_queue

    def open_fast_push(self) -> None:
        """Opens the fast push, which only copies a row, if no agent needs special treatment and all waiting agents are known."""
        ready_queue, levels, wait_queue = self._ready_queue, self.levels, self._wait_queue
        if levels.by_agent or levels.not_due or self.deterministic or self.in_flight or self._ended:
            return
        if not wait_queue.queue.generations:
            ready_queue.open[self] = None
        elif self not in ready_queue.ready or self not in ready_queue.changed:
            return
        wait_queue.open()
        self.fast_push = wait_queue.queue.push

    def reopen_fast_push(self) -> None:
        """Opens the fast push again after a frame that read batches in place, if no agent was queued or removed meanwhile."""
        if self in self._ready_queue.open:
            wait_queue = self._wait_queue
            if wait_queue.queue.generations or self.levels.by_agent or self.levels.not_due or self.deterministic:
                self.collect_pushed()  # agents were pushed during the frame, for the next one, or need special treatment from now on
            else:
                wait_queue.open()
                self.fast_push = wait_queue.queue.push

    def collect_pushed(self) -> None:
        """Updates the state for agents accepted by the fast push since the queue was empty."""
        wait_queue = self._wait_queue
        if wait_queue.queue.generations:
            wait_queue.look_at_head()
            self._notify()
        else:
            wait_queue.queue.shut()
        self._ready_queue.open.pop(self, None)  # last: an interrupt may come before

    def _pushed(self, before: int) -> None:
        """Updates the ready queue only if the set of waiting agents changed."""
        if self._wait_queue.queue.changes != before:
            self._notify()
        else:
            self._mark_clean()

    def _generations(self, ids: Sequence[AgentId]) -> list[int]:
        """Generations of agents; raises AgentError for one that is not active."""
        generations = self.policy.generations(ids)
        if None in generations:
            self.policy.check_agents(ids)
            raise AgentError(f"agents: expected agents that have begun, got {ids[generations.index(None)]!r}")
        return generations  # type: ignore[return-value]

    def _select_rows(self, columns: Mapping[str, Array], rows: Sequence[int]) -> dict[str, Array]:
        """A copy of some rows of columns."""
        return {name: columns[name] if spec.batch_axis is None else
                np.take(columns[name], rows, 0 if is_ragged(columns[name]) else spec.batch_axis)
                for name, spec in self.policy.all_inputs.items()}

    def _set_deterministic(self, ids: Iterable[AgentId], deterministic: bool) -> None:
        if deterministic:
            self.deterministic.update(ids)
        elif self.deterministic:
            self.deterministic.difference_update(ids)

    def fill(self, ids: Sequence[AgentId], enqueued_frame: Sequence[int], rows: Mapping[str, Array]) -> None:
        """Replaces the waiting agents by those of a snapshot."""
        self._wait_queue.queue.shut()
        wait_queue = WaitQueue(self.policy.all_inputs, self.policy.make_reader)
        wait_queue.fill(ids, self.policy.generations(ids), enqueued_frame, rows)  # type: ignore[arg-type]
        self.finalize()
        self._ready_queue.dirty[self] = self._ready_queue.needs_sort[self] = None
        self._wait_queue = wait_queue
        self.stale, self.pruned_version = [], self.policy.membership_version
        self._notify()

    def note_own_change(self, before: int) -> None:
        """Notes the runtime's own change of agents, made at membership version `before`, so that nothing needs pruning."""
        if self.pruned_version == before and self.policy.membership_version == before + 1:
            self.pruned_version = before + 1

    def prune_stale(self) -> None:
        """Removes agents that ended or restarted without the runtime's knowledge. A restarted agent keeps its level."""
        if self.policy.membership_version == self.pruned_version:
            return
        self.pruned_version = self.policy.membership_version
        pushed = self.wait_queue.queue.generations
        generations = self.policy.generations(list(pushed))
        stale = [agent for (agent, generation), now in zip(pushed.items(), generations, strict=True) if generation != now]
        for agent in stale:
            self._forget_waiting(agent)
        with_level = [*{**self.levels.by_agent, **self.levels.not_due}]
        for agent, generation in zip(with_level, self.policy.generations(with_level), strict=True):
            if generation is None:
                self.forget(agent)
        self.stale += [agent for agent in stale if agent not in self.ending]
        self._notify()
