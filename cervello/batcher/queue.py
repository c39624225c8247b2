"""Queued observations, one row per agent. Rows at the front run first; the others keep their order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cervello.batcher.agent_rows import PLAIN, AgentRows, no_push
from cervello.batcher.open_pad import OpenPad, equal_to_first
from cervello.batcher.pad import MakeReader
from cervello.spec import AgentId, Array, Specs, TensorSpec


class Batched(NamedTuple):
    """A checked batch: row i of every column belongs to ids[i].

    Attributes:
      ids: [n] agents.
      columns: [n, …] by input.
    """

    ids: tuple[AgentId, ...]
    columns: Mapping[str, Array]


class Queue(AgentRows):
    """Agents and their observations. Mutable, not thread-safe; arguments are not checked.

    Where the file leaves sizes open, rows are columns while all have the sizes of the specs; after the first row of another size, every row
    is a separate array.

    Attributes:
      shares: whether there is an input of which all rows of a batch share one value, or whose rows may differ in size.
    """

    def __init__(self, specs: Specs, make_reader: MakeReader | None = None):
        super().__init__(specs, make_reader)
        self._shared = [name for name, spec in specs.items() if spec.batch_axis is None]
        self.shares = bool(self._shared)
        self._fixed = [name for name, spec in specs.items() if spec.open_axes]  # inputs whose rows all have the sizes of the specs

    def put(self, agent: AgentId, generation: int, arrays: Mapping[str, Array]) -> None:
        """Writes an agent's row: a new one at the back, or its existing one.

        Args:
          arrays: as `observation.checked` returned them.
        """
        if self._fixed:
            self._allow_sizes(arrays, lambda spec: spec.shape)
        if agent in self.generations:
            row = self._row_by_agent()[agent]
        else:
            self._changed()
            row = self._allocate_rows(1)
            if self._rows is not None:
                self._rows[agent] = row
        self.pad.put(row, arrays)
        self.generations[agent] = generation
        self._plain = self._plain and type(agent) in PLAIN

    def try_put(self, ids: Sequence[AgentId], generations: Sequence[int], observations: Collection[Any]) -> bool:
        """As `put`, for unchecked observations of distinct agents that are not queued. False if one of them does not fit without
        conversion, and none is queued then."""
        if not self.pad.read(self._new_rows(ids), observations):
            return False
        self.generations.update(zip(ids, generations, strict=True))
        self._plain = self._plain and PLAIN.issuperset(map(type, ids))
        return True

    def put_columns(self, ids: Sequence[AgentId], generations: Sequence[int], columns: Mapping[str, Array]) -> None:
        """Writes the rows of distinct agents whose ids are of exactly type int or str.

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
        start = self._new_rows(fresh)
        if len(fresh) == len(ids):
            return slice(start, start + len(ids))
        rows = self._row_by_agent()
        rows.update(zip(fresh, range(start, start + len(fresh)), strict=True))
        return np.fromiter(map(rows.__getitem__, ids), np.int64, len(ids))

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
        self._shared, self.shares, self._fixed = list(dict.fromkeys([*self._shared, *self._fixed])), True, []
        self.pad, self._rows, self._first, self._max_rows, self.push = pad, None, 0, n_rows, no_push

    def prepare(self) -> None:
        """Prepares the result of `front` for all rows, if it consists of views."""
        if not self.shares:
            self.front(len(self.generations))

    def gather_equal(self, n: int) -> int:
        """Moves the rows among the first n that can run with the first one to the front: rows equal to it in size and in the values shared
        by a batch. The others of the n follow in their old order.

        Returns:
          how many can; nearly always all.
        """
        if not self.shares:
            return n
        rows = self.rows(n)
        equal = np.ones(n, np.bool_)
        for name in self._shared:
            equal &= equal_to_first(rows[name], self.pad.specs[name].batch_axis is None)
        n_equal = int(np.count_nonzero(equal))
        if not equal[:n_equal].all():
            self.arrange(np.concatenate([np.flatnonzero(equal), np.flatnonzero(~equal), np.arange(n, len(self.generations))]))
        return n_equal
