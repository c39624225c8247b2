"""Queued observations, one row per agent. Rows at the front run first; the others keep their order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from cervello.batcher.open_pad import OpenPad, equal_to_first
from cervello.batcher.pad import MakeReader, ScratchPad
from cervello.spec import AgentId, Array, Specs, TensorSpec

_MAX_CACHED_IDS = 4096  # agents whose ids are cached
_PLAIN = frozenset({int, str})


def _no_push(*given: object) -> int:
    """`Queue.push` if rows are added in Python only."""
    return 0


class Batched(NamedTuple):
    """A checked batch: row i of every column belongs to ids[i].

    Attributes:
      ids: [n] agents.
      columns: [n, …] by input.
    """

    ids: tuple[AgentId, ...]
    columns: Mapping[str, Array]


class Queue:
    """Agents in the order of their rows. Mutable, not thread-safe; arguments are not checked.

    Rows are removed at the front and added at the back, so the used range moves through the pad and is moved back to its beginning at the
    end. Rows of discarded agents remain as tombstones until rows are read: many agents may end one by one.

    After `open`, each agent is added by one compiled call, `push`, until any other change of the queue.

    Where the file leaves sizes open, rows are columns while all have the sizes of the specs; after the first row of another size, every row
    is a separate array.

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
        self._rows: dict[AgentId, int] = {}  # of the pad
        self._first = 0
        self._max_rows = 0  # maximum number of rows since the pad was empty, or its rows were moved to its beginning
        self._has_tombstones = False
        self._ids: tuple[AgentId, ...] | None = ()  # `push` only appends, so a different length shows that they are stale
        self._plain = True  # whether all queued ids are ints and strings
        self._is_open = False
        self.push = self._push_function()
        self._shared = [name for name, spec in specs.items() if spec.batch_axis is None]
        self._fixed = [name for name, spec in specs.items() if spec.open_axes]  # inputs whose rows all have the sizes of the specs

    def _push_function(self) -> Callable[..., int]:
        reader = self.pad.reader
        return _no_push if reader is None or reader.push is None else reader.push

    def open(self, enqueued_frames: dict[AgentId, int] | None = None) -> None:
        """Enables `push`.

        Args:
          enqueued_frames: receives the frames in which agents are enqueued; None if frames are not counted.
        """
        reader = self.pad.reader
        if reader is not None and self._plain and not self._has_tombstones:
            reader.open(self.generations, self._rows, enqueued_frames, self._first, self.pad.capacity)
            self._is_open = True

    def shut(self) -> None:
        """Disables `push`."""
        if self._is_open:
            self.pad.reader.shut()  # type: ignore[union-attr]
            self._is_open = False

    @property
    def shares(self) -> bool:
        """Whether there is an input of which all rows of a batch share one value, or whose rows may differ in size."""
        return bool(self._shared)

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

    def put(self, agent: AgentId, generation: int, arrays: Mapping[str, Array]) -> None:
        """Writes an agent's row: a new one at the back, or its existing one.

        Args:
          arrays: as `observation.checked` returned them.
        """
        if self._fixed:
            self._allow_sizes(arrays, lambda spec: spec.shape)
        if agent in self.generations:
            row = self._rows[agent]
        else:
            self._changed()
            row = self._rows[agent] = self._allocate_rows(1)
        self.pad.put(row, arrays)
        self.generations[agent] = generation
        self._plain = self._plain and type(agent) in _PLAIN

    def try_put(self, agent: AgentId, generation: int, observation: Any) -> bool:
        """As `put`, for an unchecked observation; False if it does not fit without conversion, and the agent is not queued then."""
        generations, pad = self.generations, self.pad
        if agent in generations:  # one input is copied or not; of several, some may have been
            if len(pad.specs) > 1 or not pad.read(self._rows[agent], observation):
                return False
        else:
            self._changed()
            row = self._allocate_rows(1)
            if not pad.read(row, observation):
                return False
            self._rows[agent] = row
        generations[agent] = generation
        self._plain = self._plain and type(agent) in _PLAIN
        return True

    def try_put_all(self, ids: Sequence[AgentId], generations: Sequence[int], observations: Iterable[Any]) -> bool:
        """As `try_put`, for distinct agents that are not queued: all of them or none."""
        self._changed()
        n_rows = len(ids)
        start = self._allocate_rows(n_rows)
        if not self.pad.read_all(start, n_rows, observations):
            return False
        self._rows.update(zip(ids, range(start, start + n_rows), strict=True))
        self.generations.update(zip(ids, generations, strict=True))
        self._plain = self._plain and _PLAIN.issuperset(map(type, ids))
        return True

    def put_columns(self, ids: Sequence[AgentId], generations: Sequence[int], columns: Mapping[str, Array]) -> None:
        """Writes the rows of distinct agents.

        Args:
          columns: arrays of the specs' shapes for len(ids) rows, or one value where all rows share it; [N] rows, as `open_pad.ragged`
            returns them, where rows differ in size.
        """
        if self._fixed:
            self._allow_sizes(columns, lambda spec: spec.batched(len(ids)))
        self.pad.put_columns(self._rows_for(ids), columns)
        self.generations.update(zip(ids, generations, strict=True))

    def _rows_for(self, ids: Sequence[AgentId]) -> slice | Array:
        """The rows of agents; new rows at the back for agents that are not queued."""
        generations = self.generations
        fresh = [agent for agent in ids if agent not in generations] if generations else ids
        if fresh:
            self._changed()
        start = self._allocate_rows(len(fresh))
        self._rows.update(zip(fresh, range(start, start + len(fresh)), strict=True))
        if len(fresh) == len(ids):
            return slice(start, start + len(ids))
        return np.fromiter(map(self._rows.__getitem__, ids), np.int64, len(ids))

    def merge(self, newer: Queue) -> None:
        """Takes over the agents of another queue with their observations: agents in both keep their place here, the others are appended."""
        self.put_rows(newer.ids, [*newer.generations.values()], newer.rows(len(newer)))

    def put_rows(self, ids: Sequence[AgentId], generations: Sequence[int], rows: Mapping[str, Array]) -> None:
        """As `put_columns`, for the result of `rows`: [n, *row] for any batch axis."""
        if self._fixed:
            self._allow_sizes(rows, lambda spec: (len(ids), *spec.shape))
        self.pad.put_at(self._rows_for(ids), rows)
        self.generations.update(zip(ids, generations, strict=True))

    def _allow_sizes(self, arrays: Mapping[str, Array], expected: Callable[[TensorSpec], tuple[int, ...]]) -> None:
        """Switches to rows of any size, if some do not have the shapes of the specs."""
        specs = self.pad.specs
        if all(arrays[name].shape == expected(specs[name]) for name in self._fixed):
            return
        self.shut()
        n_rows = len(self.generations)
        pad = OpenPad(specs, self.pad.capacity)
        if n_rows:
            pad.put_at(slice(0, n_rows), self.rows(n_rows))
        self._shared, self._fixed = list(dict.fromkeys([*self._shared, *self._fixed])), []
        self._rows = {agent: row for row, agent in enumerate(self.generations)}
        self.pad, self._first, self._max_rows, self.push = pad, 0, n_rows, _no_push

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
            self._first, self._max_rows = 0, n_rows + n
            self._rows = {agent: row for row, agent in enumerate(self.generations)}
            if n_rows + n > self.pad.capacity:
                self.pad.grow(n_rows + n)
        return self._first + n_rows

    def _compact(self) -> None:
        self.pad.arrange(self._first, np.fromiter((self._rows[agent] for agent in self.generations), np.int64,
                                                  len(self.generations)) - self._first)
        self._rows = {agent: row for row, agent in enumerate(self.generations, self._first)}
        self._has_tombstones = False

    def front(self, n: int) -> tuple[tuple[AgentId, ...], dict[str, Array]]:
        """The first n agents and their columns, which are the pad's own memory. After `drop` they stay unchanged while `pad.pin_count`
        counts them.

        Raises:
          InputError: they differ in a value that they share; see `gather_equal`.
        """
        if self._has_tombstones:
            self._compact()
        generations, ids = self.generations, self._ids
        if n != len(generations):
            ids = tuple(islice(generations, n))
        elif ids is None or len(ids) != n:  # `ids`, written out: a call less
            ids = self._ids = tuple(generations)
        return ids, self.pad.columns(n, self._first)

    def prepare(self) -> None:
        """Prepares the result of `front` for all rows, if it consists of views."""
        if not self._shared:
            self.front(len(self.generations))

    def gather_equal(self, n: int) -> int:
        """Moves the rows among the first n that can run with the first one to the front: rows equal to it in size and in the values shared
        by a batch. The others of the n follow in their old order.

        Returns:
          how many can; nearly always all.
        """
        if not self._shared:
            return n
        rows = self.rows(n)
        equal = np.ones(n, np.bool_)
        for name in self._shared:
            equal &= equal_to_first(rows[name], self.pad.specs[name].batch_axis is None)
        n_equal = int(np.count_nonzero(equal))
        if not equal[:n_equal].all():
            self.arrange(np.concatenate([np.flatnonzero(equal), np.flatnonzero(~equal), np.arange(n, len(self.generations))]))
        return n_equal

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
            rows = {agent: row for row, agent in enumerate(generations, self._first + n)}
            # No call in between, so no interrupt.
            self.generations, self._rows, self._first, self._ids = generations, rows, self._first + n, ids
            return
        self._has_tombstones = True  # in case of an interrupt
        for agent in tuple(islice(self.generations, n)):
            del self.generations[agent], self._rows[agent]
        self._first, self._ids, self._has_tombstones = self._first + n, ids, False

    def discard(self, agent: AgentId) -> bool:
        """Removes one agent's row; later rows move up. Returns whether there was one."""
        if agent not in self.generations:
            return False
        self._changed()
        self._has_tombstones = True
        del self.generations[agent], self._rows[agent]
        return True

    def arrange(self, order: Sequence[int] | Array) -> None:
        """Reorders rows: `order[i]` is the current position, from the front, of the row that moves to position i."""
        if self._has_tombstones:
            self._compact()
        self._changed()
        names = list(self.generations)
        self.pad.arrange(self._first, np.asarray(order, np.int64))
        self.generations = {names[place]: self.generations[names[place]] for place in order}
        self._rows = {agent: row for row, agent in enumerate(self.generations, self._first)}

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
        self.generations.clear()
        self._rows.clear()
        self._first, self._max_rows, self._has_tombstones, self._plain = 0, 0, False, True
        if most:  # otherwise no agent was queued since
            pad.trim(most)
