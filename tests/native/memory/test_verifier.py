"""The verifier refuses every kind of broken layout and program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from cervello.errors import PlanError
from cervello.native import Model
from cervello.native.graph.dims import ROWS
from cervello.native.graph.tensors import Buffer, Space, Step, Tensor, dense
from cervello.native.memory import arena_plan
from cervello.native.memory.offset_search import StackingOrder
from cervello.native.memory.verifier import verify

F32 = np.dtype(np.float32)


def _tensor(name: str, width: int = 16, rows: Any = ROWS, space: Space = Space.ARENA) -> Tensor:
    return dense(name, F32, (rows, width), Buffer(name, space, rows * width * 4))


def _step(reads: list[Tensor], writes: list[Tensor]) -> Step:
    return Step("k", tuple(reads), tuple(writes), [], "op", "the node")


def _program() -> tuple[list[Step], list[Tensor]]:
    """source → a → b → c, where a is read once more at the end."""
    a, b, c = (_tensor(name) for name in "abc")
    source, result = _tensor("in", space=Space.INPUT), _tensor("out", space=Space.OUTPUT)
    return [_step([source], [a]), _step([a], [b]), _step([b], [c]), _step([a, c], [result])], [a, b, c]


def _with_stacking_order(layout: arena_plan.Layout, *beneath: Sequence[int], order: Sequence[int] | None = None) -> arena_plan.Layout:
    """The layout with a single stacking order of this order, in which buffer i lies on those of `beneath[i]`."""
    return replace(layout, orders=(StackingOrder(tuple(order or range(len(beneath))), tuple(map(tuple, beneath))),))


@dataclass(frozen=True)
class _Wrong(arena_plan.Layout):
    """A layout that shifts buffers, or its size, by bytes at every N but one."""

    shift: dict[int, int] = field(default_factory=dict)
    larger: int = 0
    spared: int = 0

    def offsets(self, n_rows: int) -> tuple[list[int], int]:
        offsets, total = super().offsets(n_rows)
        if n_rows == self.spared:
            return offsets, total
        return [offset + self.shift.get(i, 0) for i, offset in enumerate(offsets)], total + self.larger


def _shifted(steps: list[Step], **wrong: Any) -> arena_plan.Layout:
    layout = arena_plan.plan(steps)
    return _Wrong(layout.lifetimes, layout.orders, **wrong)


def test_the_planners_layout_passes() -> None:
    steps, _ = _program()
    verify(steps, arena_plan.plan(steps), True)


def test_any_stacking_order_of_all_conflicts_passes() -> None:
    steps, _ = _program()  # a meets b and c, b meets c
    for order, beneath in (((0, 1, 2), ((), (0,), (1,))), ((2, 1, 0), ((1,), (2,), ())), ((0, 1, 2), ((), (0,), (0, 1)))):
        verify(steps, _with_stacking_order(arena_plan.plan(steps), *beneath, order=order), True)


@pytest.mark.parametrize("beneath", [((), (), (1,)), ((), (0,), (0,)), ((), (0,), ())])
def test_a_stacking_order_without_a_conflict_is_refused(beneath: tuple[tuple[int, ...], ...]) -> None:
    steps, _ = _program()
    with pytest.raises(PlanError, match=r"buffers '[abc]' and '[abc]' at N = 1: expected them apart, got an overlap"):
        verify(steps, _with_stacking_order(arena_plan.plan(steps), *beneath), True)


def test_conflicts_that_are_apart_only_for_some_sizes_are_refused() -> None:
    low, high, support = _tensor("low", 16), _tensor("high", 16), _tensor("support", 32)
    steps = [_step([], [support]), _step([], [low, high])]  # support ended before the two begin
    layout = arena_plan.plan(steps)
    support_index, low_index, high_index = (layout.index[id(t.buffer)] for t in (support, low, high))
    beneath: list[tuple[int, ...]] = [(), (), ()]
    beneath[high_index] = (support_index,)
    with pytest.raises(PlanError, match=r"buffers 'low' and 'high': expected one to be above the other for every N, got neither"):
        verify(steps, _with_stacking_order(layout, *beneath, order=(support_index, low_index, high_index)), True)


@pytest.mark.parametrize("order", [(1, 0, 2), (0, 1, 1), (0, 0, 1, 2)])
def test_a_stacking_order_that_does_not_resolve_is_refused(order: tuple[int, ...]) -> None:
    steps, _ = _program()
    layout = _with_stacking_order(arena_plan.plan(steps), (), (0,), (1,), order=order)
    with pytest.raises(PlanError, match="expected"):
        verify(steps, layout, True)


def test_a_stacking_order_without_some_buffer_is_refused() -> None:
    steps, _ = _program()
    with pytest.raises(PlanError, match="expected"):
        verify(steps, _with_stacking_order(arena_plan.plan(steps), (), (0,), (), order=(0, 1)), True)


def test_an_overlap_at_many_rows_is_refused() -> None:
    steps, _ = _program()
    with pytest.raises(PlanError, match=r"buffers '[abc]' and '[abc]' at N = 2: expected them apart"):
        verify(steps, _shifted(steps, shift={_lowest(steps): 64}, larger=64, spared=1), True)


def _lowest(steps: list[Step]) -> int:
    """The buffer at the arena's start."""
    return int(np.argmin(arena_plan.plan(steps).offsets(64)[0]))


@pytest.mark.parametrize("earlier_is_lower", [True, False])
def test_an_overlap_at_the_one_step_where_lifetimes_touch_is_refused(earlier_is_lower: bool) -> None:
    a, b = _tensor("a"), _tensor("b")
    source, result = _tensor("in", space=Space.INPUT), _tensor("out", space=Space.OUTPUT)
    steps = [_step([source], [a]), _step([a], [b]), _step([b], [result])]
    layout = arena_plan.plan(steps)
    low, high = ((layout.index[id(t.buffer)]) for t in ((a, b) if earlier_is_lower else (b, a)))
    beneath: list[tuple[int, ...]] = [(), ()]
    beneath[high] = (low,)
    verify(steps, _with_stacking_order(layout, *beneath, order=(low, high)), True)
    with pytest.raises(PlanError, match="at N = 1: expected them apart"):
        verify(steps, _Wrong(layout.lifetimes, _with_stacking_order(layout, *beneath, order=(low, high)).orders, shift={high: -32}), True)


def test_bytes_after_the_arena_are_refused() -> None:
    steps, (a, *_) = _program()
    for larger in (-1, -64):
        with pytest.raises(PlanError, match=r"buffer '[abc]' at N = 1: expected bytes within \[0, \d+\)"):
            verify(steps, _shifted(steps, larger=larger), True)
        with pytest.raises(PlanError, match=r"buffer '[abc]' at N = 2: expected bytes within"):
            verify(steps, _shifted(steps, larger=larger, spared=1), True)
    assert a.buffer.space is Space.ARENA


def test_bytes_before_the_arena_are_refused() -> None:
    steps, _ = _program()
    with pytest.raises(PlanError, match=r"buffer '[abc]' at N = 1: .* got \[-64"):
        verify(steps, _shifted(steps, shift={_lowest(steps): -64}), True)


def test_a_tensor_that_leaves_its_buffer_is_refused() -> None:
    steps, (a, *_) = _program()
    for wrong in (replace(a, offset=4), replace(a, offset=-4), replace(a, strides=(a.strides[0] + 4, 4)), replace(a, shape=(ROWS, 17)),
                  replace(a, shape=(ROWS + 1, 16)), replace(a, strides=(-64, 4))):
        steps[1] = _step([wrong], list(steps[1].writes))
        with pytest.raises(PlanError, match=r"step the node, 'a' at N = [12]: expected bytes within"):
            verify(steps, arena_plan.plan(steps), True)


def test_a_tensor_that_leaves_its_buffer_at_some_row_count_only_is_refused() -> None:
    steps, (a, *_) = _program()
    steps[1] = _step([replace(a, shape=(ROWS * 2 - 1, 16))], list(steps[1].writes))
    with pytest.raises(PlanError, match="'a' at N = 2: expected bytes within"):
        verify(steps, arena_plan.plan(steps), True)


def test_a_read_of_memory_that_nothing_wrote_is_refused() -> None:
    steps, (a, _, _) = _program()
    with pytest.raises(PlanError, match="step the node: expected 'a' to be written before it is read"):
        verify(steps[1:], arena_plan.plan(steps[1:]), True)
    assert a.buffer.space is Space.ARENA


@pytest.mark.parametrize("space", [Space.INPUT, Space.CONSTANT])
def test_a_write_to_inputs_or_constants_is_refused(space: Space) -> None:
    source = _tensor("x", space=space)
    with pytest.raises(PlanError, match=f"expected to write to the arena or an output, got {space.value}"):
        verify([_step([], [source])], arena_plan.plan([]), True)


def test_every_loaded_program_was_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    from native_graphs import policy

    def spoiled(steps: Any, rows_vary: bool) -> arena_plan.Layout:
        layout = plan(steps, rows_vary)
        return _with_stacking_order(layout, *[()] * len(layout.lifetimes))

    plan = arena_plan.plan
    monkeypatch.setattr(arena_plan, "plan", spoiled)
    with pytest.raises(PlanError, match="expected them apart"):
        Model.load(policy())
