"""Which row of a pad belongs to which agent: rows are added at the back and removed anywhere, mostly at the front."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count, islice

import numpy as np

from cervello.batcher.pad import MakeReader, ScratchPad
from cervello.spec import AgentId, Array, Specs

_MAX_CACHED_IDS = 4096  # agents whose ids are cached
PLAIN = frozenset({int, str})  # types of ids that compiled code compares


def no_push(*given: object) -> int:
    """`AgentRows.push` if rows are added in Python only."""
    return 0


class AgentRows:
    """Agents in the order of their rows. Mutable, not thread-safe; arguments are not checked. `Queue` writes the rows.

    The used range of rows moves through the pad, and is moved back to its beginning at the end. Rows of discarded agents remain as
    tombstones until rows are read: many agents may end one by one.

    After `open`, each agent is added by one compiled call, `push`, until any other change.

    Attributes:
      push: see `pad.Reader`.
      generations: queued agents in the order of rows, with their generations.
      pad: the rows.
      changes: grows whenever the set or order of queued agents changes.
    """

    def __init__(self, specs: Specs, make_reader: MakeReader | None = None):
        self.generations: dict[AgentId, int] = {}
        self.pad = ScratchPad(specs, make_reader=make_reader)
        self.changes = 0
        self._rows: dict[AgentId, int] | None = None  # see `_row_by_agent`
        self._first = 0
        self._max_rows = 0  # maximum number of rows since the pad was empty, or its rows were moved to its beginning
        self._has_tombstones = False
        self._ids: tuple[AgentId, ...] | None = ()  # `push` only appends, so a different length shows that they are stale
        self._plain = True  # whether all queued ids are ints and strings
        self._is_open = False
        self.push = self._push_function()

    def _push_function(self) -> Callable[..., int]:
        reader = self.pad.reader
        return no_push if reader is None or reader.push is None else reader.push

    def open(self, enqueued_frames: dict[AgentId, int] | None = None) -> None:
        """Enables `push`.

        Args:
          enqueued_frames: receives the frames in which agents are enqueued; None if frames are not counted.
        """
        reader = self.pad.reader
        if reader is not None and self._plain and not self._has_tombstones:
            if enqueued_frames is not None and self._rows is None:
                self._row_by_agent()
            reader.open(self.generations, self._rows, enqueued_frames, self._first, self.pad.capacity)
            self._is_open = True

    def shut(self) -> None:
        """Disables `push`."""
        if self._is_open:
            self.pad.reader.shut()  # type: ignore[union-attr]
            self._is_open = False

    @property
    def ids(self) -> tuple[AgentId, ...]:
        """Queued agents in the order of rows."""
        ids = self._ids
        if ids is None or len(ids) != len(self.generations):
            ids = self._ids = tuple(self.generations)
        return ids

    def __len__(self) -> int:
        return len(self.generations)

    def __contains__(self, agent: AgentId) -> bool:
        return agent in self.generations

    def _row_by_agent(self) -> dict[AgentId, int]:
        """The row of every agent, also of some that were removed. It is recorded once it is asked for; until then, and whenever rows have
        been moved, the rows of the agents follow each other from `_first` on."""
        rows = self._rows
        if rows is None:
            self.shut()  # `push` records no rows yet
            rows = self._rows = dict(zip(self.generations, count(self._first), strict=False))
        return rows

    def _new_rows(self, ids: Sequence[AgentId]) -> int:
        """The first of consecutive rows at the back for distinct agents that are not queued; `generations` has them last."""
        if ids:
            self._changed()
        start = self._allocate_rows(len(ids))
        if self._rows is not None:
            self._rows.update(zip(ids, range(start, start + len(ids)), strict=True))
        return start

    def _changed(self) -> None:
        """Marks a change of the set or order of queued agents."""
        self.shut()
        self._max_rows = max(self._max_rows, len(self.generations))
        self.changes += 1
        self._ids = None

    def _allocate_rows(self, n: int) -> int:
        """The first of n free rows at the back."""
        if self._has_tombstones:
            self._compact()
        n_rows = len(self.generations)
        self._max_rows = max(self._max_rows, n_rows + n)
        if self._first + n_rows + n > self.pad.capacity:
            self.pad.move(self._first, n_rows, self._max_rows)
            self._first, self._max_rows, self._rows = 0, n_rows + n, None
            if n_rows + n > self.pad.capacity:
                self.pad.grow(n_rows + n)
        return self._first + n_rows

    def _compact(self) -> None:
        rows = self._row_by_agent()
        self.pad.arrange(self._first, np.fromiter(map(rows.__getitem__, self.generations), np.int64, len(self.generations)) - self._first)
        self._rows, self._has_tombstones = None, False

    def front(self, n: int) -> tuple[tuple[AgentId, ...], dict[str, Array]]:
        """The first n agents and their columns, which are the pad's own memory. After `drop` they stay unchanged while `pad.pin_count`
        counts them.

        Raises:
          InputError: they differ in a value that they share; see `Queue.gather_equal`.
        """
        if self._has_tombstones:
            self._compact()
        generations, ids = self.generations, self._ids
        if n != len(generations):
            ids = tuple(islice(generations, n))
        elif ids is None or len(ids) != n:  # `ids`, written out: a call less
            ids = self._ids = tuple(generations)
        return ids, self.pad.columns(n, self._first)

    def rows(self, n: int) -> dict[str, Array]:
        """The first n rows, [n, *row] of every input; the pad's own memory."""
        if self._has_tombstones:
            self._compact()
        return self.pad.rows(n, self._first)

    def drop(self, n: int) -> None:
        """Removes the first n rows."""
        if n >= len(self.generations):
            self.clear()
            return
        if self._has_tombstones:
            self._compact()
        n_left = len(self.generations) - n
        ids = self._ids[n:] if self._ids is not None and n_left < _MAX_CACHED_IDS else None
        self._changed()
        if n > 2 * n_left:  # copying the few remaining ones takes less time
            generations = dict(islice(self.generations.items(), n, None))
            # No call in between, so no interrupt.
            self.generations, self._rows, self._first, self._ids = generations, None, self._first + n, ids
            return
        rows = self._row_by_agent()
        self._has_tombstones = True  # in case of an interrupt
        for agent in tuple(islice(self.generations, n)):
            del self.generations[agent], rows[agent]
        self._first, self._ids, self._has_tombstones = self._first + n, ids, False

    def discard(self, agent: AgentId) -> bool:
        """Removes one agent's row; later rows move up. Returns whether there was one."""
        if agent not in self.generations:
            return False
        self._changed()
        rows = self._row_by_agent()
        self._has_tombstones = True
        del self.generations[agent], rows[agent]
        return True

    def arrange(self, order: Sequence[int] | Array) -> None:
        """Reorders rows: `order[i]` is the current position, from the front, of the row that moves to position i."""
        if self._has_tombstones:
            self._compact()
        self._changed()
        names = list(self.generations)
        self.pad.arrange(self._first, np.asarray(order, np.int64))
        self.generations, self._rows = {names[place]: self.generations[names[place]] for place in order}, None

    def clear(self) -> None:
        """Removes all rows; `push` stays as it is."""
        pad = self.pad
        if pad.pin_count or self._first or self._has_tombstones or not self._plain or pad.is_large:
            self.shut()
        if pad.pin_count:
            pad = self.pad = pad.empty()
            self.push = self._push_function()
        most = max(self._max_rows, len(self.generations)) if pad.is_large else 0
        self.changes += 1
        self._ids = ()
        if self._rows is not None and len(self._rows) > 2 * len(self.generations):
            self._rows.clear()  # otherwise entries stay for agents that are queued again, and are set in less time
        self.generations.clear()
        self._first, self._max_rows, self._has_tombstones, self._plain = 0, 0, False, True
        if most:  # otherwise no agent was queued since
            pad.trim(most)
