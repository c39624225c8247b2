"""Common parts of wrappers: default hooks, state in slabs, specs without hidden names, rows given by users."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

from cervello.errors import WrapperError
from cervello.spec import Array, FusedOp, PolicySpec, Specs, TensorSpec, View
from cervello.wrappers.slab import Slab


class Passive:
    """Hooks that do nothing except manage slabs; a wrapper overrides what it needs and implements `attach`.

    Attributes:
      slabs: the agents' state by name, set by `attach` on the wrapper it returns and read from here in every hook. State in slabs is part
        of snapshots and survives a swap of the policy; for state stored elsewhere, override `get_state` and `set_state`.
      reads_inputs: whether a hook reads the caller's inputs; they are then converted to arrays of the right type and shape first. A class
        that overrides a hook and does not set it is assumed to read them.
    """

    slabs: Mapping[str, Slab] = MappingProxyType({})
    reads_inputs = False

    def fused_ops(self) -> Sequence[FusedOp] | None:
        """The same as inward, outward and commit together, for the executor's compiled call; None if that is impossible. If a subclass
        overrides one of them, inherited fused ops no longer describe it and are not used."""
        return None

    def reserve(self, capacity: int) -> None:
        """Allocates slots below `capacity`."""
        for slab in self.slabs.values():
            slab.reserve(capacity)

    def begin(self, slots: Array) -> None:
        """Begins agents at these slots, with the slabs' initial rows."""
        for slab in self.slabs.values():
            slab.begin(slots)

    def end(self, slots: Array) -> None:
        """Ends the agents at these slots, [n] int64."""

    def inward(self, view: View) -> None:
        """Converts the caller's inputs in `view` to the inferer's."""

    def outward(self, view: View) -> None:
        """Converts the inferer's outputs in `view` to the caller's."""

    def commit(self, view: View) -> None:
        """Stores the new state of the view's agents."""

    def get_state(self, slots: Array) -> dict[str, Array]:
        """The state of the agents at these slots, [N, ...] by name."""
        return {name: slab.rows[slots] for name, slab in self.slabs.items()}

    def set_state(self, slots: Array, state: Mapping[str, Array]) -> None:
        """Sets the state of the agents at these slots to the result of `get_state`, with the same names, shapes and types. Called after
        `begin`."""
        for name, slab in self.slabs.items():
            slab.put(slots, state[name])


def check_name(wrapper: str, what: str, value: Any) -> str:
    """The name of an input or output, as given to a wrapper.

    Raises:
      WrapperError: it is no string.
    """
    if not isinstance(value, str):
        raise WrapperError(f"{wrapper}: expected the name of an {what}, got {value!r}")
    return value


def check_choice(wrapper: str, option: str, value: Any, choices: Sequence[str]) -> None:
    """Checks an option that is one of some words.

    Raises:
      WrapperError: it is none of them.
    """
    if not isinstance(value, str) or value not in choices:
        raise WrapperError(f"{wrapper}: expected {option}={' or '.join(map(repr, choices))}, got {value!r}")


def as_row(wrapper: object, spec: TensorSpec, value: Any) -> Array:
    """A user's value for an input, as one agent's row.

    Raises:
      WrapperError: it does not fit, or the input cannot represent it.
    """
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise WrapperError(f"wrapper {wrapper!r}: expected a value that fits {spec}, got a ragged sequence") from error
    try:
        given = np.broadcast_to(array, spec.shape)
    except ValueError as error:
        raise WrapperError(f"wrapper {wrapper!r}: expected a value that fits {spec}, got {array.shape}") from error
    if given.dtype.kind in "fiub":
        with np.errstate(all="ignore"):
            row = np.array(given, spec.dtype, order="C")
            # A number may lose digits in a float, but not its value, as 0.5 in an integer or 1e300 in a float32.
            kept = np.isfinite(row) == np.isfinite(given) if spec.dtype.kind == "f" else row == given
        if kept.all():
            return row
    raise WrapperError(f"wrapper {wrapper!r}: expected a value that {spec} can hold, got {value!r}")


def take_input(spec: PolicySpec, wrapper: object, name: str) -> TensorSpec:
    """The spec of an input that a wrapper supplies.

    Args:
      spec: inputs and outputs of the inferer's side, as `attach` receives it.
      wrapper: for the error.
      name: of the input.
    Raises:
      WrapperError: no such input here, perhaps because another wrapper supplies it already.
    """
    found = spec.inputs.get(name)
    if found is None:
        raise WrapperError(f"wrapper {wrapper!r}: expected an input among {list(spec.inputs)}, got {name!r}; it does not exist or "
                           "an inner wrapper provides it")
    return found


def take_output(spec: PolicySpec, wrapper: object, name: str) -> TensorSpec:
    """The spec of an output that a wrapper reads.

    Args:
      spec: inputs and outputs of the inferer's side, as `attach` receives it.
      wrapper: for the error.
      name: of the output.
    Raises:
      WrapperError: no such output here.
    """
    found = spec.outputs.get(name)
    if found is None:
        raise WrapperError(f"wrapper {wrapper!r}: expected an output among {list(spec.outputs)}, got {name!r}; it does not exist or "
                           "an inner wrapper hides it")
    return found


def with_input(spec: PolicySpec, name: str, **changes: Any) -> PolicySpec:
    """A spec in which one input has other fields: with_input(spec, "obs", shape=(84, 84)).

    Args:
      spec: inputs and outputs of the inferer's side, as `attach` receives it.
      name: of the input.
      changes: fields of its `TensorSpec`.
    """
    inputs = [replace(each, **changes) if each.name == name else each for each in spec.inputs.values()]
    return replace(spec, inputs=Specs(inputs))


def without(spec: PolicySpec, inputs: Iterable[str] = (), outputs: Iterable[str] = ()) -> PolicySpec:
    """A spec with the names of `inputs` and `outputs` hidden from the caller."""
    gone_in, gone_out = set(inputs), set(outputs)
    return replace(spec, inputs=Specs([s for s in spec.inputs.values() if s.name not in gone_in]),
                   outputs=Specs([s for s in spec.outputs.values() if s.name not in gone_out]))
