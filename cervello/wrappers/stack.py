"""A stack of nested wrappers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cervello.errors import WrapperError
from cervello.native.execution.chained import Chained
from cervello.spec import Array, FusedOp, PolicySpec, Specs, View, Wrapper
from cervello.wrappers.base import Passive
from cervello.wrappers.clip import Clip
from cervello.wrappers.column_checks import check_columns
from cervello.wrappers.episode_start import EpisodeStart
from cervello.wrappers.epsilon import Epsilon
from cervello.wrappers.fill import Fill
from cervello.wrappers.frame_stack import FrameStack
from cervello.wrappers.guard import Guard
from cervello.wrappers.image import Image
from cervello.wrappers.normalize import Normalize
from cervello.wrappers.recurrent import PreviousAction, Recurrent
from cervello.wrappers.sample import Sample
from cervello.wrappers.slab import Slab

# The library's own; a subclass counts as custom.
_OWN = frozenset({Clip, EpisodeStart, Epsilon, Fill, FrameStack, Guard, Image, Normalize, PreviousAction, Recurrent, Sample})
_HOOKS = ("inward", "outward", "commit")


class Stack:
    """A stack attached to a model's specs: hooks pass through every wrapper. Immutable.

    The library's own wrappers are not checked; after every custom one, columns are compared with the specs.

    Attributes:
      outer_first, inner_first: the bound wrappers in the order of `inward` and of `outward`.
      spec: on the caller's side.
      custom: whether a wrapper is not one of the library's own.
      reads_inputs: whether a wrapper may read the caller's inputs.

    Args:
      wrappers: outermost first.
      spec: of the bare model.
      before: the stack that this one replaces; a wrapper that is attached there itself, at the same place, is not attached again.
    Raises:
      WrapperError: a wrapper does not fit at its place.
    """

    __slots__ = ("_custom_first", "_inward", "_outward", "_reporting", "_sides", "custom", "inner_first", "outer_first",
                 "reads_inputs", "spec")

    def __init__(self, wrappers: Sequence[Wrapper], spec: PolicySpec, before: Stack | None = None):
        inner: list[Wrapper] = []
        sides: list[tuple[PolicySpec, PolicySpec]] = []
        for wrapper in reversed(wrappers):
            if not isinstance(wrapper, Wrapper) or isinstance(wrapper, type):
                raise WrapperError(f"wrappers: expected objects with the methods of cervello.Wrapper, got {wrapper!r}")
            attached, outer = (None if before is None else before._attached_before(wrapper, spec)) or _attached(wrapper, spec)
            if type(wrapper) not in _OWN:  # it expects the types of its own specs
                outer = replace(outer, inputs=Specs([replace(each, keeps_float64=False) for each in outer.inputs.values()]))
            if any(attached is other for other in inner):
                raise WrapperError(f"wrappers: expected distinct wrappers, got {wrapper!r} twice; its state would be stored twice, make "
                                   "two, or return a new object from attach")
            inner.append(attached)
            sides.append((spec, outer))
            spec = outer
        self.inner_first = tuple(inner)
        self._sides = tuple(sides)
        self.outer_first = tuple(reversed(inner))
        self._reporting = tuple(wrapper for wrapper in inner if isinstance(wrapper, Recurrent))
        self.spec = spec
        custom = [type(wrapper) not in _OWN for wrapper in inner]
        self.custom = any(custom)
        self.reads_inputs = any(map(_reads_inputs, inner))
        # With each wrapper, the specs on the far side of its hook; None if it is not checked.
        checked = [(inner_side.inputs, outer_side.outputs) if is_custom else (None, None)
                   for is_custom, (inner_side, outer_side) in zip(custom, sides, strict=True)]
        self._outward = tuple((wrapper, outputs) for wrapper, (_, outputs) in zip(inner, checked, strict=True))
        self._inward = tuple((wrapper, inputs) for wrapper, (inputs, _) in zip(inner, checked, strict=True))[::-1]
        # Custom ones first: if one raises, the library's state and the step counters are unchanged.
        self._custom_first = tuple(sorted(inner, key=lambda wrapper: type(wrapper) in _OWN))

    def _attached_before(self, wrapper: Wrapper, spec: PolicySpec) -> tuple[Wrapper, PolicySpec] | None:
        """A wrapper that is attached in this stack itself, with its outer side, if its inner side is unchanged."""
        for attached, (inner, outer) in zip(self.inner_first, self._sides, strict=True):
            if attached is wrapper:
                if dict(inner.inputs) == dict(spec.inputs) and dict(inner.outputs) == dict(spec.outputs):
                    return attached, outer
                raise WrapperError(f"wrapper {wrapper!r}: expected the place in the stack that it is attached at, got another; make a "
                                   "new one")
        return None

    def __len__(self) -> int:
        return len(self.inner_first)

    def reserve(self, capacity: int) -> None:
        """Allocates slots below `capacity` in every wrapper."""
        for wrapper in self.inner_first:
            wrapper.reserve(capacity)

    def inward(self, view: View) -> None:
        """Passes `view` through the wrappers, outermost first. Raises ExecutionError if one omits an input of its specs."""
        for wrapper, specs in self._inward:
            wrapper.inward(view)
            if specs is not None:
                check_columns(f"wrapper {wrapper!r}", "input", specs, view.inputs, view.n_rows,
                              "inward must fill every input that it hides")

    def outward(self, view: View) -> None:
        """Passes `view` back, innermost first. Raises ExecutionError if one omits an output of its specs."""
        for wrapper, specs in self._outward:
            wrapper.outward(view)
            if specs is not None:
                check_columns(f"wrapper {wrapper!r}", "output", specs, view.outputs, view.n_rows,
                              "outward must give what attach promised")

    def commit(self, view: View) -> None:
        """Every wrapper stores the new state of the view's agents; the library's own come last."""
        for wrapper in self._custom_first:
            wrapper.commit(view)

    def report(self, where: str) -> None:
        """Lets wrappers report on a finished batch of the policy `where`; no lock is held."""
        for wrapper in self._reporting:
            wrapper.report(where)

    def disable_reports(self) -> None:
        """Disables reports, because the observations are synthetic."""
        for wrapper in self._reporting:
            wrapper.disable_reports()

    @property
    def kinds(self) -> list[str]:
        """The names of the wrappers' classes, outermost first."""
        return [type(wrapper).__name__ for wrapper in self.outer_first]

    # State --------------------------------------------------------------------------------------------------------------

    def slabs(self) -> dict[str, Slab]:
        """The slabs of all wrappers, by place in the stack and name."""
        return {f"{i} {name}": slab for i, wrapper in enumerate(self.inner_first) if not _has_own_state(wrapper)
                for name, slab in getattr(wrapper, "slabs", {}).items()}

    def custom_state(self, slots: Array) -> dict[str, Array]:
        """State of wrappers that store it outside slabs, of the agents at these slots, [n, ...] by place in the stack and name.

        Raises:
          WrapperError: one of them does not expose it.
        """
        found = {}
        for i, wrapper in enumerate(self.inner_first):
            if not _has_own_state(wrapper):
                continue
            if not _exposes_state(wrapper):
                raise WrapperError(f"wrapper {wrapper!r}: expected state in slabs, or get_state and set_state, got a wrapper with hooks "
                                   "of its own and neither; its state cannot be saved")
            for name, array in wrapper.get_state(slots).items():  # type: ignore[attr-defined]
                rows = np.ascontiguousarray(array)
                if rows.shape[:1] != slots.shape or rows.dtype.kind not in "fiub":
                    raise WrapperError(f"wrapper {wrapper!r}, get_state {name!r}: expected numbers, ({len(slots)}, ...), got {rows.dtype} "
                                       f"{rows.shape}")
                found[f"{i} {name}"] = rows
        return found

    def set_state(self, slots: Array, state: Mapping[str, Array]) -> None:
        """Sets the state of agents that have just begun at these slots, from `slabs` and `custom_state`."""
        slabs = self.slabs()
        others: dict[int, dict[str, Array]] = {i: {} for i, wrapper in enumerate(self.inner_first) if _has_own_state(wrapper)}
        for name, array in state.items():
            if name in slabs:
                slabs[name].put(slots, array)
            else:
                place, _, own = name.partition(" ")
                others[int(place)][own] = array
        for i, own_state in others.items():
            self.inner_first[i].set_state(slots, own_state)  # type: ignore[attr-defined]

    def _stateful(self) -> list[Wrapper]:
        """The wrappers with state, innermost first."""
        return [wrapper for wrapper in self.inner_first if getattr(wrapper, "slabs", None) or _has_own_state(wrapper)]

    def check_state_fits(self, old: Stack) -> None:
        """Raises WrapperError if wrappers with state differ from those in `old`, so that this stack cannot take over its state."""
        new_wrappers, old_wrappers = self._stateful(), old._stateful()
        if list(map(type, new_wrappers)) != list(map(type, old_wrappers)):
            got, expected = ([type(wrapper).__name__ for wrapper in reversed(stateful)] for stateful in (new_wrappers, old_wrappers))
            raise WrapperError(f"wrappers: expected the same ones with state, {expected}, in the same order, got {got}; others may be "
                               "added or removed")
        for new_wrapper, old_wrapper in zip(new_wrappers, old_wrappers, strict=True):
            is_kept = new_wrapper is old_wrapper or not _has_own_state(new_wrapper)
            if not is_kept or _slab_layouts(new_wrapper) != _slab_layouts(old_wrapper):
                raise WrapperError(f"wrapper {new_wrapper!r}: expected state in slabs of the same names and shapes as {old_wrapper!r} has, "
                                   "got others; agents cannot keep their state")

    def transfer_state(self, old: Stack) -> None:
        """Takes over the slabs of a stack that this one replaces: running batches of the old one store where this one reads."""
        for new_wrapper, old_wrapper in zip(self._stateful(), old._stateful(), strict=True):
            if new_wrapper is not old_wrapper and getattr(old_wrapper, "slabs", None):
                for name, slab in old_wrapper.slabs.items():  # type: ignore[attr-defined]
                    slab.initial = new_wrapper.slabs[name].initial  # type: ignore[attr-defined]
                new_wrapper.slabs = old_wrapper.slabs  # type: ignore[attr-defined]

    def share(self, other: Stack) -> None:
        """Uses the slabs of the stack `other`, which differs only in sizes on which no slab depends."""
        for mine, theirs in zip(self.inner_first, other.inner_first, strict=True):
            if getattr(theirs, "slabs", None):
                mine.slabs = theirs.slabs  # type: ignore[attr-defined]

    # Fused ops ----------------------------------------------------------------------------------------------------------

    @property
    def has_fused_ops(self) -> bool:
        """Whether every wrapper supports fused ops."""
        return all(_fused_ops(wrapper) is not None for wrapper in self.inner_first)

    def chained(self) -> Chained | None:
        """The graphs that wrappers run on outputs, for the executor's compiled call; None if that is impossible."""
        found: list[Chained] = []
        for wrapper in self.inner_first:
            if isinstance(wrapper, Sample):
                each = wrapper.chained
                if each is None:
                    return None
                found.append(each)
        if not found:
            return Chained()
        model = self._sides[0][0]
        inputs, outputs = ([spec for each in found for spec in getattr(each, side)] for side in ("inputs", "outputs"))
        for every in ([*model.inputs, *(spec.name for spec in inputs)], [*model.outputs, *(spec.name for spec in outputs)]):
            if len(set(every)) != len(every):
                return None  # a name that a wrapper further in has hidden is used again
        return Chained(tuple(stage for each in found for stage in each.stages), tuple(inputs), tuple(outputs),
                       frozenset(name for each in found for name in each.hidden))

    def fused_ops(self) -> list[FusedOp]:
        """The fused ops of the stack; called again when slabs have grown."""
        return [op for wrapper in self.inner_first for op in _fused_ops(wrapper) or ()]


def _attached(wrapper: Wrapper, spec: PolicySpec) -> tuple[Wrapper, PolicySpec]:
    found = wrapper.attach(spec)
    if isinstance(found, tuple) and len(found) == 2:
        bound, outer = found
        if isinstance(bound, Wrapper) and not isinstance(bound, type) and isinstance(outer, PolicySpec):
            return bound, outer
    raise WrapperError(f"wrapper {wrapper!r}: expected attach to return (wrapper, PolicySpec), got {found!r}")


def _definition_depth(wrapper: Wrapper, name: str) -> int:
    """The depth at which a name is defined: -1 on the object, 0 in its class, 1 in the next, …"""
    if name in getattr(wrapper, "__dict__", ()):
        return -1
    classes = type(wrapper).__mro__
    return next((i for i, owner in enumerate(classes) if name in vars(owner)), len(classes))


def _is_outdated(wrapper: Wrapper, name: str) -> bool:
    """Whether a subclass has overridden a hook without its description `name`."""
    depth = _definition_depth(wrapper, name)
    return any(_definition_depth(wrapper, hook) < depth for hook in _HOOKS)


def _exposes_state(wrapper: Wrapper) -> bool:
    """Whether a wrapper defines `get_state` in the class that defines the hooks that change state, or in a subclass of it."""
    if not hasattr(wrapper, "get_state") or not hasattr(wrapper, "set_state"):
        return False
    overrides = getattr(type(wrapper), "get_state", None) is not Passive.get_state
    return overrides and not any(_definition_depth(wrapper, hook) < _definition_depth(wrapper, "get_state") for hook in ("begin", "commit"))


def _has_own_state(wrapper: Wrapper) -> bool:
    """Whether a wrapper has state outside slabs, judged by its hooks."""
    if type(wrapper) in _OWN:
        return False
    if getattr(type(wrapper), "get_state", None) is not Passive.get_state:
        return True
    return not wrapper.slabs and any(  # type: ignore[attr-defined]
        getattr(type(wrapper), hook, None) is not getattr(Passive, hook) for hook in ("reserve", "begin", "commit"))


def _slab_layouts(wrapper: Wrapper) -> dict[str, tuple[tuple[int, ...], np.dtype[Any], int]]:
    """Row shape, dtype and batch axis of each slab, by name."""
    slabs: Mapping[str, Slab] = getattr(wrapper, "slabs", {})
    return {name: (slab.spec.shape, slab.spec.dtype, slab.axis) for name, slab in slabs.items()}


def _reads_inputs(wrapper: Wrapper) -> bool:
    """Whether a wrapper may read the caller's inputs; a custom one that overrides a hook and does not say so is assumed to."""
    return bool(getattr(wrapper, "reads_inputs", True)) or (type(wrapper) not in _OWN and _is_outdated(wrapper, "reads_inputs"))


def _fused_ops(wrapper: Wrapper) -> Sequence[FusedOp] | None:
    """A wrapper's fused ops, which the protocol does not require."""
    fused_ops: Callable[[], Sequence[FusedOp] | None] | None = getattr(wrapper, "fused_ops", None)
    return None if fused_ops is None or _is_outdated(wrapper, "fused_ops") else fused_ops()
