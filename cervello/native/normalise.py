"""Brings older forms of ops to their newest: attributes that became inputs, defaults that changed.

Source: ONNX operator changelog. Clip (11), Slice (10), Split (13), Squeeze and Unsqueeze (13), reductions (13, 18), Pad (11),
Dropout (any: identity at inference), Softmax, LogSoftmax (13: axis -1 instead of a 2-D view from axis 1), Upsample (10 → Resize).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx

from cervello.errors import UnsupportedError
from cervello.native.graph import Graph, Node

_REDUCTIONS = frozenset({"ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2",
                         "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp"})
_IDENTITIES = frozenset({"Dropout"})


def normalise(graph: Graph) -> Graph:
    """A graph whose nodes have the newest form of their ops."""
    constants = dict(graph.constants)
    nodes = []

    def constant(node: Node, what: str, value: Any, dtype: Any = np.int64) -> str:
        name = f"{node.outputs[0]}/{what}"
        while name in constants:
            name += "'"
        constants[name] = np.asarray(value, dtype)
        return name

    for node in graph.nodes:
        if node.domain == "":
            node = _newest(node, constant)
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes), constants=constants)


def _newest(node: Node, constant: Any) -> Node:
    attributes, inputs = dict(node.attributes), list(node.inputs)

    def moved(*names: str, dtype: Any = np.int64) -> None:
        """Turns attributes into inputs at the end, keeping their order."""
        for name in names:
            value = attributes.pop(name, None)
            inputs.append("" if value is None else constant(node, name, value, dtype))

    if (node.op in _REDUCTIONS and "axes" in attributes) or (node.op in ("Squeeze", "Unsqueeze") and "axes" in attributes):
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
    elif node.op in _IDENTITIES:
        return replace(node, op="Identity", inputs=node.inputs[:1], outputs=node.outputs[:1], attributes={})
    elif node.op in ("Softmax", "LogSoftmax"):
        if node.opset < 13:
            attributes["flatten"] = 1  # everything from the axis on is one row
            attributes.setdefault("axis", 1)
        attributes.setdefault("axis", -1)
    elif node.op == "Cast":
        try:
            attributes["to"] = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(attributes["to"]))
        except (KeyError, TypeError) as error:
            raise UnsupportedError(f"node {node}: expected a known element type, got {attributes.get('to')}") from error
    elif node.op in ("Upsample", "Scan", "RNN"):
        pass
    else:
        return node
    return replace(node, attributes=attributes, inputs=tuple(inputs))
