"""Encodes steps as int64 words: symbolic tables once per model, resolved words for each N.

`words = const + slopes * N + buffer_offsets[owners]`, where `buffer_offsets` are the offsets of the arena's buffers for that N. Resolving
is two compiled passes, one over the layout and one over the words. A new batch size therefore costs microseconds and no compilation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, repeat
from typing import Any

import numpy as np

from cervello.codegen import entry, linker
from cervello.errors import ExecutionError
from cervello.native.graph.dims import parts
from cervello.native.graph.dtypes import Array
from cervello.native.graph.tensors import LABEL, Address, Buffer, Jump, PackedWeight, Space, Step, Tensor, Weight
from cervello.native.kernels import abi
from cervello.native.lowering.rules.fallback import FallbackCall
from cervello.native.memory.arena_plan import Layout
from cervello.native.memory.weights import Weights
from cervello.native.program.cost import operations

_CONTROL, _EXECUTION = "cervello.native.kernels.runtime.control", "cervello.native.kernels.runtime.execution"
_HEADER = abi.PLAN.n_words
_RESOLVE = f"{_CONTROL}:resolve"
_REASONS = {1: "an index outside its table", 2: "no seed for a random op; give seed= or deterministic=True", 3: "a loop that does not end"}
_RESOLVE_LAYOUT = "cervello.native.kernels.runtime.arena_layout:resolve_layout"
LONG_WORK = 2_000_000  # multiply-adds and elements from which a run releases the GIL


@dataclass(frozen=True, slots=True)
class Segment:
    """Words [first, end) of planned steps, or one fallback call."""

    first: int
    end: int
    fallback: FallbackCall | None = None
    step: Step | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A program resolved for one N, or for a batch in chunks; immutable once built.

    Attributes:
      address: of `header`, the header that compiled code reads.
      arena_bytes: arena size of a run.
      releases_gil: whether a run releases the GIL.
      words: [W] int64, the resolved program; empty if the plan has parts.
      buffer_offsets: [1 + 2 B] int64: a zero, the offsets of B buffers in the arena, and their sizes.
      parts: (plan without parts, repetitions) for consecutive rows; () if all rows run at once.
      work: multiply-adds and elements, if the plan has parts.
      helpers: worker threads to use in addition to the caller's.
      single_thread_plan: the plan to use if no worker is idle.
    """

    n_rows: int
    address: int
    arena_bytes: int
    releases_gil: bool
    words: Array
    header: Array
    buffer_offsets: Array
    parts: tuple[tuple[Plan, int], ...] = ()
    work: int = 0
    helpers: int = 0
    single_thread_plan: Plan | None = None

    @property
    def chunks(self) -> Iterator[Plan]:
        """The plans of the chunks, in order."""
        for part, times in self.parts or ((self, 1),):
            yield from repeat(part, times)


@dataclass(frozen=True, slots=True)
class Program:
    """A model's steps in the form that the executor runs. Immutable, except for the cache `chunk_plans`.

    Attributes:
      const, slopes, owners: [W] int64, the words for any N; an owner is 1 + the index of the buffer a word points into, or 0.
      offsets: the word at which each step begins.
      address: of const, slopes and owners, which are contiguous; table_address: of the layout table.
      keepalive: arrays whose addresses are in the words.
      work: multiply-adds and elements, (fixed, per row).
      bytes_per_row: approximate arena bytes per row.
      chunk_plans: plans by chunk size, cached by `chunking.divide`.
    """

    steps: tuple[Step, ...]
    layout: Layout
    const: Array
    slopes: Array
    owners: Array
    offsets: tuple[int, ...]
    segments: tuple[Segment, ...]
    address: int
    keepalive: tuple[Any, ...]
    n_inputs: int
    work: tuple[int, int]
    table: Array
    table_address: int
    bytes_per_row: int
    chunk_plans: dict[int, Plan] = field(default_factory=dict, compare=False)

    @property
    def labels(self) -> dict[int, int]:
        """Segment index by the word at which the segment begins."""
        return {segment.first: i for i, segment in enumerate(self.segments) if segment.fallback is None}

    @property
    def wholly_planned(self) -> bool:
        return all(segment.fallback is None for segment in self.segments)

    def resolve(self, n_rows: int, into: Plan | None = None) -> Plan:
        """The plan for n_rows rows (≥ 1) in one chunk; takes microseconds.

        Args:
          into: a plan whose memory is reused; it must not be running.
        """
        n_words, n_offsets = self.const.size, 1 + 2 * len(self.layout.lifetimes)
        if into is None:
            memory = np.empty(_HEADER + n_words + n_offsets, np.int64)
            header, words, buffer_offsets = memory[:_HEADER], memory[_HEADER:_HEADER + n_words], memory[_HEADER + n_words:]
            address = memory.ctypes.data
        else:
            header, words, buffer_offsets, address = into.header, into.words, into.buffer_offsets, into.address
        start = address + _HEADER * 8
        end, base, table = start + n_words * 8, self.address, n_words * 8
        arena_bytes = entry.fastcall_ints(_RESOLVE_LAYOUT)(end, self.table_address, n_rows)
        entry.fastcall_ints(_RESOLVE)(start, base, base + table, base + 2 * table, end, n_words, n_rows)
        releases_gil = self.is_above_gil_threshold(n_rows)
        header[:] = start, end, n_rows, releases_gil, 0, 1
        return Plan(n_rows, address, arena_bytes, releases_gil, words, header, buffer_offsets)

    def operations(self, n_rows: int) -> int:
        """Multiply-adds and elements of a run, in the units of `work`."""
        fixed, per_row = self.work
        return fixed + per_row * n_rows

    def is_above_gil_threshold(self, n_rows: int) -> bool:
        """Whether a run releases the GIL."""
        return self.operations(n_rows) > LONG_WORK

    def failure(self, status: int) -> ExecutionError:
        """The error for a status above 0: 256 × the byte offset of the failed step + the kernel's status."""
        at, code = divmod(status, 256)
        step = [step for step in self.steps if step.fallback is None][self.offsets.index(at // 8)]
        return ExecutionError(f"node {step.node or step.op}: expected to run, got {_REASONS.get(code) or f'status {code}'}")


def build(steps: Sequence[Step], layout: Layout, weights: Weights, n_inputs: int) -> Program:
    """Encodes steps; compiles the kernels they name where the cache lacks them."""
    references = [f"{_CONTROL}:run", f"{_CONTROL}:run_named", f"{_EXECUTION}:segment", _RESOLVE, _RESOLVE_LAYOUT]
    for step in steps:
        if step.fallback is None:
            references.append(step.kernel)
            references += [word.reference for word in step.words if isinstance(word, Address)]
    linker.link(references)

    mixed, starts = any(step.fallback is not None for step in steps), _starts(steps)
    tables: list[tuple[int, int, int]] = []  # const, by row, owner
    keepalive: list[Any] = []
    offsets: list[int] = []
    segments: list[Segment] = []
    first = 0
    work = [0, 0]
    for step in steps:
        if step.fallback is not None:
            if len(tables) > first:
                segments.append(Segment(first, len(tables)))
            segments.append(Segment(len(tables), len(tables), step.fallback, step))
            first = len(tables)
            continue
        if mixed and step.kernel == LABEL and len(tables) > first:  # steps of a slower tier may lie on the way to it
            segments.append(Segment(first, len(tables)))
            first = len(tables)
        offsets.append(len(tables))
        tables += _encode(step, layout, weights, n_inputs, keepalive, starts)
        const, slope = parts(operations(step))
        work[0], work[1] = work[0] + const * step.times, work[1] + slope * step.times
    if len(tables) > first:
        segments.append(Segment(first, len(tables)))
    block = np.array(tables, np.int64).reshape(-1, 3).T.copy()
    table = np.array(layout.table(), np.int64)
    block.flags.writeable = table.flags.writeable = False
    return Program(tuple(steps), layout, block[0], block[1], block[2], tuple(offsets), tuple(segments), block.ctypes.data,
                   tuple(keepalive), n_inputs, (work[0], work[1]), table, table.ctypes.data, layout.arena_bytes(64) // 64)


def _length(step: Step) -> int:
    return 0 if step.fallback is not None else abi.STEP_OPERANDS + 2 * len(step.operands) + len(step.words)


def _starts(steps: Sequence[Step]) -> dict[int, int]:
    """The word at which each step begins, by the step's id."""
    return dict(zip(map(id, steps), accumulate(map(_length, steps), initial=0), strict=False))


def _encode(step: Step, layout: Layout, weights: Weights, n_inputs: int, keepalive: list[Any], starts: Mapping[int, int],
            ) -> list[tuple[int, int, int]]:
    words: list[tuple[int, int, int]] = [_fixed(linker.address(step.kernel)), _fixed(_length(step))]
    for tensor in step.operands:
        words += _operand(tensor, layout, weights, n_inputs, keepalive)
    for i, word in enumerate(step.words):
        if isinstance(word, Address):
            words.append(_fixed(linker.address(word.reference)))
        elif isinstance(word, Jump):
            words.append(_fixed(starts[id(word.step)] - starts[id(step)]))
        elif isinstance(word, Weight):
            array = weights.store(word)
            keepalive.append(array)
            words.append(_fixed(array.ctypes.data))
            step.words[i] = PackedWeight(array, word.shape, word.kind)  # releases the original array
        else:
            const, slope = parts(word)
            words.append((const, slope, 0))
    return words


def _fixed(value: int) -> tuple[int, int, int]:
    return value, 0, 0


def _operand(tensor: Tensor, layout: Layout, weights: Weights, n_inputs: int, keepalive: list[Any]) -> list[tuple[int, int, int]]:
    const, slope = parts(tensor.offset)
    buffer: Buffer = tensor.buffer
    if buffer.space is Space.ARENA:
        return [_fixed(abi.SPACES + abi.ARENA), (const, slope, 1 + layout.index[id(buffer)])]
    if buffer.space is Space.CONSTANT:
        assert buffer.data is not None
        buffer.data = array = weights.store(Weight(buffer.data))
        keepalive.append(array)
        return [_fixed(abi.SPACES + abi.ABSOLUTE), _fixed(array.ctypes.data + const)]
    index = buffer.index + (n_inputs if buffer.space is Space.OUTPUT else 0)
    return [_fixed(abi.SPACES + abi.FIRST_BUFFER + index), (const, slope, 0)]
