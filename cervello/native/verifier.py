"""Proves of a program, before it first runs, that it stays inside its memory.

Independent of the planner: lifetimes are recomputed from what each step reads and writes. Sizes, offsets and extents are affine
in N with N ≥ 1, so an inequality that holds at N = 1 and has a slope that does not shrink holds for every N; it is checked at
several N and, for the layout, at every residue of the padding.
"""

from __future__ import annotations

from collections.abc import Sequence

from cervello.errors import PlanError
from cervello.native.dims import at
from cervello.native.memory import Layout, extent, padded
from cervello.native.tensors import Space, Step

_PROBES = (1, 2, 3, 15, 16, 17, 31, 64, 1000, 1 << 20)


def verify(steps: Sequence[Step], layout: Layout, rows_vary: bool) -> None:
    """Checks a program.

    Raises:
      PlanError: a step touches memory outside its operand's buffer, reads what nothing wrote, or two live buffers overlap.
    """
    probes = _PROBES if rows_vary else (1,)
    for n_rows in probes:
        _inside(steps, n_rows)
        _apart(steps, layout, n_rows)
    _defined(steps)


def _inside(steps: Sequence[Step], n_rows: int) -> None:
    for step in steps:
        for tensor in (*step.reads, *step.writes, *step.scratch):
            low, high = extent(tensor, n_rows)
            if low < 0 or high > at(tensor.buffer.n_bytes, n_rows):
                raise PlanError(f"step {step.node or step.op}, {tensor.name!r} at N = {n_rows}: expected bytes within "
                                f"[0, {at(tensor.buffer.n_bytes, n_rows)}), got [{low}, {high})")
        for tensor in step.writes:
            if tensor.buffer.space in (Space.CONSTANT, Space.INPUT):
                raise PlanError(f"step {step.node or step.op}: expected to write to the arena or an output, "
                                f"got {tensor.buffer.space.value}")


def _apart(steps: Sequence[Step], layout: Layout, n_rows: int) -> None:
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    spans: dict[int, tuple[int, int, str]] = {}
    for index, step in enumerate(steps):
        for tensor in (*step.reads, *step.writes, *step.scratch):
            if tensor.buffer.space is not Space.ARENA:
                continue
            key = id(tensor.buffer)
            first.setdefault(key, index)
            last[key] = index
            if n_rows == 1:
                start = layout.offsets_one[key]
            else:
                const, slope = layout.offsets[key]
                start = const + slope * padded(n_rows)
            spans[key] = (start, start + at(tensor.buffer.n_bytes, n_rows), tensor.buffer.name)
    total = layout.arena_bytes(n_rows)
    keys = sorted(spans, key=lambda key: spans[key][0])
    for i, key in enumerate(keys):
        start, end, name = spans[key]
        if start < 0 or end > total:
            raise PlanError(f"buffer {name!r} at N = {n_rows}: expected bytes within [0, {total}), got [{start}, {end})")
        for other in keys[i + 1:]:
            if spans[other][0] >= end:
                break
            if first[key] <= last[other] and first[other] <= last[key] and end > start:
                raise PlanError(f"buffers {name!r} and {spans[other][2]!r} at N = {n_rows}: expected them apart, got an overlap")


def _defined(steps: Sequence[Step]) -> None:
    written: set[int] = set()
    for step in steps:
        for tensor in step.reads:
            if tensor.buffer.space is Space.ARENA and id(tensor.buffer) not in written:
                raise PlanError(f"step {step.node or step.op}: expected {tensor.name!r} to be written before it is read")
        written.update(id(tensor.buffer) for tensor in step.writes)
