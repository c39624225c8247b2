"""Wrappers one inside the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cervello.errors import WrapperError
from cervello.spec import Move, PolicySpec, View, Wrapper
from cervello.wrappers.clip import Clip
from cervello.wrappers.constant import EpisodeStart, Fill
from cervello.wrappers.epsilon import Epsilon
from cervello.wrappers.flow import check_flow
from cervello.wrappers.frames import FrameStack
from cervello.wrappers.guard import Guard
from cervello.wrappers.image import Image
from cervello.wrappers.normalize import Normalize
from cervello.wrappers.recurrent import PreviousAction, Recurrent
from cervello.wrappers.sample import Sample

# The library's own; a subclass is its author's.
_OWN = frozenset({Clip, EpisodeStart, Epsilon, Fill, FrameStack, Guard, Image, Normalize, PreviousAction, Recurrent, Sample})
_HOOKS = ("inward", "outward", "commit")


class Stack:
    """A stack attached to a model's specs: hooks pass through every wrapper. Immutable.

    What the library's own wrappers do is trusted; after every other one, what flows is compared with the specs.

    Attributes:
      outer_first, inner_first: the bound wrappers in the order in which a batch goes inward and comes outward.
      spec: on the caller's side.
      foreign: whether a wrapper is not one of the library's own.
      looks: whether a wrapper may look at what the caller gives.

    Args:
      wrappers: outermost first.
      spec: of the bare model.
    Raises:
      WrapperError: a wrapper does not fit where it stands.
    """

    __slots__ = ("_by_trust", "_inward", "_outward", "foreign", "inner_first", "looks", "outer_first", "spec")

    def __init__(self, wrappers: Sequence[Wrapper], spec: PolicySpec):
        inner: list[Wrapper] = []
        sides: list[tuple[PolicySpec, PolicySpec]] = []
        for wrapper in reversed(wrappers):
            if not isinstance(wrapper, Wrapper) or isinstance(wrapper, type):
                raise WrapperError(f"wrappers: expected objects with the methods of cervello.Wrapper, got {wrapper!r}")
            attached, outer = _attached(wrapper, spec)
            if any(attached is other for other in inner):
                raise WrapperError(f"wrappers: expected every wrapper once, got {wrapper!r} twice, whose state would be stored twice; make "
                                   "two, or let attach return a fresh one")
            inner.append(attached)
            sides.append((spec, outer))
            spec = outer
        self.inner_first = tuple(inner)
        self.outer_first = tuple(reversed(inner))
        self.spec = spec
        foreign = [type(wrapper) not in _OWN for wrapper in inner]
        self.foreign = any(foreign)
        self.looks = any(_looks(w) if f else bool(getattr(w, "reads_inputs", True)) for w, f in zip(inner, foreign, strict=True))
        # With each wrapper, the specs on the side to which its hook leads; None where its work is trusted.
        self._outward = tuple((w, outer.outputs if f else None) for w, (_, outer), f in zip(inner, sides, foreign, strict=True))
        self._inward = tuple((w, side.inputs if f else None) for w, (side, _), f in zip(inner, sides, foreign, strict=True))[::-1]
        # Foreign ones first: should one fail all the same, the library's state and the step counters are as before.
        self._by_trust = tuple(w for _, w in sorted(zip(foreign, inner, strict=True), key=lambda pair: not pair[0]))

    def __len__(self) -> int:
        return len(self.inner_first)

    def reserve(self, capacity: int) -> None:
        for wrapper in self.inner_first:
            wrapper.reserve(capacity)

    def inward(self, view: View) -> None:
        for wrapper, specs in self._inward:
            wrapper.inward(view)
            if specs is not None:
                check_flow(f"wrapper {wrapper!r}", "input", specs, view.inputs, view.n_rows, "inward must fill every input that it hides")

    def outward(self, view: View) -> None:
        for wrapper, specs in self._outward:
            wrapper.outward(view)
            if specs is not None:
                check_flow(f"wrapper {wrapper!r}", "output", specs, view.outputs, view.n_rows, "outward must give what attach promised")

    def commit(self, view: View) -> None:
        for wrapper in self._by_trust:
            wrapper.commit(view)

    @property
    def movable(self) -> bool:
        """Whether every wrapper can say what it does as moves."""
        return all(_moves(wrapper) is not None for wrapper in self.inner_first)

    def moves(self) -> list[Move]:
        """What the stack does, as the executor does it; asked again when slabs have grown."""
        return [move for wrapper in self.inner_first for move in _moves(wrapper) or ()]


def _attached(wrapper: Wrapper, spec: PolicySpec) -> tuple[Wrapper, PolicySpec]:
    found = wrapper.attach(spec)
    if isinstance(found, tuple) and len(found) == 2:
        bound, outer = found
        if isinstance(bound, Wrapper) and not isinstance(bound, type) and isinstance(outer, PolicySpec):
            return bound, outer
    raise WrapperError(f"wrapper {wrapper!r}: expected attach to return (wrapper, PolicySpec), got {found!r}")


def _place(wrapper: Wrapper, name: str) -> int:
    """How far a name is defined from the wrapper itself: -1 on the object, 0 in its class, 1 in the next, …"""
    if name in getattr(wrapper, "__dict__", ()):
        return -1
    classes = type(wrapper).__mro__
    return next((i for i, owner in enumerate(classes) if name in vars(owner)), len(classes))


def _outdated(wrapper: Wrapper, name: str) -> bool:
    """Whether a subclass has overridden a hook and left what is said of it, under `name`, as it was."""
    place = _place(wrapper, name)
    return any(_place(wrapper, hook) < place for hook in _HOOKS)


def _looks(wrapper: Wrapper) -> bool:
    return bool(getattr(wrapper, "reads_inputs", True)) or _outdated(wrapper, "reads_inputs")


def _moves(wrapper: Wrapper) -> Sequence[Move] | None:
    """A wrapper's moves; the protocol does not ask for any."""
    moves: Callable[[], Sequence[Move] | None] | None = getattr(wrapper, "moves", None)
    return None if moves is None or _outdated(wrapper, "moves") else moves()
