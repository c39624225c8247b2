"""When memory that is used again and again is far larger than what is needed lately, and may go.

One large batch must not keep its memory for ever, and sizes that go up and down must not allocate. So memory above `KEPT_BYTES` goes after
`USES` uses in a row that needed less than a quarter of it. What those needed stays.
"""

from __future__ import annotations

KEPT_BYTES = 1 << 20  # less is not worth it
USES = 64
_SHARE = 4


class HighWater:
    """The most that was needed in the uses that needed little. Mutable, one thread at a time."""

    __slots__ = ("_most", "_uses")

    def __init__(self) -> None:
        self._most = self._uses = 0

    def keep(self, need: int, have: int) -> int:
        """How much to keep after one more use.

        Args:
          need, have: what the use needed, of what there is; in one unit.
        Returns:
          `have`; or less, and at least as much as this use and the others of late needed.
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
