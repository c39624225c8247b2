"""Runs plans on arrays. An `ExecutionContext` owns the mutable state of one call: context words, arena and compiled entry points.

Contexts are pooled: a call takes an idle one or creates one. Threads never wait for each other, and no lock is held while a program
runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any

import numpy as np

from cervello.codegen import entry, linker
from cervello.errors import CervelloError, ExecutionError
from cervello.high_water import KEPT_BYTES, HighWater
from cervello.native.execution.c_api import api, array_empty
from cervello.native.graph.dims import at
from cervello.native.graph.tensors import Space, Tensor
from cervello.native.kernels import abi
from cervello.native.lowering.rules.fallback import FallbackCall
from cervello.native.program.encode import Plan, Program
from cervello.noise import layout
from cervello.noise.words import FILL
from cervello.spec import FusedOp, TensorSpec

Array = np.ndarray[Any, Any]
_KERNELS = "cervello.native.kernels"
_RUN, _NAMED, _SEGMENT = f"{_KERNELS}.runtime.control:run", f"{_KERNELS}.runtime.control:run_named", f"{_KERNELS}.runtime.execution:segment"
_FILL_INPUTS, _STORE_STATE = f"{_KERNELS}.filling:fill_inputs", f"{_KERNELS}.storing:store_state"
_CTX, _HEADER, _ARG = abi.CTX, abi.ARGUMENTS.index, abi.ARG
_FIRST, _WORDS = abi.ARGUMENTS.n_words, abi.ARGUMENT.n_words  # where the records of arrays begin, and words of one
_BASE: int = _ARG.base
_BOOL = np.dtype(np.bool_)
_CONTIGUOUS = 0x1  # numpy's flag; the others are in `layout`


class ExecutionContext:
    """The mutable state of one run; used by one thread at a time.

    Args:
      specs: of the program's arrays, inputs then outputs.
      more: inputs and outputs of the chained graphs after the program; an int8 input also accepts bool.

    Attributes:
      call: the compiled entry (plan, rows, *arrays) → status.
      named: the same for dicts (plan, rows, inputs, outputs[, slots, steps, keys[, flags[, None]]]) → status; see
        `kernels.runtime.control`.
      context: int64 words at `address`, see `cervello.native.kernels.abi`.
      noise: noise source of rows without agents; see `noise_keys.RowNoise`.
      capacity, own: bytes of the context's own arena, and its address; a run may use a borrowed arena instead.
    """

    __slots__ = (
        "_arena",
        "_columns",
        "_fused_ops",
        "_hidden",
        "_ports",
        "_start",
        "_water",
        "address",
        "arguments",
        "call",
        "capacity",
        "context",
        "named",
        "noise",
        "own",
        "segment",
        "values",
    )

    def __init__(self, specs: Sequence[TensorSpec], n_inputs: int,
                 more: tuple[Sequence[TensorSpec], Sequence[TensorSpec]] = ((), ())):
        n_own = len(specs)
        outputs = (*repeat(False, n_inputs), *repeat(True, n_own - n_inputs), *repeat(False, len(more[0])), *repeat(True, len(more[1])))
        specs = (*specs, *more[0], *more[1])
        n = len(specs)
        self.arguments = np.array(abi.ARGUMENTS.filled(
            n_arrays=n, array_type=id(np.ndarray), given_inputs=outputs.count(False), given_outputs=outputs.count(True),
            arrays=(0,) * ((_WORDS + 1) * n)), np.int64)
        for i, (spec, output) in enumerate(zip(specs, outputs, strict=True)):
            record = self._record(i)
            dims = spec.batched(-1)
            record[_ARG.dtype] = record[_ARG.second_dtype] = id(spec.dtype)
            if i >= n_own and spec.dtype == np.int8:
                record[_ARG.second_dtype] = id(_BOOL)
            record[_ARG.output] = output
            record[_ARG.name] = id(spec.name)
            record[_ARG.rank] = len(dims) if len(dims) <= abi.MAX_DIMS and layout.is_known() else -1
            record[_ARG.flags] = _CONTIGUOUS | layout.READABLE | (layout.WRITEABLE if output else 0)
            n_bytes = int(np.prod(spec.shape, dtype=np.int64)) * spec.dtype.itemsize
            record[_ARG.fixed_bytes if spec.batch_axis is None else _ARG.row_bytes] = n_bytes
            record[_ARG.sizes:_ARG.sizes + len(dims[:abi.MAX_DIMS])] = dims[:abi.MAX_DIMS]
        self.context = np.array(abi.CONTEXT.filled(
            arguments=self.arguments.ctypes.data, save_thread=api("PyEval_SaveThread"), restore_thread=api("PyEval_RestoreThread"),
            dict_get=api("PyDict_GetItemWithError"), dict_size=api("PyDict_Size"), dict_type=id(dict) if layout.is_known() else 0,
            dict_set=api("PyDict_SetItem"), err_clear=api("PyErr_Clear"), array_empty=array_empty(), dict_next=api("PyDict_Next"),
            str_type=id(str), incref=api("Py_IncRef"), decref=api("Py_DecRef"), spaces=(0,) * (abi.FIRST_BUFFER + n)), np.int64)
        self._ports = tuple((spec.name, output) for spec, output in zip(specs, outputs, strict=True))
        self._hidden: tuple[int, ...] = ()
        self._fused_ops: Array = np.zeros(0, np.int64)
        self._columns: Array = np.empty(0, np.uint8)
        self._arena = np.empty(0, np.uint8)
        self._water = HighWater()
        self._start = self.capacity = self.own = 0
        self.address: int = self.context.ctypes.data
        keep = (self.context, self.arguments, tuple(specs))
        self.call = entry.fastcall_objects(_RUN, self.address, keep)
        self.named = entry.fastcall_objects(_NAMED, self.address, keep)
        self.segment = entry.fastcall_ints(_SEGMENT)
        self.values: dict[str, Array] = {}
        self.noise: Any = None

    def make_outputs(self, kind: type[dict[str, Array]]) -> bool:
        """Lets `named` fill an empty dict of type `kind`, given as the outputs, with new arrays; returns whether this is possible."""
        can = array_empty() != 0 and all(int(self._record(port)[_ARG.rank]) >= 0 for port in range(len(self._ports)))
        self.context[_CTX.results_type] = id(kind) if can else 0
        return can

    def set_noise(self, slots: int, keys: int, steps: int, deterministic: int = 0) -> None:
        """Sets the addresses that random ops read: slots by row, keys and step counters by slot, deterministic flags by row."""
        self.context[_CTX.slots:_CTX.deterministic + 1] = slots, keys, steps, deterministic
        self.context[_CTX.all_deterministic] = 0  # clears the flag of the previous run

    def port(self, name: str, output: bool) -> int:
        """The index of an array's argument record; an output may have an input's name."""
        return self._ports.index((name, output))

    def set_wrapper_ops(self, ops: Sequence[FusedOp], hidden_outputs: Iterable[str] = ()) -> None:
        """Runs the wrappers' fused ops in every `named` call: hidden ports take no array from the caller, `allocate_hidden` allocates them.

        Args:
          hidden_outputs: outputs to hide in addition to those of the fused ops.
        """
        table = np.zeros((max(len(ops), 1), abi.FUSED_WORDS), np.int64)
        hidden = {self.port(name, True) for name in hidden_outputs}
        for row, op in zip(table, ops, strict=False):
            port = self.port(op.port, op.kind == "scatter")
            address = row_bytes = 0
            more: Sequence[int] = ()
            if op.kind == "noise":
                address, site, scale, width = op.words
                more = FILL.filled(row_stride=4 * width, width=width, site=site, scale=scale)
            elif op.words:
                address, row_bytes, *more = op.words
            words = abi.FUSED_OP.filled(kind=abi.FUSED_KINDS[op.kind], port=port, address=address, row_bytes=row_bytes, settings=more)
            row[:len(words)] = words
            if op.hidden:
                hidden.add(port)
        for port in hidden:
            self._record(port)[_ARG.hidden] = 1
        given = [output for port, (_, output) in enumerate(self._ports) if port not in hidden]
        self.arguments[_HEADER.given_inputs], self.arguments[_HEADER.given_outputs] = given.count(False), given.count(True)
        self._fused_ops, self._hidden = table, tuple(sorted(hidden))
        self.context[_CTX.fused_ops], self.context[_CTX.n_fused_ops] = table.ctypes.data, len(ops)
        stores = [op.kind == "scatter" for op in ops]
        self.context[_CTX.fill_inputs] = 0 if all(stores) else linker.address(_FILL_INPUTS)
        self.context[_CTX.store_state] = linker.address(_STORE_STATE) if any(stores) else 0

    def allocate_hidden(self, n_rows: int) -> None:
        """Allocates hidden ports for n_rows rows."""
        sizes = [-(-int(self._record(port)[_ARG.row_bytes]) * n_rows // 64) * 64 for port in self._hidden]
        if sum(sizes) + 64 > self._columns.nbytes:
            self._columns = np.empty(sum(sizes) + 64, np.uint8)
        at = self._columns.ctypes.data + -self._columns.ctypes.data % 64
        for port, size in zip(self._hidden, sizes, strict=True):
            self._record(port)[_ARG.base] = at
            at += size

    def cell(self, port: int) -> int:
        """The address of the argument word that holds an array's address."""
        return int(self.context[_CTX.arguments]) + (_FIRST + _WORDS * port + _BASE) * 8

    def _record(self, port: int) -> Array:
        return self.arguments[_FIRST + _WORDS * port:][:_WORDS]

    def reserve(self, n_bytes: int) -> None:
        """Grows the arena to at least n_bytes; shrinks it if it is far larger than recent use."""
        capacity = self.capacity
        if n_bytes > capacity or capacity > KEPT_BYTES:
            n_bytes = self._water.keep(n_bytes, max(capacity, n_bytes))
        if n_bytes > capacity or (capacity > KEPT_BYTES and n_bytes < capacity):
            arena = np.empty(n_bytes + 64, np.uint8)
            address = arena.ctypes.data
            start = -address % 64
            # No calls below: an interrupt cannot leave the address and the array inconsistent.
            self.context[abi.SPACES + abi.ARENA] = self.own = address + start
            self._arena, self._start, self.capacity = arena, start, n_bytes

    def note(self, arrays: Sequence[Array]) -> None:
        """Stores the addresses of checked arrays, inputs then outputs, in the argument records; the caller keeps the arrays alive.

        `call(plan, 0)` then runs a plan on them.
        """
        for i, array in enumerate(arrays):
            self.arguments[_FIRST + _WORDS * i + _BASE] = array.ctypes.data

    def set_address(self, port: int, address: int) -> None:
        """Stores the address of a port's array."""
        self.arguments[_FIRST + _WORDS * port + _BASE] = address

    def poison(self) -> None:
        """Fills the arena with NaN, for tests: a read of stale memory then shows."""
        self._arena[:] = 0xFF

    def arena_view(self, tensor: Tensor, offset: int, n_rows: int) -> Array:
        """A tensor in the arena as an array."""
        shape = tuple(at(d, n_rows) for d in tensor.shape)
        strides = tuple(at(s, n_rows) for s in tensor.strides)
        start = self._start + offset + at(tensor.offset, n_rows)
        return np.ndarray(shape, tensor.dtype, self._arena, start, strides)


def run_mixed(program: Program, run: ExecutionContext, plan: Plan, arrays: Sequence[Array], n_inputs: int) -> int:
    """Runs a program with fallback steps: segments of planned steps with host calls between them.

    The arrays are already checked. Outputs whose shape depends on data are left in run.values.
    """
    set_arrays(run, plan, arrays)
    start, address = int(plan.header[abi.PLAN.index.program]), run.context.ctypes.data
    at = 0
    while at < len(program.segments):
        segment = program.segments[at]
        at += 1
        if segment.fallback is not None:
            run_fallback(program, run, plan, segment.fallback, arrays, n_inputs)
            continue
        status = run.segment(address, start + segment.first * 8, start + segment.end * 8)
        if status > 0:
            return status + segment.first * 8 * 256
        if status < 0:  # a jump to the label at another segment's start
            at = program.labels[segment.first + status - abi.JUMP]
    return 0


def set_arrays(run: ExecutionContext, plan: Plan, arrays: Sequence[Array]) -> None:
    """Sets the addresses of checked arrays in a context, so that segments of a program can run one by one."""
    for i, array in enumerate(arrays):
        run.context[abi.SPACES + abi.FIRST_BUFFER + i] = array.ctypes.data
    run.context[_CTX.rows] = plan.n_rows
    run.context[_CTX.iterations] = 0
    run.values.clear()


def run_fallback(program: Program, run: ExecutionContext, plan: Plan, fallback: FallbackCall, arrays: Sequence[Array],
                 n_inputs: int) -> None:
    """Runs one fallback call after `set_arrays`."""
    operands = [operand_view(program, run, plan, o, arrays, n_inputs) for o in fallback.operands]
    try:
        for target, result in zip(fallback.results, fallback(operands, plan.n_rows), strict=True):
            if isinstance(target, str):
                run.values[target] = np.array(result)  # never a view of the arena or of a caller's array
            elif target is not None:
                view = operand_view(program, run, plan, target, arrays, n_inputs)
                assert view is not None
                _write(view, result, str(fallback.node))
    except CervelloError:
        raise
    except Exception as error:  # a numpy error on user data is reported as ExecutionError
        raise ExecutionError(f"node {fallback.node}: expected to run, got {type(error).__name__}: {error}") from error


def _write(target: Array, result: Array, node: str) -> None:
    """Copies a fallback result to its planned location."""
    if result.shape != target.shape or not np.can_cast(result.dtype, target.dtype, "same_kind"):
        raise ExecutionError(f"node {node}: expected a result {target.shape} {target.dtype}, got {result.shape} {result.dtype}")
    target[...] = result


def operand_view(program: Program, run: ExecutionContext, plan: Plan, operand: Any, arrays: Sequence[Array], n_inputs: int) -> Array | None:
    """The array of an operand: a constant, a value of run.values, or a view of the arena or of a caller's array."""
    if operand is None or isinstance(operand, np.ndarray):
        return operand
    if isinstance(operand, str):
        return run.values[operand]
    buffer, n = operand.buffer, plan.n_rows
    if buffer.space is Space.ARENA:
        return run.arena_view(operand, int(plan.buffer_offsets[1 + program.layout.index[id(buffer)]]), n)
    if buffer.space is Space.CONSTANT:
        base = buffer.data
    else:
        base = arrays[buffer.index + (n_inputs if buffer.space is Space.OUTPUT else 0)]
    shape = tuple(at(d, n) for d in operand.shape)
    strides = tuple(at(s, n) for s in operand.strides)
    flat = base.reshape(-1).view(np.uint8) if base.size else base
    return np.ndarray(shape, operand.dtype, flat, at(operand.offset, n), strides)
