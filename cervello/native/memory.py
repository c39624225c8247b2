"""Assigns every intermediate buffer its place in one arena.

Lifetimes are half-open: from the first step that touches a buffer to one past the last. Offsets are packed greedily, largest
buffer first, each at the lowest offset that no living neighbour covers. Sizes are `const + slope · N`; buffers that grow with N are
packed once, in bytes per row, and hold for every N (rounded up to 16 rows, so that every offset is a multiple of 64 bytes); the
others lie in front of them. One row is packed on its own.

Source: tract's memory schema (symbolic sizes, half-open lifetimes); greedy by size after Pisarchyk & Lee 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cervello.errors import PlanError
from cervello.native.dims import Affine, Dim, at, parts
from cervello.native.tensors import Buffer, Space, Step, Tensor

ALIGNMENT = 64
PADDED_ROWS = 16


@dataclass(frozen=True, slots=True)
class Lifetime:
    """A buffer and the steps it lives through, half-open."""

    buffer: Buffer
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Where every arena buffer lies.

    Attributes:
      offsets_one: bytes from the arena's start for one row, by buffer.
      offsets: (bytes, bytes per padded row) for any N.
      one_bytes: arena bytes for one row.
      fixed_bytes, row_bytes: arena bytes for N are fixed_bytes + row_bytes * padded(N).
    """

    lifetimes: tuple[Lifetime, ...]
    offsets_one: dict[int, int]
    offsets: dict[int, tuple[int, int]]
    one_bytes: int
    fixed_bytes: int
    row_bytes: int

    def arena_bytes(self, n_rows: int) -> int:
        return self.one_bytes if n_rows == 1 else self.fixed_bytes + self.row_bytes * padded(n_rows)

    def peak_bytes(self, n_rows: int, n_steps: int) -> int:
        """The largest sum of sizes that live at one step: no layout can be smaller."""
        live = [0] * (n_steps + 1)
        for life in self.lifetimes:
            for step in range(life.first, life.end):
                live[step] += at(life.buffer.n_bytes, n_rows)
        return max(live, default=0)


def padded(n_rows: int) -> int:
    return -(-n_rows // PADDED_ROWS) * PADDED_ROWS


def lifetimes(steps: Sequence[Step]) -> tuple[Lifetime, ...]:
    """When each arena buffer is in use."""
    first: dict[int, int] = {}
    end: dict[int, int] = {}
    buffers: dict[int, Buffer] = {}
    for index, step in enumerate(steps):
        for tensor in (*step.reads, *step.writes, *step.scratch):
            if tensor.buffer.space is Space.ARENA:
                key = id(tensor.buffer)
                buffers[key] = tensor.buffer
                first.setdefault(key, index)
                end[key] = index + 1
    return tuple(Lifetime(buffers[key], first[key], end[key]) for key in buffers)


def pack(lives: Sequence[Lifetime], n_bytes: Sequence[int]) -> tuple[list[int], int]:
    """Offsets for sizes, and the bytes they take in all; sizes are multiples of the alignment already.

    Raises:
      PlanError: a size is negative.
    """
    if any(size < 0 for size in n_bytes):
        raise PlanError(f"memory plan: expected sizes of at least 0, got {min(n_bytes)}")
    order = sorted(range(len(lives)), key=lambda i: (-n_bytes[i], lives[i].first))
    offsets = [0] * len(lives)
    placed: list[int] = []
    total = 0
    for i in order:
        if n_bytes[i] == 0:
            continue
        neighbours = sorted((j for j in placed if lives[j].first < lives[i].end and lives[i].first < lives[j].end),
                            key=lambda j: offsets[j])
        at_byte = 0
        for j in neighbours:
            if offsets[j] - at_byte >= n_bytes[i]:
                break
            at_byte = max(at_byte, offsets[j] + n_bytes[j])
        offsets[i] = at_byte
        placed.append(i)
        total = max(total, at_byte + n_bytes[i])
    return offsets, total


def _rounded(n_bytes: int, unit: int) -> int:
    return -(-n_bytes // unit) * unit


def plan(steps: Sequence[Step]) -> Layout:
    """A layout for every N."""
    lives = lifetimes(steps)
    one, one_bytes = pack(lives, [_rounded(at(life.buffer.n_bytes, 1), ALIGNMENT) for life in lives])
    fixed = [life for life in lives if not isinstance(life.buffer.n_bytes, Affine)]
    moving = [life for life in lives if isinstance(life.buffer.n_bytes, Affine)]
    fixed_at, fixed_bytes = pack(fixed, [_rounded(at(life.buffer.n_bytes, 1), ALIGNMENT) for life in fixed])
    moving_at, row_bytes = pack(moving, [_rounded(_per_row(life.buffer.n_bytes), ALIGNMENT // PADDED_ROWS) for life in moving])
    offsets = {id(life.buffer): (offset, 0) for life, offset in zip(fixed, fixed_at, strict=True)}
    offsets.update({id(life.buffer): (fixed_bytes, offset) for life, offset in zip(moving, moving_at, strict=True)})
    return Layout(lives, {id(life.buffer): offset for life, offset in zip(lives, one, strict=True)}, offsets,
                  one_bytes, fixed_bytes, row_bytes)


def _per_row(n_bytes: Dim) -> int:
    """Bytes per row that suffice for every N ≥ 1."""
    const, slope = parts(n_bytes)
    return slope + max(const, 0)


def extent(tensor: Tensor, n_rows: int) -> tuple[int, int]:
    """First byte and one past the last that a tensor touches in its buffer, for N = n_rows; (0, 0) when it is empty."""
    low = high = at(tensor.offset, n_rows)
    for size, stride in zip(tensor.shape, tensor.strides, strict=True):
        count = at(size, n_rows)
        if count == 0:
            return 0, 0
        reach = (count - 1) * at(stride, n_rows)
        low, high = min(low, low + reach), max(high, high + reach)
    return low, high + tensor.itemsize
