"""Memory for values that live within one run. Whoever runs something borrows an arena and gives it back at once, so models that run one
after the other use the same memory, which is still in the core's cache. Arenas far larger than what is borrowed lately shrink, and arenas
that are not borrowed lately go (`cervello.high_water`)."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np

from cervello.high_water import KEPT_BYTES, USES, HighWater

_ALIGNMENT = 64
_idle: list[Arena] = []  # the one that was used last is the last
_unused = 0  # arenas given back since all were in use, while the first one here lay idle


class Arena:
    """Mutable; whoever has borrowed it has it alone.

    Attributes:
      address: of the first of `room` bytes.
    """

    __slots__ = ("_memory", "_water", "address", "room")

    def __init__(self) -> None:
        self._memory: np.ndarray[Any, Any] = np.empty(0, np.uint8)
        self._water = HighWater()
        self.address = self.room = 0

    def fit(self, n_bytes: int) -> None:
        """Makes it at least this large, and not much larger than what was needed lately; nothing of what was in it stays."""
        room = self._water.keep(n_bytes, max(self.room, n_bytes))
        if room != self.room:
            self._allocate(room)

    def _allocate(self, n_bytes: int) -> None:
        self._memory, self.address, self.room = np.empty(0, np.uint8), 0, 0  # the old memory goes first
        memory = np.empty(n_bytes + _ALIGNMENT, np.uint8)
        address = memory.ctypes.data
        self._memory, self.address, self.room = memory, address + -address % _ALIGNMENT, n_bytes

    def poison(self) -> None:
        """Fills it with NaN, for tests: a read of stale memory then shows."""
        self._memory[:] = 0xFF


def borrow(n_bytes: int) -> Arena:
    """An arena of at least so many bytes, the one that was used last if possible."""
    global _unused
    try:
        arena = _idle.pop()
    except IndexError:
        arena = Arena()
    if _unused and not _idle:
        _unused = 0
    room = arena.room
    if room < n_bytes or room > KEPT_BYTES:
        arena.fit(n_bytes)
    return arena


def give_back(arena: Arena) -> None:
    """The next one who borrows may have it."""
    global _unused
    if _idle:
        _unused += 1
        if _unused > USES:
            _unused = 0
            with suppress(IndexError):  # other threads borrow meanwhile
                unused = _idle.pop(0)
                if unused.room <= KEPT_BYTES:
                    _idle.insert(0, unused)
    _idle.append(arena)
