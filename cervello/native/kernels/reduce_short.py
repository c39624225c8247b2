"""Softmax and log-sum-exp of rows of at most 64 elements: sixteen rows at a time, transposed so that lanes are rows.

All lanes are used for any row length. Results are bitwise equal to those of the blocks in `reduce_last`.
"""

from __future__ import annotations

import numpy as np

from cervello.codegen import functions as f
from cervello.codegen.compiler import inline, noinline
from cervello.codegen.memory import read_f32, write_f32
from cervello.codegen.simd import fabs, load, select, splat, store
from cervello.native.kernels.batched_rows import in_batches, make_kernel, sum_vectors
from cervello.native.kernels.lane_trees import fast_max, maximum
from cervello.native.kernels.transpose import transpose_16x16

_F = np.float32


@inline
def _transpose_rows(scratch, source, source_row, rows, count):
    """Transposes rows: vector j holds element j of every row."""
    for j in range(0, count, 16):
        transpose_16x16(source + j * 4, source_row, scratch + j * 64, 64, rows, min(16, count - j))


@inline
def _sum_terms(x, count, free):
    """Σ of `count` vectors in the order of `reduce_last`: vector j is added to partial sum j mod 16, then the tree. `free`: scratch of 24
    vectors."""
    for j in range(min(16, count)):
        store(free + j * 64, load(x + j * 64))
    for j in range(count, 16):
        store(free + j * 64, splat(_F(0.0)))
    for j in range(16, count):
        at = free + j % 16 * 64
        store(at, load(at) + load(x + j * 64))
    return sum_vectors(free, free + 16 * 64)


@noinline
def _softmax_group(target, target_row, source, source_row, rows, count, scratch, parameters):
    """Scratch: count + 24 vectors."""
    _transpose_rows(scratch, source, source_row, rows, count)
    shift = splat(_F(-np.inf))
    for j in range(count):
        shift = fast_max(load(scratch + j * 64), shift)  # a NaN reaches the result through the sum
    for j in range(count):
        store(scratch + j * 64, f.exp_nonpositive(load(scratch + j * 64) - shift))
    factor = splat(_F(1.0)) / _sum_terms(scratch, count, scratch + count * 64)
    for j in range(count):
        store(scratch + j * 64, load(scratch + j * 64) * factor)
    for j in range(0, count, 16):
        transpose_16x16(scratch + j * 64, 64, target + j * 4, target_row, min(16, count - j), rows)
    return 0


softmax_rows = in_batches(_softmax_group)
softmax = make_kernel(softmax_rows)


@noinline
def _log_sum_exp_group(target, target_row, source, source_row, rows, count, scratch, parameters):
    """One float32 per row. Scratch: count + 24 vectors."""
    _transpose_rows(scratch, source, source_row, rows, count)
    best = splat(_F(-np.inf))
    for j in range(count):
        best = maximum(best, load(scratch + j * 64))
    shift = select((fabs(best) < splat(_F(np.inf))) | (best != best), best, splat(_F(0.0)))
    for j in range(count):
        store(scratch + j * 64, f.exp(load(scratch + j * 64) - shift))
    results = scratch + count * 64
    store(results, f.log(_sum_terms(scratch, count, results)) + shift)
    for r in range(rows):
        write_f32(target + r * target_row, 0, read_f32(results, r))
    return 0


log_sum_exp = make_kernel(in_batches(_log_sum_exp_group))
