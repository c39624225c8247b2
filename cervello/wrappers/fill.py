"""Fills an input with a constant."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from cervello.spec import Array, FusedOp, PolicySpec, TensorSpec, View, Wrapper
from cervello.wrappers.base import Passive, as_row, check_name, take_input, without


class Fill(Passive):
    """Fills an input with the same value for every agent: masks that allow everything, sequence lengths of 1.

    Args:
      key: the input.
      value: a number, or an array of one agent's row.
    """

    def __init__(self, key: str, value: Any = 0.0):
        self.key, self.value = check_name("Fill", "input", key), value
        self._row: Array = np.zeros(0)
        self._column: Array = np.zeros(0)
        self._spec: TensorSpec | None = None

    def __repr__(self) -> str:
        return f"Fill({self.key!r}, {self.value!r})"

    def attach(self, spec: PolicySpec) -> tuple[Wrapper, PolicySpec]:
        found = take_input(spec, self, self.key)
        bound = copy.copy(self)
        bound._row = as_row(self, found, self.value)
        bound._spec = found
        bound._column = bound._filled(1)
        return bound, without(spec, [self.key])

    def _filled(self, n_rows: int) -> Array:
        assert self._spec is not None
        shape = self._spec.batched(n_rows)
        axis = self._spec.batch_axis
        row = self._row if axis is None else np.expand_dims(self._row, axis)
        column = np.array(np.broadcast_to(row, shape), order="C")
        column.flags.writeable = False
        return column

    def fused_ops(self) -> Sequence[FusedOp] | None:
        if self._spec is None or self._spec.batch_axis != 0:
            return None
        return [FusedOp("fill", self.key, (self._row.ctypes.data, self._row.nbytes))]

    def inward(self, view: View) -> None:
        column = self._column
        if self._spec is None or self._spec.batch_axis != 0 or len(column) != view.n_rows:
            column = self._column = self._filled(view.n_rows)
        view.inputs[self.key] = column
