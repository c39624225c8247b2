"""Steps as int64 words: symbolic tables once per model, resolved words for each N.

`words = const + by_row * N + by_padded * padded(N)`; one row has a table of its own. Resolving is one compiled pass over the
tables, so a batch size that was never seen costs microseconds, not a compilation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cervello.compiled import entry, linker
from cervello.native import abi
from cervello.native.dims import parts
from cervello.native.memory import Layout, padded
from cervello.native.ops.host import HostCall
from cervello.native.tensors import Address, Buffer, Space, Step, Tensor, Weight
from cervello.native.weights import Weights

Array = np.ndarray[Any, Any]
_CONTROL = "cervello.native.kernels.control"
LONG_WORK = 1_000_000  # multiply-adds and elements of a run that is worth handing the interpreter to other threads


@dataclass(frozen=True, slots=True)
class Segment:
    """Words [first, end) of planned steps, or one call of a slower tier."""

    first: int
    end: int
    host: HostCall | None = None
    step: Step | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A program resolved for one N; immutable once built.

    Attributes:
      address: of the plan's facts, for the compiled run.
      arena_bytes: memory a run of it needs.
      long: whether other Python threads may run meanwhile.
    """

    n_rows: int
    address: int
    arena_bytes: int
    long: bool
    words: Array
    facts: Array


@dataclass(frozen=True, slots=True)
class Program:
    """A model's steps in the form the executor runs. Immutable.

    Attributes:
      const, by_row, by_padded: [W] int64, the words for any N.
      one: [W] int64, the words for one row.
      offsets: word at which each step begins.
      address: of the tables, one behind the other.
      kept: arrays whose addresses are in the words.
      work: multiply-adds and elements, (fixed, per row).
    """

    steps: tuple[Step, ...]
    layout: Layout
    const: Array
    by_row: Array
    by_padded: Array
    one: Array
    offsets: tuple[int, ...]
    segments: tuple[Segment, ...]
    address: int
    kept: tuple[Any, ...]
    n_inputs: int
    work: tuple[int, int]

    @property
    def wholly_planned(self) -> bool:
        return all(segment.host is None for segment in self.segments)

    def resolve(self, n_rows: int, into: Plan | None = None) -> Plan:
        """The plan for n_rows rows (≥ 1); microseconds.

        Args:
          into: a plan whose memory is used again; nobody may be running it.
        """
        if into is None:
            words, facts = np.empty(self.const.size, np.int64), np.empty(abi.PLAN_WORDS, np.int64)
            address, start = facts.ctypes.data, words.ctypes.data
        else:
            words, facts, address = into.words, into.facts, into.address
            start = int(facts[abi.PLAN_PROGRAM])
        if n_rows == 1:
            words[:] = self.one
        elif words.size:
            base, table = self.address, self.const.nbytes
            _resolve()(start, base, base + table, base + 2 * table, words.size, n_rows, padded(n_rows))
        fixed, per_row = self.work
        long = fixed + per_row * n_rows > LONG_WORK
        facts[:] = start, start + words.nbytes, n_rows, long
        return Plan(n_rows, address, self.layout.arena_bytes(n_rows), long, words, facts)

    def step_at(self, word: int) -> Step:
        """The step whose words begin at `word`."""
        planned = [step for step in self.steps if step.host is None]
        return planned[self.offsets.index(word)]


def _resolve() -> Any:
    return entry.ints(f"{_CONTROL}:resolve")


def build(steps: Sequence[Step], layout: Layout, weights: Weights, n_inputs: int) -> Program:
    """Encodes steps; compiles the kernels they name where the cache lacks them."""
    references = [f"{_CONTROL}:{name}" for name in ("run", "run_named", "resolve", "segment")]
    for step in steps:
        if step.host is None:
            references.append(step.kernel)
            references += [word.reference for word in step.words if isinstance(word, Address)]
    linker.link(references)

    tables: list[tuple[int, int, int, int]] = []  # const, by row, by padded row, for one row
    kept: list[Any] = []
    offsets: list[int] = []
    segments: list[Segment] = []
    first = 0
    work = [0, 0]
    for step in steps:
        if step.host is not None:
            if len(tables) > first:
                segments.append(Segment(first, len(tables)))
            segments.append(Segment(len(tables), len(tables), step.host, step))
            first = len(tables)
            continue
        offsets.append(len(tables))
        words = _encode(step, layout, weights, n_inputs, kept)
        tables += words
        const, slope = parts(_work(step))
        work[0], work[1] = work[0] + const, work[1] + slope
    if len(tables) > first:
        segments.append(Segment(first, len(tables)))
    block = np.array(tables, np.int64).reshape(-1, 4).T.copy()
    block.flags.writeable = False
    return Program(tuple(steps), layout, block[0], block[1], block[2], block[3], tuple(offsets), tuple(segments), block.ctypes.data,
                   tuple(kept), n_inputs, (work[0], work[1]))


def _work(step: Step) -> Any:
    from cervello.native.work import operations

    return operations(step)


def _encode(step: Step, layout: Layout, weights: Weights, n_inputs: int, kept: list[Any]) -> list[tuple[int, int, int, int]]:
    operands = (*step.reads, *step.writes, *step.scratch)
    length = abi.STEP_OPERANDS + 2 * len(operands) + len(step.words)
    words: list[tuple[int, int, int, int]] = [_fixed(linker.address(step.kernel)), _fixed(length)]
    for tensor in operands:
        words += _operand(tensor, layout, weights, n_inputs, kept)
    for word in step.words:
        if isinstance(word, Address):
            words.append(_fixed(linker.address(word.reference)))
        elif isinstance(word, Weight):
            array = weights.store(word)
            kept.append(array)
            words.append(_fixed(array.ctypes.data))
        else:
            const, slope = parts(word)
            words.append((const, slope, 0, const + slope))
    return words


def _fixed(value: int) -> tuple[int, int, int, int]:
    return value, 0, 0, value


def _operand(tensor: Tensor, layout: Layout, weights: Weights, n_inputs: int, kept: list[Any]) -> list[tuple[int, int, int, int]]:
    const, slope = parts(tensor.offset)
    buffer: Buffer = tensor.buffer
    if buffer.space is Space.ARENA:
        base, by_padded = layout.offsets[id(buffer)]
        return [_fixed(abi.CTX_SPACES + abi.ARENA), (base + const, slope, by_padded, layout.offsets_one[id(buffer)] + const + slope)]
    if buffer.space is Space.CONSTANT:
        array = weights.store(Weight(buffer.data))  # type: ignore[arg-type]
        kept.append(array)
        return [_fixed(abi.CTX_SPACES + abi.ABSOLUTE), _fixed(array.ctypes.data + const)]
    index = buffer.index + (n_inputs if buffer.space is Space.OUTPUT else 0)
    return [_fixed(abi.CTX_SPACES + abi.FIRST_BUFFER + index), (const, slope, 0, const + slope)]
