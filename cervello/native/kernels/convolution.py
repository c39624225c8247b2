"""Convolutions and poolings over images [N, C, H, W] of any strides; one-dimensional ones have H = 1.

A convolution gathers the windows of a few output pixels into rows, multiplies them with packed weights, applies the activation
and lays the result out by channel. Padding is gathered as zeros, so the order of a sum never depends on the place.
"""

from __future__ import annotations

import numpy as np

from cervello.compiled.memory import call_block, read_f32, read_i32, word, write_f32, write_i32
from cervello.native.kernels.gemm import many_rows

PIXELS = 24  # output pixels gathered at once
_F = np.float32


def conv(step, ctx):
    """Words: x, y, columns, results; see `cervello.native.ops.convolution` for the attributes, in order."""
    x = word(ctx, word(step, 2)) + word(step, 3)
    y = word(ctx, word(step, 4)) + word(step, 5)
    columns = word(ctx, word(step, 6)) + word(step, 7)
    results = word(ctx, word(step, 8)) + word(step, 9)
    weights, bias, rows, groups = word(step, 10), word(step, 11), word(step, 12), word(step, 13)
    channels, filters = word(step, 14), word(step, 15)  # per group
    height, width, out_height, out_width = word(step, 16), word(step, 17), word(step, 18), word(step, 19)
    kh, kw, sh, sw, dh, dw, ph, pw = (word(step, 20), word(step, 21), word(step, 22), word(step, 23), word(step, 24),
                                      word(step, 25), word(step, 26), word(step, 27))
    xn, xc, xh, xw = word(step, 28), word(step, 29), word(step, 30), word(step, 31)
    yn, yc, yh, yw = word(step, 32), word(step, 33), word(step, 34), word(step, 35)
    segments, activation, parameters = word(step, 36), word(step, 37), step + 38 * 8
    k = channels * kh * kw
    padded = (filters + 31) // 32 * 32
    pixels = out_height * out_width
    for n in range(rows):
        for g in range(groups):
            image = x + n * xn + g * channels * xc
            first = 0
            while first < pixels:
                count = min(PIXELS, pixels - first)
                for p in range(count):
                    top = (first + p) // out_width * sh - ph
                    left = (first + p) % out_width * sw - pw
                    at = columns + p * k * 4
                    if left >= 0 and left + (kw - 1) * dw < width and top >= 0 and top + (kh - 1) * dh < height:
                        for c in range(channels):
                            for i in range(kh):
                                row = image + c * xc + (top + i * dh) * xh + left * xw
                                for j in range(kw):
                                    write_i32(at, j, read_i32(row + j * dw * xw, 0))
                                at += kw * 4
                    else:
                        for c in range(channels):
                            for i in range(kh):
                                h = top + i * dh
                                row = image + c * xc + h * xh + left * xw
                                for j in range(kw):
                                    w = left + j * dw
                                    if h >= 0 and h < height and w >= 0 and w < width:
                                        write_i32(at, j, read_i32(row + j * dw * xw, 0))
                                    else:
                                        write_f32(at, j, _F(0.0))
                                at += kw * 4
                many_rows(columns, k * 4, weights + g * padded * k * 4, bias + g * padded * 4, results, filters * 4, count, k, filters,
                          segments)
                if activation != 0:
                    call_block(activation, results, results, count * filters, parameters)
                for p in range(count):
                    to = y + n * yn + g * filters * yc + (first + p) // out_width * yh + (first + p) % out_width * yw
                    for o in range(filters):
                        write_i32(to + o * yc, 0, read_i32(results, p * filters + o))
                first += count
    return 0


def max_pool(step, ctx):
    """Words: x, y; rows, channels, sizes, kernel, strides, dilations, pads, strides of x and y. NaN wins."""
    x = word(ctx, word(step, 2)) + word(step, 3)
    y = word(ctx, word(step, 4)) + word(step, 5)
    for n in range(word(step, 6)):
        for c in range(word(step, 7)):
            for oh in range(word(step, 10)):
                for ow in range(word(step, 11)):
                    best = _F(-np.inf)
                    for i in range(word(step, 12)):
                        h = oh * word(step, 14) - word(step, 18) + i * word(step, 16)
                        if h < 0 or h >= word(step, 8):
                            continue
                        for j in range(word(step, 13)):
                            w = ow * word(step, 15) - word(step, 19) + j * word(step, 17)
                            if w < 0 or w >= word(step, 9):
                                continue
                            value = read_f32(x + n * word(step, 20) + c * word(step, 21) + h * word(step, 22) + w * word(step, 23), 0)
                            if value > best or value != value:
                                best = value
                    write_f32(y + n * word(step, 24) + c * word(step, 25) + oh * word(step, 26) + ow * word(step, 27), 0, best)
    return 0


def average_pool(step, ctx):
    """Words as `max_pool`, then whether padding counts. Adds in order."""
    x = word(ctx, word(step, 2)) + word(step, 3)
    y = word(ctx, word(step, 4)) + word(step, 5)
    for n in range(word(step, 6)):
        for c in range(word(step, 7)):
            for oh in range(word(step, 10)):
                for ow in range(word(step, 11)):
                    total, count = _F(0.0), 0
                    for i in range(word(step, 12)):
                        h = oh * word(step, 14) - word(step, 18) + i * word(step, 16)
                        for j in range(word(step, 13)):
                            w = ow * word(step, 15) - word(step, 19) + j * word(step, 17)
                            inside = h >= 0 and h < word(step, 8) and w >= 0 and w < word(step, 9)
                            if inside:
                                total += read_f32(
                                    x + n * word(step, 20) + c * word(step, 21) + h * word(step, 22) + w * word(step, 23), 0)
                            if inside or word(step, 28) != 0:
                                count += 1
                    write_f32(y + n * word(step, 24) + c * word(step, 25) + oh * word(step, 26) + ow * word(step, 27), 0,
                              total / _F(count))
    return 0
