"""Wrappers one inside the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cervello.errors import WrapperError
from cervello.spec import Array, Move, PolicySpec, Wrapper


class Stack:
    """A stack attached to a model's specs: hooks pass through every wrapper. Immutable.

    Attributes:
      outer_first, inner_first: the bound wrappers in the order in which a batch goes inward and comes outward.
      spec: on the caller's side.

    Args:
      wrappers: outermost first.
      spec: of the bare model.
    Raises:
      WrapperError: a wrapper does not fit where it stands.
    """

    __slots__ = ("inner_first", "outer_first", "spec")

    def __init__(self, wrappers: Sequence[Wrapper], spec: PolicySpec):
        inner: list[Wrapper] = []
        for wrapper in reversed(wrappers):
            if not isinstance(wrapper, Wrapper) or isinstance(wrapper, type):
                raise WrapperError(f"wrappers: expected objects with the methods of cervello.Wrapper, got {wrapper!r}")
            attached, spec = wrapper.attach(spec)
            inner.append(attached)
        self.inner_first = tuple(inner)
        self.outer_first = tuple(reversed(inner))
        self.spec = spec

    def __len__(self) -> int:
        return len(self.inner_first)

    def reserve(self, capacity: int) -> None:
        for wrapper in self.inner_first:
            wrapper.reserve(capacity)

    def begin(self, slots: Array) -> None:
        for wrapper in self.inner_first:
            wrapper.begin(slots)

    def end(self, slots: Array) -> None:
        for wrapper in self.inner_first:
            wrapper.end(slots)

    @property
    def movable(self) -> bool:
        """Whether every wrapper can say what it does as moves."""
        return all(_moves(wrapper) is not None for wrapper in self.inner_first)

    def moves(self) -> list[Move]:
        """What the stack does, as the executor does it; asked again when slabs have grown."""
        return [move for wrapper in self.inner_first for move in _moves(wrapper) or ()]


def _moves(wrapper: Wrapper) -> Sequence[Move] | None:
    """A wrapper's moves; the protocol does not ask for any."""
    moves: Callable[[], Sequence[Move] | None] = getattr(wrapper, "moves", lambda: None)
    return moves()
