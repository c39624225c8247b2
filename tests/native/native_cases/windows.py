"""Convolutions and poolings."""

from __future__ import annotations

from typing import Any

import numpy as np
from native_graphs import Chain, one, rows, weights

from native_cases.case import Case


def _conv(x: tuple[int, ...], w: tuple[int, ...], activation: str | None = None, bias: bool = True, **attributes: Any) -> Any:
    c = Chain(x=rows(*x))
    y = c.add("Conv", "x", weights(*w), *([weights(w[0], seed=1)] if bias else []), **attributes)
    return c.model(c.add(activation, y) if activation else y)


def _images_last(width: int) -> Any:
    """NHWC through transposes, as keras exports have it."""
    c = Chain(x=rows(5, 4, 3))
    y = c.add("Conv", c.add("Transpose", "x", perm=[0, 3, 1, 2]), weights(width, 3, 2, 2), weights(width, seed=1))
    return c.model(c.add("Flatten", c.add("Transpose", c.add("Relu", y), perm=[0, 2, 3, 1])))


def _images_last_padded(width: int, channels: int = 5, size: int = 19, **attributes: Any) -> Any:
    """The same with a border and more than sixteen pixels in a row."""
    c = Chain(x=rows(6, size, channels))
    y = c.add("Conv", c.add("Transpose", "x", perm=[0, 3, 1, 2]), weights(width, channels, 3, 3), weights(width, seed=1), **attributes)
    return c.model(c.add("Flatten", c.add("Transpose", c.add("Relu", y), perm=[0, 2, 3, 1])))


def _beside_others(width: int) -> Any:
    """Pixels of fewer channels than a vector has lanes, with others' channels between them."""
    c = Chain(x=rows(5, 6, 16 - width % 16))
    y = c.add("Conv", c.add("Transpose", "x", perm=[0, 3, 1, 2]), weights(width, 16 - width % 16, 1, 1), weights(width, seed=1))
    return c.model(c.add("Relu", c.add("Concat", c.add("Transpose", y, perm=[0, 2, 3, 1]), "x", axis=3)))


def _upside_down(width: int) -> Any:
    """Rows from the bottom up, read where they lie."""
    c = Chain(x=rows(2, 6, width + 4))
    turned = c.add("Slice", "x", np.array([-1]), np.array([-99]), np.array([2]), np.array([-1]))
    return c.model(c.add("Conv", turned, weights(17, 2, 3, 3), weights(17, seed=1)))


CASES = [Case(name, build, tolerance=1e-5) for name, build in {
    "Conv-1d": lambda w: _conv((3, w + 2), (4, 3, 3)), "Conv-1d-filters": lambda w: _conv((2, 9), (w, 2, 3), "Tanh", strides=[2]),
    "Conv": lambda w: _conv((2, 5, w + 2), (3, 2, 3, 3)), "Conv-filters": lambda w: _conv((3, 6, 7), (w, 3, 3, 3), "Relu"),
    "Conv-many-taps": lambda w: _conv((35, 4, 5), (w + 17, 35, 3, 3), "Relu", strides=[2, 1]),
    "Conv-strides": lambda w: _conv((2, 7, w + 3), (3, 2, 3, 2), strides=[2, 3]),
    "Conv-pads": lambda w: _conv((2, 4, w), (5, 2, 3, 3), pads=[1, 0, 2, 3]),
    "Conv-dilations": lambda w: _conv((2, 7, w + 4), (3, 2, 2, 3), dilations=[3, 2]),
    "Conv-groups": lambda w: _conv((6, 4, w + 1), (9, 2, 2, 2), "Sigmoid", group=3),
    "Conv-depthwise": lambda w: _conv((w, 4, 4), (w, 1, 3, 3), group=w, pads=[1, 1, 1, 1], bias=False),
    "Conv-same-upper": lambda w: _conv((2, 5, w), (3, 2, 2, 4), auto_pad="SAME_UPPER", strides=[2, 2]),
    "Conv-same-lower": lambda w: _conv((2, 5, w), (3, 2, 2, 4), auto_pad="SAME_LOWER"),
    "Conv-valid": lambda w: _conv((2, 5, w + 2), (3, 2, 2, 3), auto_pad="VALID"), "Conv-images-last": _images_last,
    "Conv-upside-down": _upside_down, "Conv-beside-others": _beside_others,
    "Conv-one-pixel": lambda w: _conv((16, 4, 4), (w, 16, 4, 4), "Relu"),
    "Conv-few-pixels": lambda w: _conv((6, 5, 6), (3 * w, 2, 4, 4), "Elu", group=3),
    "Conv-images-last-pads": lambda w: _images_last_padded(w, pads=[1, 1, 1, 1]),
    "Conv-images-last-strides": lambda w: _images_last_padded(w, 20, 37, pads=[1, 0, 0, 2], strides=[2, 2]),
    "Conv-images-last-far": lambda w: _images_last_padded(w, 4, 21, pads=[0, 2, 1, 0], strides=[1, 3], dilations=[1, 2]),
    "MaxPool": lambda w: one("MaxPool", rows(2, 5, w + 1), kernel_shape=[2, 2], strides=[2, 1]),
    "MaxPool-1d": lambda w: one("MaxPool", rows(2, w + 2), kernel_shape=[3], dilations=[1], pads=[1, 1]),
    "MaxPool-pads": lambda w: one("MaxPool", rows(2, 5, w), kernel_shape=[3, 3], pads=[1, 2, 0, 1]),
    "MaxPool-dilations": lambda w: one("MaxPool", rows(2, 7, w + 2), kernel_shape=[3, 2], dilations=[2, 2]),
    "MaxPool-ceil": lambda w: one("MaxPool", rows(2, 5, w + 1), kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
    "MaxPool-same": lambda w: one("MaxPool", rows(2, 5, w), kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_UPPER"),
    "AveragePool": lambda w: one("AveragePool", rows(2, 5, w + 1), kernel_shape=[2, 2], strides=[2, 1]),
    "AveragePool-pads": lambda w: one("AveragePool", rows(2, 5, w), kernel_shape=[3, 3], pads=[1, 2, 0, 1]),
    "AveragePool-counted": lambda w: one("AveragePool", rows(2, 5, w), kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    "AveragePool-ceil": lambda w: one("AveragePool", rows(2, 5, w + 1), kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
    "AveragePool-1d": lambda w: one("AveragePool", rows(3, w + 1), kernel_shape=[2], strides=[1]),
    "Conv-3d": lambda w: _conv((2, 4, 3, w + 2), (5, 2, 2, 2, 3), "Relu", pads=[1, 0, 1, 0, 1, 0]),
    "Conv-3d-groups": lambda w: _conv((4, 7, 3, w), (6, 2, 3, 2, 1), group=2, strides=[2, 1, 1], dilations=[2, 1, 1], bias=False),
    "Conv-3d-same": lambda w: _conv((1, 5, 2, w), (3, 1, 2, 1, 2), auto_pad="SAME_UPPER", strides=[2, 1, 1]),
    "MaxPool-3d": lambda w: one("MaxPool", rows(2, 5, 4, w), kernel_shape=[2, 3, 1], strides=[2, 1, 1], pads=[1, 1, 0, 0, 1, 0],
                                ceil_mode=1),
    "MaxPool-3d-dilations": lambda w: one("MaxPool", rows(2, 5, 3, w + 2), kernel_shape=[2, 2, 2], dilations=[3, 1, 2]),
    "AveragePool-3d": lambda w: one("AveragePool", rows(2, 5, 4, w), kernel_shape=[3, 2, 1], pads=[1, 1, 0, 1, 0, 0]),
    "AveragePool-3d-counted": lambda w: one("AveragePool", rows(2, 5, 4, w), kernel_shape=[3, 2, 1], pads=[1, 1, 0, 1, 0, 0],
                                            count_include_pad=1),
    "GlobalAveragePool-3d": lambda w: one("GlobalAveragePool", rows(2, 3, 2, w)),
    "ConvTranspose-3d": lambda w: one("ConvTranspose", rows(4, 3, 2, w), weights(4, 3, 2, 2, 3), weights(6, seed=1), group=2,
                                      strides=[2, 1, 2], pads=[0, 1, 0, 1, 0, 1], output_padding=[1, 0, 0])}.items()]
