"""The reference tier: onnx's own Python implementation of an op.

Recurrent ops never come here: its LSTM and GRU ignore `activations`, `clip` and `sequence_lens`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from cervello.errors import UnsupportedError
from cervello.native.graph import Node

NEVER = frozenset({"LSTM", "GRU", "RNN"})


def distrusted(node: Node) -> str:
    """What of a node the implementation gets wrong; empty when nothing is known of."""
    capped = node.op == "Attention" and node.attributes.get("softcap", 0.0) and not node.attributes.get("qk_matmul_output_mode", 0)
    return "raw scores beside a softcap" if capped and any(node.outputs[3:]) else ""


def run_reference(node: Node, inputs: list[np.ndarray[Any, Any] | None]) -> list[np.ndarray[Any, Any]]:
    """Runs one node on arrays.

    Raises:
      UnsupportedError: onnx does not know the op, or its implementation is not trusted.
    """
    from onnx.reference import ReferenceEvaluator  # slow to import, rarely needed

    if node.op in NEVER:
        raise UnsupportedError(f"node {node}: expected a form that the planned tier runs, got attributes {dict(node.attributes)}")
    if why := distrusted(node):
        raise UnsupportedError(f"node {node}: expected what onnx's reference implementation gets right, got {why}; export it otherwise")
    names = [f"i{k}" if array is not None else "" for k, array in enumerate(inputs)]
    outputs = [f"o{k}" if name else "" for k, name in enumerate(node.outputs)]
    attributes = {k: _as_exported(v) for k, v in node.attributes.items()}
    proto = onnx.helper.make_node(node.op, names, outputs, domain=node.domain, **attributes)

    def described(name: str, array: np.ndarray[Any, Any]) -> onnx.ValueInfoProto:
        return onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)

    graph = onnx.helper.make_graph(
        [proto], "one", [described(n, a) for n, a in zip(names, inputs, strict=True) if a is not None],
        [onnx.helper.make_empty_tensor_value_info(name) for name in outputs if name])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid(node.domain, node.opset)])
    try:
        evaluator = ReferenceEvaluator(model)
        with np.errstate(all="ignore"):
            results = evaluator.run(None, {n: a for n, a in zip(names, inputs, strict=True) if a is not None})
    except (NotImplementedError, onnx.checker.ValidationError) as error:
        raise UnsupportedError(f"node {node}: expected an op that onnx implements, got {node.domain or 'ai.onnx'}.{node.op} "
                               f"({error})") from error
    found = iter(results)
    return [np.asarray(next(found)) if name else np.zeros(0, np.float32) for name in outputs]


def _as_exported(value: Any) -> Any:
    """An attribute in the form that ONNX has it in."""
    if isinstance(value, np.ndarray):
        return onnx.numpy_helper.from_array(value)
    return onnx.helper.np_dtype_to_tensor_dtype(value) if isinstance(value, np.dtype) else value
