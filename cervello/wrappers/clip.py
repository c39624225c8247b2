"""Clips inputs or outputs to bounds."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from cervello.errors import WrapperError
from cervello.spec import Array, PolicySpec, TensorSpec, View, Wrapper
from cervello.wrappers.base import Passive, as_row, check_choice, check_name, take_input, take_output


def clipped(column: Array, low: Array | None, high: Array | None) -> Array:
    """A column within bounds; NaN stays NaN. Uses comparisons and selection, since numpy's minimum of 0 and -0 may be either."""
    if low is not None:
        column = np.where(column < low, low, column)
    if high is not None:
        column = np.where(column > high, high, column)
    return column


class Clip(Passive):
    """Clips an output, or an input, to bounds. NaN stays NaN; `Guard` replaces it.

    Args:
      name: of an output, else of an input.
      low, high: numbers or rows; None for no bound.
      where: "output" or "input", if both have the name.
    Raises:
      WrapperError: no name, no bound, bounds that are no numbers, an unknown `where`; at `attach`, what does not fit there.
    """

    def __init__(self, name: str, low: Any = None, high: Any = None, where: str | None = None):
        self.name, self.low, self.high, self.where = check_name("Clip", "output or input", name), low, high, where
        if where is not None:
            check_choice(f"Clip({name!r})", "where", where, ("output", "input"))
        if low is None and high is None:
            raise WrapperError(f"Clip({name!r}): expected a bound, got neither low nor high")
        self._low: Array | None = None
        self._high: Array | None = None
        self._is_input = False

    def __repr__(self) -> str:
        where = "" if self.where is None else f", where={self.where!r}"
        return f"Clip({self.name!r}, {self.low!r}, {self.high!r}{where})"

    def attach(self, spec: PolicySpec) -> tuple[Wrapper, PolicySpec]:
        is_input = self.where == "input" or (self.where is None and self.name in spec.inputs and self.name not in spec.outputs)
        found = take_input(spec, self, self.name) if is_input else take_output(spec, self, self.name)
        bound = copy.copy(self)
        bound._is_input = bound.reads_inputs = is_input
        bound._low, bound._high = self._bound(found, self.low), self._bound(found, self.high)
        if bound._low is not None and bound._high is not None and (bound._low > bound._high).any():
            raise WrapperError(f"wrapper {self!r}: expected low ≤ high, got low > high")
        return bound, spec

    def _bound(self, spec: TensorSpec, value: Any) -> Array | None:
        if value is None:
            return None
        row = as_row(self, spec, value)
        if (row != row).any():
            raise WrapperError(f"wrapper {self!r}: expected a bound that is a number, got NaN")
        return row if spec.batch_axis is None else np.expand_dims(row, spec.batch_axis)

    def inward(self, view: View) -> None:
        if self._is_input:
            view.inputs[self.name] = clipped(view.inputs[self.name], self._low, self._high)

    def outward(self, view: View) -> None:
        if not self._is_input:
            view.outputs[self.name] = clipped(view.outputs[self.name], self._low, self._high)
