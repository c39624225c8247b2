"""Reductions of `reduce_last`, and softmax and layer norm of `normalize_last`, sixteen rows at a time, with bitwise equal results.

Each row is first reduced to 16 lanes. The sixteen vectors are then transposed, and the final tree combines vectors instead of lanes, which
hides its latency.
"""

from __future__ import annotations

import numpy as np

from cervello.codegen.compiler import inline, noinline
from cervello.codegen.memory import read_f32, write_f32
from cervello.codegen.simd import gather, select, splat, sqrt, store, store_masked
from cervello.native.kernels.batched_rows import fast_max_vectors, in_batches, make_kernel, max_vectors, sum_vectors
from cervello.native.kernels.lane_trees import fast_max
from cervello.native.kernels.normalize_last import LayerNorm, centered_squares_to_lanes, exp_sum_to_lanes, normalize_row, scale_row
from cervello.native.kernels.reduce_last import fast_max_to_lanes, max_to_lanes, sum_to_lanes
from cervello.native.kernels.transpose import transpose_16x16

_F = np.float32
_INF = _F(np.inf)
_GATHER_MAX = 8  # up to this row length, gathers are faster than a transpose


@inline
def _identity(x, count):
    return x


@inline
def _mean(x, count):
    return x / splat(_F(count))


@inline
def _sum_of_one(x):  # 0 + x, as in `sum_to_lanes`
    return splat(_F(0.0)) + x


@inline
def _max_of_one(x):  # max(-inf, x), as in `max_to_lanes`
    return select(x != x, splat(_F(np.nan)), fast_max(x, splat(-_INF)))


def _reduction(to_lanes, reduce_one, neutral, combine_vectors, finish):
    """A kernel of a reduction.

    Args:
      to_lanes: reduces a row to 16 lanes.
      reduce_one: the result of `to_lanes` in a lane with one element.
      neutral: the result in a lane without elements.
      combine_vectors: the tree over 16 vectors.
      finish: of the result and the row length.
    """
    neutral = _F(neutral)

    @noinline
    def reduce_batch(target, target_row, source, source_row, rows, count, scratch, parameters):
        partials = scratch + 16 * 64
        if count <= _GATHER_MAX:  # gathers with rows as lanes: no transpose is needed
            for c in range(16):
                store(scratch + c * 64, reduce_one(gather(source + c * 4, source_row, rows)) if c < count else splat(neutral))
        else:
            for r in range(rows):
                store(scratch + r * 64, to_lanes(source + r * source_row, count))
            transpose_16x16(scratch, 64, scratch, 64, rows, 16)
        result = finish(combine_vectors(scratch, partials), count)
        if target_row == 4:
            store_masked(target, result, rows)
        else:
            store(partials, result)
            for r in range(rows):
                write_f32(target + r * target_row, 0, read_f32(partials, r))
        return 0

    return make_kernel(in_batches(reduce_batch))


sum_, mean = (_reduction(sum_to_lanes, _sum_of_one, 0.0, sum_vectors, finish) for finish in (_identity, _mean))
max_ = _reduction(max_to_lanes, _max_of_one, -np.inf, max_vectors, _identity)


@noinline
def _softmax_group(target, target_row, source, source_row, rows, count, scratch, parameters):
    partials, shifts, factors = scratch + 16 * 64, scratch + 24 * 64, scratch + 25 * 64
    for r in range(rows):
        store(scratch + r * 64, fast_max_to_lanes(source + r * source_row, count))
    transpose_16x16(scratch, 64, scratch, 64, rows, 16)
    store(shifts, fast_max_vectors(scratch, partials))  # a NaN reaches the result through the sum
    for r in range(rows):
        store(scratch + r * 64, exp_sum_to_lanes(target + r * target_row, source + r * source_row, count, splat(read_f32(shifts, r))))
    transpose_16x16(scratch, 64, scratch, 64, rows, 16)
    store(factors, splat(_F(1.0)) / sum_vectors(scratch, partials))
    for r in range(rows):
        scale_row(target + r * target_row, count, splat(read_f32(factors, r)))
    return 0


softmax_rows = in_batches(_softmax_group)
softmax = make_kernel(softmax_rows)


@noinline
def _layer_norm_group(target, target_row, source, source_row, rows, count, scratch, parameters):
    partials, centers, factors = scratch + 16 * 64, scratch + 24 * 64, scratch + 25 * 64
    p, n = LayerNorm(parameters), splat(_F(count))
    for r in range(rows):
        store(scratch + r * 64, sum_to_lanes(source + r * source_row, count))
    transpose_16x16(scratch, 64, scratch, 64, rows, 16)
    store(centers, sum_vectors(scratch, partials) / n)
    for r in range(rows):
        store(scratch + r * 64, centered_squares_to_lanes(source + r * source_row, count, splat(read_f32(centers, r))))
    transpose_16x16(scratch, 64, scratch, 64, rows, 16)
    store(factors, splat(_F(1.0)) / sqrt(sum_vectors(scratch, partials) / n + splat(p.epsilon)))
    for r in range(rows):
        normalize_row(target + r * target_row, source + r * source_row, count, splat(read_f32(centers, r)), splat(read_f32(factors, r)),
                      p.scale, p.bias)
    return 0


layer_norm = make_kernel(in_batches(_layer_norm_group))
