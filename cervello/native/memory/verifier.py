"""Proves that all memory accesses of a program are in bounds, before it first runs.

The verifier is independent of the planner: it recomputes lifetimes from the reads and writes of each step. For each stacking order it
proves that of any two buffers live at one step, one is above the other, directly or transitively, so that they do not overlap for any N.
It also checks the offsets at several N. Extents and sizes are affine in N, so an inequality that holds at both ends of a range of N holds
inside it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence

from cervello.errors import PlanError
from cervello.native.graph.dims import at
from cervello.native.graph.tensors import Buffer, Space, Step
from cervello.native.memory.arena_plan import Layout, extent
from cervello.native.memory.extents import check_extents
from cervello.native.memory.offset_search import StackingOrder

Span = tuple[int, int]  # first and last step, both included
_PROBES = (1, 2, 17, 64, 1 << 20)
_ENDS = (1, 2, 1 << 20)


def verify(steps: Sequence[Step], layout: Layout, rows_vary: bool) -> None:
    """Checks a program.

    Raises:
      PlanError: a step accesses memory outside its operands, by their shapes or by its kernel's declaration; a step reads a buffer that
        no step wrote; or two live buffers overlap.
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
        _check_bounds(steps, n_rows)
    for n_rows in probes:
        _check_offsets(buffers, spans, layout, n_rows)
    for stacking in layout.orders:
        _check_order(buffers, spans, stacking)
    _check_initialised(steps)
    check_extents(steps, rows_vary)


def _check_bounds(steps: Sequence[Step], n_rows: int) -> None:
    """Checks that tensors are within their buffers, and that no step writes to constants or inputs."""
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


def _events(spans: Mapping[int, Span]) -> Iterator[tuple[int, list[int]]]:
    """Yields buffers in order of their first step, each with the buffers that ended since the previous one; the others are live."""
    by_end = sorted(spans, key=lambda key: spans[key][1])
    ended = 0
    for key in sorted(spans, key=lambda key: spans[key][0]):
        begun = ended
        while spans[by_end[ended]][1] < spans[key][0]:
            ended += 1
        yield key, by_end[begun:ended]


def _check_offsets(buffers: Mapping[int, Buffer], spans: Mapping[int, Span], layout: Layout, n_rows: int) -> None:
    """Checks offsets for one N. Live buffers do not overlap if neighbours in the order of offsets do not."""
    offsets, total = layout.offsets(n_rows)
    ends = {key: offsets[key] + at(buffer.n_bytes, n_rows) for key, buffer in buffers.items()}
    for key in sorted(buffers, key=lambda key: offsets[key]):
        if offsets[key] < 0 or ends[key] > total:
            raise PlanError(f"buffer {buffers[key].name!r} at N = {n_rows}: expected bytes within [0, {total}), got [{offsets[key]}, "
                            f"{ends[key]})")
    live: list[tuple[int, int, int]] = []  # (first byte, one past the last, buffer)
    for key, ended in _events({key: span for key, span in spans.items() if ends[key] > offsets[key]}):
        for other in ended:
            del live[bisect_left(live, (offsets[other], ends[other], other))]
        entry = offsets[key], ends[key], key
        index = bisect_left(live, entry)
        for below, above in ((live[index - 1:index], [entry]), ([entry], live[index:index + 1])):
            if below and above and below[0][1] > above[0][0]:
                raise PlanError(f"buffers {buffers[below[0][2]].name!r} and {buffers[above[0][2]].name!r} at N = {n_rows}: expected them "
                                "apart, got an overlap")
        live.insert(index, entry)


def _check_order(buffers: Mapping[int, Buffer], spans: Mapping[int, Span], stacking: StackingOrder) -> None:
    """Checks a stacking order for all sizes: when a buffer begins, it must be above its lower live neighbour, and its upper live neighbour
    above it. By transitivity, this orders all live buffers; a buffer that ends does not change the order of the others."""
    ranks: dict[int, int] = {}
    for rank, key in enumerate(stacking.order):
        if any(below not in ranks for below in stacking.supports[key]) or key in ranks:
            raise PlanError(f"buffer {buffers[key].name!r}: expected to be placed once, after those below it, got another order")
        ranks[key] = rank
    if len(ranks) != len(buffers):
        raise PlanError(f"stacking order: expected {len(buffers)} buffers, got {len(ranks)}")
    above: dict[int, int] = {}  # bit mask of all ranks below; built only if the direct edges are not enough

    def is_above(key: int, other: int) -> bool:
        if other in stacking.supports[key]:
            return True
        if not above:
            for each in stacking.order:
                above[each] = 0
                for below in stacking.supports[each]:
                    above[each] |= above[below] | 1 << ranks[below]
        return bool(above[key] >> ranks[other] & 1)

    live: list[int] = []  # ranks
    for key, ended in _events(spans):
        for other in ended:
            del live[bisect_left(live, ranks[other])]
        index = bisect_left(live, ranks[key])
        for below, upper in ((live[index - 1:index], [ranks[key]]), ([ranks[key]], live[index:index + 1])):
            if below and upper and not is_above(stacking.order[upper[0]], stacking.order[below[0]]):
                lower_name, upper_name = (buffers[stacking.order[rank]].name for rank in (below[0], upper[0]))
                raise PlanError(f"buffers {lower_name!r} and {upper_name!r}: expected one to be above the other for every N, got neither")
        live.insert(index, ranks[key])


def _check_initialised(steps: Sequence[Step]) -> None:
    written: set[int] = set()
    for step in steps:
        for tensor in step.reads:
            if tensor.buffer.space is Space.ARENA and id(tensor.buffer) not in written:
                raise PlanError(f"step {step.node or step.op}: expected {tensor.name!r} to be written before it is read")
        written.update(id(tensor.buffer) for tensor in step.writes)
