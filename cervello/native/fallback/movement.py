"""numpy definitions of ops that move or rename elements, or create them from sizes."""

from __future__ import annotations

import numpy as np

from cervello.native.fallback.table import NUMPY, numpy_op
from cervello.native.graph.dtypes import Array
from cervello.native.graph.graph import Node


def _ints(array: Array) -> tuple[int, ...]:
    return tuple(int(value) for value in array.reshape(-1))


NUMPY.update({
    "Shape": lambda node, x: np.array(x.shape, np.int64)[node.attributes.get("start", 0):node.attributes.get("end", None)],
    "Size": lambda node, x: np.array(x.size, np.int64),
    "Squeeze": lambda node, x, axes=None: x.squeeze(None if axes is None else _ints(axes)),
    "Unsqueeze": lambda node, x, axes: np.expand_dims(x, _ints(axes)),
    "Transpose": lambda node, x: np.transpose(x, node.attributes.get("perm")),
    "Concat": lambda node, *xs: np.concatenate(xs, axis=node.attributes["axis"]),
    "Gather": lambda node, x, indices: np.take(x, indices.astype(np.int64), axis=node.attributes.get("axis", 0)),
    "Slice": lambda node, x, starts, ends, axes=None, steps=None: x[slices(x.ndim, starts, ends, axes, steps)],
    "Expand": lambda node, x, shape: np.broadcast_to(x, np.broadcast_shapes(x.shape, _ints(shape))),
    "Tile": lambda node, x, repeats: np.tile(x, _ints(repeats)),
    "Range": lambda node, start, limit, delta: np.arange(start.item(), limit.item(), delta.item()).astype(start.dtype),
})


@numpy_op("Reshape")
def _reshape(node: Node, x: Array, shape: Array) -> Array:
    keep_zero = bool(node.attributes.get("allowzero", 0))
    dims = [x.shape[i] if d == 0 and not keep_zero else int(d) for i, d in enumerate(shape.tolist())]
    return x.reshape(dims)


@numpy_op("Flatten")
def _flatten(node: Node, x: Array) -> Array:
    axis = node.attributes.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(int(np.prod(x.shape[:axis], dtype=np.int64)), -1)


def slices(n_dims: int, starts: Array, ends: Array, axes: Array | None, steps: Array | None) -> tuple[slice, ...]:
    """ONNX slice operands as Python slices."""
    found = [slice(None)] * n_dims
    steps_list = [1] * len(starts) if steps is None else steps.tolist()
    axes_list = list(range(len(starts))) if axes is None else axes.tolist()
    for start, end, axis, step in zip(starts.tolist(), ends.tolist(), axes_list, steps_list, strict=True):
        stop = None if step < 0 and end < -(1 << 31) + 2 else end
        found[axis] = slice(start, stop, step)
    return tuple(found)


@numpy_op("Split")
def _split(node: Node, x: Array, split: Array | None = None) -> tuple[Array, ...]:
    axis = node.attributes.get("axis", 0)
    if split is None:
        size = -(-x.shape[axis] // len(node.outputs))
        edges = [size * (i + 1) for i in range(len(node.outputs) - 1)]
    else:
        edges = np.cumsum(split)[:-1].tolist()
    return tuple(np.split(x, edges, axis=axis))


@numpy_op("ConstantOfShape")
def _constant_of_shape(node: Node, shape: Array) -> Array:
    value = np.asarray(node.attributes.get("value", np.zeros(1, np.float32)))
    return np.full(_ints(shape), value.reshape(-1)[0], value.dtype)


@numpy_op("Pad")
def _pad(node: Node, x: Array, pads: Array, value: Array | None = None, axes: Array | None = None) -> Array:
    places = list(range(x.ndim)) if axes is None else [int(a) % x.ndim for a in axes]
    amounts = [(0, 0)] * x.ndim
    for i, axis in enumerate(places):
        amounts[axis] = int(pads[i]), int(pads[len(pads) // 2 + i])
    inside = tuple(slice(max(-before, 0), size - max(-after, 0)) for size, (before, after) in zip(x.shape, amounts, strict=True))
    widths = [(max(before, 0), max(after, 0)) for before, after in amounts]
    mode = node.attributes.get("mode", "constant")
    if mode == "constant":
        return np.pad(x[inside], widths, constant_values=0 if value is None else np.asarray(value).reshape(()))
    return np.pad(x[inside], widths, mode=mode)


@numpy_op("OneHot")
def _one_hot(node: Node, indices: Array, depth: Array, values: Array) -> Array:
    count, axis = int(depth.reshape(()).item()), node.attributes.get("axis", -1)
    places = np.where(indices < 0, indices + count, indices)
    hot = np.expand_dims(places, axis) == np.arange(count).reshape(-1, *(1,) * (indices.ndim - axis % (indices.ndim + 1)))
    return np.asarray(np.where(hot, values[1], values[0]))
