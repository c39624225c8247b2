"""Searches for offsets: places buffers with lifetimes and sizes in an arena as small as possible; no two live buffers overlap.

Several orders are tried with two placements. First fit places each buffer at the lowest offset that its conflicts leave free. Skyline
places, on the lowest range of steps, the first buffer whose lifetime is within the range. If no order reaches the peak, which is a lower
bound, randomised orders follow. A local search then improves the best order: it moves a buffer at the top of the arena, or one that
supports it. The search is deterministic; a work budget bounds it, not a clock.

Source: first fit after Pisarchyk & Lee 2020, "Efficient memory management for deep neural net inference"; skyline after Sekiyama et al.
2018, "Profile-guided memory optimization for deep neural networks" (Burke's best fit for strip packing); partitions after tract.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Span = tuple[int, int]  # half-open, in steps
Conflicts = Sequence[Sequence[int]]


@dataclass(slots=True)
class Budget:
    """The number of conflicts that searches may still examine; mutable."""

    left: int


@dataclass(frozen=True, slots=True)
class StackingOrder:
    """Which buffers lie below each buffer, independent of sizes.

    Attributes:
      order: buffers in topological order: each comes after the buffers below it.
      supports: for each buffer, the buffers directly below it; its other conflicts below it are below one of these.
    """

    order: tuple[int, ...]
    supports: tuple[tuple[int, ...], ...]

    def resolve_offsets(self, sizes: Sequence[int]) -> tuple[list[int], int]:
        """Offsets for these sizes, and the arena's size in bytes."""
        offsets = [0] * len(sizes)
        ends = [0] * len(sizes)
        total = 0
        for i in self.order:
            offset = 0
            for j in self.supports[i]:
                if ends[j] > offset:
                    offset = ends[j]
            offsets[i] = offset
            ends[i] = end = offset + sizes[i]
            if end > total:
                total = end
        return offsets, total


def neighbours(spans: Sequence[Span]) -> list[list[int]]:
    """For each buffer, its conflicts: the buffers that are live at a common step."""
    conflicts: list[list[int]] = [[] for _ in spans]
    alive: list[int] = []
    for i in sorted(range(len(spans)), key=lambda i: spans[i]):
        first, end = spans[i]
        alive = [j for j in alive if spans[j][1] > first]
        if end > first:
            for j in alive:
                conflicts[i].append(j)
                conflicts[j].append(i)
            alive.append(i)
    return conflicts


def peak(spans: Sequence[Span], sizes: Sequence[int]) -> int:
    """The largest sum of sizes alive at one step."""
    change: dict[int, int] = {}
    for (first, end), size in zip(spans, sizes, strict=True):
        change[first] = change.get(first, 0) + size
        change[end] = change.get(end, 0) - size
    live = most = 0
    for step in sorted(change):
        live += change[step]
        most = max(most, live)
    return most


def first_fit(order: Sequence[int], sizes: Sequence[int], conflicts: Conflicts) -> tuple[list[int], int]:
    """First fit: places buffers in order, each at the lowest offset that is free for its lifetime.

    Returns:
      offsets by buffer, and the arena's size in bytes.
    """
    offsets = [-1] * len(sizes)
    total = 0
    for i in order:
        size, at_byte = sizes[i], 0
        if size:
            for low, high in sorted([(offsets[j], offsets[j] + sizes[j]) for j in conflicts[i] if offsets[j] >= 0 and sizes[j]]):
                if low - at_byte >= size:
                    break
                if high > at_byte:
                    at_byte = high
        offsets[i] = at_byte
        if at_byte + size > total:
            total = at_byte + size
    return offsets, total


def stacking_order(offsets: Sequence[int], sizes: Sequence[int], conflicts: Conflicts) -> StackingOrder:
    """The stacking order of a layout."""
    order = sorted(range(len(sizes)), key=lambda i: (offsets[i], offsets[i] + sizes[i], i))
    rank = [0] * len(sizes)
    for place, i in enumerate(order):
        rank[i] = place
    below = [0] * len(sizes)  # bit mask of all buffers below each buffer
    supports: list[tuple[int, ...]] = [()] * len(sizes)
    for i in order:
        covered, direct = 0, []
        for place in sorted((rank[j] for j in conflicts[i] if rank[j] < rank[i]), reverse=True):
            j = order[place]
            if not covered >> j & 1:
                direct.append(j)
                covered |= below[j] | 1 << j
        below[i], supports[i] = covered, tuple(direct)
    return StackingOrder(tuple(order), tuple(supports))


def skyline(spans: Sequence[Span], sizes: Sequence[int], order: Sequence[int]) -> tuple[list[int], int]:
    """Skyline placement: the lowest range of steps takes the first buffer in `order` that lives within it.

    Returns:
      offsets by buffer, and the arena's size in bytes.
    """
    steps = {step: k for k, step in enumerate(sorted({step for span in spans for step in span}))}
    ends = [steps[end] for _, end in spans]
    rank = [0] * len(sizes)
    beginning: list[list[int]] = [[] for _ in steps]
    for place, i in enumerate(order):
        rank[i] = place
        beginning[steps[spans[i][0]]].append(i)
    lefts, rights, heights = [0], [len(steps) - 1], [0]
    offsets = [0] * len(sizes)
    placed = 0
    while placed < len(sizes):
        low = min(heights)
        k = heights.index(low)
        left, right = lefts[k], rights[k]
        best, best_rank = -1, len(sizes)
        for waiting in beginning[left:right]:
            for i in waiting:
                if rank[i] < best_rank and ends[i] <= right:
                    best, best_rank = i, rank[i]
        if best < 0:  # nothing fits: the range merges with its lower neighbour
            heights[k] = min(heights[j] for j in (k - 1, k + 1) if 0 <= j < len(heights))
        else:
            first = steps[spans[best][0]]
            beginning[first].remove(best)
            offsets[best] = low
            placed += 1
            ranges = [(left, first, low), (first, ends[best], low + sizes[best]), (ends[best], right, low)]
            ranges = [part for part in ranges if part[0] < part[1]]
            lefts[k:k + 1], rights[k:k + 1], heights[k:k + 1] = map(list, zip(*ranges, strict=True))
        for j in range(min(k + 3, len(heights) - 1), max(k, 1) - 1, -1):
            if heights[j] == heights[j - 1]:
                rights[j - 1] = rights[j]
                del lefts[j], rights[j], heights[j]
    return offsets, max(offset + size for offset, size in zip(offsets, sizes, strict=True))


class _Search:
    """The best layout so far, and the remaining work; mutable."""

    def __init__(self, spans: Sequence[Span], sizes: Sequence[int], conflicts: Conflicts, start: tuple[list[int], int] | None, work: int):
        self.spans, self.sizes, self.conflicts, self.work = spans, sizes, conflicts, work
        self.peak = peak(spans, sizes)
        self.offsets, self.total = start or ([], -1)
        self.first_fit_work = len(sizes) + sum(map(len, conflicts))
        self.skyline_work = len(sizes) * 8 + len(sizes) * len(sizes) // 6

    def within(self, excess: float) -> bool:
        """Whether the best layout exceeds the peak by at most this fraction."""
        return 0 <= self.total <= self.peak * (1 + excess)

    def update(self, found: tuple[list[int], int]) -> None:
        if self.total < 0 or found[1] < self.total:
            self.offsets, self.total = found

    def first_fit(self, order: Sequence[int]) -> tuple[list[int], int]:
        self.work -= self.first_fit_work
        return first_fit(order, self.sizes, self.conflicts)

    def skyline(self, order: Sequence[int]) -> tuple[list[int], int]:
        self.work -= self.skyline_work
        return skyline(self.spans, self.sizes, order)


def search(spans: Sequence[Span], sizes: Sequence[int], conflicts: Conflicts, budget: Budget,
           start: tuple[list[int], int] | None = None) -> tuple[list[int], int]:
    """The best layout found. The search stops when an order reaches the peak, or a randomised one is within 1 % of it; this tolerance
    grows with the spent work.

    Args:
      conflicts: of each buffer, from `neighbours`.
      budget: the search spends at most half of it.
      start: an initial layout.
    Returns:
      offsets by buffer, and the arena's size in bytes.
    """
    share = budget.left // 2
    found = _Search(spans, sizes, conflicts, start, share)
    every = range(len(sizes))
    lengths = [end - first for first, end in spans]
    by_size = sorted(every, key=lambda i: (-sizes[i], spans[i][0]))
    first_fit_work, skyline_work = found.first_fit_work, found.skyline_work
    attempts: tuple[tuple[int, Callable[[], tuple[list[int], int]]], ...] = (
        (first_fit_work, lambda: found.first_fit(by_size)),
        (skyline_work, lambda: found.skyline(sorted(every, key=lambda i: (-lengths[i], -sizes[i])))),
        (skyline_work, lambda: found.skyline(sorted(every, key=lambda i: -lengths[i] * sizes[i]))),
        (skyline_work, lambda: found.skyline(by_size)),
        (first_fit_work, lambda: found.first_fit(sorted(every, key=lambda i: (-sizes[i] * lengths[i], spans[i][0])))),
        (first_fit_work, lambda: found.first_fit(_by_breadth(spans, sizes))),
        (first_fit_work, lambda: found.first_fit(sorted(every, key=lambda i: (spans[i][0], -sizes[i])))),
        (first_fit_work, lambda: found.first_fit(by_partitions(spans, sizes))))
    for cost, attempt in attempts:
        if found.total < 0 or (found.work > 0 and found.work >= cost and not found.within(0.0)):
            found.update(attempt())
    rng = random.Random(len(sizes))
    while found.work > max(share // 2, found.skyline_work) and not found.within(0.01 if found.work > share * 7 // 8 else 0.025):
        found.update(found.skyline(_random_order(lengths, sizes, rng)))
    _local_search(found, rng)
    budget.left -= share - found.work
    return found.offsets, found.total


def _random_order(lengths: Sequence[int], sizes: Sequence[int], rng: random.Random) -> list[int]:
    """A random order between longest lifetime first and largest size first."""
    by_length, by_size = rng.choice(((1.0, 0.0), (1.0, 1.0), (0.0, 1.0), (1.0, 0.5), (0.5, 1.0)))
    keys = [-(length ** by_length) * max(size, 1) ** by_size * rng.uniform(0.7, 1.3)
            for length, size in zip(lengths, sizes, strict=True)]
    return sorted(range(len(sizes)), key=keys.__getitem__)


def _local_search(found: _Search, rng: random.Random) -> None:
    """Local search: moves single buffers in the best order. Moves of equal cost are accepted, because plateaus are wide."""
    offsets, total = found.offsets, found.total
    order = sorted(range(len(offsets)), key=offsets.__getitem__)
    while found.work > 0 and not found.within(0.04):
        changed = _moved(order, offsets, found.sizes, found.conflicts, total, rng)
        other, other_total = found.first_fit(changed)
        if other_total <= total:
            order, offsets, total = changed, other, other_total
            found.update((offsets, total))


def _by_breadth(spans: Sequence[Span], sizes: Sequence[int]) -> list[int]:
    """Greedy by breadth: the buffers of the step with the largest live sum first, by size, then those of the next step."""
    members: dict[int, list[int]] = {first: [] for first, _ in spans}  # the sum of live sizes is largest at a step where a buffer begins
    for i, (first, end) in enumerate(spans):
        for step in range(first, end):
            if step in members:
                members[step].append(i)
    order: dict[int, None] = {}
    for step in sorted(members, key=lambda step: (-sum(sizes[i] for i in members[step]), step)):
        order.update(dict.fromkeys(sorted(members[step], key=lambda i: (-sizes[i], i))))
    order.update(dict.fromkeys(range(len(sizes))))
    return list(order)


def by_partitions(spans: Sequence[Span], sizes: Sequence[int]) -> list[int]:
    """The order of the partitions of tract's memory schema, so that no plan is larger than tract's."""
    partitions: list[list[int]] = []
    occupied: list[tuple[int, int]] = []  # (bytes, steps as bits)
    for i in sorted(range(len(sizes)), key=lambda i: (-sizes[i], spans[i][0])):
        first, end = spans[i]
        steps = (1 << end) - (1 << first)
        fitting = [p for p, (_, others) in enumerate(occupied) if not others & steps]
        if fitting:
            p = max(fitting, key=lambda p: occupied[p][0])
        else:
            p = len(partitions)
            partitions.append([])
            occupied.append((0, 0))
        partitions[p].append(i)
        occupied[p] = occupied[p][0] + sizes[i], occupied[p][1] | steps
    return [i for members in partitions for i in members]


def _moved(order: Sequence[int], offsets: Sequence[int], sizes: Sequence[int], conflicts: Conflicts, total: int,
           rng: random.Random) -> list[int]:
    """The order with one buffer moved, mostly forward: a buffer at the top of the arena, or one that supports it."""
    i = rng.choice([i for i in order if offsets[i] + sizes[i] == total])
    while offsets[i] and rng.random() < 0.5:
        supporting = [j for j in conflicts[i] if offsets[j] + sizes[j] == offsets[i] and sizes[j]]
        if not supporting:
            break
        i = rng.choice(supporting)
    changed = list(order)
    place = changed.index(i)
    del changed[place]
    changed.insert(rng.randrange(place + 1) if rng.random() < 0.8 else rng.randrange(len(changed) + 1), i)
    return changed
