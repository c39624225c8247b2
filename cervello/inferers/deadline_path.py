"""Batches with a deadline: as many rows from the front as there is time for, in one compiled call that reads the clock.

Rows do not depend on the batch they run in (law 1), so a batch may stop after any of them. It runs in chunks: a first one whose rows are
guaranteed, then small ones, each only if it is expected to end in time. A delay (preemption,
a cold cache) then costs rows; it costs time only if it falls into the last chunk.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from cervello.inferers.nonfinite import NonFiniteState
from cervello.native import Model
from cervello.native.execution.c_api import api
from cervello.native.execution.context import ExecutionContext
from cervello.native.kernels import abi
from cervello.native.memory import arena
from cervello.native.program.encode import Plan
from cervello.spec import Array, FusedOp

_empty = np.empty
_MAX_CACHED_PLANS = 256  # number of cached plans of chunked batches
_UNLIMITED = 1 << 62  # repeat count without limit
_MAX_S, _MAX_ROW_S = 9e9, 1e3  # larger values do not fit into 64 bits of nanoseconds
_CTX, _PLAN, _ARENA = abi.CTX, abi.PLAN.index, abi.SPACES + abi.ARENA


def _find_clock() -> tuple[int, int]:
    """The C function behind `time.perf_counter_ns`: its address, and 1 if it writes the time to an address, as that of newer interpreters
    does, or 0 if it returns it. Zeros if there is none."""
    for name, writes in (("PyTime_PerfCounterRaw", 1), ("_PyTime_GetPerfCounter", 0)):
        if hasattr(ctypes.pythonapi, name):
            return api(name), writes
    return 0, 0


_CLOCK, _CLOCK_WRITES = _find_clock()


@dataclass(slots=True)
class Limit:
    """Time limit of a batch, and its outcome. Mutable.

    Attributes:
      until_s: on the clock `time.perf_counter`.
      guaranteed_rows: rows of the first chunk, which runs in any case.
      chunk: rows of each later chunk, of which as many run as there is time for; 0 for none.
      row_s: expected seconds of a row in a later chunk.
      n_rows: rows that have run.
      chunks_s: seconds that all chunks but the first took.
      began_s, ended_s: when the first chunk began and the last one ended; 0 if the batch has not run on this path.
    """

    until_s: float
    guaranteed_rows: int
    chunk: int = 0
    row_s: float = 0.0
    n_rows: int = 0
    chunks_s: float = 0.0
    began_s: float = 0.0
    ended_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _ChunkedPlan:
    """The plan of a chunked batch, in the layout of `native.kernels.abi`. The number of rows is written before each run.

    Attributes:
      plans: kept alive while it may run.
    """

    header: Array
    address: int
    arena_bytes: int
    plans: tuple[Plan, ...]


class DeadlinePath:
    """Runs batches with limits. Mutable; the caller holds the policy's exclusive lock, since long batches release the GIL and the wrappers'
    slabs must not move.

    Args:
      plans: the plan for a number of rows; it stays valid while others are requested.
      sizes: the numbers of rows that run at once, up to a maximum.
      fused_ops: returns the wrappers' fused ops; called again whenever their slabs have grown.
    """

    has_clock = _CLOCK != 0
    __slots__ = ("_capacity", "_chunked_plans", "_fused_ops", "_hidden_rows", "_model", "_plans", "_run", "_shapes", "_sizes")

    def __init__(self, model: Model, plans: Callable[[int], Plan], sizes: Callable[[int], int], fused_ops: Callable[[], Sequence[FusedOp]]):
        self._model, self._plans, self._sizes, self._fused_ops = model, plans, sizes, fused_ops
        self._run: ExecutionContext | None = None  # created on first use: most policies never run in a frame
        self._shapes: tuple[tuple[str, tuple[int, ...], Any], ...] = ()  # of outputs that the caller gets
        self._chunked_plans: dict[tuple[int, int], _ChunkedPlan] = {}
        self._capacity = self._hidden_rows = -1

    def infer(self, n_rows: int, limit: Limit, inputs: Any, slots: Array, steps: Array, keys: Array) -> dict[str, Array] | None:
        """Runs a batch, stores the wrappers' state and advances the step counters of those rows that have run.

        Returns:
          outputs by name, with the number of rows then in `limit`; None if another path is needed, and nothing has happened.
        Raises:
          NonFiniteState: as `FastPath.infer`.
        """
        run = self._run
        if run is None or len(keys) != self._capacity or n_rows > self._hidden_rows:
            run = self._prepare(n_rows, len(keys))
        first = min(limit.guaranteed_rows, n_rows)
        chunked = self._chunked_plans.get((first, limit.chunk)) or self._make_chunked_plan(first, limit.chunk)
        header, context = chunked.header, run.context
        header[_PLAN.n_rows], header[_PLAN.releases_gil] = n_rows, self._model.program.is_above_gil_threshold(n_rows)
        context[_CTX.deadline], context[_CTX.guaranteed_rows] = int(min(limit.until_s, _MAX_S) * 1e9), 0
        context[_CTX.row_ns] = int(min(limit.row_s, _MAX_ROW_S) * 1e9)
        out = {name: _empty((n_rows, *shape), dtype) for name, shape, dtype in self._shapes}
        memory = arena.borrow(chunked.arena_bytes)
        try:
            context[_ARENA] = memory.address
            began_s = time.perf_counter()
            status = run.named(chunked.address, n_rows, inputs, out, slots, steps, keys)
        finally:
            arena.give_back(memory)
        if status > 0 and status != abi.NONFINITE:
            raise self._model.failure(status)
        if status < 0:
            return None
        now, _, _, limit.n_rows, first, first_chunk_end = context[_CTX.now:_CTX.first_chunk_end + 1].tolist()
        limit.began_s, limit.ended_s = began_s, now * 1e-9
        limit.guaranteed_rows, limit.chunks_s = (first, (now - first_chunk_end) * 1e-9) if first else (limit.n_rows, 0.0)
        found = out if limit.n_rows == n_rows else {name: column[:limit.n_rows] for name, column in out.items()}
        if status:
            raise NonFiniteState(found)
        return found

    def _make_chunked_plan(self, n_first: int, chunk: int) -> _ChunkedPlan:
        """The plan of a first chunk and of as many others as there are rows for; half of one, a quarter, … may still be in time."""
        key, first = (n_first, chunk), self._plans(n_first)
        plans, parts = [first], list(first.parts or ((first, 1),))
        while chunk:
            plan = self._plans(self._sizes(chunk))
            plans.append(plan)
            part = plan.parts[0][0] if plan.parts else plan
            parts.append((part, _UNLIMITED))
            chunk = part.n_rows // 2
        words = chain.from_iterable((part.address, times) for part, times in parts)
        header = np.array(abi.PLAN.filled(n_parts=len(parts), parts=words), np.int64)
        found = _ChunkedPlan(header, header.ctypes.data, max(part.arena_bytes for part, _ in parts), tuple(plans))
        if len(self._chunked_plans) >= _MAX_CACHED_PLANS:
            del self._chunked_plans[next(iter(self._chunked_plans))]
        self._chunked_plans[key] = found
        return found

    def invalidate(self) -> None:
        """Invalidates cached slab addresses; the next batch looks them up."""
        self._capacity = -1

    def _prepare(self, n_rows: int, capacity: int) -> ExecutionContext:
        """An execution context for so many rows, with the wrappers' current fused ops."""
        model = self._model
        if self._run is None:
            self._run = ExecutionContext((*model.inputs.values(), *model.outputs.values()), len(model.inputs))
            self._run.context[_CTX.clock], self._run.context[_CTX.clock_writes] = _CLOCK, _CLOCK_WRITES
        if capacity != self._capacity:
            self._capacity = self._hidden_rows = -1
            fused_ops = self._fused_ops()
            self._run.set_wrapper_ops(fused_ops)
            hidden = {op.port for op in fused_ops if op.hidden and op.kind == "scatter"}
            self._shapes = tuple((spec.name, spec.shape, spec.dtype) for spec in model.outputs.values() if spec.name not in hidden)
            self._capacity = capacity
        if n_rows > self._hidden_rows:
            self._hidden_rows = -1
            self._run.allocate_hidden(n_rows)
            self._hidden_rows = n_rows
        return self._run
