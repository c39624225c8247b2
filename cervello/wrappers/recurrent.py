"""State that an agent carries from one decision to the next."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cervello.errors import WrapperError
from cervello.native.arrays import castable
from cervello.spec import Move, PolicySpec, View, Wrapper
from cervello.wrappers.base import Passive, named, row_for, take_input, take_output, without
from cervello.wrappers.pairs import recurrent_pairs
from cervello.wrappers.slab import Slab

Array = np.ndarray[Any, Any]


class Recurrent(Passive):
    """Feeds outputs back as the next inputs of the same agent. Both disappear from the caller's side; state begins anew with an agent.

    Args:
      pairs: output by input, {"h_in": "h_out"}; None pairs equal names and the suffixes exporters use, of equal row shape.
      initial: the row an agent begins with, by input name; zeros where absent.
    """

    def __init__(self, pairs: Mapping[str, str] | None = None, initial: Mapping[str, Any] | None = None):
        for what, given in (("pairs {'h_in': 'h_out'}", pairs), ("initial rows {'h_in': row}", initial)):
            if given is not None and not isinstance(given, Mapping):
                raise WrapperError(f"Recurrent: expected {what}, got {given!r}")
        self.pairs = None if pairs is None else {
            named("Recurrent", "input", key): named("Recurrent", "output", output) for key, output in pairs.items()}
        self.initial = dict(initial or {})
        self._ports: tuple[tuple[str, str], ...] = ()
        self._turned: dict[str, tuple[int, int]] = {}  # batch axis of an output and of its input, where they differ

    def __repr__(self) -> str:
        return "Recurrent()" if self.pairs is None else f"Recurrent({self.pairs!r})"

    def attach(self, spec: PolicySpec) -> tuple[Wrapper, PolicySpec]:
        pairs = recurrent_pairs(spec) if self.pairs is None else self.pairs
        if not pairs:
            raise WrapperError(f"wrapper {self!r}: expected inputs and outputs that pair by name and shape, got inputs "
                               f"{list(spec.inputs)} and outputs {list(spec.outputs)}; name the pairs: Recurrent({{'h_in': 'h_out'}})")
        if len(set(pairs.values())) != len(pairs):
            raise WrapperError(f"wrapper {self!r}: expected every output at most once, got {pairs}")
        slabs, turned = {}, {}
        for key, output in pairs.items():
            into, out = take_input(spec, self, key), take_output(spec, self, output)
            slabs[key] = Slab(into, row_for(self, into, self.initial.get(key, 0)))
            if into.shape != out.shape or into.dtype != out.dtype:
                raise WrapperError(f"wrapper {self!r}: expected {key!r} and {output!r} of one shape, got {into} and {out}")
            if into.batch_axis is None or out.batch_axis is None:
                raise WrapperError(f"wrapper {self!r}: expected a row for every agent, got {into} and {out}")
            if into.batch_axis != out.batch_axis:
                turned[output] = out.batch_axis, into.batch_axis
        unknown = set(self.initial) - set(pairs)
        if unknown:
            raise WrapperError(f"wrapper {self!r}: expected initial states for {list(pairs)}, got {sorted(map(str, unknown))}")
        bound = copy.copy(self)
        bound.pairs = dict(pairs)
        bound.slabs, bound._ports, bound._turned = slabs, tuple(pairs.items()), turned
        return bound, without(spec, pairs, pairs.values())

    def moves(self) -> Sequence[Move] | None:
        if self._turned or any(slab.axis for slab in self.slabs.values()):
            return None
        gathers = [Move("gather", key, slab.words) for key, slab in self.slabs.items()]
        return gathers + [Move("scatter", output, self.slabs[key].words) for key, output in self._ports]

    def inward(self, view: View) -> None:
        for key, slab in self.slabs.items():
            view.inputs[key] = slab.gather(view.slots)

    def outward(self, view: View) -> None:
        columns = view.kept[self] = [view.outputs.pop(output) for _, output in self._ports]
        if self._turned:
            for i, (_, output) in enumerate(self._ports):
                if output in self._turned:
                    columns[i] = np.moveaxis(columns[i], *self._turned[output])

    def commit(self, view: View) -> None:
        for slab, column in zip(self.slabs.values(), view.kept[self], strict=True):
            slab.scatter(view.slots, column)


class PreviousAction(Passive):
    """Feeds the last value of an output back as an input; zeros at the first decision of an episode. The output stays visible.

    Args:
      key: the input.
      output: the output that is remembered.
    """

    def __init__(self, key: str, output: str):
        self.key, self.output = named("PreviousAction", "input", key), named("PreviousAction", "output", output)
        self._same_type = False

    def __repr__(self) -> str:
        return f"PreviousAction({self.key!r}, {self.output!r})"

    def attach(self, spec: PolicySpec) -> tuple[Wrapper, PolicySpec]:
        into, out = take_input(spec, self, self.key), take_output(spec, self, self.output)
        size_in, size_out = (int(np.prod(s.shape, dtype=np.int64)) for s in (into, out))
        if size_in != size_out or into.batch_axis != 0 or out.batch_axis != 0:
            raise WrapperError(f"wrapper {self!r}: expected rows of one size, got {into} and {out}")
        if not castable(out.dtype, into.dtype):
            raise WrapperError(f"wrapper {self!r}: expected an output that {into} can hold, got {out}; a float never silently becomes an "
                               "integer or a bool")
        bound = copy.copy(self)
        bound.slabs = {self.key: Slab(into)}
        bound._same_type = into.dtype == out.dtype
        return bound, without(spec, [self.key])

    def moves(self) -> Sequence[Move] | None:
        if not self._same_type:
            return None
        words = self.slabs[self.key].words
        return [Move("gather", self.key, words), Move("scatter", self.output, words, hidden=False)]

    def inward(self, view: View) -> None:
        view.inputs[self.key] = self.slabs[self.key].gather(view.slots)

    def outward(self, view: View) -> None:
        spec = self.slabs[self.key].spec
        with np.errstate(all="ignore"):  # a float64 may be too large for a float32
            # A copy: wrappers further out may change the column in place.
            view.kept[self] = view.outputs[self.output].reshape(spec.batched(view.n_rows)).astype(spec.dtype)

    def commit(self, view: View) -> None:
        self.slabs[self.key].scatter(view.slots, view.kept[self])
