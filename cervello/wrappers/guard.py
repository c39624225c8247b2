"""Replaces non-finite outputs."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

import numpy as np

from cervello.errors import WrapperError
from cervello.spec import Array, PolicySpec, Specs, TensorSpec, View, Wrapper
from cervello.wrappers.base import Passive, as_row, check_name, take_output
from cervello.wrappers.slab import Slab

_COUNTER_LOCK = Lock()


class Guard(Passive):
    """Replaces outputs that are not finite: a row with NaN or an infinity in any guarded output gets the fallback for all of them.

    Inside `Recurrent` it also guards state, which is then replaced instead of staying NaN for ever.

    Attributes:
      replaced_rows: rows replaced so far, in batches that succeeded; over all policies with this description.

    Args:
      fallback: a number for every element, or a row that fits every output; rows by output name, 0 for others; or "last", the agent's
        last finite value, zeros before.
      outputs: their names; None for all float outputs at this place in the stack.
    Raises:
      WrapperError: an invalid fallback or invalid outputs; at `attach`, what does not fit there.
    """

    def __init__(self, fallback: float | str | Mapping[str, Any] = 0.0, outputs: Sequence[str] | None = None):
        if isinstance(fallback, str) and fallback != "last":
            raise WrapperError(f"Guard: expected a number, rows by name or 'last', got {fallback!r}")
        if outputs is not None and (isinstance(outputs, str) or not isinstance(outputs, Sequence) or not outputs):
            raise WrapperError(f"Guard: expected a list of at least one output, got {outputs!r}")
        self.fallback = dict(fallback) if isinstance(fallback, Mapping) else fallback
        self.outputs = None if outputs is None else tuple(check_name("Guard", "output", name) for name in outputs)
        self.replaced_rows = 0
        self._description: Guard | None = None
        self._specs: Specs = Specs([])
        self._rows: dict[str, Array] = {}

    def __repr__(self) -> str:
        return f"Guard({self.fallback!r})" if self.outputs is None else f"Guard({self.fallback!r}, outputs={list(self.outputs)})"

    def attach(self, spec: PolicySpec) -> tuple[Wrapper, PolicySpec]:
        if self.outputs is None:
            found = [each for each in spec.outputs.values() if _can_be_guarded(each)]
        else:
            found = [take_output(spec, self, name) for name in self.outputs]
        if not found or not all(map(_can_be_guarded, found)):
            raise WrapperError(f"wrapper {self!r}: expected outputs of floats with a row for every agent, got {spec.outputs!r}")
        bound = copy.copy(self)
        bound.replaced_rows, bound._description = 0, self
        bound._specs = Specs(found)
        if isinstance(self.fallback, str):
            bound.slabs = {each.name: Slab(each) for each in found}
            return bound, spec
        given = self.fallback if isinstance(self.fallback, dict) else {each.name: self.fallback for each in found}
        unknown = [name for name in given if name not in bound._specs]
        if unknown:
            raise WrapperError(f"wrapper {self!r}: expected fallbacks for {list(bound._specs)}, got {unknown}")
        bound._rows = {each.name: self._row(each, given.get(each.name, 0.0)) for each in found}
        return bound, spec

    def _row(self, spec: TensorSpec, value: Any) -> Array:
        row = as_row(self, spec, value)
        if not np.isfinite(row).all():
            raise WrapperError(f"wrapper {self!r}: expected finite fallbacks, got {value!r} for {spec.name!r}")
        return row

    def outward(self, view: View) -> None:
        bad = np.zeros(view.n_rows, np.bool_)
        for spec in self._specs.values():
            rows = np.moveaxis(view.outputs[spec.name], spec.batch_axis or 0, 0)
            bad |= ~np.isfinite(rows).reshape(view.n_rows, -1).all(1)
        count = int(np.count_nonzero(bad))
        if count or self.slabs:
            for spec in self._specs.values():
                # A copy: others may hold the array, and the stored value must not change.
                column = view.outputs[spec.name].copy()
                rows = np.moveaxis(column, spec.batch_axis or 0, 0)
                rows[bad] = self.slabs[spec.name].rows[view.slots[bad]] if self.slabs else self._rows[spec.name]
                view.outputs[spec.name] = column
        kept = {name: view.outputs[name].copy() for name in self.slabs}  # wrappers further out may change a column in place
        view.scratch[self] = count, kept

    def commit(self, view: View) -> None:
        count, kept = view.scratch[self]
        for name, slab in self.slabs.items():
            slab.scatter(view.slots, kept[name])
        if count:
            with _COUNTER_LOCK:
                self.replaced_rows += count
                if self._description is not None:
                    self._description.replaced_rows += count


def _can_be_guarded(spec: TensorSpec) -> bool:
    """Whether an output can be guarded: floats, with a row for every agent."""
    return spec.dtype.kind == "f" and spec.batch_axis is not None
