"""Conv, MaxPool and AveragePool of one or two spatial dimensions."""

from __future__ import annotations

from typing import Any

import numpy as np

from cervello.errors import GraphError
from cervello.native.dims import written
from cervello.native.graph import Node
from cervello.native.lowering import Lowering
from cervello.native.ops.elementwise import activation
from cervello.native.ops.linear import PANEL, packed, segments_for
from cervello.native.ops.windows import Window, window
from cervello.native.planned import NotPlanned, lowers
from cervello.native.tensors import Address, Tensor, Weight

F32 = np.dtype(np.float32)
PIXELS = 24  # as the kernel's


def _planar(tensor: Tensor) -> tuple[Any, ...]:
    """Strides by batch, channel, row, column; a one-dimensional image is one row."""
    if len(tensor.shape) == 3:
        n, c, w = tensor.strides
        return n, c, 0, w
    if len(tensor.shape) == 4:
        return tensor.strides
    raise NotPlanned(f"{len(tensor.shape) - 2} spatial dimensions")


def _two(sizes: tuple[int, ...], fill: int) -> tuple[int, int]:
    return (fill, sizes[0]) if len(sizes) == 1 else (sizes[0], sizes[1])


def _geometry(lowering: Lowering, node: Node, kernel: tuple[int, ...] | None = None) -> Window:
    found = window(node, lowering.value(node.inputs[0]), kernel)
    if len(found.sizes) > 2:
        raise NotPlanned(f"{len(found.sizes)} spatial dimensions")
    return found


def _words(found: Window) -> list[int]:
    words: list[int] = [*_two(found.kernel, 1), *_two(found.strides, 1), *_two(found.dilations, 1), *_two(found.pads, 0)]
    return words


@lowers("Conv")
def _conv(lowering: Lowering, node: Node) -> None:
    source = lowering.tensor(node.inputs[0])
    w = lowering.constant(node.inputs[1])
    b = lowering.constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else None
    if source.dtype != F32 or w is None or (len(node.inputs) > 2 and node.inputs[2] and b is None):
        raise NotPlanned("weights that are not constant float32")
    found = _geometry(lowering, node, tuple(w.shape[2:]))
    groups = node.attributes.get("group", 1)
    filters, channels = w.shape[0] // groups, w.shape[1]
    if (source.shape[1] != channels * groups or w.shape[0] % groups or tuple(found.kernel) != w.shape[2:]
            or (b is not None and b.shape != w.shape[:1])):
        raise GraphError(f"node {node}: expected weights and bias that fit {written(source.shape)} in {groups} groups, got {w.shape} and "
                         f"{None if b is None else b.shape}")
    k = int(np.prod(w.shape[1:]))
    panels, biases = [], []
    for g in range(groups):
        panels.append(packed(w[g * filters:(g + 1) * filters].reshape(filters, k).T.astype(F32)).reshape(-1))
        row = np.zeros(-(-filters // PANEL) * PANEL, F32)
        if b is not None:
            row[:filters] = b[g * filters:(g + 1) * filters]
        biases.append(row)
    name = node.outputs[0]
    reader = lowering.only_reader(name)
    act = activation(lowering, reader) if reader is not None and reader.inputs[0] == name else None
    if act is not None and reader is not None:
        lowering.absorb(reader)
        name = reader.outputs[0]
    target = lowering.output(name, contiguous=False)
    columns, results = lowering.scratch((PIXELS * k,), F32), lowering.scratch((PIXELS * filters,), F32)
    block, parameters = act or (None, [])
    lowering.emit("convolution:conv", (source,), (target,), [
        Weight(np.concatenate(panels)), Weight(np.concatenate(biases)), source.shape[0], groups, channels, filters,
        *_two(found.sizes, 1), *_two(found.outputs, 1), *_words(found), *_planar(source), *_planar(target),
        segments_for(k, filters), Address(block) if block else 0, *parameters], scratch=(columns, results))


@lowers("MaxPool", "AveragePool")
def _pool(lowering: Lowering, node: Node) -> None:
    source = lowering.tensor(node.inputs[0])
    if source.dtype != F32:
        raise NotPlanned(f"no kernel for {source.dtype}")
    found = _geometry(lowering, node)
    if node.op == "AveragePool" and node.attributes.get("count_include_pad", 0) and node.attributes.get("ceil_mode", 0):
        raise NotPlanned("counted padding together with ceil_mode")
    target = lowering.output(node.outputs[0], contiguous=False)
    words = [*source.shape[:2], *_two(found.sizes, 1), *_two(found.outputs, 1), *_words(found), *_planar(source), *_planar(target)]
    if node.op == "AveragePool":
        words.append(node.attributes.get("count_include_pad", 0))
    lowering.emit(f"convolution:{'max' if node.op == 'MaxPool' else 'average'}_pool", (source,), (target,), words)
