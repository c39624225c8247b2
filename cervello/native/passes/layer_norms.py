"""Fuses layer normalisations written as single ops: ReduceMean, Sub, Pow or Mul, ReduceMean, Add, Sqrt, Div, Mul, Add.

One kernel computes the mean of a row, then the mean square about it, as the file does. Scale and shift are included if they are constants
of a row. The order of sums differs from the single nodes, so the last bits differ; results depend on the row only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod

import numpy as np
import onnx

from cervello.native.graph.dtypes import F32, Array
from cervello.native.graph.graph import Node
from cervello.native.graph.values import Value, known


def with_layer_norms(nodes: Sequence[Node], values: dict[str, Value], outputs: Sequence[str]) -> list[Node]:
    """The nodes with written-out normalisations replaced; `values` gains their constants.

    Args:
      outputs: names that callers see.
    """
    roots = {name: node for node in nodes for name in node.outputs if node.op == "Sqrt" and not node.domain}
    if not roots:
        return list(nodes)
    producers = {name: node for node in nodes for name in node.outputs if name}
    reads = Counter(name for node in nodes for name in node.inputs if name)
    reads.update(outputs)
    readers = {name: node for node in nodes for name in node.inputs if reads[name] == 1}
    replaced: dict[int, Node] = {}
    removed: set[int] = set()
    for node in nodes:
        found = None if node.domain or node.op not in ("Div", "Mul") else _normalised(node, producers, values)
        if found is None:
            continue
        x, axis, epsilon, chain = found
        inside = {name for member in chain for name in member.outputs}
        read = Counter(name for member in (*chain, node) for name in member.inputs)
        if any(read[name] != reads[name] for name in inside):
            continue  # an intermediate value has another consumer
        row_sizes = tuple(int(size) for size in (values[x].shape or ())[axis:])  # type: ignore[arg-type]
        last, scale, shift = _scaled(node, row_sizes, readers, values)
        name = last.outputs[0]
        operands = [x]
        for what, data in (("scale", np.ones(row_sizes, F32) if scale is None else scale), ("shift", shift)):
            if data is not None:
                operands.append(f"{name}/{what}")
                values[operands[-1]] = known(operands[-1], np.ascontiguousarray(data))
        replaced[last.index] = replace(last, op="LayerNormalization", inputs=tuple(operands), opset=onnx.defs.onnx_opset_version(),
                                       attributes={"axis": axis, "epsilon": epsilon})
        removed.update(member.index for member in chain)
        while node is not last:
            removed.add(node.index)
            node = readers[node.outputs[0]]
    return [replaced.get(node.index, node) for node in nodes if node.index not in removed]


def _normalised(node: Node, producers: Mapping[str, Node], values: Mapping[str, Value]) -> tuple[str, int, float, list[Node]] | None:
    """(x − mean) / √(variance + ε), or the same times the reciprocal: x, the first axis of a row, ε, and the nodes before this one."""
    for centre, spread in (node.inputs, node.inputs[::-1]) if node.op == "Mul" else (node.inputs,):
        root, subtracted = producers.get(spread), producers.get(centre)
        chain: list[Node] = []
        if node.op == "Mul":
            if root is None or root.op != "Reciprocal":
                continue
            chain.append(root)
            root = producers.get(root.inputs[0])
        added = None if root is None or root.op != "Sqrt" else producers.get(root.inputs[0])
        if added is None or root is None or added.op != "Add" or subtracted is None or subtracted.op != "Sub":
            continue
        for name, constant in (added.inputs, added.inputs[::-1]):
            epsilon, variance = values[constant].constant, producers.get(name)
            squared = None if variance is None or variance.op != "ReduceMean" else producers.get(variance.inputs[0])
            if squared is None or variance is None or epsilon is None or epsilon.size != 1:
                continue
            squared_name, mean = _square_of(squared, values), producers.get(subtracted.inputs[1])
            x, other = subtracted.inputs[0], producers.get(squared_name)
            if mean is None or mean.op != "ReduceMean" or mean.inputs[0] != x or other is None or other.op != "Sub":
                continue
            axis = _row_axis(mean, values)
            members = {each.index: each for each in (*chain, root, added, variance, squared, other, mean, subtracted)}
            fits = other.inputs == subtracted.inputs and axis is not None and axis == _row_axis(variance, values)
            if fits and not any(each.domain for each in members.values()) and all(
                    values[each.outputs[0]].dtype == F32 for each in members.values()) and values[x].dtype == F32:
                assert axis is not None
                return x, axis, float(epsilon.reshape(())), list(members.values())
    return None


def _square_of(node: Node, values: Mapping[str, Value]) -> str:
    """The name of the value that a node squares; "" if it is not a square."""
    if node.op == "Mul" and node.inputs[0] == node.inputs[1]:
        return node.inputs[0]
    exponent = values[node.inputs[1]].constant if node.op == "Pow" else None
    return node.inputs[0] if exponent is not None and exponent.size == 1 and exponent.reshape(()) == 2 else ""


def _row_axis(node: Node, values: Mapping[str, Value]) -> int | None:
    """The first of the axes of a mean that keeps them, where they are all the last ones and of known sizes."""
    shape = values[node.inputs[0]].shape
    axes = values[node.inputs[1]].constant if len(node.inputs) > 1 and node.inputs[1] else None
    if shape is None or axes is None or not axes.size or not node.attributes.get("keepdims", 1):
        return None
    found = {int(axis) % len(shape) for axis in axes.reshape(-1)}
    first = min(found)
    sizes = shape[first:]
    if found != set(range(first, len(shape))) or not all(isinstance(size, int) for size in sizes):
        return None
    return first if prod(sizes) else None


def _scaled(node: Node, row_sizes: tuple[int, ...], readers: Mapping[str, Node], values: Mapping[str, Value]) -> tuple[Node, Array | None,
                                                                                                                 Array | None]:
    """The last node of a normalisation, its scale and its shift, as far as its only readers apply constants of a row."""
    scale = _row_constant(readers.get(node.outputs[0]), "Mul", node.outputs[0], row_sizes, values)
    if scale is not None:
        node = readers[node.outputs[0]]
    shift = _row_constant(readers.get(node.outputs[0]), "Add", node.outputs[0], row_sizes, values)
    if shift is not None:
        node = readers[node.outputs[0]]
    return node, scale, shift


def _row_constant(node: Node | None, op: str, name: str, row_sizes: tuple[int, ...], values: Mapping[str, Value]) -> Array | None:
    """The constant that a node of this op applies to every row, as large as a row."""
    if node is None or node.op != op or node.domain or values[node.outputs[0]].shape != values[name].shape:
        return None
    other = node.inputs[1] if node.inputs[0] == name else node.inputs[0]
    data = values[other].constant
    if data is None or data.dtype != F32 or any(size != 1 for size in data.shape[:max(data.ndim - len(row_sizes), 0)]):
        return None
    return np.broadcast_to(data.reshape(data.shape[max(data.ndim - len(row_sizes), 0):]), row_sizes)
