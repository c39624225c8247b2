"""Searches for offsets: buffers with lifetimes and sizes, no two of them alive at once over each other, in as few bytes as can be found.

Several orders are tried: by filling, each buffer at the lowest offset that its living neighbours leave free, and along the skyline,
where the lowest stretch of steps takes the first buffer that lives within it. Where none of them reaches the peak, below which nothing
can lie, orders are shaken, and the best is improved by moving what lies on top of the arena, or what holds it up. Everything is
deterministic and bounded by a budget of work, not by a clock.

Source: filling after Pisarchyk & Lee 2020, "Efficient memory management for deep neural net inference"; skyline after Sekiyama et al.
2018, "Profile-guided memory optimization for deep neural networks" (Burke's best fit for strip packing); partitions after tract.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Span = tuple[int, int]  # half-open, in steps
Near = Sequence[Sequence[int]]


@dataclass(slots=True)
class Budget:
    """How many neighbours a search may still look at; mutable."""

    left: int


@dataclass(frozen=True, slots=True)
class StackingOrder:
    """Which buffer lies on which, whatever their sizes.

    Attributes:
      order: buffers such that each comes after those beneath it.
      supports: for each buffer, those whose ends it rests on; neighbours that are not named lie beneath one that is.
    """

    order: tuple[int, ...]
    supports: tuple[tuple[int, ...], ...]

    def resolve_offsets(self, sizes: Sequence[int]) -> tuple[list[int], int]:
        """Offsets for sizes, and the bytes they take in all."""
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
    """For each buffer, those that live at one step with it."""
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


def fill(order: Sequence[int], sizes: Sequence[int], conflicts: Near) -> tuple[list[int], int]:
    """Places buffers one after the other, each at the lowest offset that is free while it lives.

    Returns:
      offsets by buffer, and the bytes they take in all.
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


def pile(offsets: Sequence[int], sizes: Sequence[int], conflicts: Near) -> StackingOrder:
    """What lies on what in a layout."""
    order = sorted(range(len(sizes)), key=lambda i: (offsets[i], offsets[i] + sizes[i], i))
    rank = [0] * len(sizes)
    for place, i in enumerate(order):
        rank[i] = place
    below = [0] * len(sizes)  # everything a buffer lies above, as bits
    supports: list[tuple[int, ...]] = [()] * len(sizes)
    for i in order:
        covered, rests = 0, []
        for place in sorted((rank[j] for j in conflicts[i] if rank[j] < rank[i]), reverse=True):
            j = order[place]
            if not covered >> j & 1:
                rests.append(j)
                covered |= below[j] | 1 << j
        below[i], supports[i] = covered, tuple(rests)
    return StackingOrder(tuple(order), tuple(supports))


def skyline(spans: Sequence[Span], sizes: Sequence[int], order: Sequence[int]) -> tuple[list[int], int]:
    """Builds upward from the lowest stretch of steps, which takes the first buffer in `order` that lives within it.

    Returns:
      offsets by buffer, and the bytes they take in all.
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
        if best < 0:  # nothing fits: the stretch joins its lower neighbour
            heights[k] = min(heights[j] for j in (k - 1, k + 1) if 0 <= j < len(heights))
        else:
            first = steps[spans[best][0]]
            beginning[first].remove(best)
            offsets[best] = low
            placed += 1
            pieces = [(left, first, low), (first, ends[best], low + sizes[best]), (ends[best], right, low)]
            pieces = [piece for piece in pieces if piece[0] < piece[1]]
            lefts[k:k + 1], rights[k:k + 1], heights[k:k + 1] = map(list, zip(*pieces, strict=True))
        for j in range(min(k + 3, len(heights) - 1), max(k, 1) - 1, -1):
            if heights[j] == heights[j - 1]:
                rights[j - 1] = rights[j]
                del lefts[j], rights[j], heights[j]
    return offsets, max(offset + size for offset, size in zip(offsets, sizes, strict=True))


class _Search:
    """The best layout so far, and what may still be spent on a better one; mutable."""

    def __init__(self, spans: Sequence[Span], sizes: Sequence[int], conflicts: Near, start: tuple[list[int], int] | None, work: int):
        self.spans, self.sizes, self.conflicts, self.work = spans, sizes, conflicts, work
        self.peak = peak(spans, sizes)
        self.offsets, self.total = start or ([], -1)
        self.fill_work = len(sizes) + sum(map(len, conflicts))
        self.skyline_work = len(sizes) * 8 + len(sizes) * len(sizes) // 6

    def within(self, excess: float) -> bool:
        """Whether the best layout exceeds the peak by no more than this part of it."""
        return 0 <= self.total <= self.peak * (1 + excess)

    def keep(self, found: tuple[list[int], int]) -> None:
        if self.total < 0 or found[1] < self.total:
            self.offsets, self.total = found

    def filled(self, order: Sequence[int]) -> tuple[list[int], int]:
        self.work -= self.fill_work
        return fill(order, self.sizes, self.conflicts)

    def along_skyline(self, order: Sequence[int]) -> tuple[list[int], int]:
        self.work -= self.skyline_work
        return skyline(self.spans, self.sizes, order)


def search(spans: Sequence[Span], sizes: Sequence[int], conflicts: Near, budget: Budget,
           start: tuple[list[int], int] | None = None) -> tuple[list[int], int]:
    """The best layout found; at once when an order reaches the peak, or a shaken one comes within 1 % of it; the more work is spent,
    the less is asked for.

    Args:
      conflicts: neighbours of each buffer.
      budget: half of it may be spent.
      start: a layout to begin with.
    Returns:
      offsets by buffer, and the bytes they take in all.
    """
    share = budget.left // 2
    found = _Search(spans, sizes, conflicts, start, share)
    every = range(len(sizes))
    lengths = [end - first for first, end in spans]
    by_size = sorted(every, key=lambda i: (-sizes[i], spans[i][0]))
    filling, skyline_work = found.fill_work, found.skyline_work
    attempts: tuple[tuple[int, Callable[[], tuple[list[int], int]]], ...] = (
        (filling, lambda: found.filled(by_size)),
        (skyline_work, lambda: found.along_skyline(sorted(every, key=lambda i: (-lengths[i], -sizes[i])))),
        (skyline_work, lambda: found.along_skyline(sorted(every, key=lambda i: -lengths[i] * sizes[i]))),
        (skyline_work, lambda: found.along_skyline(by_size)),
        (filling, lambda: found.filled(sorted(every, key=lambda i: (-sizes[i] * lengths[i], spans[i][0])))),
        (filling, lambda: found.filled(_by_breadth(spans, sizes))),
        (filling, lambda: found.filled(sorted(every, key=lambda i: (spans[i][0], -sizes[i])))),
        (filling, lambda: found.filled(by_partitions(spans, sizes))))
    for cost, attempt in attempts:
        if found.total < 0 or (found.work > 0 and found.work >= cost and not found.within(0.0)):
            found.keep(attempt())
    rng = random.Random(len(sizes))
    while found.work > max(share // 2, found.skyline_work) and not found.within(0.01 if found.work > share * 7 // 8 else 0.025):
        found.keep(found.along_skyline(_shaken(lengths, sizes, rng)))
    _climb(found, rng)
    budget.left -= share - found.work
    return found.offsets, found.total


def _shaken(lengths: Sequence[int], sizes: Sequence[int], rng: random.Random) -> list[int]:
    """An order between long before short and large before small, with noise."""
    by_length, by_size = rng.choice(((1.0, 0.0), (1.0, 1.0), (0.0, 1.0), (1.0, 0.5), (0.5, 1.0)))
    keys = [-(length ** by_length) * max(size, 1) ** by_size * rng.uniform(0.7, 1.3)
            for length, size in zip(lengths, sizes, strict=True)]
    return sorted(range(len(sizes)), key=keys.__getitem__)


def _climb(found: _Search, rng: random.Random) -> None:
    """Moves single buffers about in the best order; sideways steps count, for plateaus are wide."""
    offsets, total = found.offsets, found.total
    order = sorted(range(len(offsets)), key=offsets.__getitem__)
    while found.work > 0 and not found.within(0.04):
        changed = _moved(order, offsets, found.sizes, found.conflicts, total, rng)
        other, other_total = found.filled(changed)
        if other_total <= total:
            order, offsets, total = changed, other, other_total
            found.keep((offsets, total))


def _by_breadth(spans: Sequence[Span], sizes: Sequence[int]) -> list[int]:
    """The fullest step's buffers first, largest first, then those of the next fullest."""
    members: dict[int, list[int]] = {first: [] for first, _ in spans}  # a fullest step is one at which something begins
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
    """tract's partitions one after the other, so that no plan is larger than theirs for want of trying."""
    partitions: list[list[int]] = []
    taken: list[tuple[int, int]] = []  # (bytes, steps as bits)
    for i in sorted(range(len(sizes)), key=lambda i: (-sizes[i], spans[i][0])):
        first, end = spans[i]
        steps = (1 << end) - (1 << first)
        fitting = [p for p, (_, others) in enumerate(taken) if not others & steps]
        if fitting:
            p = max(fitting, key=lambda p: taken[p][0])
        else:
            p = len(partitions)
            partitions.append([])
            taken.append((0, 0))
        partitions[p].append(i)
        taken[p] = taken[p][0] + sizes[i], taken[p][1] | steps
    return [i for members in partitions for i in members]


def _moved(order: Sequence[int], offsets: Sequence[int], sizes: Sequence[int], conflicts: Near, total: int,
           rng: random.Random) -> list[int]:
    """The order with one buffer moved to the front of it: one that reaches the top, or one that holds it up."""
    i = rng.choice([i for i in order if offsets[i] + sizes[i] == total])
    while offsets[i] and rng.random() < 0.5:
        held = [j for j in conflicts[i] if offsets[j] + sizes[j] == offsets[i] and sizes[j]]
        if not held:
            break
        i = rng.choice(held)
    changed = list(order)
    place = changed.index(i)
    del changed[place]
    changed.insert(rng.randrange(place + 1) if rng.random() < 0.8 else rng.randrange(len(changed) + 1), i)
    return changed
