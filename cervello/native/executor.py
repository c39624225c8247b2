"""Runs plans on arrays. A `Run` owns what one call at a time needs: context, arena and the compiled entry.

Runs are pooled: a call takes an idle one or makes another, so threads never wait for each other and nothing is locked while a
program runs.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from cervello.compiled import entry
from cervello.errors import ExecutionError
from cervello.native import abi
from cervello.native.dims import at
from cervello.native.program import Plan, Program
from cervello.native.tensors import Tensor
from cervello.noise import layout
from cervello.spec import TensorSpec

Array = np.ndarray[Any, Any]
_RUN, _SEGMENT = "cervello.native.kernels.control:run", "cervello.native.kernels.control:segment"
_CONTIGUOUS = 0x1  # numpy's flag; the others are in `layout`


def _api(name: str) -> int:
    return ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0


class Run:
    """Everything one run needs for itself; mutable, used by one thread at a time.

    Attributes:
      call: the compiled entry (plan, rows, *arrays) → status.
      context: [.] int64, see `cervello.native.abi`.
    """

    __slots__ = ("_arena", "_room", "_start", "call", "context", "door", "segment", "values")

    def __init__(self, specs: Sequence[TensorSpec], n_inputs: int):
        n = len(specs)
        self.context = np.zeros(abi.CTX_SPACES + abi.FIRST_BUFFER + n, np.int64)
        self.door = np.zeros(abi.DOOR_HEADER + abi.DOOR_WORDS * n, np.int64)
        self.door[abi.DOOR_BUFFERS] = n
        self.door[abi.DOOR_ARRAY_TYPE] = id(np.ndarray)
        self.door[abi.DOOR_INPUTS] = n_inputs
        for i, spec in enumerate(specs):
            record = self.door[abi.DOOR_HEADER + abi.DOOR_WORDS * i:][:abi.DOOR_WORDS]
            dims = spec.batched(-1)
            record[abi.DOOR_DESCR] = id(spec.dtype)
            record[abi.DOOR_NDIM] = len(dims) if len(dims) <= abi.DOOR_MOST_DIMS and layout.is_known() else -1
            record[abi.DOOR_FLAGS] = _CONTIGUOUS | layout.READABLE | (layout.WRITEABLE if i >= n_inputs else 0)
            if spec.batch_axis is not None:
                record[abi.DOOR_ROW_BYTES] = int(np.prod(spec.shape, dtype=np.int64)) * spec.dtype.itemsize
            record[abi.DOOR_DIMS:abi.DOOR_DIMS + len(dims[:abi.DOOR_MOST_DIMS])] = dims[:abi.DOOR_MOST_DIMS]
        self.context[abi.CTX_DOOR] = self.door.ctypes.data
        self.context[abi.CTX_SAVE_THREAD] = _api("PyEval_SaveThread")
        self.context[abi.CTX_RESTORE_THREAD] = _api("PyEval_RestoreThread")
        self._arena = np.empty(0, np.uint8)
        self._start = self._room = 0
        self.call = entry.objects(_RUN, self.context.ctypes.data, (self.context, self.door))
        self.segment = entry.ints(_SEGMENT)
        self.values: dict[str, Array] = {}

    def aim(self, slots: int, keys: int, steps: int, deterministic: int = 0) -> None:
        """Points random ops at addresses: slots by row, keys and step counters by slot, deterministic flags by row."""
        self.context[abi.CTX_SLOTS:abi.CTX_DETERMINISTIC + 1] = slots, keys, steps, deterministic

    def reserve(self, n_bytes: int) -> None:
        """Makes the arena at least this large."""
        if n_bytes > self._room:
            self._arena = np.empty(n_bytes + 64, np.uint8)
            self._start = -self._arena.ctypes.data % 64
            self._room = n_bytes
            self.context[abi.CTX_SPACES + abi.ARENA] = self._arena.ctypes.data + self._start

    @property
    def arena_bytes(self) -> int:
        return self._room

    def poison(self) -> None:
        """Fills the arena with NaN, for tests: a read of stale memory then shows."""
        self._arena[:] = 0xFF

    def arena_view(self, tensor: Tensor, offset: int, n_rows: int) -> Array:
        """A tensor in the arena as an array."""
        shape = tuple(at(d, n_rows) for d in tensor.shape)
        strides = tuple(at(s, n_rows) for s in tensor.strides)
        start = self._start + offset + at(tensor.offset, n_rows)
        return np.ndarray(shape, tensor.dtype, self._arena, start, strides)


def fail(program: Program, status: int) -> ExecutionError:
    """The error for a status that a program returned."""
    step = program.step_at((status // 256) // 8)
    reason = {1: "an index outside its table", 2: "no seed for a random op; give seed= or deterministic=True"}.get(
        status % 256, f"status {status % 256}")
    return ExecutionError(f"node {step.node or step.op}: expected to run, got {reason}")


def run_mixed(program: Program, run: Run, plan: Plan, arrays: Sequence[Array], n_inputs: int) -> int:
    """Runs a program with steps on slower tiers: stretches of planned steps, host calls between them.

    The arrays have passed the door. Outputs whose shape depends on data are left in run.values.
    """
    context = run.context
    for i, array in enumerate(arrays):
        context[abi.CTX_SPACES + abi.FIRST_BUFFER + i] = array.ctypes.data
    context[abi.CTX_ROWS] = plan.n_rows
    start, address = int(plan.facts[abi.PLAN_PROGRAM]), context.ctypes.data
    run.values.clear()
    for segment in program.segments:
        if segment.host is None:
            status = run.segment(address, start + segment.first * 8, start + segment.end * 8)
            if status:
                return status + segment.first * 8 * 256
            continue
        operands = [_operand(program, run, plan, o, arrays, n_inputs) for o in segment.host.operands]
        for target, result in zip(segment.host.results, segment.host(operands), strict=True):
            if isinstance(target, str):
                run.values[target] = result
            elif target is not None:
                view = _operand(program, run, plan, target, arrays, n_inputs)
                assert view is not None
                view[...] = result.reshape(view.shape)
    return 0


def _operand(program: Program, run: Run, plan: Plan, operand: Any, arrays: Sequence[Array], n_inputs: int) -> Array | None:
    if operand is None or isinstance(operand, np.ndarray):
        return operand
    if isinstance(operand, str):
        return run.values[operand]
    from cervello.native.memory import padded
    from cervello.native.tensors import Space

    buffer, n = operand.buffer, plan.n_rows
    if buffer.space is Space.ARENA:
        if n == 1:
            offset = program.layout.offsets_one[id(buffer)]
        else:
            const, slope = program.layout.offsets[id(buffer)]
            offset = const + slope * padded(n)
        return run.arena_view(operand, offset, n)
    if buffer.space is Space.CONSTANT:
        base = buffer.data
    else:
        base = arrays[buffer.index + (n_inputs if buffer.space is Space.OUTPUT else 0)]
    shape = tuple(at(d, n) for d in operand.shape)
    strides = tuple(at(s, n) for s in operand.strides)
    flat = base.reshape(-1).view(np.uint8) if base.size else base
    return np.ndarray(shape, operand.dtype, flat, at(operand.offset, n), strides)
