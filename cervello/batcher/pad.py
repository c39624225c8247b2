"""The scratch pad: one column per input, one row per agent, grown on demand and reused."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from cervello.batcher.observation import Observation, checked
from cervello.errors import InputError
from cervello.high_water import KEPT_BYTES, HighWater
from cervello.spec import Array, Specs, TensorSpec

_FIRST = 16  # rows
_SHARE = 4  # a pad in use shrinks if it needs less than this fraction (1/4) of its capacity


class Reader(Protocol):
    """Compiled copies of observations to rows of columns, for arrays that fit without conversion."""

    @property
    def read(self) -> Callable[..., int]:
        """f(first row, 0, *observations): the number of observations copied before the first that does not fit."""

    @property
    def push(self) -> Callable[..., int] | None:
        """f(agent, observation[, frame, lock]): 1 if a row was added as configured by `open`, else 0; None if unavailable."""

    def open(self, generations: dict[Any, int], rows: dict[Any, int] | None, enqueued_frames: dict[Any, int] | None, first: int,
             capacity: int) -> None:
        """Lets `push` add agents to these dicts, and their rows from `first` on, until `shut`."""

    def shut(self) -> None:
        """Ends the effect of `open`."""

    def bind(self, columns: Mapping[str, Array]) -> None:
        """Sets the columns to write to, with their types."""


MakeReader = Callable[[Specs], Reader | None]


class ScratchPad:
    """Columns for a growing number of rows. Mutable.

    Args:
      specs: content of each column.
      make_reader: creates a compiled reader for observations that fit without conversion; None if there is none.

    Attributes:
      pin_count: batches that still read removed rows. While it is above 0, rows that move go to fresh memory.
      reader: result of `make_reader`.
      is_large: whether the pad is large enough to release memory.
    """

    __slots__ = (
        "_are_views",
        "_columns",
        "_high_water",
        "_make_reader",
        "_row_bytes",
        "_views",
        "capacity",
        "is_large",
        "pin_count",
        "reader",
        "specs",
    )

    def __init__(self, specs: Specs, capacity: int = _FIRST, make_reader: MakeReader | None = None):
        self.specs = specs
        self._make_reader = make_reader
        self.reader = None if make_reader is None else make_reader(specs)
        self.capacity = self.pin_count = 0
        self._are_views = all(spec.batch_axis == 0 for spec in specs.values())
        self._row_bytes = sum(spec.dtype.itemsize * math.prod(spec.shape) for spec in specs.values())
        self._high_water = HighWater()
        self._columns: dict[str, Array] = {}
        self._views: tuple[int, int, dict[str, Array]] = (0, 0, {})  # rows as `columns` returned them last, and the first of them
        self.grow(capacity)

    def grow(self, wanted: int) -> None:
        """Grows the capacity to at least so many rows, and to at least twice the current one."""
        self._resize(max(2 * self.capacity, wanted), 0, self.capacity)

    def _resize(self, capacity: int, first: int, n_rows: int) -> None:
        """Allocates new memory, with rows from `first` on at its beginning."""
        columns = {}
        for name, spec in self.specs.items():
            column = self._allocate(spec, capacity)
            if n_rows:
                column[:n_rows] = self._columns[name][first:first + n_rows]
            columns[name] = column
        self._set_columns(columns)
        self.capacity, self.is_large = capacity, capacity * self._row_bytes > KEPT_BYTES

    def _allocate(self, spec: TensorSpec, capacity: int) -> Array:
        return np.empty((capacity, *spec.shape), self._columns[spec.name].dtype if spec.name in self._columns else spec.dtype)

    def _set_columns(self, columns: dict[str, Array]) -> None:
        """Replaces the columns."""
        self._columns, self._views = columns, (0, 0, {})
        if self.reader is not None:
            self.reader.bind(columns)

    def empty(self) -> ScratchPad:
        """A new pad of the same kind."""
        return ScratchPad(self.specs, make_reader=self._make_reader)

    def read(self, first: int, observations: Collection[Any]) -> bool:
        """Writes observations to rows from `first` on, within the capacity; False if some do not fit without conversion, and these rows are
        undefined then."""
        return self.reader is not None and self.reader.read(first, 0, *observations) == len(observations)

    def _column_for(self, name: str, given: np.dtype[Any]) -> Array:
        """The column of an input, for data of this type. If the spec has `keeps_float64` and the data are float64, the column becomes
        float64 from then on, which changes nothing for float32."""
        column, dtype = self._columns[name], self.specs[name].kept_dtype(given)
        if dtype.itemsize > column.itemsize:
            column = self._columns[name] = column.astype(dtype)
            self._views = 0, 0, {}
            if self.reader is not None:
                self.reader.bind({name: column})
        return column

    def trim(self, n_rows: int) -> None:
        """Releases memory far above recent use; up to n_rows rows were needed, and their content is no longer needed."""
        if self.is_large:
            capacity = max(self._high_water.keep(n_rows, self.capacity), _FIRST)
            if capacity < self.capacity:
                self._columns, self._views, self.capacity = {}, (0, 0, {}), 0  # the old memory is released first
                self._resize(capacity, 0, 0)

    def put(self, row: int, arrays: Mapping[str, Array]) -> None:
        """Writes one checked observation."""
        if row >= self.capacity:
            self.grow(row + 1)
        for name, column in self._columns.items():
            given = arrays[name]
            if given.dtype == column.dtype:
                column[row] = given
            else:
                with np.errstate(all="ignore"):  # a float64 may be too large for a float32, whatever the caller's warning settings
                    self._column_for(name, given.dtype)[row] = given

    def put_columns(self, rows: slice | Array, columns: Mapping[str, Array]) -> None:
        """Writes many checked observations at once; values shared by all rows are written to each."""
        for name, spec in self.specs.items():
            column, own = columns[name], self._columns[name]
            if spec.batch_axis:
                column = np.moveaxis(column, spec.batch_axis, 0)
            if column.dtype == own.dtype:
                own[rows] = column
            else:
                with np.errstate(all="ignore"):
                    self._column_for(name, column.dtype)[rows] = column

    def put_at(self, positions: slice | Array, rows: Mapping[str, Array]) -> None:
        """Writes [n, *row] of every input to any rows within the capacity."""
        for name in self.specs:
            self._column_for(name, rows[name].dtype)[positions] = rows[name]

    def rows(self, n_rows: int, first: int = 0) -> dict[str, Array]:
        """[n_rows, *row] of every input, as stored."""
        return {name: column[first:first + n_rows] for name, column in self._columns.items()}

    def move(self, first: int, n_rows: int, wanted: int) -> None:
        """Moves rows to the pad's beginning; a pad that is far larger than `wanted` rows shrinks."""
        if self.is_large and wanted * _SHARE < self.capacity:
            self._resize(max(2 * wanted, _FIRST), first, n_rows)
            return
        if not first:
            return
        moved = self._move_target()
        for name, column in self._columns.items():
            moved[name][:n_rows] = column[first:first + n_rows]
        self._set_columns(moved)

    def _move_target(self) -> dict[str, Array]:
        """Columns whose rows may be moved: the current ones, or empty new ones while a batch reads the current ones."""
        return {name: np.empty_like(column) for name, column in self._columns.items()} if self.pin_count else self._columns

    def arrange(self, first: int, order: Array) -> None:
        """Reorders the rows from `first` on: row first + order[i] moves to first + i."""
        arranged = self._move_target()
        for name, column in self._columns.items():
            arranged[name][first:first + len(order)] = column[first + order]
        self._set_columns(arranged)

    def fill(self, observations: Sequence[Observation], agents: Sequence[object], policy: str = "") -> None:
        """Writes rows 0 to n - 1; nothing is written if one of them does not fit.

        Args:
          policy: as `checked` takes it.
        Raises:
          InputError: as `checked`.
        """
        n_rows = len(observations)
        if n_rows > self.capacity:
            self.grow(n_rows)
        if self.read(0, observations):
            return
        stacked = self._stacked(observations)
        if stacked is None:
            ready = [checked(self.specs, observation, agent, policy)
                     for agent, observation in zip(agents, observations, strict=True)]
            for row, arrays in enumerate(ready):
                self.put(row, arrays)
        else:
            for name, column in stacked.items():
                self._column_for(name, column.dtype)[:n_rows] = column

    def _stacked(self, observations: Sequence[Observation]) -> dict[str, Array] | None:
        """All rows of every input, if each is an array of the exact type and shape; else None."""
        width, found = len(self.specs), {}
        try:
            for observation in observations:
                if len(observation) != width:
                    return None
        except TypeError:
            return None
        for name, spec in self.specs.items():
            column = self._stack(name, spec, observations)
            if column is None:
                return None
            found[name] = column
        return found or None

    @staticmethod
    def _stack(name: str, spec: TensorSpec, observations: Sequence[Observation]) -> Array | None:
        """All rows of one input, if each is an array of the exact type and shape; else None."""
        try:
            rows = [observation[name] for observation in observations]
            shape, dtype = spec.shape, spec.kept_dtype(rows[0].dtype)
            for row in rows:
                if row.shape != shape or row.dtype != dtype:
                    return None
            if not shape:
                return np.array(rows, dtype)
            return np.concatenate(rows).reshape(len(rows), *shape)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            return None

    def columns(self, n_rows: int, first: int = 0) -> dict[str, Array]:
        """n_rows rows of every column, with the batch on each spec's axis; views where the axis is 0, cached until they change.

        Raises:
          InputError: agents differ in a value that they share.
        """
        last_rows, last_first, found = self._views
        if n_rows == last_rows and first == last_first and n_rows:
            return found
        found = {}
        for name, spec in self.specs.items():
            rows = self._columns[name][first:first + n_rows]
            if spec.batch_axis == 0:
                found[name] = rows
            elif spec.batch_axis is None:
                found[name] = shared_value(spec, rows)
            else:
                found[name] = np.ascontiguousarray(np.moveaxis(rows, 0, spec.batch_axis))
        if self._are_views:
            self._views = n_rows, first, found
        return found


def shared_value(spec: TensorSpec, rows: Array) -> Array:
    """The value of an input that all agents share, from `rows` with one value per agent.

    Raises:
      InputError: they differ.
    """
    if not len(rows):
        return np.zeros(spec.shape, spec.dtype)
    if any(row.shape != rows[0].shape or row.tobytes() != rows[0].tobytes() for row in rows):
        raise InputError(f"input {spec.name!r}: expected the same value for all agents of a batch, got different ones; "
                         "give all the same, or run them in separate batches")
    return np.array(rows[0], spec.dtype)
