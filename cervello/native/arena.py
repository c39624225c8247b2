"""Memory for values that live within one run. Whoever runs something borrows an arena and gives it back at once, so models that run one
after the other use the same memory, which is still in the core's cache."""

from __future__ import annotations

from typing import Any

import numpy as np

_ALIGNMENT = 64
_idle: list[Arena] = []


class Arena:
    """Mutable; whoever has borrowed it has it alone.

    Attributes:
      address: of the first of `room` bytes.
    """

    __slots__ = ("_memory", "address", "room")

    def __init__(self) -> None:
        self._memory: np.ndarray[Any, Any] = np.empty(0, np.uint8)
        self.address = self.room = 0

    def grow(self, n_bytes: int) -> None:
        """Makes it at least this large; nothing of what was in it stays."""
        memory = np.empty(n_bytes + _ALIGNMENT, np.uint8)
        address = memory.ctypes.data
        self._memory, self.address, self.room = memory, address + -address % _ALIGNMENT, n_bytes

    def poison(self) -> None:
        """Fills it with NaN, for tests: a read of stale memory then shows."""
        self._memory[:] = 0xFF


def borrow(n_bytes: int) -> Arena:
    """An arena of at least so many bytes, the one that was used last if possible."""
    try:
        arena = _idle.pop()
    except IndexError:
        arena = Arena()
    if arena.room < n_bytes:
        arena.grow(n_bytes)
    return arena


def give_back(arena: Arena) -> None:
    _idle.append(arena)
