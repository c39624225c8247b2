"""State of many agents in one array: one row per slot, gathered and scattered by compiled code."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cervello.codegen import entry
from cervello.noise import layout
from cervello.spec import Array, TensorSpec
from cervello.wrappers.words import SLAB

_MIN_SLICE = 64


class Slab:
    """One wrapper's state: [capacity, *row]. Mutable.

    Args:
      spec: of a row.
      initial: the row an agent begins with.

    Attributes:
      spec: as given; axis: of the rows in a batch.
      rows: [capacity, *row], the state by slot.
    """

    __slots__ = ("_context", "_gather", "_scatter", "axis", "initial", "rows", "spec")

    def __init__(self, spec: TensorSpec, initial: Array | None = None):
        self.spec = spec
        self.axis = spec.batch_axis or 0
        self.initial = np.zeros(spec.shape, spec.dtype) if initial is None else np.asarray(initial, spec.dtype)
        self.rows: Array = np.empty((0, *spec.shape), spec.dtype)
        self._gather: Callable[..., int] | None = None
        self._scatter: Callable[..., int] | None = None
        self._context = np.zeros(2, np.int64)

    def reserve(self, capacity: int) -> None:
        """Allocates slots below `capacity`."""
        if capacity <= len(self.rows):
            return
        rows = np.zeros((capacity, *self.spec.shape), self.spec.dtype)
        rows[:len(self.rows)] = self.rows
        context, gather, scatter = self._context, None, None
        if layout.is_known() and self.axis == 0 and rows.nbytes:
            context = np.array(SLAB.filled(rows=rows.ctypes.data, row_bytes=rows.nbytes // capacity, array_type=id(np.ndarray),
                                           dtype=id(self.spec.dtype), rank=rows.ndim, more=self.spec.shape), np.int64)
            keep = (context, rows)
            gather = entry.fastcall_objects("cervello.wrappers.kernels:gather", context.ctypes.data, keep)
            scatter = entry.fastcall_objects("cervello.wrappers.kernels:scatter", context.ctypes.data, keep)
        self.rows, self._context, self._gather, self._scatter = rows, context, gather, scatter  # last: an error above changes nothing

    @property
    def words(self) -> tuple[int, int]:
        """Address and bytes per row, for fused ops; (0, 0) if the batch axis is not 0."""
        address, row_bytes = self._context[:2].tolist()
        return address, row_bytes

    def begin(self, slots: Array) -> None:
        """Sets the initial row at these slots."""
        self.rows[_as_slice(slots)] = self.initial

    def put(self, slots: Array, rows: Array) -> None:
        """Sets rows, [n, *row], at these slots."""
        self.rows[_as_slice(slots)] = rows

    def gather(self, slots: Array) -> Array:
        """The rows at these slots as a new column, with the batch on the spec's axis."""
        n_rows = len(slots)
        if self._gather is not None:
            column = np.empty(self.spec.batched(n_rows), self.spec.dtype)
            self._gather(n_rows, 0, slots, column)
            return column
        taken = self.rows[slots]
        return np.ascontiguousarray(np.moveaxis(taken, 0, self.axis)) if self.axis else taken

    def take(self, slots: Array, out: Array) -> None:
        """Writes the rows at these slots, [n, *row], to `out`."""
        np.take(self.rows, slots, 0, out=out, mode="clip")  # slots are in range; the checking mode makes a copy

    def scatter(self, slots: Array, column: Array) -> None:
        """Stores a column of new rows at these slots."""
        if self._scatter is None or self._scatter(len(slots), 0, slots, column):
            self.rows[slots] = np.moveaxis(column, self.axis, 0) if self.axis else column


def _as_slice(slots: Array) -> Array | slice:
    """Slots as a slice if they are consecutive, upward or downward, as is usual for many agents: copied as one block then."""
    n = len(slots)
    if n < _MIN_SLICE:
        return slots
    first, last = int(slots[0]), int(slots[-1])
    step = 1 if last > first else -1
    if last - first != step * (n - 1) or (np.diff(slots) != step).any():
        return slots
    end = last + step
    return slice(first, None if end < 0 else end, step)
