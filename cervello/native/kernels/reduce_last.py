"""Blocks that reduce one contiguous row to one element: sums, extremes, arg max; and cumulative sums.

Element i is added in lane i mod 16 of 16 virtual lanes; the lanes are added in a fixed tree. The order does not depend on the CPU or on
the alignment of the row (law 1). Source: ONNX operator specification, opset 22.
"""

from __future__ import annotations

import numpy as np

from cervello.codegen import functions as f
from cervello.codegen.compiler import inline
from cervello.codegen.memory import read_f32, write_f32, write_i64
from cervello.codegen.records import view
from cervello.codegen.simd import (
    fabs,
    fma,
    keep_first,
    lane,
    load,
    load_masked,
    select,
    splat,
    sqrt,
)
from cervello.native.kernels.lane_trees import fast_max, max_lanes, min_lanes, minimum, product_lanes, sum_lanes
from cervello.native.kernels.parameters import ARG_MAX, CUM_SUM

_F = np.float32
_ArgMax, _CumSum = view(ARG_MAX), view(CUM_SUM)
_INF = _F(np.inf)


@inline
def sum_to_lanes(source, count):
    """The sum over a row in 16 partial sums."""
    total = splat(_F(0.0))
    i = 0
    while count - i >= 16:
        total = total + load(source + i * 4)
        i += 16
    return total + load_masked(source + i * 4, count - i) if i < count else total


@inline
def row_sum(source, count):
    return sum_lanes(sum_to_lanes(source, count))


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


@inline
def row_max(source, count):
    return max_lanes(max_to_lanes(source, count))


def sum_(target, source, count, parameters):
    write_f32(target, 0, row_sum(source, count))
    return 0


def mean(target, source, count, parameters):
    write_f32(target, 0, row_sum(source, count) / _F(count))
    return 0


def max_(target, source, count, parameters):
    write_f32(target, 0, row_max(source, count))
    return 0


def min_(target, source, count, parameters):
    best = splat(_INF)
    i = 0
    while i < count:
        best = minimum(best, keep_first(load_masked(source + i * 4, count - i), count - i, splat(_INF)))
        i += 16
    write_f32(target, 0, min_lanes(best))
    return 0


def prod(target, source, count, parameters):
    total = splat(_F(1.0))
    i = 0
    while i < count:
        total = total * keep_first(load_masked(source + i * 4, count - i), count - i, splat(_F(1.0)))
        i += 16
    write_f32(target, 0, product_lanes(total))
    return 0


@inline
def row_sum_of_squares(source, count):
    total = splat(_F(0.0))
    i = 0
    while i < count:
        x = load_masked(source + i * 4, count - i)
        total = fma(x, x, total)
        i += 16
    return sum_lanes(total)


def sum_square(target, source, count, parameters):
    write_f32(target, 0, row_sum_of_squares(source, count))
    return 0


def l2(target, source, count, parameters):
    write_f32(target, 0, lane(sqrt(splat(row_sum_of_squares(source, count))), 0))
    return 0


def l1(target, source, count, parameters):
    total = splat(_F(0.0))
    i = 0
    while i < count:
        total = total + fabs(load_masked(source + i * 4, count - i))
        i += 16
    write_f32(target, 0, sum_lanes(total))
    return 0


def log_sum(target, source, count, parameters):
    write_f32(target, 0, lane(f.log(splat(row_sum(source, count))), 0))
    return 0


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


@inline
def _greater(x, best):
    return x > best


@inline
def _less(x, best):
    return x < best


arg_max, arg_min = _arg(_greater), _arg(_less)


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
