"""Arenas: memory for the values of one run. A run borrows an arena and returns it at once, so consecutive models use the same memory, which
is still in the core's cache. An arena far larger than recent requests shrinks; an arena not borrowed recently is freed
(`cervello.high_water`)."""

from __future__ import annotations

from contextlib import suppress

import numpy as np

from cervello.high_water import KEPT_BYTES, USES, HighWater
from cervello.native.graph.dtypes import Array

_ALIGNMENT = 64
_idle: list[Arena] = []  # most recently used last
_unused = 0  # number of arenas returned since the pool was last empty


class Arena:
    """A block of memory; mutable. A borrowed arena belongs to one run.

    Attributes:
      address: of the first byte, 64-byte aligned.
      capacity: bytes.
    """

    __slots__ = ("_memory", "_water", "address", "capacity")

    def __init__(self) -> None:
        self._memory: Array = np.empty(0, np.uint8)
        self._water = HighWater()
        self.address = self.capacity = 0

    def fit(self, n_bytes: int) -> None:
        """Grows the arena to at least n_bytes, or shrinks it if it is far larger than recent requests; the contents are lost."""
        capacity = self._water.keep(n_bytes, max(self.capacity, n_bytes))
        if capacity != self.capacity:
            self._allocate(capacity)

    def _allocate(self, n_bytes: int) -> None:
        self._memory, self.address, self.capacity = np.empty(0, np.uint8), 0, 0  # frees the old memory first
        memory = np.empty(n_bytes + _ALIGNMENT, np.uint8)
        address = memory.ctypes.data
        self._memory, self.address, self.capacity = memory, address + -address % _ALIGNMENT, n_bytes

    def poison(self) -> None:
        """Fills the arena with NaN, so that tests detect reads of stale memory."""
        self._memory[:] = 0xFF


def borrow(n_bytes: int) -> Arena:
    """An arena of at least n_bytes; the most recently used one if possible."""
    global _unused
    try:
        arena = _idle.pop()
    except IndexError:
        arena = Arena()
    if _unused and not _idle:
        _unused = 0
    capacity = arena.capacity
    if capacity < n_bytes or capacity > KEPT_BYTES:
        arena.fit(n_bytes)
    return arena


def give_back(arena: Arena) -> None:
    """Returns a borrowed arena to the pool."""
    global _unused
    if _idle:
        _unused += 1
        if _unused > USES:
            _unused = 0
            with suppress(IndexError):  # other threads may borrow concurrently
                unused = _idle.pop(0)
                if unused.capacity <= KEPT_BYTES:
                    _idle.insert(0, unused)
    _idle.append(arena)
