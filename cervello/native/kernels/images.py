"""Padded copies of images for convolutions, split by stride for lanes over pixels; layout changes of results; prefetching."""

from __future__ import annotations

import numpy as np

from cervello.codegen.compiler import noinline
from cervello.codegen.memory import prefetch, read_i32, write_i32
from cervello.codegen.simd import gather, load_masked, splat, store_masked
from cervello.native.kernels.transpose import make_split, transpose_16x16

_F = np.float32
_split_1, _split_2, _split_4 = make_split(1), make_split(2), make_split(4)


@noinline
def prefetch_images(x, xn, channels, xc, xh, xw, height, width, pixels, first, end):
    """Prefetches the part of the images below output pixels first … end, counted across images of `pixels` pixels, xn bytes apart. The
    hardware prefetcher does not predict the access pattern of windows."""
    planes = 1 if xc < xw else channels  # adjacent channels form one plane with longer pixels
    while first < end:
        n, p = first // pixels, first % pixels
        some = min(end - first, pixels - p)
        top, bottom = p * height // pixels, (p + some) * height // pixels
        for c in range(planes):
            for h in range(top, bottom):
                row = x + n * xn + c * xc + h * xh
                for line in range(0, width * xw, 64):
                    prefetch(row + line)
        first += some
    return 0


@noinline
def pad_row(target, part_bytes, columns, source, before, width, stride_bytes, step):
    """Copies a row after `before` zeros: column u goes to index u // step of part u % step; parts have `columns` elements, zero-padded."""
    if stride_bytes == 4 and (step == 1 or step == 2 or step == 4):
        at, u = 0, 0
        while at < columns:
            first, left = source + (u - before) * 4, columns - at
            if step == 1:
                _split_1(first, before - u, before + width - u, target + at * 4, part_bytes, left)
            elif step == 2:
                _split_2(first, before - u, before + width - u, target + at * 4, part_bytes, left)
            else:
                _split_4(first, before - u, before + width - u, target + at * 4, part_bytes, left)
            at += 16
            u += 16 * step
        return 0
    for part in range(step):
        first = part - before  # the image's column at index 0
        start = 0 if first >= 0 else (-first + step - 1) // step
        end = 0 if first >= width else (width - 1 - first) // step + 1
        at = 0
        while at < columns:
            store_masked(target + at * 4, splat(_F(0.0)), columns - at)
            at += 16
        at, end = min(start, columns), min(end, columns)
        while at < end:
            values = gather(source + (first + at * step) * stride_bytes, step * stride_bytes, end - at)
            store_masked(target + at * 4, values, end - at)
            at += 16
        target += part_bytes
    return 0


@noinline
def planes(target, image, channels, xc, xh, xw, height, width, rows, columns, sh, sw, ph, pw):
    """Copies an image to planes [channels, sh, sw, rows, columns]: plane (a, b) holds padded rows a, a + sh, … and columns b, b + sw, …"""
    plane = rows * columns * 4
    for c in range(channels):
        for r in range(rows):
            for a in range(sh):
                h = r * sh + a - ph
                to = target + a * sw * plane + r * columns * 4
                if h >= 0 and h < height:
                    pad_row(to, plane, columns, image + c * xc + h * xh, pw, width, xw, sw)
                else:
                    pad_row(to, plane, columns, image, 0, 0, 4, sw)
        target += sh * sw * plane
    return 0


@noinline
def planes_from_pixels(target, image, channels, xh, xw, height, width, rows, columns, sh, sw, ph, pw):
    """Like `planes`, for an image with adjacent channels; does not write the padding, which must already be zero."""
    plane = rows * columns * 4
    for h in range(height):
        r, a = (h + ph) // sh, (h + ph) % sh
        for b in range(sw if r >= 0 and r < rows else 0):  # r < 0: rows removed by negative padding
            first = b - pw  # the image's column at index 0
            u = 0 if first >= 0 else (-first + sw - 1) // sw
            end = min(columns, 0 if first >= width else (width - 1 - first) // sw + 1)
            while u < end:
                source, to = image + h * xh + (first + u * sw) * xw, target + (a * sw + b) * plane + (r * columns + u) * 4
                for c in range(0, channels, 16):
                    transpose_16x16(source + c * 4, sw * xw, to + c * sh * sw * plane, sh * sw * plane,
                                    min(16, end - u), min(16, channels - c))
                u += 16
    return 0


@noinline
def pad_pixels(target, image, channels, xh, height, width, rows, columns, ph, pw):
    """Copies an image [height, width, channels] with contiguous rows to [rows, columns, channels], zero-padded."""
    for r in range(rows):
        h = r - ph
        if h >= 0 and h < height:
            pad_row(target, 0, columns * channels, image + h * xh, pw * channels, width * channels, 4, 1)
        else:
            pad_row(target, 0, columns * channels, image, 0, 0, 4, 1)
        target += columns * channels * 4
    return 0


@noinline
def store_rows(target, source, row, out_height, out_width, yh, yw):
    """Copies rows of pixels, `row` pixels apart in the source, to a plane of row stride yh and pixel stride yw."""
    for r in range(out_height):
        at, to = source + r * row * 4, target + r * yh
        if yw == 4:
            q = 0
            while q < out_width:
                store_masked(to + q * 4, load_masked(at + q * 4, out_width - q), out_width - q)
                q += 16
        else:
            for q in range(out_width):
                write_i32(to + q * yw, 0, read_i32(at, q))
    return 0


@noinline
def store_pixels(target, source, ldo, row, channels, out_height, out_width, yh, yw):
    """Copies up to 16 planes, ldo bytes apart, whose rows are `row` pixels apart, to pixels with adjacent channels."""
    for r in range(out_height):
        for q in range(0, out_width, 16):
            transpose_16x16(source + (r * row + q) * 4, ldo, target + r * yh + q * yw, yw, channels, min(16, out_width - q))
    return 0


@noinline
def fill_zeros(target, count):
    """Writes `count` float32 zeros."""
    i = 0
    while i < count:
        store_masked(target + i * 4, splat(_F(0.0)), count - i)
        i += 16
    return 0
