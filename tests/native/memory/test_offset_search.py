"""Packing: neighbours stay apart whatever builds the layout, and a stacking order keeps them apart for sizes it was not built for."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cervello.native.memory import offset_search
from cervello.native.memory.offset_search import Budget, Span

_Blocks = list[tuple[int, int, int]]
BLOCKS = st.lists(st.tuples(st.integers(0, 12), st.integers(1, 8), st.integers(0, 20)), min_size=1, max_size=20)


def _split(blocks: _Blocks) -> tuple[list[Span], list[int]]:
    return [(first, first + length) for first, length, _ in blocks], [size * 64 for *_, size in blocks]


def _assert_apart(spans: list[Span], sizes: list[int], offsets: list[int], total: int) -> None:
    for i, (first, end) in enumerate(spans):
        assert offsets[i] >= 0
        assert offsets[i] + sizes[i] <= total or sizes[i] == 0
        for j, (other_first, other_end) in enumerate(spans[:i]):
            if first < other_end and other_first < end and sizes[i] and sizes[j]:
                assert offsets[i] + sizes[i] <= offsets[j] or offsets[j] + sizes[j] <= offsets[i], (i, j)


@settings(max_examples=80, deadline=None)
@given(blocks=BLOCKS, seed=st.integers(0, 9))
def test_first_fit_keeps_conflicts_apart(blocks: _Blocks, seed: int) -> None:
    spans, sizes = _split(blocks)
    order = random.Random(seed).sample(range(len(spans)), len(spans))
    _assert_apart(spans, sizes, *offset_search.first_fit(order, sizes, offset_search.neighbours(spans)))


@settings(max_examples=80, deadline=None)
@given(blocks=BLOCKS, seed=st.integers(0, 9))
def test_the_skyline_keeps_conflicts_apart(blocks: _Blocks, seed: int) -> None:
    spans, sizes = _split(blocks)
    order = random.Random(seed).sample(range(len(spans)), len(spans))
    _assert_apart(spans, sizes, *offset_search.skyline(spans, sizes, order))


@settings(max_examples=80, deadline=None)
@given(blocks=BLOCKS, seed=st.integers(0, 9))
def test_a_stacking_order_is_valid_for_all_sizes(blocks: _Blocks, seed: int) -> None:
    spans, sizes = _split(blocks)
    conflicts = offset_search.neighbours(spans)
    offsets, total = offset_search.search(spans, sizes, conflicts, Budget(3000))
    stacking = offset_search.stacking_order(offsets, sizes, conflicts)
    resolved, needed = stacking.resolve_offsets(sizes)
    assert needed <= total
    _assert_apart(spans, sizes, resolved, needed)
    rng = random.Random(seed)
    others = [rng.randrange(30) for _ in sizes]
    _assert_apart(spans, others, *stacking.resolve_offsets(others))


@settings(max_examples=80, deadline=None)
@given(blocks=BLOCKS)
def test_the_peak_is_the_fullest_step(blocks: _Blocks) -> None:
    spans, sizes = _split(blocks)
    expected = max(sum(size for (first, end), size in zip(spans, sizes, strict=True) if first <= step < end) for step in range(30))
    assert offset_search.peak(spans, sizes) == expected
    assert offset_search.search(spans, sizes, offset_search.neighbours(spans), Budget(3000))[1] >= expected


def test_conflicts_are_buffers_that_share_a_step() -> None:
    conflicts = offset_search.neighbours([(0, 2), (1, 3), (2, 4), (5, 6)])
    assert [sorted(others) for others in conflicts] == [[1], [0, 2], [1], []]


def test_the_same_buffers_get_the_same_layout() -> None:
    rng = random.Random(1)
    spans = [(first, first + rng.randint(1, 30)) for first in range(60)]
    sizes = [rng.randint(1, 4000) for _ in spans]
    conflicts = offset_search.neighbours(spans)
    assert offset_search.search(spans, sizes, conflicts, Budget(50_000)) == offset_search.search(spans, sizes, conflicts, Budget(50_000))


@pytest.mark.parametrize("work", [0, 1, 5000, 50_000])
def test_a_search_spends_no_more_than_half_its_budget_and_one_layout(work: int) -> None:
    rng = random.Random(2)
    spans = [(first, first + rng.randint(1, 20)) for first in range(40)]
    sizes = [rng.randint(1, 4000) for _ in spans]
    conflicts, budget = offset_search.neighbours(spans), Budget(work)
    offset_search.search(spans, sizes, conflicts, budget)
    assert budget.left >= work // 2 - 3 * (sum(map(len, conflicts)) + 40 * 40)
