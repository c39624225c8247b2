"""MaxPool and AveragePool over images [N, C, H, W] of any strides; one-dimensional ones have H = 1.

A row of windows is first reduced over image rows, 16 columns at a time, then over columns. A NaN in a window gives NaN. Averages add rows
in order within a column, then columns in order.
"""

from __future__ import annotations

import numpy as np

from cervello.codegen.compiler import inline, noinline
from cervello.codegen.memory import read_f32, write_f32
from cervello.codegen.records import reader
from cervello.codegen.simd import gather, load_masked, splat, store_masked
from cervello.native.kernels.lane_trees import maximum
from cervello.native.kernels.reduce_last import row_max
from cervello.native.kernels.schemas import AVERAGE_POOL, MAX_POOL

_max_pool, _average_pool = reader(MAX_POOL), reader(AVERAGE_POOL)
_F = np.float32
_LOWEST = _F(-np.inf)


@inline
def _load_columns(address, xw, count):
    return load_masked(address, count) if xw == 4 else gather(address, xw, count)


@noinline
def _reduce_window_rows(target, plane, top, kh, dh, height, width, xh, xw, is_sum):
    """target[w] = maximum or sum over those rows of the window that are inside the image."""
    w = 0
    while w < width:
        count = width - w
        best = splat(_F(0.0)) if is_sum else splat(_LOWEST)
        for i in range(kh):
            h = top + i * dh
            if h >= 0 and h < height:
                values = _load_columns(plane + h * xh + w * xw, xw, count)
                best = best + values if is_sum else maximum(values, best)
        store_masked(target + w * 4, best, count)
        w += 16
    return 0


@noinline
def _max_of_window(row, first, kw, dw, width):
    """The maximum over those columns of a window that are inside the image; long windows use 16 lanes and a fixed tree."""
    if dw == 1 and kw >= 16:
        start = max(first, 0)
        return row_max(row + start * 4, min(first + kw, width) - start)
    best = _LOWEST
    for j in range(kw):
        w = first + j * dw
        if w >= 0 and w < width:
            value = read_f32(row, w)
            if value > best or value != value:
                best = value
    return best


def max_pool(step, ctx):
    w = _max_pool(step, ctx)
    x, y, row, height, width, out_height, out_width = w.x, w.y, w.row, w.height, w.width, w.out_height, w.out_width
    (kh, kw), (sh, sw), (dh, dw), (ph, pw) = w.window, w.strides, w.dilations, w.pads
    (xn, xc, xh, xw), (yn, yc, yh, yw) = w.x_by, w.y_by
    for n in range(w.images):
        for c in range(w.channels):
            plane = x + n * xn + c * xc
            for r in range(out_height):
                best = row
                if kh == 1 and xw == 4 and ph == 0 and (out_height - 1) * sh < height:
                    best = plane + r * sh * xh
                else:
                    _reduce_window_rows(row, plane, r * sh - ph, kh, dh, height, width, xh, xw, False)
                to = y + n * yn + c * yc + r * yh
                for q in range(out_width):
                    write_f32(to + q * yw, 0, _max_of_window(best, q * sw - pw, kw, dw, width))
    return 0


def average_pool(step, ctx):
    w = _average_pool(step, ctx)
    x, y, row, height, width, out_height, out_width = w.x, w.y, w.row, w.height, w.width, w.out_height, w.out_width
    (kh, kw), (sh, sw), (dh, dw), (ph, pw) = w.window, w.strides, w.dilations, w.pads
    (xn, xc, xh, xw), (yn, yc, yh, yw) = w.x_by, w.y_by
    counts_padding = w.counts_padding
    for n in range(w.images):
        for c in range(w.channels):
            for r in range(out_height):
                top = r * sh - ph
                _reduce_window_rows(row, x + n * xn + c * xc, top, kh, dh, height, width, xh, xw, True)
                inside_h = 0
                for i in range(kh):
                    if top + i * dh >= 0 and top + i * dh < height:
                        inside_h += 1
                to = y + n * yn + c * yc + r * yh
                for q in range(out_width):
                    total, inside_w = _F(0.0), 0
                    for j in range(kw):
                        at = q * sw - pw + j * dw
                        if at >= 0 and at < width:
                            total += read_f32(row, at)
                            inside_w += 1
                    count = kh * kw if counts_padding != 0 else inside_h * inside_w
                    write_f32(to + q * yw, 0, total / _F(count))
    return 0
