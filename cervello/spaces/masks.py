"""Masks of allowed actions: converts the forms of environments to that of policies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from cervello.array_like import as_mask, as_numpy
from cervello.errors import InputError
from cervello.spaces.kinds import kind
from cervello.spec import Array

_DTYPE = np.dtype(np.int8)


class MaskLayout:
    """The layout of a mask of an action space in one row. Immutable.

    A Discrete has an element per action, in the order of the actions; a MultiDiscrete concatenates those of its choices, as
    in sb3-contrib. Nonzero allows.

    Args:
      where: prefix of messages.
      space: of the actions.

    Attributes:
      width: elements of a row; 0 where the space has no masks.
    """

    def __init__(self, where: str, space: Any):
        self._where, self._space = where, space
        self._shape: tuple[int, ...] = ()
        self._sizes: tuple[int, ...] = ()
        if kind(space) == "Discrete":
            self._sizes = (int(space.n),)
        elif kind(space) == "MultiDiscrete":
            self._shape = tuple(space.nvec.shape)
            self._sizes = tuple(int(n) for n in space.nvec.reshape(-1))
        self.width = sum(self._sizes)

    def flat(self, mask: Any, n_rows: int, single: bool = False) -> Array:
        """[N, width] int8, 1 for allowed actions.

        Args:
          mask: [N, width]; [width] when there is one row; or, for a MultiDiscrete, a tuple of the choices' masks, each [n] or [N, n].
          single: whether one agent's mask is given, without N.
        Raises:
          InputError: the space has no masks, or this one does not fit.
        """
        if not self.width:
            raise InputError(f"{self._where}, mask: expected none for {self._space}, got one; masks are for Discrete and MultiDiscrete")
        if isinstance(mask, tuple):
            mask = self._joined(mask)
        array = as_numpy(f"{self._where}, mask", mask)
        if array.shape != (n_rows, self.width):
            if not (array.shape == (self.width,) and (single or n_rows == 1)):
                raise InputError(f"{self._where}, mask: expected {(n_rows, self.width)}, got {array.shape}; one element for each action")
            array = array[None]
        return as_mask(f"{self._where}, mask", array, _DTYPE)

    def _joined(self, mask: tuple[Any, ...]) -> Array:
        parts = [as_numpy(f"{self._where}, mask", part) for part in _leaves(mask)]
        widths = tuple(part.shape[-1] if part.ndim else 0 for part in parts)
        if widths != self._sizes:
            raise InputError(f"{self._where}, mask: expected a mask of {list(self._sizes)} elements for each choice, got {list(widths)}")
        if len({part.shape[:-1] for part in parts}) > 1:
            raise InputError(f"{self._where}, mask: expected as many rows for each choice, got {[part.shape for part in parts]}")
        return np.concatenate(parts, axis=-1)

    def empty(self, flat: Array) -> Array:
        """[N] bool, rows of a mask, [N, width], in which a choice has no allowed action."""
        found = np.zeros(len(flat), np.bool_)
        first = 0
        for size in self._sizes:
            found |= ~flat[:, first:first + size].any(axis=1)
            first += size
        return found

    def with_empty_allowed(self, flat: Array) -> Array:
        """[N, width] int8, a copy of a mask with all actions allowed in choices without an allowed action."""
        found, first = flat.copy(), 0
        for size in self._sizes:
            choice = found[:, first:first + size]
            choice[~choice.any(axis=1)] = 1
            first += size
        return found


def _leaves(mask: tuple[Any, ...]) -> Iterator[Any]:
    """The parts of nested tuples that are no tuples, in order."""
    for part in mask:
        if isinstance(part, tuple):
            yield from _leaves(part)
        else:
            yield part
