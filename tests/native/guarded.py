"""Runs programs whose every buffer lies flush against memory that nobody may touch.

Inputs, outputs, constants, the program's words, noise keys and every buffer of the arena have a mapping of their own, of exactly as many
bytes as the verifier knows, with a page without access before and behind. A run either ends each of them at a page that faults or begins
each of them behind one. Element sizes divide all sizes, so no slack remains at the side that is watched; bytes between the other side and
its page are compared after the run. Only masked lanes may reach farther.

As a script, for tests to run in a process of its own: `python guarded.py FAMILY` runs the cases of a family, `python guarded.py models
FOLDER` real policies. It names what runs before it runs, so that the last line tells what faulted. `--long` takes more sizes.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cervello.native import Model
from cervello.native.execution.context import ExecutionContext, run_mixed
from cervello.native.graph.dims import at
from cervello.native.graph.tensors import PackedWeight, Space, Tensor
from cervello.native.kernels import abi
from cervello.native.program.encode import Plan, Program
from cervello.noise import derive_keys

Array = np.ndarray[Any, Any]
SEED = 5
_POISON, _SLACK = 0xFF, 0xA5


def supported() -> bool:
    """Whether the system lets a process forbid itself some memory."""
    return hasattr(mmap, "MAP_ANONYMOUS") and hasattr(ctypes.CDLL(None), "mprotect")


class Guarded:
    """Stretches of memory between pages without access; mutable, given back together.

    Args:
      at_end: whether stretches end at a page without access, else they begin behind one.
    """

    def __init__(self, at_end: bool):
        self.at_end = at_end
        self._maps: list[tuple[mmap.mmap, Array, int, int]] = []
        self._protect = ctypes.CDLL(None, use_errno=True).mprotect
        self._protect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int

    def take(self, n_bytes: int) -> Array:
        """Bytes 0xFF, as [n_bytes] uint8."""
        page = mmap.PAGESIZE
        n_pages = -(-n_bytes // page)
        whole = mmap.mmap(-1, (n_pages + 2) * page, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        view: Array = np.frombuffer(whole, np.uint8)
        first = page * (n_pages + 1) - n_bytes if self.at_end else page
        view[page:-page] = _SLACK
        view[first:first + n_bytes] = _POISON
        for guard in (view.ctypes.data, view.ctypes.data + page * (n_pages + 1)):
            if self._protect(guard, page, 0):
                raise OSError(ctypes.get_errno(), "mprotect")
        self._maps.append((whole, view, first, n_bytes))
        return view[first:first + n_bytes]

    def empty(self, shape: Sequence[int], dtype: np.dtype[Any]) -> Array:
        """An array of bytes 0xFF: NaN, -1."""
        n_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        found: Array = self.take(n_bytes).view(dtype).reshape(tuple(shape))
        return found

    def copy(self, array: Array) -> Array:
        """An array with the same content."""
        found = self.empty(array.shape, array.dtype)
        found[...] = array
        return found

    def check(self) -> None:
        """Fails when bytes between a stretch and its pages were written."""
        page = mmap.PAGESIZE
        for _, view, first, n_bytes in self._maps:
            around = view[page:first] if self.at_end else view[first + n_bytes:-page]
            assert (around == _SLACK).all(), f"wrote outside a stretch of {n_bytes} bytes"


class _Run(ExecutionContext):
    """A run whose arena buffers lie anywhere: offsets are addresses."""

    def arena_view(self, tensor: Tensor, offset: int, n_rows: int) -> Array:
        shape = tuple(at(d, n_rows) for d in tensor.shape)
        strides = tuple(at(s, n_rows) for s in tensor.strides)
        n_bytes = at(tensor.buffer.n_bytes, n_rows)
        memory = np.frombuffer((ctypes.c_uint8 * n_bytes).from_address(offset), np.uint8)
        return np.ndarray(shape, tensor.dtype, memory if n_bytes else np.empty(0, np.uint8), at(tensor.offset, n_rows), strides)


def guarded_plan(program: Program, n_rows: int, memory: Guarded) -> Plan:
    """The program resolved for n_rows rows, over constants and arena buffers between guards."""
    offsets = np.array([0, *(memory.take(at(life.buffer.n_bytes, n_rows)).ctypes.data for life in program.layout.lifetimes)], np.int64)
    constants = {array.ctypes.data: memory.copy(array).ctypes.data for array in program.keepalive}
    words = memory.empty(program.const.shape, np.dtype(np.int64))
    words[...] = program.const + program.slopes * n_rows + offsets[program.owners]
    for first, step in zip(program.offsets, (step for step in program.steps if step.fallback is None), strict=True):
        for i, tensor in enumerate(step.operands):
            if tensor.buffer.space is Space.CONSTANT:
                at_word, offset = first + abi.STEP_OPERANDS + 2 * i + 1, at(tensor.offset, n_rows)
                words[at_word] = constants[int(words[at_word]) - offset] + offset
        for i, word in enumerate(step.words, first + abi.STEP_OPERANDS + 2 * len(step.operands)):
            if isinstance(word, PackedWeight):
                words[i] = constants[word.array.ctypes.data]
    plan = program.resolve(n_rows)
    plan.header[abi.PLAN.index.program], plan.header[abi.PLAN.index.end] = words.ctypes.data, words.ctypes.data + words.nbytes
    return replace(plan, words=words, buffer_offsets=offsets)


def execute_guarded(model: Model, given: Mapping[str, Array], n_rows: int, at_end: bool, program: Program | None = None,
                    ) -> dict[str, Array]:
    """Runs the first n_rows rows of `given` as agents 0, 1, …

    Args:
      at_end: which side of all memory is watched.
      program: in place of the model's.
    """
    program = program or model.program
    memory = Guarded(at_end)
    arrays = [memory.copy(given[spec.name]) for spec in model.inputs.values()]
    results = [memory.empty(spec.batched(n_rows), spec.dtype) for spec in model.outputs.values()]
    agents, zeros = np.arange(n_rows), np.zeros(n_rows, np.int64)
    keys = np.zeros((n_rows, 2), np.uint64)
    derive_keys(agents, zeros, zeros, SEED, agents, keys)
    noise = [memory.copy(array) for array in (agents, keys, zeros, np.zeros(n_rows, bool))]
    run = _Run((*model.inputs.values(), *model.outputs.values()), len(arrays))
    run.set_noise(*(array.ctypes.data for array in noise))
    status = run_mixed(program, run, guarded_plan(program, n_rows, memory), [*arrays, *results], len(arrays))
    memory.check()
    if status:
        raise program.failure(status)
    return {name: result.copy() for name, result in zip(model.outputs, results, strict=True)}


def check(model: Model, given: Mapping[str, Array], n_rows: int, where: str) -> None:
    """Runs rows at both sides of forbidden memory and compares the bits with those of an ordinary run."""
    from native_rows import assert_same_bits, execute

    print(f"{where}, {n_rows} rows", flush=True)
    expected = execute(model, given, range(n_rows))
    for at_end in (True, False):
        found = execute_guarded(model, given, n_rows, at_end)
        assert_same_bits(found, expected, f"{where}, {n_rows} rows, {'end' if at_end else 'beginning'} watched")


def _cases(family: str, long: bool) -> None:
    from guarded_cases import ALL_FAMILIES
    from native_cases import WIDTHS
    from native_rows import columns, take

    for case in ALL_FAMILIES[family]:
        for width in (1,) if family == "flow" else WIDTHS if long else (1, 5, 17, 33):
            model = Model.load(case.build(width))
            for n_rows in ((1, 2, 7, 16, 17, 48, 64, 70) if long else (1, 7, 64)) if model.batched else (1,):
                given = columns(model, n_rows, positive=case.positive, integers=case.integers)
                check(model, {name: take(array, model.inputs[name], range(n_rows)) for name, array in given.items()}, n_rows,
                      f"{case.name}, width {width}")


def _models(folder: str, long: bool) -> None:
    import json
    from pathlib import Path

    from native_rows import columns

    for record in json.loads((Path(folder) / "manifest.json").read_text(encoding="utf-8")):
        if record["kind"] == "valid":
            model = Model.load(Path(folder) / record["file"])
            for n_rows in ((1, 2, 7, 64) if long else (1, 7, 64)) if model.batched else (1,):
                check(model, columns(model, n_rows), n_rows, record["id"])


if __name__ == "__main__":
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).parent))
    arguments = [argument for argument in sys.argv[1:] if argument != "--long"]
    is_above_gil_threshold = "--long" in sys.argv
    if arguments[0] == "models":
        _models(arguments[1], is_above_gil_threshold)
    else:
        _cases(arguments[0], is_above_gil_threshold)
