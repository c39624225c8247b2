"""The memory plan, checked by a painter that knows nothing of the planner: it paints every living byte at every step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_cases import named
from native_graphs import Chain, policy, rows

from cervello.errors import ConfigurationError, PlanError
from cervello.native import Model
from cervello.native.graph.dims import ROWS, at
from cervello.native.graph.tensors import Buffer, Space, Step, Tensor, dense
from cervello.native.memory import arena_plan
from cervello.native.memory.arena_plan import Layout

F32 = np.dtype(np.float32)
ROW_COUNTS = (1, 2, 15, 16, 17, 31, 33, 64, 100)


def _step(reads: list[Tensor], writes: list[Tensor], scratch: tuple[Tensor, ...] = ()) -> Step:
    return Step("k", tuple(reads), tuple(writes), [], "op", "node", scratch=scratch)


def _tensor(name: str, width: int, by_rows: bool, extra: int = 0) -> Tensor:
    n: Any = ROWS + extra if by_rows else 1
    return dense(name, F32, (n, width), Buffer(name, Space.ARENA, n * width * 4))


@st.composite
def _programs(draw: Any) -> list[Step]:
    """Random graphs: each step writes a buffer and reads some of the earlier ones."""
    n_steps = draw(st.integers(1, 14))
    tensors: list[Tensor] = []
    steps = []
    for i in range(n_steps):
        tensors.append(_tensor(f"t{i}", draw(st.integers(1, 50)), draw(st.booleans()), draw(st.integers(0, 2))))
        reads = [tensors[j] for j in draw(st.lists(st.integers(0, i - 1), max_size=3, unique=True))] if i else []
        scratch = (_tensor(f"s{i}", draw(st.integers(1, 20)), draw(st.booleans())),) if draw(st.booleans()) else ()
        steps.append(_step(reads, [tensors[i]], scratch))
    return steps


def _painted(steps: list[Step], layout: Layout, n_rows: int) -> None:
    """Fails where two buffers that live at one step share a byte, or one leaves the arena."""
    used: dict[int, list[int]] = {}
    buffers: dict[int, Buffer] = {}
    for i, step in enumerate(steps):
        for tensor in (*step.reads, *step.writes, *step.scratch):
            used.setdefault(id(tensor.buffer), []).append(i)
            buffers[id(tensor.buffer)] = tensor.buffer
    offsets, arena = layout.offsets(n_rows)
    for i in range(len(steps)):
        paint = np.zeros(arena, np.int16)
        for key, when in used.items():
            if min(when) <= i <= max(when):
                start = offsets[layout.index[key]]
                size = at(buffers[key].n_bytes, n_rows)
                assert start % 64 == 0
                assert 0 <= start <= start + size <= arena
                paint[start:start + size] += 1
        assert paint.max(initial=0) <= 1, f"step {i} at N = {n_rows}"


@settings(max_examples=120, deadline=None)
@given(steps=_programs())
def test_no_two_live_buffers_share_a_byte_and_the_arena_is_between_peak_and_sum(steps: list[Step]) -> None:
    layout = arena_plan.plan(steps)
    lives = arena_plan.lifetimes(steps)
    for n_rows in ROW_COUNTS:
        _painted(steps, layout, n_rows)
        sizes = [-(-at(life.buffer.n_bytes, n_rows) // 64) * 64 for life in lives]
        peak = max(sum(s for s, life in zip(sizes, lives, strict=True) if life.first <= i < life.end) for i in range(len(steps)))
        assert arena_plan.peak_bytes(lives, n_rows) == peak
        assert peak <= layout.arena_bytes(n_rows) <= sum(sizes)


def test_a_chain_reuses_two_places() -> None:
    tensors = [_tensor(str(i), 16, True) for i in range(8)]
    steps = [_step([tensors[i - 1]] if i else [], [tensors[i]]) for i in range(8)]
    assert arena_plan.plan(steps).arena_bytes(16) == 2 * 16 * 16 * 4


def test_half_open_lifetimes_let_a_buffer_follow_where_another_ended() -> None:
    a, b, c = (_tensor(name, 16, False) for name in "abc")
    lives = {life.buffer.name: (life.first, life.end) for life in arena_plan.lifetimes([_step([], [a]), _step([a], [b]), _step([b], [c])])}
    assert lives == {"a": (0, 2), "b": (1, 3), "c": (2, 3)}


def test_a_negative_size_is_refused() -> None:
    tensor = dense("b", F32, (1, 16), Buffer("b", Space.ARENA, -64))
    with pytest.raises(PlanError, match="expected sizes of at least 0, got -64"):
        arena_plan.plan([_step([], [tensor])])


def test_nothing_to_plan_needs_nothing() -> None:
    layout = arena_plan.plan([])
    assert [layout.arena_bytes(n) for n in (1, 64)] == [0, 0]
    assert arena_plan.peak_bytes((), 8) == 0
    assert layout.offsets(8) == ([], 0)


def test_sizes_are_reported_as_formulas_in_n() -> None:
    plan = Model.load(policy()).plan(64)
    assert {b.size for b in plan.buffers} == {"256·N"}
    assert [b.n_bytes for b in plan.buffers] == [64 * 256] * 2
    assert plan.arena_bytes == plan.peak_bytes == 2 * 64 * 256
    assert plan.usage == 1.0


def test_one_row_is_planned_without_padding_to_sixteen() -> None:
    assert Model.load(policy()).plan(1).arena_bytes == 2 * 256


def test_views_and_concats_take_no_memory_of_their_own() -> None:
    c = Chain(x=rows(8))
    cut = c.add("Reshape", c.add("Transpose", c.add("Tanh", "x"), perm=[1, 0]), np.array([8, -1]))
    joined = c.add("Concat", c.add("Exp", "x"), c.add("Relu", "x"), axis=1)
    model = Model.load(c.model(joined, c.add("Transpose", cut, perm=[1, 0])))
    assert [b.size for b in model.plan().buffers] == ["32·N"]  # the tanh alone


def test_report_says_where_what_and_how_much() -> None:
    text = str(Model.load(named("LSTM-batch-first").build(5)).plan(20))
    for word in ("N = 20", "arena", "peak", "weights", "planned", "fused", "recurrent:lstm", "LSTM", "live bytes", "offset", "·N"):
        assert word in text
    assert "slow" not in text


def test_report_names_slow_nodes_and_one_row_models() -> None:
    c = Chain(x=rows(3))
    plan = Model.load(c.model(c.add("Mod", "x", np.ones(3, np.float32), fmod=1))).plan()
    assert plan.tiers["numpy"] == 1
    assert "slow: Mod → " in str(plan)
    mixed = Chain(x=rows(3))
    assert "one row at a time" in str(Model.load(mixed.model(mixed.add("ReduceMean", "x", axes=[0])), batch_axis=0).plan())


def test_a_plan_for_no_rows_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="plan, rows: expected at least 1, got 0"):
        Model.load(policy()).plan(0)


def test_picture_shows_every_buffer() -> None:
    pytest.importorskip("cervello.pictures.svg", reason="no pictures room yet")
    plan = Model.load(policy()).plan(8)
    svg = plan.to_svg()
    assert svg.lstrip().startswith("<")
    assert "</svg>" in svg
    assert svg.count("<rect") >= len(plan.buffers)
