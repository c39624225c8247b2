"""Blocks that normalise one contiguous row: softmax, log-softmax, layer norm, RMS norm.

Sums have the order of `reduce_last`. Softmax subtracts the row's maximum. Source: ONNX operator specification, opset 23.
"""

from __future__ import annotations

import numpy as np

from cervello.codegen import functions as f
from cervello.codegen.compiler import inline
from cervello.codegen.records import view
from cervello.codegen.simd import fma, keep_first, load, load_masked, splat, sqrt, store, store_masked
from cervello.native.kernels.lane_trees import max_lanes, sum_lanes
from cervello.native.kernels.parameters import LAYER_NORM, RMS_NORM
from cervello.native.kernels.reduce_last import fast_max_to_lanes, log_sum_of_exp, row_max, row_sum, row_sum_of_squares

_F = np.float32
LayerNorm, _RmsNorm = view(LAYER_NORM), view(RMS_NORM)


@inline
def exp_sum_to_lanes(target, source, count, shift):
    """Writes exp(x - shift), for x <= shift; returns the sum in 16 partial sums."""
    total = splat(_F(0.0))
    i = 0
    while count - i >= 16:
        x = f.exp_nonpositive(load(source + i * 4) - shift)
        store(target + i * 4, x)
        total = total + x
        i += 16
    if i < count:
        x = f.exp_nonpositive(load_masked(source + i * 4, count - i) - shift)
        store_masked(target + i * 4, x, count - i)
        total = total + keep_first(x, count - i, splat(_F(0.0)))
    return total


@inline
def scale_row(target, count, factor):
    """Multiplies a row by a factor, in place."""
    i = 0
    while count - i >= 16:
        store(target + i * 4, load(target + i * 4) * factor)
        i += 16
    if i < count:
        store_masked(target + i * 4, load_masked(target + i * 4, count - i) * factor, count - i)


def softmax(target, source, count, parameters):
    shift = splat(max_lanes(fast_max_to_lanes(source, count)))  # a NaN reaches the result through the sum
    total = exp_sum_to_lanes(target, source, count, shift)
    scale_row(target, count, splat(_F(1.0) / sum_lanes(total)))
    return 0


def log_softmax(target, source, count, parameters):
    """(x - maximum) - log Σ exp(x - maximum): subtracting the maximum first keeps precision."""
    shift_scalar = row_max(source, count)
    shift, norm = splat(shift_scalar), splat(log_sum_of_exp(source, count, shift_scalar))
    i = 0
    while i < count:
        store_masked(target + i * 4, load_masked(source + i * 4, count - i) - shift - norm, count - i)
        i += 16
    return 0


@inline
def centered_squares_to_lanes(source, count, center):
    """Σ (x - center)² in 16 partial sums."""
    squares = splat(_F(0.0))
    i = 0
    while count - i >= 16:
        x = load(source + i * 4) - center
        squares = fma(x, x, squares)
        i += 16
    if i < count:
        x = keep_first(load_masked(source + i * 4, count - i) - center, count - i, splat(_F(0.0)))
        squares = fma(x, x, squares)
    return squares


@inline
def normalize_row(target, source, count, center, factor, scale, bias):
    """Writes (x - center) · factor · scale + bias; scale, bias: addresses of `count` float32, 0 for no bias."""
    i = 0
    while i < count:
        x = (load_masked(source + i * 4, count - i) - center) * factor
        if bias != 0:
            x = fma(x, load_masked(scale + i * 4, count - i), load_masked(bias + i * 4, count - i))
        else:
            x = x * load_masked(scale + i * 4, count - i)
        store_masked(target + i * 4, x, count - i)
        i += 16


def layer_norm(target, source, count, parameters):
    """(x - mean) / √(variance + epsilon) · scale + bias; the variance is computed from x - mean, in a second pass."""
    p = LayerNorm(parameters)
    center = splat(row_sum(source, count) / _F(count))
    variance = sum_lanes(centered_squares_to_lanes(source, count, center)) / _F(count)
    factor = splat(_F(1.0)) / sqrt(splat(variance + p.epsilon))
    normalize_row(target, source, count, center, factor, p.scale, p.bias)
    return 0


def rms_norm(target, source, count, parameters):
    """x / √(mean of squares + epsilon)"""
    factor = splat(_F(1.0)) / sqrt(splat(row_sum_of_squares(source, count) / _F(count) + _RmsNorm(parameters).epsilon))
    i = 0
    while i < count:
        store_masked(target + i * 4, load_masked(source + i * 4, count - i) * factor, count - i)
        i += 16
    return 0
