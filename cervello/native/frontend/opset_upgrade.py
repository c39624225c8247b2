"""Brings older forms of ops to their newest: attributes that became inputs, defaults that changed.

Source: ONNX operator changelog. Clip (11), Slice (10), Split (13), Squeeze and Unsqueeze (13), reductions (13, 18), Pad (11),
Dropout (any: identity at inference, its mask all true), Softmax, LogSoftmax, Hardmax (13: axis -1 instead of a 2-D view from axis 1),
GridSample (20: other names of its modes). Trees of ai.onnx.ml are gathered to one attribute.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx

from cervello.errors import UnsupportedError
from cervello.native.frontend.trees import with_forest
from cervello.native.graph.graph import Graph, Node
from cervello.native.graph.op_table import REDUCTIONS

_ROW_OPS = frozenset({"Softmax", "LogSoftmax", "Hardmax"})
_TRUE = np.ones(1, bool)


def upgrade_opset(graph: Graph) -> Graph:
    """A graph whose nodes have the newest form of their ops."""
    constants = dict(graph.constants)
    nodes = []
    tried: Counter[str] = Counter()

    def constant(node: Node, what: str, value: Any, dtype: Any = np.int64) -> str:
        first = name = f"{node.outputs[0]}/{what}"
        while name in constants:
            tried[first] += 1
            name = f"{first}'{tried[first]}"
        constants[name] = np.asarray(value, dtype)
        return name

    for node in graph.nodes:
        if node.domain:
            nodes.append(with_forest(node))
        elif node.op == "Dropout":
            nodes += _without_dropout(node, constants)
        else:
            nodes.append(_upgraded(node, constant))
    return replace(graph, nodes=tuple(nodes), constants=constants)


def _upgraded(node: Node, constant: Any) -> Node:
    attributes, inputs = dict(node.attributes), list(node.inputs)

    def moved(*names: str, dtype: Any = np.int64) -> None:
        """Turns attributes into inputs at the end, keeping their order."""
        for name in names:
            value = attributes.pop(name, None)
            inputs.append("" if value is None else constant(node, name, value, dtype))

    if node.op in (*REDUCTIONS, "Squeeze", "Unsqueeze") and "axes" in attributes:
        inputs = inputs[:1]
        moved("axes")
    elif node.op == "Clip" and node.opset < 11:
        inputs = inputs[:1]
        moved("min", "max", dtype=np.float32)
    elif node.op == "Slice" and node.opset < 10:
        inputs = inputs[:1]
        moved("starts", "ends", "axes")
    elif node.op == "Split" and "split" in attributes:
        inputs = inputs[:1]
        moved("split")
    elif node.op == "Pad" and node.opset < 11:
        inputs = inputs[:1]
        moved("pads")
        moved("value", dtype=np.float32)
    elif node.op == "GridSample" and node.opset < 20:
        mode = attributes.get("mode", "bilinear")
        attributes["mode"] = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    elif node.op in _ROW_OPS:
        if node.opset < 13:
            attributes["flatten"] = 1  # everything from the axis on is one row
            attributes.setdefault("axis", 1)
        attributes.setdefault("axis", -1)
    elif node.op == "Cast":
        try:
            attributes["to"] = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(attributes["to"]))
        except (KeyError, TypeError) as error:
            raise UnsupportedError(f"node {node}: expected a known element type, got {attributes.get('to')}") from error
        if attributes["to"].kind == "O":
            raise UnsupportedError(f"node {node}: expected numbers, got a cast to strings")
    else:
        return node
    return replace(node, attributes=attributes, inputs=tuple(inputs), opset=onnx.defs.onnx_opset_version())


def _without_dropout(node: Node, constants: Mapping[str, Any]) -> list[Node]:
    """Dropout while inferring: the value as it is, and a mask that keeps everything."""
    _, ratio, training = (*node.inputs, "", "")[:3]
    if training and np.any(constants.get(training, True)) and np.any(constants.get(ratio, 0.5)):
        raise UnsupportedError(f"node {node}: expected dropout for inference, got training_mode; export the policy for inference")
    nodes = [replace(node, op="Identity", inputs=node.inputs[:1], outputs=node.outputs[:1], attributes={})]
    if len(node.outputs) > 1 and node.outputs[1]:
        mask, number = node.outputs[1], -3 * (node.index + 1)  # numbers no node of the file has
        sizes, mask_bools = f"{mask}/sizes", mask if node.opset >= 10 else f"{mask}/bool"
        nodes += [Node("Shape", node.inputs[:1], (sizes,), {}, node.name, index=number),
                  Node("ConstantOfShape", (sizes,), (mask_bools,), {"value": _TRUE}, node.name, index=number + 1)]
        if mask_bools != mask:  # once, a mask had the type of the values
            nodes.append(Node("CastLike", (mask_bools, node.inputs[0]), (mask,), {}, node.name, index=number + 2))
    return nodes
