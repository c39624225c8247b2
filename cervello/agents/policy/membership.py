"""Begins, ends and restarts agents, all named or none, through the table, the wrappers and the inferer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from threading import get_ident
from typing import TypeVar

import numpy as np

from cervello.agents.membership import deferred
from cervello.agents.membership.ids import Ids, Subset, as_id_list, broadcast, check_distinct, check_id_types, is_per_agent
from cervello.agents.membership.in_place_restart import InitialRows
from cervello.agents.membership.lock import ExclusiveLock
from cervello.agents.membership.table import AgentTable
from cervello.agents.policy import snapshot, snapshot_format
from cervello.agents.policy.engine import Engine
from cervello.errors import AgentError
from cervello.inferers import ModelInferer
from cervello.spec import AgentId, Array, Inferer

T = TypeVar("T")
Numbers = int | Sequence[int] | Array


class Membership:
    """Active agents, and the hooks to call on changes. Mutable; every change holds the exclusive lock.

    Attributes:
      engine: the current engine.
    """

    def __init__(self, table: AgentTable, engine: Engine, lock: ExclusiveLock):
        self.engine = engine
        self._table, self._lock = table, lock
        self._deferred_ends: dict[AgentId, None] = {}  # agents whose end is deferred
        engine.stack.reserve(table.capacity)

    def begin(self, ids: Ids, stream: Numbers, episode: Numbers | None) -> None:
        """As `Policy.begin_agents`."""
        names = as_id_list(ids, ordered=is_per_agent(stream) or is_per_agent(episode))
        streams = broadcast("stream", stream, len(names))
        given = None if episode is None else broadcast("episode", episode, len(names))

        def change() -> None:
            numbers = self._table.check_begin(names)
            episodes = broadcast("episode", self._table.past.next_episodes(names), len(names)) if given is None else given
            if names:
                self._begin(names, numbers, streams, episodes)

        self.exclusive(change)

    def end(self, ids: Ids) -> None:
        """As `Policy.end_agents`."""
        names = as_id_list(ids, ordered=False)

        def change() -> None:
            self._notify_end(self._lock.write(lambda: self._table.end(names)))

        if names:
            self.exclusive(change, lambda: self._defer_end(names))

    def exclusive(self, change: Callable[[], T], otherwise: Callable[[], T] | None = None) -> T:
        """As `ExclusiveLock.exclusive`, after deferred ends."""
        def after() -> T:
            if self._deferred_ends:
                self._end_deferred()
            return change()

        return self._lock.exclusive(after, otherwise)

    def _defer_end(self, names: Sequence[AgentId]) -> None:
        """Defers the end until this thread releases its locks, or until the next change of agents by another thread."""
        self.check_can_end(names, self._deferred_ends.__contains__)
        self._deferred_ends.update(dict.fromkeys(names))
        deferred.defer(self._run_deferred_ends)

    def check_can_end(self, names: Sequence[AgentId], is_deferred: Callable[[AgentId], bool]) -> list[int | None]:
        """The generations of agents whose end is to be deferred.

        Args:
          is_deferred: whether the end of an agent is deferred already.
        Raises:
          AgentError: an unknown agent, or one that is named twice or whose end is deferred already.
        """
        check_id_types(names)
        check_distinct("agents", names)
        generations = self._lock.read(self._table.generations, names)
        if self._lock.writer != get_ident():  # otherwise the table is incomplete at this point; unknown agents are left out later
            for agent, generation in zip(names, generations, strict=True):
                if generation is None or is_deferred(agent):
                    raise AgentError(f"agents: expected agents that have begun, got {agent!r}; it has ended already, or never begun")
        return generations

    def _run_deferred_ends(self) -> None:
        if self._deferred_ends:
            self.exclusive(lambda: None)

    def _end_deferred(self) -> None:
        """Ends the agents whose end was deferred and that are still active; this thread holds the exclusive lock. Errors of hooks are
        logged."""
        while self._deferred_ends:
            deferred_ends = list(self._deferred_ends)
            for agent in deferred_ends:
                self._deferred_ends.pop(agent, None)
            names = [agent for agent in deferred_ends if agent in self._table.slots]
            if names:
                old = self._lock.write(lambda names=names: self._table.end(names))  # type: ignore[misc]
                try:
                    self._notify_end(old)
                except Exception as error:
                    deferred.log_error(error)

    def restart(self, ids: Ids, stream: Numbers | None, episode: Numbers | None) -> None:
        """As `Policy.restart_agents`. Agents keep their slots, so that an earlier lookup stays valid.

        If a hook may fail, or a running batch will store to those slots, the next episode begins in other slots before the last one
        ends.
        """
        some = type(ids) is Subset
        names = list(ids) if some else as_id_list(ids, ordered=is_per_agent(stream) or is_per_agent(episode))

        def change() -> None:
            table = self._table
            old = table.slots_of(ids) if some else table.look_up(names)
            streams = table.streams_and_episodes(old)[0] if stream is None else broadcast("stream", stream, len(names))
            episodes = broadcast("episode", table.next_episodes(old) if episode is None else episode, len(names))
            rows = self._initial_rows() if table.can_restart_in_place else None
            if rows is not None:
                self._lock.write(lambda: table.restart_in_place(names, old, streams, episodes, rows))
                return
            self._begin(names, self._table.numbering(names), streams, episodes, names, old)
            self._notify_end(old)

        if names:
            self.exclusive(change)

    def _initial_rows(self) -> InitialRows | None:
        """Current addresses of the slabs' initial rows; None if a hook must be called at a begin."""
        engine = self.engine
        if engine.initial_rows is None and not engine.stack.custom and not slots_with_hooks(engine.inferer, (0,)):
            engine.initial_rows = InitialRows(list(engine.stack.slabs().values()))
        return engine.initial_rows

    def save(self, ids: Ids | None, out: snapshot.Buffer | None) -> bytes | memoryview:
        """As `Policy.snapshot`."""
        names = None if ids is None else as_id_list(ids)
        return self.exclusive(lambda: snapshot.save(self._table, self.engine, names, out))

    def checked(self, given: snapshot.Buffer) -> snapshot_format.Saved:
        """A parsed snapshot of this policy; raises SnapshotError otherwise."""
        saved = snapshot_format.read(given)
        snapshot.check(saved, self._table, self.engine)
        return saved

    def restore(self, given: snapshot.Buffer, ids: Ids | None) -> None:
        """As `Policy.restore`."""
        engine, saved = self.engine, snapshot_format.read(given)
        if ids is not None:
            saved = snapshot_format.renamed(saved, as_id_list(ids))
        numbers = snapshot.check(saved, self._table, engine)

        def change() -> None:
            table = self._table
            if self.engine is not engine:
                snapshot.check(saved, table, self.engine)  # again: the engine may have been swapped meanwhile
            there = table.slots
            ending = tuple(there) if saved.whole else tuple(agent for agent in saved.ids if agent in there)
            old = np.fromiter(there.values() if saved.whole else map(there.__getitem__, ending), np.int64, len(ending))
            self._begin(saved.ids, numbers, saved.streams, saved.episodes, ending, old, saved)
            if saved.past is not None:
                table.past = saved.past
            self._notify_end(old)

        self.exclusive(change)

    def _begin(self, names: Sequence[AgentId], numbers: Array, streams: Array, episodes: Array, ending: Sequence[AgentId] = (),
               old: Array | None = None, saved: snapshot_format.Saved | None = None) -> None:
        """Allocates first, then calls hooks, then updates the table. After an error no agent has begun, and each hook of a begin is
        followed by that of the end.

        Args:
          ending: agents whose episodes end when these begin, at the slots `old`.
          saved: the agents' state and steps.
        """
        table, engine = self._table, self.engine
        slots = table.free_slots(len(names))
        capacity = table.required_capacity(slots)
        if capacity > table.capacity:
            engine.invalidate_slabs()  # also if reserving fails halfway: slabs may have moved
            engine.stack.reserve(capacity)
            table.reserve(capacity)
        table.prepare(slots, numbers, streams, episodes, 0 if saved is None else saved.steps)
        membership_version = table.membership_version
        undo: list[Callable[[], None]] = []
        try:
            for wrapper in engine.stack.inner_first:
                wrapper.begin(slots.copy())
                undo.append(partial(wrapper.end, slots))
            for slot in slots_with_hooks(engine.inferer, slots.tolist()):
                engine.inferer.begin_agent(slot)
                undo.append(partial(engine.inferer.end_agent, slot))
            if saved is not None:
                engine.stack.set_state(slots, saved.state)
            self._lock.write(lambda: table.publish(names, slots, ending, old))
        except BaseException:
            if table.membership_version == membership_version:  # an interrupt may also come after all is done
                for hook in reversed(undo):
                    with suppress(Exception):  # the first error is raised
                        hook()
            raise

    def _notify_end(self, slots: Array) -> None:
        """Calls every hook, also after an error, then raises the first error."""
        engine = self.engine
        hooks: list[Callable[[], None]] = [partial(wrapper.end, slots.copy()) for wrapper in engine.stack.inner_first]
        hooks += [partial(engine.inferer.end_agent, slot) for slot in slots_with_hooks(engine.inferer, slots.tolist())]
        errors: list[BaseException] = []
        for hook in hooks:
            try:
                hook()
            except BaseException as error:
                errors.append(error)
        if errors:
            raise errors[0]


def begin_in_inferer(inferer: Inferer, slots: Sequence[int]) -> None:
    """Notifies an inferer of its agents, all or none."""
    begun: list[int] = []
    try:
        for slot in slots_with_hooks(inferer, slots):
            inferer.begin_agent(slot)
            begun.append(slot)
    except BaseException:
        for slot in reversed(begun):
            with suppress(Exception):
                inferer.end_agent(slot)
        raise


def slots_with_hooks(inferer: Inferer, slots: Sequence[int]) -> Sequence[int]:
    """The slots that an inferer must be notified of: none if its hooks do nothing."""
    has_no_hooks = type(inferer).begin_agent is ModelInferer.begin_agent and type(inferer).end_agent is ModelInferer.end_agent
    return () if has_no_hooks else slots
