"""How small memory plans are, beside yardsticks that ask the planner nothing: lifetimes found anew, tract, Static Runtime, no fusion."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
import pytest
from random_programs import random_program, tensor
from yardsticks import Sized, executed, peak, sized, static_runtime, tract, unfused

from cervello.codegen import entry
from cervello.native import Model
from cervello.native.graph.dims import at
from cervello.native.graph.tensors import Step
from cervello.native.memory import arena_plan

ROW_COUNTS = (1, 7, 64, 1000)
SEEDS = range(150)
_RESOLVE = "cervello.native.kernels.runtime.arena_layout:resolve_layout"


def _row_counts(model: Model) -> tuple[int, ...]:
    return ROW_COUNTS if model.batched else (1,)


def test_real_policies_need_hardly_more_than_their_peak(shared_models: Any, valid_model: str) -> None:
    model = Model.load(shared_models.path(valid_model))
    for n_rows in (*_row_counts(model), *((2, 3, 15, 16, 17, 33, 100, 4097) if model.batched else ())):
        arena, least = model.program.resolve(n_rows).arena_bytes, peak(sized(executed(model.program.steps), n_rows))
        assert least <= arena <= 1.02 * least, f"N = {n_rows}"


def test_real_policies_need_no_more_than_other_planners_give_them(shared_models: Any, valid_model: str) -> None:
    model = Model.load(shared_models.path(valid_model))
    for n_rows in _row_counts(model):
        buffers = sized(executed(model.program.steps), n_rows)
        assert model.program.resolve(n_rows).arena_bytes <= min(tract(buffers), static_runtime(buffers)), f"N = {n_rows}"


def test_real_policies_have_no_higher_peak_than_unfused(shared_models: Any, valid_model: str) -> None:
    path = shared_models.path(valid_model)
    model = Model.load(path)
    nodes = unfused(model, path)
    assert nodes.complete
    for n_rows in _row_counts(model):
        assert peak(sized(executed(model.program.steps), n_rows)) <= nodes.peak(n_rows), f"N = {n_rows}"


@pytest.mark.parametrize("n_rows", ROW_COUNTS)
def test_random_graphs_need_hardly_more_than_their_peak(n_rows: int) -> None:
    ratios = []
    for seed in SEEDS:
        steps = random_program(seed)
        buffers = sized(executed(steps), n_rows)
        arena, least = arena_plan.plan(steps).arena_bytes(n_rows), peak(buffers)
        ratios.append(arena / least)
        assert least <= arena <= 1.05 * least, f"seed {seed}"
        assert arena <= min(tract(buffers), static_runtime(buffers)), f"seed {seed}"
    assert statistics.geometric_mean(ratios) < 1.002


@pytest.mark.parametrize("seed", range(40))
def test_compiled_code_resolves_the_offsets_of_the_layout(seed: int) -> None:
    layout = arena_plan.plan(random_program(seed))
    table, count = np.array(layout.table()), len(layout.lifetimes)
    for n_rows in (1, 2, 7, 16, 64, 1000, 1 << 20):
        places = np.full(1 + 2 * count, -1)
        total = entry.fastcall_ints(_RESOLVE)(places.ctypes.data, table.ctypes.data, n_rows)
        offsets, arena = layout.offsets(n_rows)
        assert (places[0], places[1:count + 1].tolist(), total) == (0, offsets, arena)


def test_an_empty_layout_places_nothing() -> None:
    places, table = np.full(1, -1), np.array(arena_plan.plan([]).table())
    assert entry.fastcall_ints(_RESOLVE)(places.ctypes.data, table.ctypes.data, 5) == 0
    assert places.tolist() == [0]


def test_some_random_graph_keeps_several_orders_and_each_serves_some_row_count() -> None:
    layouts = [arena_plan.plan(random_program(seed)) for seed in range(40)]
    several = [layout for layout in layouts if len(layout.orders) > 1]
    assert several
    for layout in several:
        best = set()
        for n_rows in (64, 1, 7, 1000, 2, 20, 200, 1 << 20):
            sizes = [arena_plan.align_up(at(life.buffer.n_bytes, n_rows)) for life in layout.lifetimes]
            best.add(layout.offsets(n_rows)[1])
            assert layout.offsets(n_rows)[1] == min(stacking.resolve_offsets(sizes)[1] for stacking in layout.orders)
        assert len(best) > 1


# The yardsticks themselves, on graphs small enough to do in the head ------------------------------------------------------


def _lives(*lives: tuple[int, int, int]) -> list[Sized]:
    return [Sized(first, end, size * 64) for first, end, size in lives]


def test_the_peak_counts_what_lives_at_one_step() -> None:
    assert peak(_lives((0, 2, 3), (1, 3, 4), (2, 4, 5))) == 9 * 64
    assert peak([]) == 0


def test_partitions_take_the_largest_member_and_join_the_fullest() -> None:
    assert tract(_lives((0, 1, 5), (1, 2, 4))) == 5 * 64  # one after the other
    assert tract(_lives((0, 2, 5), (1, 3, 4))) == 9 * 64  # together
    assert tract(_lives((0, 1, 5), (0, 1, 2), (1, 2, 2), (1, 2, 1))) == 7 * 64
    assert tract(_lives((0, 1, 1), (0, 1, 1), (1, 2, 2))) == 3 * 64  # two small ones cannot make room for one large one


def test_storage_groups_take_what_was_freed_last_of_whatever_size() -> None:
    assert static_runtime(_lives((0, 2, 9), (1, 2, 1), (2, 3, 9))) == 18 * 64  # the small group was freed last, and grows
    assert static_runtime(_lives((0, 1, 5), (1, 2, 4))) == 5 * 64
    assert static_runtime(_lives((0, 2, 5), (1, 3, 4))) == 9 * 64


def test_lives_run_from_the_first_to_the_last_step_that_touches_a_buffer_or_a_view_of_it() -> None:
    a, b, c = tensor("a", 16, True), tensor("b", 16, False), tensor("c", 1, True)
    view = a.viewed("view", (16,), (4,))
    steps = [Step("k", (), (a,), [], "op", "0"), Step("k", (a,), (b,), [], "op", "1", scratch=(c,)),
             Step("k", (b, view), (b,), [], "op", "2")]
    assert sized(executed(steps), 3) == _lives((0, 3, 3), (1, 2, 1), (1, 3, 1))


def test_unfused_nodes_write_buffers_of_their_own() -> None:
    from native_graphs import Chain, rows

    c = Chain(x=rows(16))
    h = c.add("Reshape", c.add("Relu", c.add("Tanh", "x")), np.array([-1, 4, 4]))
    proto = c.model(c.add("Exp", h))
    model = Model.load(proto)
    nodes = unfused(model, proto)
    assert nodes.peak(1) == 2 * 64
    assert nodes.peak(10) == 2 * 640
    assert len(nodes.lives) == 3  # the fourth result is the caller's
    assert peak(sized(executed(model.program.steps), 10)) <= 640
