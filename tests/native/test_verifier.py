"""The verifier refuses every kind of broken layout and program."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cervello.errors import PlanError
from cervello.native import Model, memory
from cervello.native.dims import ROWS
from cervello.native.tensors import Buffer, Space, Step, Tensor, dense
from cervello.native.verifier import verify

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


def _moved(layout: memory.Layout, tensor: Tensor, one: int | None = None, many: tuple[int, int] | None = None) -> memory.Layout:
    key = id(tensor.buffer)
    return replace(layout, offsets_one=layout.offsets_one | ({} if one is None else {key: one}),
                   offsets=layout.offsets | ({} if many is None else {key: many}))


def test_the_planners_layout_passes() -> None:
    steps, _ = _program()
    verify(steps, memory.plan(steps), True)


def test_an_overlap_at_one_row_is_refused() -> None:
    steps, (a, b, _) = _program()
    layout = memory.plan(steps)
    with pytest.raises(PlanError, match=r"buffers '[ab]' and '[ab]' at N = 1: expected them apart, got an overlap"):
        verify(steps, _moved(layout, b, one=layout.offsets_one[id(a.buffer)]), True)


def test_an_overlap_at_many_rows_is_refused() -> None:
    steps, (a, b, _) = _program()
    layout = memory.plan(steps)
    with pytest.raises(PlanError, match=r"buffers '[ab]' and '[ab]' at N = 2: expected them apart"):
        verify(steps, _moved(layout, b, many=layout.offsets[id(a.buffer)]), True)


def test_an_overlap_by_a_single_row_is_refused() -> None:
    steps, (_, b, c) = _program()
    layout = memory.plan(steps)
    const, slope = layout.offsets[id(b.buffer)]
    other = layout.offsets[id(c.buffer)][1]
    with pytest.raises(PlanError, match="expected them apart"):
        verify(steps, _moved(layout, b, many=(const, slope + (4 if slope < other else -4))), True)


@pytest.mark.parametrize("earlier_is_lower", [True, False])
def test_an_overlap_at_the_one_step_where_lifetimes_touch_is_refused(earlier_is_lower: bool) -> None:
    a, b = _tensor("a"), _tensor("b")
    source, result = _tensor("in", space=Space.INPUT), _tensor("out", space=Space.OUTPUT)
    steps = [_step([source], [a]), _step([a], [b]), _step([b], [result])]
    layout = memory.plan(steps)
    low, high = (a, b) if earlier_is_lower else (b, a)
    with pytest.raises(PlanError, match="at N = 1: expected them apart"):
        verify(steps, _moved(_moved(layout, low, one=0), high, one=32), True)


def test_bytes_behind_the_arena_are_refused() -> None:
    steps, (a, *_) = _program()
    layout = memory.plan(steps)
    with pytest.raises(PlanError, match=r"buffer 'a' at N = 1: expected bytes within \[0, \d+\)"):
        verify(steps, _moved(layout, a, one=layout.one_bytes), True)
    with pytest.raises(PlanError, match=r"buffer 'a' at N = 2: expected bytes within"):
        verify(steps, _moved(layout, a, many=(0, layout.row_bytes)), True)


def test_bytes_before_the_arena_are_refused() -> None:
    steps, (a, *_) = _program()
    with pytest.raises(PlanError, match=r"buffer 'a' at N = 1: .* got \[-64"):
        verify(steps, _moved(memory.plan(steps), a, one=-64), True)


def test_an_arena_too_small_by_a_byte_is_refused() -> None:
    steps, _ = _program()
    layout = memory.plan(steps)
    with pytest.raises(PlanError, match="expected bytes within"):
        verify(steps, replace(layout, one_bytes=layout.one_bytes - 1), True)


def test_a_tensor_that_leaves_its_buffer_is_refused() -> None:
    steps, (a, *_) = _program()
    for wrong in (replace(a, offset=4), replace(a, offset=-4), replace(a, strides=(a.strides[0] + 4, 4)), replace(a, shape=(ROWS, 17)),
                  replace(a, shape=(ROWS + 1, 16)), replace(a, strides=(-64, 4))):
        steps[1] = _step([wrong], list(steps[1].writes))
        with pytest.raises(PlanError, match=r"step the node, 'a' at N = [12]: expected bytes within"):
            verify(steps, memory.plan(steps), True)


def test_a_tensor_that_leaves_its_buffer_at_some_row_count_only_is_refused() -> None:
    steps, (a, *_) = _program()
    steps[1] = _step([replace(a, shape=(ROWS * 2 - 1, 16))], list(steps[1].writes))
    with pytest.raises(PlanError, match="'a' at N = 2: expected bytes within"):
        verify(steps, memory.plan(steps), True)


def test_a_read_of_memory_that_nothing_wrote_is_refused() -> None:
    steps, (a, _, _) = _program()
    with pytest.raises(PlanError, match="step the node: expected 'a' to be written before it is read"):
        verify(steps[1:], memory.plan(steps[1:]), True)
    assert a.buffer.space is Space.ARENA


@pytest.mark.parametrize("space", [Space.INPUT, Space.CONSTANT])
def test_a_write_to_inputs_or_constants_is_refused(space: Space) -> None:
    source = _tensor("x", space=space)
    with pytest.raises(PlanError, match=f"expected to write to the arena or an output, got {space.value}"):
        verify([_step([], [source])], memory.plan([]), True)


def test_every_loaded_program_was_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    from native_graphs import policy

    def spoiled(steps: Any) -> memory.Layout:
        layout = plan(steps)
        return replace(layout, offsets_one=dict.fromkeys(layout.offsets_one, 0))

    plan = memory.plan
    monkeypatch.setattr(memory, "plan", spoiled)
    with pytest.raises(PlanError, match="expected them apart"):
        Model.load(policy())
