"""Plans of programs with very many buffers: no two of the living overlap, for any N, and little is wasted."""

from __future__ import annotations

import random

import pytest
from random_programs import random_program

from cervello.native.memory import arena_plan
from cervello.native.memory.linear_scan import linear_scan
from cervello.native.memory.offset_search import Span, StackingOrder, peak
from cervello.native.memory.verifier import verify


def _spans(seed: int, count: int) -> list[Span]:
    chance = random.Random(seed)
    return [(first, first + chance.choice((0, 1, 2, 5, 40))) for first in (chance.randrange(60) for _ in range(count))]


def _overlaps(stacking: StackingOrder, spans: list[Span], sizes: list[int]) -> list[tuple[int, int]]:
    offsets, total = stacking.resolve_offsets(sizes)
    assert all(offset >= 0 and offset + size <= total for offset, size in zip(offsets, sizes, strict=True))
    return [(i, j) for i in range(len(sizes)) for j in range(i)
            if max(spans[i][0], spans[j][0]) < min(spans[i][1], spans[j][1])
            and max(offsets[i], offsets[j]) < min(offsets[i] + sizes[i], offsets[j] + sizes[j])]


@pytest.mark.parametrize("seed", range(40))
def test_live_buffers_never_overlap_for_any_sizes(seed: int) -> None:
    chance = random.Random(seed)
    spans = _spans(seed, 80)
    for _ in range(3):
        planned = [chance.choice((0, 64, 128, 640, 6400)) for _ in spans]
        stacking = linear_scan(spans, planned)
        assert sorted(stacking.order) == list(range(len(spans)))
        assert sum(map(len, stacking.supports)) <= 2 * len(spans)
        assert _overlaps(stacking, spans, planned) == []
        for _ in range(5):
            assert _overlaps(stacking, spans, [chance.choice((0, 64, 192, 5120)) for _ in spans]) == []


def test_buffers_that_follow_each_other_use_the_same_bytes() -> None:
    spans = [(i, i + 2) for i in range(1000)]
    assert linear_scan(spans, [64] * 1000).resolve_offsets([64] * 1000)[1] == 128


def test_a_gap_is_reused_by_a_buffer_that_fits() -> None:
    spans = [(0, 9), (0, 2), (0, 9), (0, 3), (0, 9), (4, 9), (5, 9)]
    sizes = [64, 256, 64, 128, 64, 128, 256]
    assert linear_scan(spans, sizes).resolve_offsets(sizes)[1] == peak(spans, sizes)


@pytest.mark.parametrize("seed", range(40))
def test_programs_planned_this_way_pass_the_verifier(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arena_plan, "_MOST_PAIRS", 0)
    steps = random_program(seed)
    layout = arena_plan.plan(steps)
    verify(steps, layout, True)
    for n_rows in (1, 7, 64, 1000):
        assert layout.arena_bytes(n_rows) <= 2 * arena_plan.peak_bytes(layout.lifetimes, n_rows)
