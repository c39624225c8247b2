"""Blocks that reduce one contiguous row to one element: sums, extremes, arg max; and cumulative sums.

Element i is added in lane i mod 16 of 16 virtual lanes; the lanes are added in a fixed tree. The order does not depend on the CPU or on
the alignment of the row (law 1). Source: ONNX operator specification, opset 22.
"""

from __future__ import annotations

import operator

import numpy as np

from cervello.codegen import functions as f
from cervello.codegen.compiler import inline
from cervello.codegen.memory import read_f32, write_f32, write_i64
from cervello.codegen.records import view
from cervello.codegen.simd import keep_first, lane, load, load_masked, select, splat, sqrt
from cervello.native.kernels.lane_trees import (
    add_absolute,
    add_square,
    fast_max,
    max_lanes,
    min_lanes,
    minimum,
    product_lanes,
    sum_lanes,
)
from cervello.native.kernels.parameters import ARG_MAX, CUM_SUM

_F = np.float32
_ArgMax, _CumSum = view(ARG_MAX), view(CUM_SUM)
_INF = _F(np.inf)


def _to_lanes(start, step):
    """A function that reduces a row to 16 partial results, from `start`, which must be neutral."""
    start = _F(start)

    @inline
    def to_lanes(source, count):
        total = splat(start)
        i = 0
        while count - i >= 16:
            total = step(total, load(source + i * 4))
            i += 16
        return step(total, keep_first(load_masked(source + i * 4, count - i), count - i, splat(start))) if i < count else total

    return to_lanes


sum_to_lanes, _product_to_lanes, _min_to_lanes = _to_lanes(0.0, operator.add), _to_lanes(1.0, operator.mul), _to_lanes(np.inf, minimum)
_squares_to_lanes, _absolutes_to_lanes = _to_lanes(0.0, add_square), _to_lanes(0.0, add_absolute)


@inline
def _load_or_minus_inf(source, i, count):
    """Loads the elements from i on; -inf in the lanes from `count` on."""
    return keep_first(load_masked(source + i * 4, count - i), count - i, splat(-_INF))


@inline
def fast_max_to_lanes(source, count):
    """The maximum over a row in 16 partial maxima; a NaN may be dropped."""
    a = b = c = d = splat(-_INF)  # four independent chains hide the latency of a comparison
    i = 0
    while count - i >= 64:
        a, b = fast_max(load(source + i * 4), a), fast_max(load(source + i * 4 + 64), b)
        c, d = fast_max(load(source + i * 4 + 128), c), fast_max(load(source + i * 4 + 192), d)
        i += 64
    while count - i >= 16:
        a, b = b, fast_max(load(source + i * 4), a)
        i += 16
    if i < count:
        a = fast_max(_load_or_minus_inf(source, i, count), a)
    return fast_max(fast_max(a, b), fast_max(c, d))


@inline
def max_to_lanes(source, count):
    """The maximum over a row in 16 partial maxima; NaN in lanes that have a NaN."""
    largest = fast_max_to_lanes(source, count)
    is_nan = largest != largest
    i = 0
    while count - i >= 16:
        x = load(source + i * 4)
        is_nan = is_nan | (x != x)
        i += 16
    if i < count:
        x = load_masked(source + i * 4, count - i)
        is_nan = is_nan | (x != x)
    return select(is_nan, splat(_F(np.nan)), largest)


def _row(to_lanes, tree):
    """A function of a row: its reduction, a float32."""
    @inline
    def of_row(source, count):
        return tree(to_lanes(source, count))

    return of_row


row_sum, row_max, row_sum_of_squares = _row(sum_to_lanes, sum_lanes), _row(max_to_lanes, max_lanes), _row(_squares_to_lanes, sum_lanes)


@inline
def _row_mean(source, count):
    return row_sum(source, count) / _F(count)


@inline
def _row_l2(source, count):
    return lane(sqrt(splat(row_sum_of_squares(source, count))), 0)


@inline
def _row_log_sum(source, count):
    return lane(f.log(splat(row_sum(source, count))), 0)


def _block(of_row):
    """A block that reduces a row to one element."""
    def block(target, source, count, parameters):
        write_f32(target, 0, of_row(source, count))
        return 0

    return block


sum_, mean, max_, min_ = _block(row_sum), _block(_row_mean), _block(row_max), _block(_row(_min_to_lanes, min_lanes))
prod, l1 = _block(_row(_product_to_lanes, product_lanes)), _block(_row(_absolutes_to_lanes, sum_lanes))
sum_square, l2, log_sum = _block(row_sum_of_squares), _block(_row_l2), _block(_row_log_sum)


@inline
def _shift(source, count):
    """The row's maximum; 0 if it is infinite, because inf - inf would give NaN."""
    best = row_max(source, count)
    return best if abs(best) < _INF else (_F(0.0) if best == best else best)


@inline
def log_sum_of_exp(source, count, shift):
    """log Σ exp(x - shift), a float32."""
    fixed = splat(shift)
    total = splat(_F(0.0))
    i = 0
    while i < count:
        x = f.exp(load_masked(source + i * 4, count - i) - fixed)
        total = total + keep_first(x, count - i, splat(_F(0.0)))
        i += 16
    return lane(f.log(splat(sum_lanes(total))), 0)


def log_sum_exp(target, source, count, parameters):
    shift = _shift(source, count)
    write_f32(target, 0, log_sum_of_exp(source, count, shift) + shift)
    return 0


def _arg(is_better):
    """A block: the int64 index of the first extreme, or of the last if `last` is 1; NaN is more extreme than any number."""
    def block(target, source, count, parameters):
        last = _ArgMax(parameters).last
        best, index = read_f32(source, 0), 0
        for i in range(1, count):
            x = read_f32(source, i)
            better = is_better(x, best) or (x != x and best == best) or (last == 1 and (x == best or (x != x and best != best)))
            if better:
                best, index = x, i
        write_i64(target, 0, index)
        return 0

    return block


arg_max, arg_min = _arg(operator.gt), _arg(operator.lt)


def cum_sum(target, source, count, parameters):
    """The cumulative sum of a row, added in order."""
    exclusive, reverse = _CumSum(parameters).exclusive, _CumSum(parameters).reverse
    total = _F(0.0)
    for k in range(count):
        i = count - 1 - k if reverse else k
        x = read_f32(source, i)
        if exclusive:
            write_f32(target, i, total)
        total = total + x
        if not exclusive:
            write_f32(target, i, total)
    return 0
