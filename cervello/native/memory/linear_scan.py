"""Memory planning for programs with too many live buffers to examine in pairs.

Buffers are placed in order of their first step, each in the smallest sufficient gap between live buffers, in O(n log n) time. The arena is
about as large as that of a best-fit allocator at run time.

Source: linear scan after Poletto and Sarkar 1999, "Linear scan register allocation"; gaps as in best-fit allocators with boundary tags.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

from cervello.native.memory.offset_search import Span, StackingOrder


class _Gaps:
    """The free byte ranges between and below live buffers; adjacent ranges are merged. Mutable."""

    def __init__(self) -> None:
        self._by_size: list[tuple[int, int]] = []  # (bytes, first byte)
        self._starts: dict[int, int] = {}  # end by first byte
        self._ends: dict[int, int] = {}

    def allocate(self, size: int) -> int | None:
        """Allocates from the start of the smallest sufficient gap; returns its first byte, or None if no gap is large enough."""
        index = bisect_left(self._by_size, (size, 0))
        if index == len(self._by_size):
            return None
        low = self._by_size[index][1]
        high = self._starts[low]
        self._remove(low, high)
        if high - low > size:
            self._add(low + size, high)
        return low

    def free(self, low: int, high: int, top: int) -> None:
        """Frees bytes; the range above `top`, the end of the highest live buffer, is not a gap."""
        if high in self._starts:
            above = self._starts[high]
            self._remove(high, above)
            high = above
        if low in self._ends:
            supports = self._ends[low]
            self._remove(supports, low)
            low = supports
        if low < top:
            self._add(low, high)

    def _add(self, low: int, high: int) -> None:
        insort(self._by_size, (high - low, low))
        self._starts[low], self._ends[high] = high, low

    def _remove(self, low: int, high: int) -> None:
        del self._by_size[bisect_left(self._by_size, (high - low, low))], self._starts[low], self._ends[high]


def linear_scan(spans: Sequence[Span], sizes: Sequence[int]) -> StackingOrder:
    """Places buffers in order of their first step.

    Live buffers have one order along the arena. When a buffer begins, it is stacked on its lower neighbour, and its upper neighbour on it.
    Of any two buffers live at one step, one is therefore above the other, directly or transitively.

    Args:
      spans: [T], live steps of each buffer, half-open; sizes: [T], bytes.
    """
    every = range(len(sizes))
    by_end = sorted(every, key=lambda i: spans[i][1])
    keys = [(0, 0, i) for i in every]  # (first byte, one past the last, buffer)
    live: list[tuple[int, int, int]] = []  # keys, from the bottom up
    supports: list[dict[int, None]] = [{} for _ in every]
    gaps, ended = _Gaps(), 0
    for i in sorted(every, key=lambda i: spans[i]):
        first, end = spans[i]
        if end <= first:
            continue
        while spans[by_end[ended]][1] <= first:
            low, high, j = keys[by_end[ended]]
            ended += 1
            if spans[j][0] < spans[j][1]:
                del live[bisect_left(live, keys[j])]
                if low < high:
                    gaps.free(low, high, live[-1][1] if live else 0)
        offset = 0
        if sizes[i]:
            found = gaps.allocate(sizes[i])
            offset = found if found is not None else live[-1][1] if live else 0
        keys[i] = offset, offset + sizes[i], i
        index = bisect_left(live, keys[i])
        if index:
            supports[i][live[index - 1][2]] = None
        if index < len(live):
            supports[live[index][2]][i] = None
        live.insert(index, keys[i])
    return StackingOrder(tuple(sorted(every, key=keys.__getitem__)), tuple(map(tuple, supports)))
