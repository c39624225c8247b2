"""Splits batches into chunks: as many rows as fit the cache, as the caller asks for, or as threads share.

Chunking does not change results bitwise (law 1). It changes speed: a run whose intermediate values exceed a core's cache waits for memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np

from cervello.native.kernels import abi
from cervello.native.program.encode import Plan, Program

CACHE_BYTES = 1 << 20  # an arena that fits a core's L2 cache
_STEP_ROWS = 16  # with fewer rows, products reload their weights too often
SPLIT_WORK = 12_000_000  # multiply-adds from which a batch is shared with workers that are awake
_LEAST_ROWS = ((20_000_000, 1), (2_000_000, 4))  # (multiply-adds per row, the fewest rows per chunk at that cost)
_CHUNK_WORK = 1_000_000  # the fewest multiply-adds per chunk
_EACH = 4  # chunks per thread, so that a delayed thread takes fewer

Parts = Sequence[tuple[Plan, int]]


def divide(program: Program, n_rows: int, threads: int = 1, into: Plan | None = None) -> Plan:
    """A plan for independent rows: chunks of one size and a remainder, or one chunk if more do not help.

    Args:
      n_rows: at least 1.
      threads: the most threads that share the rows.
      into: a plan whose memory is reused, if both plans have one chunk.
    """
    size = min(n_rows, rows_in_cache(program))
    shared = threads > 1 and program.operations(n_rows) > SPLIT_WORK
    if shared:
        least = max(_STEP_ROWS, -(-_CHUNK_WORK // max(1, program.work[1])))
        size = min(size, max(-(-n_rows // (threads * _EACH)), least), -(-n_rows // threads))
    if size >= n_rows:
        return program.resolve(n_rows, into if into is not None and not into.parts else None)
    if shared:  # the same number of chunks for each thread
        count = -(-n_rows // size)
        count = -(-count // threads) * threads
        size = -(-n_rows // count)
        size = size if size <= _STEP_ROWS else min(n_rows, -(-size // _STEP_ROWS) * _STEP_ROWS)
    times, n_remaining = divmod(n_rows, size)
    parts = [(program.resolve(size) if shared else _cached_plan(program, size), times)]
    if n_remaining:
        parts.append((program.resolve(n_remaining), 1))
    plan = compose(program, parts, threads)
    if not shared:
        return plan
    single_thread_plan = divide(program, n_rows)
    return replace(plan, single_thread_plan=single_thread_plan, arena_bytes=max(plan.arena_bytes, single_thread_plan.arena_bytes))


def _cached_plan(program: Program, size: int) -> Plan:
    """The cached plan for a chunk; batches of all sizes share it."""
    found = program.chunk_plans.get(size)
    if found is None:
        found = program.chunk_plans.setdefault(size, program.resolve(size))
    return found


def rows_in_cache(program: Program) -> int:
    """Rows whose arena fits the cache, but at least as many as amortise reading the weights."""
    fits, per_row = CACHE_BYTES // max(1, program.bytes_per_row), program.work[1]
    least = next((rows for work, rows in _LEAST_ROWS if per_row >= work), _STEP_ROWS)
    return max(least, fits // _STEP_ROWS * _STEP_ROWS if fits >= _STEP_ROWS else fits // 4 * 4)


def compose(program: Program, parts: Parts, threads: int = 1) -> Plan:
    """One plan from several for consecutive rows.

    Args:
      parts: (plan, repetitions); a plan may have parts itself.
      threads: the most threads; small batches use fewer.
    """
    flat = list(_flat(parts))
    if len(flat) == 1 and flat[0][1] == 1:
        return flat[0][0]
    n_rows, chunks = sum(part.n_rows * times for part, times in flat), sum(times for _, times in flat)
    releases_gil = program.is_above_gil_threshold(n_rows)
    words = chain.from_iterable((part.address, times) for part, times in flat)
    header = np.array(abi.PLAN.filled(n_rows=n_rows, releases_gil=releases_gil, n_parts=len(flat), n_chunks=chunks, parts=words), np.int64)
    work = program.operations(n_rows)
    helpers = min(threads, chunks) - 1 if work > SPLIT_WORK else 0
    arena_bytes = max(part.arena_bytes for part, _ in flat)
    return Plan(n_rows, header.ctypes.data, arena_bytes, releases_gil, header[:0], header, header[:0], tuple(flat), work, helpers)


def _flat(parts: Parts) -> Iterator[tuple[Plan, int]]:
    for plan, times in parts:
        if plan.parts:
            for _ in range(times):
                yield from plan.parts
        else:
            yield plan, times
