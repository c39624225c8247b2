"""MaxPool and AveragePool over images [N, C, H, W] of any strides; one-dimensional ones have H = 1.

A row of windows is pooled downwards first, 16 columns of the image at a time, then along the row. NaN wins a maximum; averages add row
by row within a column, then column by column.
"""

from __future__ import annotations

import numpy as np

from cervello.codegen.compiler import inline, noinline
from cervello.codegen.memory import read_f32, word, write_f32
from cervello.codegen.simd import gather, load_masked, splat, store_first
from cervello.native.kernels.reduce_last import larger, row_max

_F = np.float32
_LOWEST = _F(-np.inf)


@inline
def _columns(address, xw, count):
    return load_masked(address, count) if xw == 4 else gather(address, xw, count)


@noinline
def _downwards(target, plane, top, kh, dh, height, width, xh, xw, adds):
    """target[w] = maximum or sum over the window's rows that lie inside."""
    w = 0
    while w < width:
        count = width - w
        best = splat(_F(0.0)) if adds else splat(_LOWEST)
        for i in range(kh):
            h = top + i * dh
            if h >= 0 and h < height:
                values = _columns(plane + h * xh + w * xw, xw, count)
                best = best + values if adds else larger(values, best)
        store_first(target + w * 4, best, count)
        w += 16
    return 0


@noinline
def _largest(row, first, kw, dw, width):
    """Maximum over a window's columns that lie inside; long windows in 16 lanes and one fixed tree."""
    if dw == 1 and kw >= 16:
        start = max(first, 0)
        return row_max(row + start * 4, min(first + kw, width) - start)
    largest = _LOWEST
    for j in range(kw):
        w = first + j * dw
        if w >= 0 and w < width:
            value = read_f32(row, w)
            if value > largest or value != value:
                largest = value
    return largest


def max_pool(step, ctx):
    """Words: x, y, row; rows, channels, sizes, kernel, strides, dilations, pads, strides of x and y."""
    x = word(ctx, word(step, 2)) + word(step, 3)
    y = word(ctx, word(step, 4)) + word(step, 5)
    row = word(ctx, word(step, 6)) + word(step, 7)
    height, width, out_height, out_width = word(step, 10), word(step, 11), word(step, 12), word(step, 13)
    kh, kw, sh, sw, dh, dw, ph, pw = (word(step, 14), word(step, 15), word(step, 16), word(step, 17), word(step, 18),
                                      word(step, 19), word(step, 20), word(step, 21))
    xn, xc, xh, xw = word(step, 22), word(step, 23), word(step, 24), word(step, 25)
    yn, yc, yh, yw = word(step, 26), word(step, 27), word(step, 28), word(step, 29)
    for n in range(word(step, 8)):
        for c in range(word(step, 9)):
            plane = x + n * xn + c * xc
            for r in range(out_height):
                best = row
                if kh == 1 and xw == 4 and ph == 0 and (out_height - 1) * sh < height:
                    best = plane + r * sh * xh
                else:
                    _downwards(row, plane, r * sh - ph, kh, dh, height, width, xh, xw, False)
                to = y + n * yn + c * yc + r * yh
                for q in range(out_width):
                    write_f32(to + q * yw, 0, _largest(best, q * sw - pw, kw, dw, width))
    return 0


def average_pool(step, ctx):
    """Words as `max_pool`, then whether padding counts."""
    x = word(ctx, word(step, 2)) + word(step, 3)
    y = word(ctx, word(step, 4)) + word(step, 5)
    row = word(ctx, word(step, 6)) + word(step, 7)
    height, width, out_height, out_width = word(step, 10), word(step, 11), word(step, 12), word(step, 13)
    kh, kw, sh, sw, dh, dw, ph, pw = (word(step, 14), word(step, 15), word(step, 16), word(step, 17), word(step, 18),
                                      word(step, 19), word(step, 20), word(step, 21))
    xn, xc, xh, xw = word(step, 22), word(step, 23), word(step, 24), word(step, 25)
    yn, yc, yh, yw = word(step, 26), word(step, 27), word(step, 28), word(step, 29)
    counts_padding = word(step, 30)
    for n in range(word(step, 8)):
        for c in range(word(step, 9)):
            for r in range(out_height):
                top = r * sh - ph
                _downwards(row, x + n * xn + c * xc, top, kh, dh, height, width, xh, xw, True)
                inside_h = 0
                for i in range(kh):
                    if top + i * dh >= 0 and top + i * dh < height:
                        inside_h += 1
                to = y + n * yn + c * yc + r * yh
                for q in range(out_width):
                    total, inside_w = _F(0.0), 0
                    for j in range(kw):
                        w = q * sw - pw + j * dw
                        if w >= 0 and w < width:
                            total += read_f32(row, w)
                            inside_w += 1
                    count = kh * kw if counts_padding != 0 else inside_h * inside_w
                    write_f32(to + q * yw, 0, total / _F(count))
    return 0
