"""Releases reused memory that is far larger than recent use.

One large batch must not keep its memory for ever, and sizes that go up and down must not allocate. Memory above `KEPT_BYTES` is therefore
released after `USES` uses in a row that needed less than a quarter of it. The maximum of those uses is kept.
"""

from __future__ import annotations

KEPT_BYTES = 1 << 20  # less is not worth releasing
USES = 64
_SHARE = 4


class HighWater:
    """The maximum need of recent uses that needed little. Mutable, not thread-safe."""

    __slots__ = ("_most", "_uses")

    def __init__(self) -> None:
        self._most = self._uses = 0

    def keep(self, need: int, have: int) -> int:
        """How much to keep after one more use.

        Args:
          need, have: what the use needed, and what is allocated; in one unit.
        Returns:
          `have`; or less, and at least as much as this use and the other recent ones needed.
        """
        if need * _SHARE >= have:
            self._most = self._uses = 0
            return have
        self._uses += 1
        self._most = max(self._most, need)
        if self._uses < USES:
            return have
        most, self._most, self._uses = self._most, 0, 0
        return most
