"""Assigns every intermediate buffer an offset in one arena, for every number of rows N.

Lifetimes are half-open: from the first step that touches a buffer to one past the last. Sizes are `const + slope · N`, rounded up to 64
bytes for the N that runs. The plan stores stacking orders instead of offsets: which buffers lie directly below each buffer. For a given N,
a buffer's offset is the highest end of the buffers below it. A stacking order is therefore valid for every N, and its offsets resolve in
one pass. No single order is smallest for every N, because only some buffers grow with N. The plan keeps a few orders, searched at several
N, and takes the one with the smallest arena.

Source: tract's memory schema (symbolic sizes, half-open lifetimes); the search is in `offset_search`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cervello.errors import PlanError
from cervello.native.graph.dims import at, parts
from cervello.native.graph.tensors import Buffer, Space, Step, Tensor
from cervello.native.memory.linear_scan import linear_scan
from cervello.native.memory.offset_search import (
    Budget,
    Span,
    StackingOrder,
    by_partitions,
    first_fit,
    neighbours,
    peak,
    search,
    stacking_order,
)

ALIGNMENT = 64
_PROBES = (64, 1, 7, 1000, 2, 20, 200, 1 << 20)  # row counts that the search optimises for
_MOST_ORDERS = 6
_MOST_PAIRS = 1_000_000  # buffers × maximal number of live buffers; above it, each probe uses `linear_scan` instead of a search
_MOST_SEARCHED = 20_000  # buffers; above it, likewise
_BUDGET = 1_500_000  # examined conflicts, about 0.3 s; spent only if hundreds of buffers stay far above the peak


@dataclass(frozen=True, slots=True)
class Lifetime:
    """A buffer and its half-open range of live steps."""

    buffer: Buffer
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of all arena buffers.

    Attributes:
      lifetimes: of all arena buffers; `orders` refer to them by index.
      orders: stacking orders; for each N, the first with the smallest arena is used.
      index: index in `lifetimes`, by id of the buffer.
    """

    lifetimes: tuple[Lifetime, ...]
    orders: tuple[StackingOrder, ...]
    index: dict[int, int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", {id(life.buffer): i for i, life in enumerate(self.lifetimes)})

    def offsets(self, n_rows: int) -> tuple[list[int], int]:
        """Offsets in bytes by buffer, and the arena's size in bytes, for N = n_rows."""
        sizes = _sizes(self.lifetimes, n_rows)
        resolved = [stacking.resolve_offsets(sizes) for stacking in self.orders]
        return min(resolved, key=lambda found: found[1]) if resolved else ([], 0)

    def table(self) -> list[int]:
        """The layout as words, in the format of `kernels.runtime.arena_layout`."""
        words = [len(self.lifetimes), len(self.orders)]
        for life in self.lifetimes:
            words += parts(life.buffer.n_bytes)
        for stacking in self.orders:
            listed = [word for i in stacking.order for word in (i, len(stacking.supports[i]), *stacking.supports[i])]
            words += [len(listed), *listed]
        return words

    def arena_bytes(self, n_rows: int) -> int:
        """The arena's size in bytes for N = n_rows."""
        return self.offsets(n_rows)[1]


def lifetimes(steps: Sequence[Step]) -> tuple[Lifetime, ...]:
    """Liveness: the lifetime of each arena buffer."""
    first: dict[int, int] = {}
    end: dict[int, int] = {}
    buffers: dict[int, Buffer] = {}
    for index, step in enumerate(steps):
        for tensor in step.touched:
            if tensor.buffer.space is Space.ARENA:
                key = id(tensor.buffer)
                buffers[key] = tensor.buffer
                first.setdefault(key, index)
                end[key] = index + 1
    return tuple(Lifetime(buffers[key], first[key], end[key]) for key in buffers)


def peak_bytes(lives: Sequence[Lifetime], n_rows: int) -> int:
    """The largest sum of live sizes for N = n_rows, in bytes: a lower bound of the arena's size."""
    return peak(_spans(lives), _sizes(lives, n_rows))


def _spans(lives: Sequence[Lifetime]) -> list[Span]:
    return [(life.first, life.end) for life in lives]


def align_up(n_bytes: int) -> int:
    """A size rounded up to the alignment."""
    return -(-n_bytes // ALIGNMENT) * ALIGNMENT


def _sizes(lives: Sequence[Lifetime], n_rows: int) -> list[int]:
    return [align_up(at(life.buffer.n_bytes, n_rows)) for life in lives]


def plan(steps: Sequence[Step], rows_vary: bool = True) -> Layout:
    """A layout for every N, or for N = 1 only if `rows_vary` is false.

    Raises:
      PlanError: a size is negative.
    """
    lives = lifetimes(steps)
    if not lives:
        return Layout((), ())
    spans = _spans(lives)
    most_alive = peak(spans, [1] * len(lives))
    searched = len(lives) <= _MOST_SEARCHED and max(len(lives), len(steps)) * most_alive <= _MOST_PAIRS
    conflicts = neighbours(spans) if searched else []
    budget = Budget(_BUDGET)
    orders: list[StackingOrder] = []
    hardest = 1.0
    for n_rows in _PROBES if rows_vary else (1,):
        least = min(at(life.buffer.n_bytes, n_rows) for life in lives)
        if least < 0:
            raise PlanError(f"memory plan: expected sizes of at least 0, got {least}")
        sizes = _sizes(lives, n_rows)
        best = min((stacking.resolve_offsets(sizes) for stacking in orders), key=lambda found: found[1], default=None)
        least = peak(spans, sizes)
        if best is not None and (best[1] <= least or len(orders) == _MOST_ORDERS):
            continue
        if not searched:
            orders.append(linear_scan(spans, sizes))
            if best is not None and orders[-1].resolve_offsets(sizes)[1] >= best[1]:
                orders.pop()
            continue
        if best is None or best[1] > least * (hardest + 0.002):
            found = search(spans, sizes, conflicts, budget, best)
            hardest = max(hardest, found[1] / max(least, 1))
        else:  # as close to the peak as the searches at other N: only partitions are tried
            found = first_fit(by_partitions(spans, sizes), sizes, conflicts)
        if best is None or found[1] < best[1]:
            orders.append(stacking_order(found[0], sizes, conflicts))
    return Layout(lives, tuple(orders))


def extent(tensor: Tensor, n_rows: int) -> tuple[int, int]:
    """First byte and one past the last byte of a tensor in its buffer, for N = n_rows; (0, 0) if it is empty."""
    low = high = at(tensor.offset, n_rows)
    for size, stride in zip(tensor.shape, tensor.strides, strict=True):
        count = at(size, n_rows)
        if count == 0:
            return 0, 0
        reach = (count - 1) * at(stride, n_rows)
        if reach < 0:
            low += reach
        else:
            high += reach
    return low, high + tensor.itemsize
