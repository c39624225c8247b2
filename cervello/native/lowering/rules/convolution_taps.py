"""Offsets of a convolution's taps for both of its kernels, and a cost estimate of each kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cervello.native.graph.dtypes import Array
from cervello.native.kernels.sizes import FILTERS
from cervello.native.shapes.rules.windows import Window

_CYCLES_PER_TERM = {0: 0.0, 1: 5.4, 2: 8.5}  # cycles per term of 8 filters on 0 to 2 vectors of pixels; on three, 12.7
_SPLIT = {1: 8, 2: 14, 4: 22}  # by stride: cycles to split a vector of pixels and its neighbours
_GATHER = 30  # cycles for a vector whose pixels are not adjacent
_L1_ELEMENTS = 4096  # float32 in the first-level cache beside the weights


def rows_and_columns(sizes: tuple[int, ...], fill: int) -> tuple[int, int]:
    """Rows and columns; a one-dimensional image is one row."""
    return (fill, sizes[0]) if len(sizes) == 1 else (sizes[0], sizes[1])


@dataclass(frozen=True, slots=True)
class OverPixels:
    """Lanes over pixels: planes [channels, sh, sw, rows, columns], or the image itself.

    Attributes:
      offsets: [K] int64 bytes from a pixel to each of its taps.
      pixels: computed pixels, including those between the ends of rows.
      copied: float32 of the padded image; 0 in place.
      copy_cycles: estimated cycles of the copy.
    """

    in_place: bool
    offsets: Array
    rows: int
    columns: int
    pixels: int
    copied: int
    copy_cycles: float

    def cycles(self, filters: int, k: int) -> float:
        """An estimate for one image."""
        vectors = -(-self.pixels // 16)
        each = vectors // 3 * 12.7 + _CYCLES_PER_TERM[vectors % 3]
        blocks = filters // FILTERS + (0 if filters % FILTERS == 0 else 0.6 if filters % FILTERS <= 4 else 1)
        return blocks * k * each + self.copy_cycles + filters * vectors * 6


@dataclass(frozen=True, slots=True)
class OverFilters:
    """Lanes over filters: a padded image of one plane per channel or of pixels, or the image itself.

    Attributes:
      down, right: bytes from one output pixel's window to the next one's.
      by_pixel: whether channels lie side by side.
    """

    in_place: bool
    by_pixel: bool
    offsets: Array
    rows: int
    columns: int
    down: int
    right: int
    pixels: int
    copied: int
    copy_cycles: float

    def cycles(self, filters: int, k: int) -> float:
        """An estimate for one image."""
        tiles = self.pixels / 8 if self.in_place else -(-self.pixels // 8)  # in place, tiles continue in the next image
        wide, left = divmod(filters, 32)
        half = 0 < left <= 16
        wide += left > 16
        each = (9.1 * wide + 5.8 * half) * tiles
        return k * each + self.copy_cycles + self.pixels * (12 + filters * 0.6)




def over_pixels(found: Window, channels: int, strides: tuple[Any, ...]) -> OverPixels:
    """Taps for lanes over pixels."""
    (kh, kw), (sh, sw), (dh, dw) = (rows_and_columns(sizes, 1) for sizes in (found.kernel, found.strides, found.dilations))
    out_height, out_width = rows_and_columns(found.outputs, 1)
    _, xc, xh, xw = strides
    in_place = _inside(found) and (sh, sw, xw) == (1, 1, 4) and xh >= 0 and xh % 4 == 0  # rows may be in reverse order
    rows, columns = out_height + (kh - 1) * dh // sh, out_width + (kw - 1) * dw // sw
    plane = rows * columns * 4
    if in_place:
        columns = xh // 4 if rows_and_columns(found.sizes, 1)[0] > 1 else columns
        channel, row = xc, columns * 4
    else:
        channel, row = plane * sh * sw, columns * 4
    i, j = np.arange(kh)[:, None] * dh, np.arange(kw) * dw
    planes = 0 if in_place else (i % sh * sw + j % sw) * plane
    offsets = _over_channels(channels, channel, planes + i // sh * row + j // sw * 4)
    copied = 0 if in_place else channels * sh * sw * rows * columns
    vectors = sh * rows * -(-columns // 16)  # of a channel, or of 16 channels side by side
    copy_cycles = vectors * (90 * sw * -(-channels // 16) if xc == 4 and channels >= 4
                             else channels * (_SPLIT[sw] if xw == 4 and sw in _SPLIT else _GATHER * sw)) + _cache_miss_cycles(copied)
    return OverPixels(in_place, offsets, rows, columns, (out_height - 1) * columns + out_width, copied, 0.0 if in_place else copy_cycles)


def over_filters(found: Window, channels: int, strides: tuple[Any, ...], groups: int) -> OverFilters:
    """Taps for lanes over filters."""
    (kh, kw), (sh, sw), (dh, dw) = (rows_and_columns(sizes, 1) for sizes in (found.kernel, found.strides, found.dilations))
    out_height, out_width = rows_and_columns(found.outputs, 1)
    _, xc, xh, xw = strides
    rows, columns = (out_height - 1) * sh + (kh - 1) * dh + 1, (out_width - 1) * sw + (kw - 1) * dw + 1
    in_place = _inside(found)
    by_pixel = not in_place and groups == 1 and xc == 4 and xw == channels * 4
    if in_place:
        channel, row, column = xc, xh, xw
    elif by_pixel:
        channel, row, column = 4, columns * channels * 4, channels * 4
    else:
        channel, row, column = rows * columns * 4, columns * 4, 4
    offsets = _over_channels(channels, channel, np.arange(kh)[:, None] * dh * row + np.arange(kw) * dw * column)
    copied = 0 if in_place else channels * rows * columns
    a_vector = _SPLIT[1] if xw == 4 else _GATHER
    copy_cycles = 4 * rows * -(-columns * channels // 16) if by_pixel else channels * rows * -(-columns // 16) * a_vector
    return OverFilters(in_place, by_pixel, offsets, rows, columns, sh * row, sw * column, out_height * out_width, copied,
                       0.0 if in_place else copy_cycles + _cache_miss_cycles(copied))


def _cache_miss_cycles(copied: int) -> float:
    """Additional cycles of a copy and its reads if it does not fit the first-level cache."""
    return copied / 2 if copied > _L1_ELEMENTS else 0.0


def _over_channels(channels: int, step: Any, window: Array) -> Array:
    """[channels * window] offsets, in the order of the weights."""
    return (np.arange(channels, dtype=np.int64)[:, None] * int(step) + window.reshape(-1)).reshape(-1)


def _inside(found: Window) -> bool:
    """Whether every window lies in the image."""
    return not any(found.pads) and all((out - 1) * stride + (kernel - 1) * dilation < size for size, out, kernel, stride, dilation in zip(
        found.sizes, found.outputs, found.kernel, found.strides, found.dilations, strict=True))
