"""MaxPool and AveragePool in numpy, for element types and forms that have no kernel.

Source: ONNX MaxPool, AveragePool, opset 22.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from cervello.native.fallback.table import numpy_op
from cervello.native.graph.dtypes import Array
from cervello.native.graph.graph import Node
from cervello.native.graph.windows import Window, geometry


@numpy_op("MaxPool", "AveragePool")
def _pool(node: Node, x: Array) -> Array:
    """Stacks the elements of each window, masks those outside the image, and reduces over them."""
    found = geometry(node, x.shape[2:])
    taps, counted, inside = _taps(found, x)
    if node.op == "MaxPool":
        lowest = np.iinfo(x.dtype).min if x.dtype.kind in "iu" else -np.inf
        return np.asarray(np.where(inside, taps, np.asarray(lowest, x.dtype)).max(axis=0))
    total = np.where(inside, taps, np.zeros((), x.dtype)).sum(axis=0)
    weights = (counted if node.attributes.get("count_include_pad", 0) else inside).sum(axis=0)
    return np.asarray(total / np.maximum(weights, 1)).astype(x.dtype)


def _taps(found: Window, x: Array) -> tuple[Array, Array, Array]:
    """Elements [taps, N, C, outputs…]; masks [taps, 1, 1, outputs…] of those within the padded image, and within the image."""
    taps, counted, inside = [], [], []
    for offsets in itertools.product(*map(range, found.kernel)):
        places = [np.arange(out) * stride - pad + k * dilation
                  for out, stride, pad, k, dilation in zip(found.outputs, found.strides, found.pads, offsets, found.dilations, strict=True)]
        clipped = [np.clip(place, 0, size - 1) for place, size in zip(places, found.sizes, strict=True)]
        places_in: tuple[Any, ...] = np.ix_(*clipped)
        taps.append(x[(slice(None), slice(None), *places_in)])
        inside.append(_everywhere([(place >= 0) & (place < size) for place, size in zip(places, found.sizes, strict=True)]))
        counted.append(_everywhere([place < size + end for place, size, end in zip(places, found.sizes, found.ends, strict=True)]))
    shape = (len(taps), 1, 1, *found.outputs)
    return np.stack(taps), np.stack(counted).reshape(shape), np.stack(inside).reshape(shape)


def _everywhere(conditions: list[Array]) -> Array:
    result: Array = np.ones((), bool)
    for condition in conditions:
        result = result[..., None] & condition
    return result
