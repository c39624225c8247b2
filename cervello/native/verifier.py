"""Proves of a program, before it first runs, that it stays inside its memory.

Independent of the planner: lifetimes are recomputed from what each step reads and writes. Of a layout it proves that in each pile one
of any two living neighbours lies on the other, directly or through others, so that they are apart for every N; offsets themselves are
checked at several N. Extents and sizes are affine in N, so an inequality that holds at both ends of a range of N holds inside it.
"""

from __future__ import annotations

from collections.abc import Sequence

from cervello.errors import PlanError
from cervello.native.dims import at
from cervello.native.extents import check_extents
from cervello.native.memory import Layout, extent
from cervello.native.packing import Pile
from cervello.native.tensors import Buffer, Space, Step

_PROBES = (1, 2, 17, 64, 1 << 20)
_ENDS = (1, 2, 1 << 20)


def verify(steps: Sequence[Step], layout: Layout, rows_vary: bool) -> None:
    """Checks a program.

    Raises:
      PlanError: a step touches memory outside its operands, by their shapes or by what its kernel declares, reads what nothing wrote, or
        two live buffers overlap.
    """
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    buffers: dict[int, Buffer] = {}
    for index, step in enumerate(steps):
        for tensor in step.touched:
            if tensor.buffer.space is Space.ARENA:
                key = layout.index[id(tensor.buffer)]
                buffers[key] = tensor.buffer
                first.setdefault(key, index)
                last[key] = index
    spans = {key: (first[key], last[key]) for key in buffers}
    probes = _PROBES if rows_vary else (1,)
    for n_rows in _ENDS if rows_vary else (1,):
        _inside(steps, n_rows)
    for n_rows in probes:
        _apart(buffers, spans, layout, n_rows)
    for pile in layout.piles:
        _apart_for_all(buffers, spans, pile)
    _defined(steps)
    check_extents(steps, rows_vary)


def _inside(steps: Sequence[Step], n_rows: int) -> None:
    seen: set[int] = set()
    for step in steps:
        for tensor in step.touched:
            if id(tensor) in seen:
                continue
            seen.add(id(tensor))
            low, high = extent(tensor, n_rows)
            if low < 0 or high > at(tensor.buffer.n_bytes, n_rows):
                raise PlanError(f"step {step.node or step.op}, {tensor.name!r} at N = {n_rows}: expected bytes within "
                                f"[0, {at(tensor.buffer.n_bytes, n_rows)}), got [{low}, {high})")
        for tensor in step.writes:
            if tensor.buffer.space in (Space.CONSTANT, Space.INPUT):
                raise PlanError(f"step {step.node or step.op}: expected to write to the arena or an output, "
                                f"got {tensor.buffer.space.value}")


def _apart(buffers: dict[int, Buffer], spans: dict[int, tuple[int, int]], layout: Layout, n_rows: int) -> None:
    offsets, total = layout.offsets(n_rows)
    keys = sorted(buffers, key=lambda key: offsets[key])
    for i, key in enumerate(keys):
        start, name = offsets[key], buffers[key].name
        end = start + at(buffers[key].n_bytes, n_rows)
        if start < 0 or end > total:
            raise PlanError(f"buffer {name!r} at N = {n_rows}: expected bytes within [0, {total}), got [{start}, {end})")
        for other in keys[i + 1:]:
            if offsets[other] >= end:
                break
            if _meet(spans[key], spans[other]) and end > start and at(buffers[other].n_bytes, n_rows) > 0:
                raise PlanError(f"buffers {name!r} and {buffers[other].name!r} at N = {n_rows}: expected them apart, got an overlap")


def _meet(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two buffers are in use at one step."""
    return one[0] <= other[1] and other[0] <= one[1]


def _apart_for_all(buffers: dict[int, Buffer], spans: dict[int, tuple[int, int]], pile: Pile) -> None:
    above: dict[int, int] = {}  # as bits: what a buffer's place lies above, whatever the sizes
    for key in pile.order:
        if any(below not in above for below in pile.beneath[key]) or key in above:
            raise PlanError(f"buffer {buffers[key].name!r}: expected to be placed once, after those beneath it, got another order")
        above[key] = 0
        for below in pile.beneath[key]:
            above[key] |= above[below] | 1 << below
        for other in above:
            if other != key and not above[key] >> other & 1 and _meet(spans[key], spans[other]):
                raise PlanError(f"buffers {buffers[other].name!r} and {buffers[key].name!r}: expected one to lie on the other for every N, "
                                "got neither")
    if len(above) != len(buffers):
        raise PlanError(f"pile: expected {len(buffers)} buffers, got {len(above)}")


def _defined(steps: Sequence[Step]) -> None:
    written: set[int] = set()
    for step in steps:
        for tensor in step.reads:
            if tensor.buffer.space is Space.ARENA and id(tensor.buffer) not in written:
                raise PlanError(f"step {step.node or step.op}: expected {tensor.name!r} to be written before it is read")
        written.update(id(tensor.buffer) for tensor in step.writes)
