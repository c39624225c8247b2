"""A scratch pad for rows that differ in a size that the file leaves open: one array per row instead of one column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cervello.batcher.pad import ScratchPad, shared_value
from cervello.spec import Array, Specs, TensorSpec


def ragged(rows: Sequence[Array]) -> Array:
    """[N] object: rows of any sizes as one column."""
    column = np.empty(len(rows), object)
    for i, row in enumerate(rows):  # assigned as a whole, numpy would look for a common shape
        column[i] = row
    return column


def is_ragged(column: Any) -> bool:
    """Whether it is an [N] array of type object, as created by `ragged`."""
    return isinstance(column, np.ndarray) and column.dtype == object and column.ndim == 1


def equal_to_first(rows: Array, by_value: bool) -> Array:
    """[n] bool: rows, as returned by `ScratchPad.rows`, with the shape of the first one, and with its bytes if `by_value`."""
    if is_ragged(rows):
        keys = [(row.shape, row.tobytes()) if by_value else row.shape for row in rows]
        return np.array([key == keys[0] for key in keys], np.bool_)
    flat = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), -1)
    equal: Array = (flat == flat[0]).all(1)
    return equal


class OpenPad(ScratchPad):
    """Inputs without open axes are columns as in a `ScratchPad`; of the others every row is a separate array. Mutable.

    Args:
      specs, capacity: as `ScratchPad` takes them.
    """

    __slots__ = ("_open",)

    def __init__(self, specs: Specs, capacity: int = 0):
        self._open = tuple(name for name, spec in specs.items() if spec.open_axes)
        super().__init__(specs, capacity)

    def empty(self) -> OpenPad:
        """A new pad of the same kind."""
        return OpenPad(self.specs)

    def put(self, row: int, arrays: Mapping[str, Array]) -> None:
        """Writes one checked observation, of any sizes."""
        super().put(row, {**arrays, **{name: self._stored(self.specs[name], arrays[name]) for name in self._open}})

    def put_columns(self, rows: slice | Array, columns: Mapping[str, Array]) -> None:
        """Writes many checked observations at once; columns of one size, or [N] rows as `ragged` returns them."""
        n_rows = rows.stop - rows.start if isinstance(rows, slice) else len(rows)
        found = {}
        for name, spec in self.specs.items():
            column = columns[name]
            if spec.batch_axis is None:
                column = np.broadcast_to(column, (n_rows, *column.shape))
            elif spec.batch_axis and not is_ragged(column):
                column = np.moveaxis(column, spec.batch_axis, 0)
            found[name] = ragged([self._stored(spec, row) for row in column]) if name in self._open else column
        with np.errstate(all="ignore"):
            self.put_at(rows, found)

    @staticmethod
    def _stored(spec: TensorSpec, row: Array) -> Array:
        """A copy, of the type in which rows are stored."""
        with np.errstate(all="ignore"):
            return np.array(row, spec.kept_dtype(row.dtype))

    def put_at(self, positions: slice | Array, rows: Mapping[str, Array]) -> None:
        """Writes [n, *row] of every input, or [n] rows as `ragged` returns them, to any rows within the capacity."""
        own = {name: rows[name] if is_ragged(rows[name]) else ragged(list(rows[name].copy())) for name in self._open}
        super().put_at(positions, {**rows, **own})

    def columns(self, n_rows: int, first: int = 0) -> dict[str, Array]:
        """As `ScratchPad.columns`; inputs with open axes are [N] rows, as `ragged` returns them, if their sizes differ."""
        found = {}
        for name, rows in self.rows(n_rows, first).items():
            spec = self.specs[name]
            if spec.batch_axis is None:
                found[name] = shared_value(spec, rows)
            elif name in self._open and len({row.shape for row in rows}) > 1:
                found[name] = rows.copy()
            else:
                if name in self._open:
                    rows = np.stack(list(rows)) if n_rows else np.empty((0, *spec.shape), spec.dtype)
                found[name] = np.ascontiguousarray(np.moveaxis(rows, 0, spec.batch_axis)) if spec.batch_axis else rows
        return found

    def trim(self, n_rows: int) -> None:
        """As `ScratchPad.trim`; the memory of all rows is released."""
        super().trim(n_rows)
        for name in self._open:
            self._columns[name][:] = None

    def _allocate(self, spec: TensorSpec, capacity: int) -> Array:
        return np.empty(capacity, object) if spec.open_axes else super()._allocate(spec, capacity)

    def _resize(self, capacity: int, first: int, n_rows: int) -> None:
        super()._resize(capacity, first, n_rows)
        self.is_large = True  # rows may be of any size

    def _column_for(self, name: str, given: np.dtype[Any]) -> Array:
        return self._columns[name] if name in self._open else super()._column_for(name, given)
