"""Convolutions and poolings over three spatial axes, decomposed into two-dimensional ones.

A convolution treats the depths under a window as channels of an image, and each depth of the result as a separate picture. A pooling first
pools images, then the depth: a maximum of maxima, or a mean of means over equally many elements.
Source: ONNX operator specification, Conv-22, MaxPool-22, AveragePool-22.
"""

from __future__ import annotations

from typing import Any

from cervello.native.graph.dims import Dim, depends_on_rows, product
from cervello.native.graph.dtypes import F32
from cervello.native.graph.windows import Window, geometry
from cervello.native.passes.graph_builder import GraphBuilder, Results, decomposes

_SWAPPED = (0, 2, 1, 3, 4)  # depth and channels


def _volume(s: GraphBuilder, kernel: tuple[int, ...] | None = None) -> tuple[Dim, int, Window] | None:
    """Images, channels and windows of a float32 volume; None if the input is not one."""
    shape = s.shape(0)
    if s.dtype(0) != F32 or len(shape) != 5 or depends_on_rows(shape[1:]):
        return None
    channels, *sizes = (int(size) for size in shape[1:])  # type: ignore[arg-type]
    return shape[0], channels, geometry(s.node, tuple(sizes), kernel)


@decomposes("Conv")
def _conv(s: GraphBuilder) -> Results:
    w = s.data(1)
    if w is None or w.ndim != 5 or w.dtype != F32 or (found := _volume(s, w.shape[2:])) is None:
        return None
    images, channels, window = found
    groups = s.attribute("group", 1)
    filters, own, depth_taps, *flat = w.shape
    depths, (height, width) = window.outputs[0], window.sizes[1:]
    depth_first = s.transpose(s.input(0), *_SWAPPED)
    if window.pads[0] or window.ends[0]:
        depth_first = s.add("Pad", depth_first, s.constant([0, window.pads[0], 0, 0, 0, 0, window.ends[0], 0, 0, 0]), mode="constant")
    step, dilation, taps = window.strides[0], window.dilations[0], []
    for tap in range(depth_taps):
        first = tap * dilation
        some = s.add("Slice", depth_first, *(s.constant([value]) for value in (first, first + (depths - 1) * step + 1, 1, step)))
        taps.append(s.reshape(some, 0, 0, groups, own, height, width))
    joined = s.add("Concat", *taps, axis=3) if depth_taps > 1 else taps[0]
    pictures = s.reshape(joined, product((images, depths)), channels * depth_taps, height, width)
    weights = s.constant(w.transpose(0, 2, 1, 3, 4).reshape(filters, depth_taps * own, *flat), F32)
    y = s.add("Conv", pictures, weights, *([s.input(2)] if s.input(2) else []), group=groups, kernel_shape=tuple(flat), **_flat(window))
    return s.transpose(s.reshape(y, images, depths, filters, *window.outputs[1:]), *_SWAPPED)


def _flat(window: Window) -> dict[str, Any]:
    """The attributes of the windows over height and width."""
    return {"strides": window.strides[1:], "dilations": window.dilations[1:], "pads": (*window.pads[1:], *window.ends[1:])}


@decomposes("MaxPool", "AveragePool")
def _pool(s: GraphBuilder) -> Results:
    found = _volume(s)
    if found is None or any(s.node.outputs[1:]) or (s.attribute("count_include_pad", 0) and s.attribute("ceil_mode", 0)):
        return None
    images, channels, window = found
    ends = [max(0, (out - 1) * stride + (kernel - 1) * dilation + 1 - size - first) for out, stride, kernel, dilation, size, first in zip(
        window.outputs, window.strides, window.kernel, window.dilations, window.sizes, window.pads, strict=True)]
    counted: dict[str, Any] = {"count_include_pad": 1} if s.attribute("count_include_pad", 0) else {}
    depth, height, width = window.outputs
    pictures = s.reshape(s.input(0), images, channels * window.sizes[0], *window.sizes[1:])
    pooled = s.add(s.node.op, pictures, kernel_shape=window.kernel[1:], strides=window.strides[1:], dilations=window.dilations[1:],
                   pads=(*window.pads[1:], *ends[1:]), **counted)
    columns = s.reshape(pooled, images, channels, window.sizes[0], height * width)
    pooled = s.add(s.node.op, columns, kernel_shape=(window.kernel[0], 1), strides=(window.strides[0], 1),
                   dilations=(window.dilations[0], 1), pads=(window.pads[0], 0, ends[0], 0), **counted)
    return s.reshape(pooled, images, channels, depth, height, width)
