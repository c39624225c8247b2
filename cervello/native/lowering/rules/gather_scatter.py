"""GatherElements, GatherND, ScatterElements, ScatterND, TopK: elements by computed indices."""

from __future__ import annotations

from typing import Any

import numpy as np

from cervello.native.graph.dims import Affine, product
from cervello.native.graph.dtypes import F32, I32, I64
from cervello.native.graph.graph import Node
from cervello.native.graph.tensors import Tensor
from cervello.native.lowering.loop_nests import collapse, fixed, padded
from cervello.native.lowering.lowering import Lowering
from cervello.native.lowering.registry import NoKernelError, lowers
from cervello.native.lowering.rules.reductions import with_axis_last
from cervello.native.shapes.rules.basic import axis_of

_INDEX_TYPES = (I64, I32)
_MODES = {"none": 0, "add": 1, "mul": 2, "max": 3, "min": 4}
_KINDS = {F32: 0, I64: 1, I32: 2}
_DEPTH = 5


def _indices(lowering: Lowering, name: str) -> Tensor:
    tensor = lowering.tensor(name)
    if tensor.dtype not in _INDEX_TYPES:
        raise NoKernelError("indices that are not int32 or int64")
    return tensor


def _mode(node: Node, tensor: Tensor) -> dict[str, Any]:
    """The words for the reduction and the kind of numbers."""
    mode = _MODES.get(node.attributes.get("reduction", "none"))
    if mode is None or (mode and tensor.dtype not in _KINDS):
        raise NoKernelError(f"no kernel for reduction {node.attributes['reduction']!r} of {tensor.dtype}")
    return {"mode": mode, "kind": _KINDS.get(tensor.dtype, 0)}


def _by_element(data: Tensor, indices: Tensor, other: Tensor, axis: int) -> dict[str, Any]:
    """The words of a loop over all indices, by name."""
    off_axis = tuple(0 if i == axis else stride for i, stride in enumerate(data.strides))
    sizes, steps = collapse(indices.shape, [off_axis, indices.strides, other.strides])
    sizes, steps = padded(sizes, steps, 5)
    return {"itemsize": data.itemsize, "index_bytes": indices.itemsize, "size": data.shape[axis], "axis_by": data.strides[axis],
            "sizes": sizes, "data_by": steps[0], "indices_by": steps[1], "values_by": steps[2]}


@lowers("GatherElements")
def _gather_elements(lowering: Lowering, node: Node) -> None:
    data, indices = lowering.tensor(node.inputs[0]), _indices(lowering, node.inputs[1])
    axis = axis_of(node, node.attributes.get("axis", 0), len(data.shape))
    fixed(data.shape[axis], "rows picked across the batch")
    target = lowering.output(node.outputs[0])
    lowering.emit("gather_scatter:gather_elements", (data, indices), (target,), **_by_element(data, indices, target, axis))


@lowers("ScatterElements", "Scatter")
def _scatter_elements(lowering: Lowering, node: Node) -> None:
    data, indices, updates = lowering.tensor(node.inputs[0]), _indices(lowering, node.inputs[1]), lowering.tensor(node.inputs[2])
    axis = axis_of(node, node.attributes.get("axis", 0), len(data.shape))
    fixed(data.shape[axis], "rows placed across the batch")
    mode = _mode(node, data)
    target = _copied(lowering, data, node.outputs[0])
    lowering.emit("gather_scatter:scatter_elements", (updates, indices), (target,), **_by_element(target, indices, updates, axis), **mode)


def _copied(lowering: Lowering, data: Tensor, name: str) -> Tensor:
    target = lowering.output(name)
    lowering.copy(data, target)
    return target


def _by_tuple(node: Node, whole: Tensor, indices: Tensor, batch_axes: int) -> dict[str, Any]:
    """The words of index tuples that select blocks of a contiguous tensor, by name."""
    depth = indices.shape[-1]
    batch_sizes, data_sizes = whole.shape[:batch_axes], whole.shape[batch_axes:]
    if isinstance(depth, Affine) or depth > _DEPTH:
        raise NoKernelError(f"tuples of {depth} indices")
    sizes = [fixed(size, "rows picked across the batch") for size in data_sizes[:depth]]
    unused = [0] * (_DEPTH - depth)
    return {"batches": product(batch_sizes), "tuples": product(indices.shape[batch_axes:-1]), "depth": depth,
            "index_bytes": indices.itemsize, "block": product(data_sizes[depth:]) * whole.itemsize,
            "batch_by": product(data_sizes) * whole.itemsize, "sizes": [*sizes, *unused],
            "strides": [*whole.strides[batch_axes:batch_axes + depth], *unused]}


@lowers("GatherND")
def _gather_nd(lowering: Lowering, node: Node) -> None:
    data, indices = lowering.contiguous(lowering.tensor(node.inputs[0])), lowering.contiguous(_indices(lowering, node.inputs[1]))
    words = _by_tuple(node, data, indices, node.attributes.get("batch_dims", 0))
    lowering.emit("gather_scatter:gather_nd", (data, indices), (lowering.output(node.outputs[0]),), **words)


@lowers("ScatterND")
def _scatter_nd(lowering: Lowering, node: Node) -> None:
    data, indices = lowering.tensor(node.inputs[0]), lowering.contiguous(_indices(lowering, node.inputs[1]))
    updates = lowering.contiguous(lowering.tensor(node.inputs[2]))
    mode = _mode(node, data)
    _by_tuple(node, data, indices, 0)  # raises before the output is copied
    target = _copied(lowering, data, node.outputs[0])
    lowering.emit("gather_scatter:scatter_nd", (updates, indices), (target,), **_by_tuple(node, target, indices, 0), **mode)


@lowers("TopK")
def _top_k(lowering: Lowering, node: Node) -> None:
    source = lowering.float_tensor(node.inputs[0])
    axis = axis_of(node, node.attributes.get("axis", -1), len(source.shape))
    n = fixed(source.shape[axis], "rows compared across the batch")
    ready, back = with_axis_last(lowering, source, axis)
    ready = lowering.contiguous(ready)
    k = lowering.shape(node.outputs[0] or node.outputs[1])[axis]
    shape = (*ready.shape[:-1], k)
    values, places = lowering.scratch(shape, F32), lowering.scratch(shape, np.int64)
    lowering.emit("gather_scatter:top_k", (ready,), (values, places), rows=product(ready.shape[:-1]), n=n, k=k,
                  largest=node.attributes.get("largest", 1))
    for name, found in zip(node.outputs, (values, places), strict=False):
        if name:
            lowering.alias(name, found.transposed(back))
