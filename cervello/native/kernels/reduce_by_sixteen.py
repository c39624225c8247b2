"""The reductions, softmax and layer norm of `reduce_last`, sixteen rows at a time: each row is reduced to 16 lanes, then transposed.

A single row has the latency of a tree between lanes; here the tree is between vectors of sixteen rows.
"""

from __future__ import annotations

import numpy as np

from cervello.codegen.compiler import inline, noinline
from cervello.codegen.memory import read_f32, write_f32
from cervello.codegen.simd import gather, select, splat, sqrt, store, store_first
from cervello.native.kernels.lane_trees import peak
from cervello.native.kernels.reduce_last import (
    LayerNorm,
    exps_to_lanes,
    max_to_lanes,
    normalised,
    peak_to_lanes,
    scale_row,
    squares_about,
    sum_to_lanes,
)
from cervello.native.kernels.sixteen import highest, in_groups, maximum, over_rows, total
from cervello.native.kernels.transpose import transpose_16x16

_F = np.float32
_INF = _F(np.inf)
_FEW = 8  # elements of a row up to which gathers take less time than a transpose


@inline
def _same(x, count):
    return x


@inline
def _average(x, count):
    return x / splat(_F(count))


@inline
def _added(x):  # as `sum_to_lanes` adds it to 0
    return splat(_F(0.0)) + x


@inline
def _compared(x):  # as `max_to_lanes` compares it with -inf
    return select(x != x, splat(_F(np.nan)), peak(x, splat(-_INF)))


def _reduction(to_lanes, of_one, nothing, tree, finish):
    """`of_one`: what `to_lanes` makes of a lane's only element; `nothing`: of none."""
    nothing = _F(nothing)

    @noinline
    def group(target, target_row, source, source_row, rows, count, scratch, parameters):
        pairs = scratch + 16 * 64
        if count <= _FEW:  # gathered with lanes as rows, so that no transpose is needed
            for c in range(16):
                store(scratch + c * 64, of_one(gather(source + c * 4, source_row, rows)) if c < count else splat(nothing))
        else:
            for r in range(rows):
                store(scratch + r * 64, to_lanes(source + r * source_row, count))
            transpose_16x16(scratch, 64, scratch, 64, rows, 16)
        result = finish(tree(scratch, pairs), count)
        if target_row == 4:
            store_first(target, result, rows)
        else:
            store(pairs, result)
            for r in range(rows):
                write_f32(target + r * target_row, 0, read_f32(pairs, r))
        return 0

    return over_rows(in_groups(group))


sum_, mean = (_reduction(sum_to_lanes, _added, 0.0, total, finish) for finish in (_same, _average))
max_ = _reduction(max_to_lanes, _compared, -np.inf, maximum, _same)


@noinline
def _softmax_of(target, target_row, source, source_row, rows, count, scratch, parameters):
    pairs, shifts, factors = scratch + 16 * 64, scratch + 24 * 64, scratch + 25 * 64
    for r in range(rows):
        store(scratch + r * 64, peak_to_lanes(source + r * source_row, count))
    transpose_16x16(scratch, 64, scratch, 64, rows, 16)
    store(shifts, highest(scratch, pairs))  # a NaN comes through the sum
    for r in range(rows):
        store(scratch + r * 64, exps_to_lanes(target + r * target_row, source + r * source_row, count, splat(read_f32(shifts, r))))
    transpose_16x16(scratch, 64, scratch, 64, rows, 16)
    store(factors, splat(_F(1.0)) / total(scratch, pairs))
    for r in range(rows):
        scale_row(target + r * target_row, count, splat(read_f32(factors, r)))
    return 0


softmax_rows = in_groups(_softmax_of)
softmax = over_rows(softmax_rows)


@noinline
def _normalise(target, target_row, source, source_row, rows, count, scratch, parameters):
    pairs, centers, factors = scratch + 16 * 64, scratch + 24 * 64, scratch + 25 * 64
    p, n = LayerNorm(parameters), splat(_F(count))
    for r in range(rows):
        store(scratch + r * 64, sum_to_lanes(source + r * source_row, count))
    transpose_16x16(scratch, 64, scratch, 64, rows, 16)
    store(centers, total(scratch, pairs) / n)
    for r in range(rows):
        store(scratch + r * 64, squares_about(source + r * source_row, count, splat(read_f32(centers, r))))
    transpose_16x16(scratch, 64, scratch, 64, rows, 16)
    store(factors, splat(_F(1.0)) / sqrt(total(scratch, pairs) / n + splat(p.epsilon)))
    for r in range(rows):
        normalised(target + r * target_row, source + r * source_row, count, splat(read_f32(centers, r)), splat(read_f32(factors, r)),
                   p.scale, p.bias)
    return 0


layer_norm = over_rows(in_groups(_normalise))
