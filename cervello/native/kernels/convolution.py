"""Convolutions over images [N, C, H, W] of any strides; one-dimensional ones have H = 1.

Lanes are output pixels that follow each other. Over an image of row length L (padding included) output pixel (r, q) counts as
pixel r * L + q, and a tap of the window is the same pixels moved by a constant, whatever the row: the pixels between the rows'
ends are computed and dropped. A stride is taken out first: the image is split into one plane per remainder of row and column.
Padding is copied as zeros, so the order of a sum never depends on the place. Where there is neither padding nor stride the image is
read where it lies. Outputs of a few pixels use `conv_pixels`, whose lanes are filters.
"""

from __future__ import annotations

import numpy as np

from cervello.compiled.compiler import shared
from cervello.compiled.lanes import every_2, every_4, gather, load_first, splat, store_first
from cervello.compiled.memory import call_block, read_i32, word, write_f32, write_i32
from cervello.native.kernels.filters import FILTERS, make_filter_tile
from cervello.native.kernels.gemm import many_rows
from cervello.native.kernels.tiles import ROWS_TALL

_F = np.float32
PIXELS = 24  # output pixels gathered at once by `conv_pixels`
WIDE = ROWS_TALL > 8  # 32 registers of 16 lanes: tiles of 8 x 3; else 4 x 1 vectors of two registers
_TALL, _VECTORS = (8, 3) if WIDE else (4, 1)
_tall, _low = make_filter_tile(_TALL, _VECTORS), make_filter_tile(4, _VECTORS)
_tall_2, _low_2 = make_filter_tile(_TALL, min(2, _VECTORS)), make_filter_tile(4, min(2, _VECTORS))
_tall_1, _low_1 = make_filter_tile(_TALL, 1), make_filter_tile(4, 1)
_single, _single_1 = make_filter_tile(1, 8 if WIDE else 4), make_filter_tile(1, 1)
_SINGLE = 16 * (8 if WIDE else 4)


@shared
def _fill_row(target, count, image, xw, first, step, width):
    """target[r] = image row at first + r * step, 0 outside [0, width)."""
    start = 0
    if first < 0:
        start = min(count, (-first + step - 1) // step)
    end = start
    if first + start * step < width:
        end = min(count, (width - 1 - first) // step + 1)
    zero = splat(_F(0.0))
    if start > 0 or end < count:
        r = 0
        while r < count:
            store_first(target + r * 4, zero, count - r)
            r += 16
    source, stride = image + (first + start * step) * xw, step * xw
    r = start
    while r < end:
        left = end - r
        if stride == 4:
            values = load_first(source, left)
        elif stride == 8:
            values = every_2(source, min(left, 16))
        elif stride == 16:
            values = every_4(source, min(left, 16))
        else:
            values = gather(source, stride, left)
        store_first(target + r * 4, values, left)
        source += 16 * stride
        r += 16
    return 0


@shared
def _planes(target, image, channels, xc, xh, xw, height, width, rows, columns, sh, sw, ph, pw, phases, n_phases):
    """Copies an image into planes [channels, phases, rows, columns]: plane (a, b) holds rows a, a + sh, … and columns b, b + sw, …"""
    for c in range(channels):
        for p in range(n_phases):
            a, b = word(phases, 2 * p), word(phases, 2 * p + 1)
            for r in range(rows):
                h = r * sh + a - ph
                if h >= 0 and h < height:
                    _fill_row(target, columns, image + c * xc + h * xh, xw, b - pw, sw, width)
                else:
                    q = 0
                    while q < columns:
                        store_first(target + q * 4, splat(_F(0.0)), columns - q)
                        q += 16
                target += columns * 4
    return 0


@shared
def _planes_of_pixels(target, image, channels, xh, xw, height, width, rows, columns, sh, sw, ph, pw, phases, n_phases):
    """The same for images whose channels lie side by side: a pixel at a time, so that every line of memory is read once."""
    plane = rows * columns * 4
    for p in range(n_phases):
        a, b = word(phases, 2 * p), word(phases, 2 * p + 1)
        for r in range(rows):
            h = r * sh + a - ph
            for q in range(columns):
                w = q * sw + b - pw
                inside = h >= 0 and h < height and w >= 0 and w < width
                source, to = image + h * xh + w * xw, target + p * plane + (r * columns + q) * 4
                for c in range(channels):  # one by one: a scatter of lanes takes longer
                    write_i32(to, 0, read_i32(source, c) if inside else 0)
                    to += plane * n_phases
    return 0


@shared
def _filter_block(w, filters, x, offsets, k, bias, out, ldo, pixels):
    """Up to 8 filters over all pixels; rows of out up to the next multiple of 4 are written."""
    done = 0
    if filters == 1:
        while pixels - done > 16:
            if pixels - done > _SINGLE - 16:
                left = min(_SINGLE, pixels - done)
                _single(w, x + done * 4, offsets, k, bias, out + done * 4, ldo, left)
                done += left
            else:
                _single_1(w, x + done * 4, offsets, k, bias, out + done * 4, ldo, 16)
                done += 16
        if done < pixels:
            _single_1(w, x + done * 4, offsets, k, bias, out + done * 4, ldo, pixels - done)
        return 0
    first = 0
    while first < filters:
        tall = _TALL > 4 and filters - first > 4
        at, base, row = w + first * 4, bias + first * 4, out + first * ldo
        done = 0
        while done < pixels:
            left = pixels - done
            source, target = x + done * 4, row + done * 4
            if _VECTORS > 2 and left > 32:
                left = min(48, left)
                if tall:
                    _tall(at, source, offsets, k, base, target, ldo, left)
                else:
                    _low(at, source, offsets, k, base, target, ldo, left)
            elif _VECTORS > 1 and left > 16:
                left = min(32, left)
                if tall:
                    _tall_2(at, source, offsets, k, base, target, ldo, left)
                else:
                    _low_2(at, source, offsets, k, base, target, ldo, left)
            else:
                left = min(16, left)
                if tall:
                    _tall_1(at, source, offsets, k, base, target, ldo, left)
                else:
                    _low_1(at, source, offsets, k, base, target, ldo, left)
            done += left
        first += 8 if tall else 4
    return 0


@shared
def _spread(target, yh, yw, source, out_height, out_width, row):
    """Copies a filter's pixels without those between the rows."""
    for r in range(out_height):
        at, to = source + r * row * 4, target + r * yh
        if yw == 4:
            q = 0
            while q < out_width:
                store_first(to + q * 4, load_first(at + q * 4, out_width - q), out_width - q)
                q += 16
        else:
            for q in range(out_width):
                write_i32(to + q * yw, 0, read_i32(at, q))
    return 0


def conv(step, ctx):
    """Words: x, y, planes, results; weights, bias, offsets, phases; then the sizes, see `ops.convolution`."""
    x = word(ctx, word(step, 2)) + word(step, 3)
    y = word(ctx, word(step, 4)) + word(step, 5)
    planes = word(ctx, word(step, 6)) + word(step, 7)
    results = word(ctx, word(step, 8)) + word(step, 9)
    weights, bias, offsets, phases, n_phases = word(step, 10), word(step, 11), word(step, 12), word(step, 13), word(step, 14)
    n_rows, groups, channels, filters, k = word(step, 15), word(step, 16), word(step, 17), word(step, 18), word(step, 19)
    height, width, out_height, out_width = word(step, 20), word(step, 21), word(step, 22), word(step, 23)
    rows, columns, sh, sw, ph, pw = (word(step, 24), word(step, 25), word(step, 26), word(step, 27), word(step, 28), word(step, 29))
    xn, xc, xh, xw = word(step, 30), word(step, 31), word(step, 32), word(step, 33)
    yn, yc, yh, yw = word(step, 34), word(step, 35), word(step, 36), word(step, 37)
    in_place, direct, activation, parameters = word(step, 38), word(step, 39), word(step, 40), step + 41 * 8
    blocks = (filters + FILTERS - 1) // FILTERS
    pixels = (out_height - 1) * columns + out_width
    ldo = (pixels + 15) // 16 * 64
    for n in range(n_rows):
        for g in range(groups):
            image = x + n * xn + g * channels * xc
            if in_place == 0 and xc == 4 and channels >= 8:
                _planes_of_pixels(planes, image, channels, xh, xw, height, width, rows, columns, sh, sw, ph, pw, phases, n_phases)
                image = planes
            elif in_place == 0:
                _planes(planes, image, channels, xc, xh, xw, height, width, rows, columns, sh, sw, ph, pw, phases, n_phases)
                image = planes
            for b in range(blocks):
                count = min(FILTERS, filters - b * FILTERS)
                w, base = weights + (g * blocks + b) * k * FILTERS * 4, bias + (g * blocks + b) * FILTERS * 4
                to = y + n * yn + (g * filters + b * FILTERS) * yc
                if direct != 0 and (count == FILTERS or count == 4 or count == 1):
                    _filter_block(w, count, image, offsets, k, base, to, yc, pixels)
                    if activation != 0:
                        for f in range(count):
                            call_block(activation, to + f * yc, to + f * yc, pixels, parameters)
                else:
                    _filter_block(w, count, image, offsets, k, base, results, ldo, pixels)
                    for f in range(count):
                        if activation != 0:
                            call_block(activation, results + f * ldo, results + f * ldo, pixels, parameters)
                        _spread(to + f * yc, yh, yw, results + f * ldo, out_height, out_width, columns)
    return 0


@shared
def _window(target, image, channels, kh, kw, dh, dw, top, left, height, width, xc, xh, xw):
    """The window of one output pixel as a row, zeros outside the image."""
    inside = left >= 0 and left + (kw - 1) * dw < width and top >= 0 and top + (kh - 1) * dh < height
    for c in range(channels):
        for i in range(kh):
            h = top + i * dh
            row = image + c * xc + h * xh + left * xw
            for j in range(kw):
                w = left + j * dw
                if inside or (h >= 0 and h < height and w >= 0 and w < width):
                    write_i32(target, j, read_i32(row + j * dw * xw, 0))
                else:
                    write_f32(target, j, _F(0.0))
            target += kw * 4
    return 0


def conv_pixels(step, ctx):
    """Words: x, y, columns, results; see `ops.convolution` for the attributes, in order."""
    x = word(ctx, word(step, 2)) + word(step, 3)
    y = word(ctx, word(step, 4)) + word(step, 5)
    columns = word(ctx, word(step, 6)) + word(step, 7)
    results = word(ctx, word(step, 8)) + word(step, 9)
    weights, bias, n_rows, groups = word(step, 10), word(step, 11), word(step, 12), word(step, 13)
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
    for g in range(groups):
        w, base = weights + g * padded * k * 4, bias + g * padded * 4
        first = 0
        while first < n_rows * pixels:  # pixels of all rows: a product sees as many as it can at once
            count = min(PIXELS, n_rows * pixels - first)
            for p in range(count):
                n, pixel = (first + p) // pixels, (first + p) % pixels
                top, left = pixel // out_width * sh - ph, pixel % out_width * sw - pw
                _window(columns + p * k * 4, x + n * xn + g * channels * xc, channels, kh, kw, dh, dw, top, left, height, width,
                        xc, xh, xw)
            many_rows(columns, k * 4, w, base, results, filters * 4, count, k, filters, segments)
            if activation != 0:
                call_block(activation, results, results, count * filters, parameters)
            for p in range(count):
                n, pixel = (first + p) // pixels, (first + p) % pixels
                to = y + n * yn + g * filters * yc + pixel // out_width * yh + pixel % out_width * yw
                for o in range(filters):
                    write_i32(to + o * yc, 0, read_i32(results, p * filters + o))
            first += count
    return 0


