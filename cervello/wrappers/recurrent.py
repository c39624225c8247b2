"""State that an agent carries from one decision to the next."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

import numpy as np

from cervello.array_like import castable
from cervello.errors import ExecutionError, WrapperError
from cervello.native.kernels.abi import SCATTER
from cervello.spec import Array, FusedOp, PolicySpec, View, Wrapper
from cervello.wrappers.base import Passive, as_row, check_name, take_input, take_output, without
from cervello.wrappers.recurrent_pairs import recurrent_pairs
from cervello.wrappers.slab import Slab

_ON_NONFINITE = {"keep": 0, "reset": 1, "raise": 2}
_EXPONENTS = {2: 0x7C00, 4: 0x7F80, 8: 0x7FF0}  # exponent bits in the last two bytes of a float, by its size
_COUNTER_LOCK = Lock()


class Recurrent(Passive):
    """Feeds outputs back as the next inputs of the same agent. Both are hidden from the caller; an agent begins with initial state.

    New state with NaN or an infinity in any of an agent's tensors is not stored, so that one bad observation does not spoil the rest of
    the episode. Other outputs of that decision are returned unchanged; `Guard` replaces them. A policy warns once, with a RuntimeWarning,
    after the batch is over.

    Attributes:
      nonfinite_rows: how often state was not stored so far; over all policies with this description.

    Args:
      pairs: output by input, {"h_in": "h_out"}; None pairs equal names and the suffixes exporters use, of equal row shape.
      initial: the row an agent begins with, by input name; zeros where absent.
      on_nonfinite: state of an agent whose new state is not finite. "keep": all its tensors stay as they were. "reset": all are
        initial ones. "raise": the batch is rejected with ExecutionError, and nothing has changed for any agent.
    Raises:
      WrapperError: pairs or initial rows that are no dictionaries, or an unknown `on_nonfinite`; at `attach`, what does not fit
        there.
    """

    def __init__(self, pairs: Mapping[str, str] | None = None, initial: Mapping[str, Any] | None = None, on_nonfinite: str = "keep"):
        if not isinstance(on_nonfinite, str) or on_nonfinite not in _ON_NONFINITE:
            raise WrapperError(f"Recurrent: expected on_nonfinite as one of {list(_ON_NONFINITE)}, got {on_nonfinite!r}")
        for what, given in (("pairs {'h_in': 'h_out'}", pairs), ("initial rows {'h_in': row}", initial)):
            if given is not None and not isinstance(given, Mapping):
                raise WrapperError(f"Recurrent: expected {what}, got {given!r}")
        self.pairs = None if pairs is None else {
            check_name("Recurrent", "input", key): check_name("Recurrent", "output", output) for key, output in pairs.items()}
        self.initial = dict(initial or {})
        self.on_nonfinite = on_nonfinite
        self.nonfinite_rows = 0
        self._counts: Array = np.zeros(1, np.int64)  # the same, counted by compiled code
        self._description: Recurrent | None = None
        self._warned = False
        self._pairs: tuple[tuple[str, str], ...] = ()
        self._moved_axes: dict[str, tuple[int, int]] = {}  # batch axis of an output and of its input, where they differ

    def __repr__(self) -> str:
        options = [] if self.pairs is None else [repr(self.pairs)]
        options += [] if self.on_nonfinite == "keep" else [f"on_nonfinite={self.on_nonfinite!r}"]
        return f"Recurrent({', '.join(options)})"

    def attach(self, spec: PolicySpec) -> tuple[Wrapper, PolicySpec]:
        pairs = recurrent_pairs(spec) if self.pairs is None else self.pairs
        if not pairs:
            raise WrapperError(f"wrapper {self!r}: expected inputs and outputs that pair by name and shape, got inputs "
                               f"{list(spec.inputs)} and outputs {list(spec.outputs)}; name the pairs: Recurrent({{'h_in': 'h_out'}})")
        if len(set(pairs.values())) != len(pairs):
            raise WrapperError(f"wrapper {self!r}: expected every output at most once, got {pairs}")
        slabs, moved_axes = {}, {}
        for key, output in pairs.items():
            into, out = take_input(spec, self, key), take_output(spec, self, output)
            slabs[key] = Slab(into, as_row(self, into, self.initial.get(key, 0)))
            if into.shape != out.shape or into.dtype != out.dtype:
                raise WrapperError(f"wrapper {self!r}: expected {key!r} and {output!r} of one shape, got {into} and {out}")
            if into.batch_axis is None or out.batch_axis is None:
                raise WrapperError(f"wrapper {self!r}: expected a row for every agent, got {into} and {out}")
            if into.batch_axis != out.batch_axis:
                moved_axes[output] = out.batch_axis, into.batch_axis
        unknown = set(self.initial) - set(pairs)
        if unknown:
            raise WrapperError(f"wrapper {self!r}: expected initial states for {list(pairs)}, got {sorted(map(str, unknown))}")
        bound = copy.copy(self)
        bound.pairs = dict(pairs)
        bound.slabs, bound._pairs, bound._moved_axes = slabs, tuple(pairs.items()), moved_axes
        bound._counts, bound._description, bound.nonfinite_rows, bound._warned = np.zeros(1, np.int64), self, 0, False
        return bound, without(spec, pairs, pairs.values())

    def fused_ops(self) -> Sequence[FusedOp] | None:
        if self._moved_axes or any(slab.axis for slab in self.slabs.values()):
            return None
        gathers = [FusedOp("gather", key, slab.words) for key, slab in self.slabs.items()]
        group, mode, count = len(self._pairs), _ON_NONFINITE[self.on_nonfinite], self._counts.ctypes.data
        scatters = []
        for i, (key, output) in enumerate(self._pairs):
            slab = self.slabs[key]
            exponent, carry, element = _exponent_words(slab.spec.dtype)
            checked = SCATTER.filled(group=-1 if i else group, on_nonfinite=mode, exponent=exponent, carry=carry, element=element,
                                     initial=slab.initial.ctypes.data, count=count)
            scatters.append(FusedOp("scatter", output, (*slab.words, *checked)))
        return gathers + scatters

    def inward(self, view: View) -> None:
        for key, slab in self.slabs.items():
            view.inputs[key] = slab.gather(view.slots)

    def outward(self, view: View) -> None:
        columns = [view.outputs.pop(output) for _, output in self._pairs]
        if self._moved_axes:
            for i, (_, output) in enumerate(self._pairs):
                if output in self._moved_axes:
                    columns[i] = np.moveaxis(columns[i], *self._moved_axes[output])
        bad = self._nonfinite(columns, view.n_rows)
        if bad is not None and self.on_nonfinite == "raise":
            raise ExecutionError(f"wrapper {self!r}: expected finite state, got NaN or an infinity in {len(bad)} of {view.n_rows} rows, "
                                 f"the first is row {bad[0]}; check the observations of these rows, or choose on_nonfinite='keep'")
        view.scratch[self] = columns, bad

    def _nonfinite(self, columns: Sequence[Array], n_rows: int) -> Array | None:
        """Rows of agents whose new state is not finite in some tensor; None when there are none."""
        bad = None
        for slab, column in zip(self.slabs.values(), columns, strict=True):
            if column.dtype.kind != "f" or (finite := np.isfinite(column)).all():
                continue
            rows = ~np.moveaxis(finite, slab.axis, 0).reshape(n_rows, -1).all(1)
            bad = rows if bad is None else bad | rows
        return None if bad is None else np.flatnonzero(bad)

    def commit(self, view: View) -> None:
        columns, bad = view.scratch[self]
        for slab, column in zip(self.slabs.values(), columns, strict=True):
            if bad is not None:
                stays = slab.initial if self.on_nonfinite == "reset" else slab.rows[view.slots[bad]]
                column = column.copy()  # others may hold the array
                np.moveaxis(column, slab.axis, 0)[bad] = stays
            slab.scatter(view.slots, column)
        if bad is not None:
            self._counts[0] += len(bad)

    def disable_reports(self) -> None:
        """Disables warnings and the description's counter."""
        self._description, self._warned = None, True

    def report(self, where: str) -> None:
        """Counts state that was not stored since the last call, and warns once. Called when a batch is over, and no lock is held.

        Args:
          where: the policy, for the warning.
        """
        with _COUNTER_LOCK:
            n_rows = int(self._counts[0]) - self.nonfinite_rows
            self.nonfinite_rows += n_rows
            if n_rows and self._description is not None:
                self._description.nonfinite_rows += n_rows
            warns = n_rows > 0 and not self._warned
            self._warned |= warns
        if warns:
            instead = "initial one" if self.on_nonfinite == "reset" else "last finite one"
            message = (f"{where}, wrapper {self!r}: expected finite state, got NaN or an infinity for {n_rows} agent(s), which go on with "
                       f"their {instead}; look at what they observe, nonfinite_rows counts the next ones")
            warnings.warn(message, RuntimeWarning, stacklevel=4)


def _exponent_words(dtype: np.dtype[Any]) -> tuple[int, int, int]:
    """The words `exponent`, `carry` and `element` of SCATTER for a type; zeros where every number is finite."""
    size = dtype.itemsize
    if dtype.kind != "f":
        return 0, 0, size
    exponent = _EXPONENTS[size] << (8 * size - 16)
    every = sum(1 << 8 * at for at in range(0, 8, size))
    return exponent * every, (exponent & -exponent) * every, size


class PreviousAction(Passive):
    """Feeds the last value of an output back as an input; zeros at the first decision of an episode. The output stays visible.

    Args:
      key: the input.
      output: the output to feed back.
    """

    def __init__(self, key: str, output: str):
        self.key, self.output = check_name("PreviousAction", "input", key), check_name("PreviousAction", "output", output)
        self._same_type = False

    def __repr__(self) -> str:
        return f"PreviousAction({self.key!r}, {self.output!r})"

    def attach(self, spec: PolicySpec) -> tuple[Wrapper, PolicySpec]:
        into, out = take_input(spec, self, self.key), take_output(spec, self, self.output)
        if into.size != out.size or into.batch_axis != 0 or out.batch_axis != 0:
            raise WrapperError(f"wrapper {self!r}: expected rows of one size, got {into} and {out}")
        if not castable(out.dtype, into.dtype):
            raise WrapperError(f"wrapper {self!r}: expected an output that {into} can hold, got {out}; a float never silently becomes an "
                               "integer or a bool")
        bound = copy.copy(self)
        bound.slabs = {self.key: Slab(into)}
        bound._same_type = into.dtype == out.dtype
        return bound, without(spec, [self.key])

    def fused_ops(self) -> Sequence[FusedOp] | None:
        if not self._same_type:
            return None
        words = self.slabs[self.key].words
        return [FusedOp("gather", self.key, words), FusedOp("scatter", self.output, words, hidden=False)]

    def inward(self, view: View) -> None:
        view.inputs[self.key] = self.slabs[self.key].gather(view.slots)

    def outward(self, view: View) -> None:
        spec = self.slabs[self.key].spec
        with np.errstate(all="ignore"):  # a float64 may be too large for a float32
            # A copy: wrappers further out may change the column in place.
            view.scratch[self] = view.outputs[self.output].reshape(spec.batched(view.n_rows)).astype(spec.dtype)

    def commit(self, view: View) -> None:
        self.slabs[self.key].scatter(view.slots, view.scratch[self])
