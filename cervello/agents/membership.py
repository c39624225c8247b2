"""Agents begin, end and begin again: all that are named or none, through the table, the wrappers and the inferer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from cervello.agents.ids import Ids, is_many, listed, number_of, spread
from cervello.agents.table import AgentTable
from cervello.agents.turn import Turn
from cervello.inferers.swift import Swift
from cervello.spec import AgentId, Array, Inferer
from cervello.wrappers import Stack

Numbers = int | Sequence[int] | Array


class Membership:
    """Who is there, and whom it has to be told. Mutable; every change is made alone.

    Args:
      swift: the policy's short way, which knows slabs by address; None when there is none.
    """

    def __init__(self, table: AgentTable, stack: Stack, inferer: Inferer, turn: Turn, swift: Swift | None):
        self._table, self._stack, self._inferer, self._turn, self._swift = table, stack, inferer, turn, swift
        stack.reserve(table.capacity)

    def begin(self, ids: Ids, stream: Numbers, episode: Numbers) -> None:
        """As `Policy.begin_agents`."""
        names = listed(ids, ordered=is_many(stream) or is_many(episode))
        streams, episodes = spread("stream", stream, len(names)), spread("episode", episode, len(names))

        def change() -> None:
            numbers = self._table.check_begin(names)
            if names:
                self._begin(names, numbers, streams, episodes, None)

        self._turn.alone(change)

    def end(self, ids: Ids) -> None:
        """As `Policy.end_agents`."""
        names = listed(ids, ordered=False)

        def change() -> None:
            slots = self._table.rows(names)
            self._table.end(names, slots)
            self._say_end(slots)

        if names:
            self._turn.alone(change)

    def restart(self, ids: Ids, stream: Numbers | None, episode: Numbers | None) -> None:
        """As `Policy.restart_agents`. The next episode begins at other slots before the last one ends, so that it may fail."""
        names = listed(ids, ordered=is_many(stream) or is_many(episode))

        def change() -> None:
            old = self._table.rows(names)
            old_streams, old_episodes = self._table.history(old)
            streams = old_streams if stream is None else spread("stream", stream, len(names))
            episodes = spread("episode", [e + 1 for e in old_episodes] if episode is None else episode, len(names))
            self._begin(names, [number_of(name) for name in names], streams, episodes, old)
            self._say_end(old)

        if names:
            self._turn.alone(change)

    def _begin(self, names: Sequence[AgentId], numbers: Sequence[int], streams: Sequence[int], episodes: Sequence[int],
               old: Array | None) -> None:
        """Room first, then hooks, then the table: whatever fails, nobody has begun, and who was told of a begin is told of the end."""
        table = self._table
        slots = table.unused(len(names))
        capacity = table.wanted(slots)
        if capacity > table.capacity:
            if self._swift is not None:
                self._swift.forget()  # also when the reserving fails halfway: slabs may have moved
            self._stack.reserve(capacity)
            table.reserve(capacity)
        table.prepare(slots, numbers, streams, episodes)
        undo: list[Callable[[], None]] = []
        try:
            for wrapper in self._stack.inner_first:
                wrapper.begin(slots.copy())
                undo.append(partial(wrapper.end, slots))
            for slot in slots.tolist():
                self._inferer.begin_agent(slot)
                undo.append(partial(self._inferer.end_agent, slot))
            table.publish(names, slots, old)
        except BaseException:
            if table.slots.get(names[0]) != slots[0]:  # an interrupt may also come when all is done
                for hook in reversed(undo):
                    with suppress(Exception):  # the first error is the one to tell of
                        hook()
            raise

    def _say_end(self, slots: Array) -> None:
        """Calls every hook, whatever the others do, then raises the first error."""
        hooks: list[Callable[[], None]] = [partial(wrapper.end, slots.copy()) for wrapper in self._stack.inner_first]
        hooks += [partial(self._inferer.end_agent, slot) for slot in slots.tolist()]
        errors: list[BaseException] = []
        for hook in hooks:
            try:
                hook()
            except BaseException as error:
                errors.append(error)
        if errors:
            raise errors[0]
