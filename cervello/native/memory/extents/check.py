"""Proves for every step and every N that its kernel accesses no byte outside its operands."""

from __future__ import annotations

from collections.abc import Sequence

from cervello.errors import PlanError
from cervello.native.graph.dims import at
from cervello.native.graph.tensors import Jump, Space, Step
from cervello.native.kernels.schemas import SCHEMAS
from cervello.native.memory.arena_plan import extent
from cervello.native.memory.extents.declaration import KERNELS, Bounds, constants, held_bytes, values

MOST_ROWS = 1 << 40  # more than fits any memory; a bound that is valid at N = 1 and here is valid for all N between, see `declaration`


def check_extents(steps: Sequence[Step], rows_vary: bool) -> None:
    """Checks the declaration of each step's kernel. A kernel without a declaration is a user's; only its tensors are checked.

    Raises:
      PlanError: a kernel would access bytes outside a tensor or constant, or its words do not match its schema.
    """
    known = {id(step) for step in steps}
    for step in steps:
        bounds = KERNELS.get(step.kernel) if step.fallback is None else None
        if bounds is None:
            continue
        for n_rows in (1, MOST_ROWS) if rows_vary else (1,):
            try:
                _check_step(step, bounds, n_rows)
            except PlanError as error:
                kernel = step.kernel.rpartition(".")[2]
                raise PlanError(f"step {step.node or step.op}, kernel {kernel!r} at N = {n_rows}: {error}") from None
        for word in step.words:
            if isinstance(word, Jump) and id(word.step) not in known:
                raise PlanError(f"step {step.node or step.op}: expected to jump within the program, got another step")


def _check_step(step: Step, bounds: Bounds, n_rows: int) -> None:
    schema = SCHEMAS[step.kernel]
    for names, tensors in zip((schema.reads, schema.writes, schema.scratch), (step.reads, step.writes, step.scratch),
                              strict=True):
        if len(names) != len(tensors):
            raise PlanError(f"expected operands {' '.join(names) or 'none'}, got {len(tensors)}")
    for tensor in step.scratch:
        if tensor.buffer.space is not Space.ARENA:
            raise PlanError(f"expected scratch in the arena, got {tensor.buffer.space.value}")
    words = values(schema, step.words, n_rows)
    spans = bounds(words)
    for name, tensor in zip(schema.operands, step.operands, strict=True):
        span = spans.get(name)
        if span is None:
            continue
        low, high = extent(tensor, n_rows)
        offset = at(tensor.offset, n_rows)
        if offset + span[0] < low or offset + span[1] > high:
            raise PlanError(f"operand {name!r}, {tensor.name!r}: expected bytes within [{low - offset}, {high - offset}) of its address, "
                            f"got [{span[0]}, {span[1]})")
    for name in constants(schema):
        span = spans.get(name)
        if span is not None and (span[0] < 0 or span[1] > held_bytes(getattr(words, name))):
            raise PlanError(f"constant {name!r}: expected bytes within [0, {held_bytes(getattr(words, name))}), "
                            f"got [{span[0]}, {span[1]})")
