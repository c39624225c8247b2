"""Extents of convolutions and poolings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cervello.native.kernels.sizes import FILTERS, PANEL, PIXELS
from cervello.native.memory.extents.declaration import content, expect, kernel
from cervello.native.memory.extents.loops import in_place_activation
from cervello.native.memory.extents.spans import Span, covered, dense, joined, round_up


def _image(w: Any) -> Span:
    """The span of the whole input."""
    return covered((0, 4), [w.images, w.groups * w.channels, w.height, w.width], w.x_by)


def _taps(w: Any, n_bytes: int) -> Span:
    """The span of all taps relative to a pixel's address; a tap has n_bytes."""
    offsets = content(w.offsets)
    expect(offsets.dtype == "int64" and offsets.size >= w.k, f"{w.k} offsets of taps", offsets.shape)
    taps = offsets.reshape(-1)[:w.k]
    return (int(taps.min()), int(taps.max()) + n_bytes) if w.k and n_bytes > 0 else None


@kernel("convolution:by_pixels")
def _by_pixels(w: Any) -> Mapping[str, Span]:
    in_place_activation(w)
    expect(min(w.sh, w.sw) > 0, "strides of at least 1", (w.sh, w.sw))
    pixels = (w.out_height - 1) * w.columns + w.out_width
    taps, filters = _taps(w, pixels * 4), w.groups * w.filters
    by_image = w.x_by[0], w.channels * w.x_by[1]
    y = covered((0, 4), [w.images, filters, w.out_height, w.out_width], w.y_by)
    beside = covered(dense(pixels * 4), [w.images, filters], w.y_by[:2]) if w.direct else None
    found = {"results": dense((FILTERS - 1) * round_up(pixels, 16) * 4 + pixels * 4 if pixels > 0 else 0),
             "y": joined(y, beside),
             **_weights(w, w.groups * -(-w.filters // FILTERS) * FILTERS)}
    if w.in_place:
        return {**found, "x": covered(taps, [w.images, w.groups], by_image)}
    whole_copy = w.channels * w.sh * w.sw * w.rows * w.columns * 4
    return {**found, "x": _image(w), "copied": joined(dense(whole_copy), taps)}


@kernel("convolution:by_filters")
def _by_filters(w: Any) -> Mapping[str, Span]:
    in_place_activation(w)
    filters = w.groups * w.filters
    windows = covered(_taps(w, 4), [w.out_height, w.out_width], [w.down, w.right])
    found = {"results": dense(PIXELS * round_up(w.filters, 16) * 4), "windows": dense(PIXELS * 8),
             "y": covered((0, 4), [w.images, filters, w.out_height, w.out_width], w.y_by),
             **_weights(w, w.groups * round_up(w.filters, PANEL))}
    by_image = w.x_by[0], w.channels * w.x_by[1]
    if w.in_place:
        return {**found, "x": covered(windows, [w.images, w.groups], by_image)}
    x = _image(w)
    if w.by_pixel:
        x = covered(dense(w.width * w.channels * 4), [w.height, w.images, w.groups], [w.x_by[2], *by_image])
    return {**found, "x": x, "copied": joined(dense(w.channels * w.rows * w.columns * 4), windows)}


def _weights(w: Any, columns: int) -> dict[str, Span]:
    return {"weights": dense(columns * w.k * 4), "bias": dense(columns * 4), "offsets": dense(w.k * 8)}


@kernel("pooling:max_pool pooling:average_pool")
def _pool(w: Any) -> Mapping[str, Span]:
    return {"x": covered((0, 4), [w.images, w.channels, w.height, w.width], w.x_by), "row": dense(w.width * 4),
            "y": covered((0, 4), [w.images, w.channels, w.out_height, w.out_width], w.y_by)}
