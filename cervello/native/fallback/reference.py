"""The reference tier: onnx's own Python implementation of an op.

Recurrent ops never come here: its LSTM and GRU ignore `activations`, `clip` and `sequence_lens`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx

from cervello.errors import UnsupportedError
from cervello.native.fallback.precision import run_in_float32
from cervello.native.graph.dtypes import Array
from cervello.native.graph.graph import Node

NEVER = frozenset({"LSTM", "GRU", "RNN"})
_INTS = onnx.AttributeProto.INTS  # the type of an empty list; no ONNX op gives an empty list of another type a meaning
_FAR = np.float32(1 << 30)  # beyond every quantised type; with a zero point added it still fits int32
_OLDEST = {"DequantizeLinear": 19}  # the first implemented version; it includes the earlier ones


def distrusted(node: Node) -> str:
    """The feature of a node that the implementation gets wrong; "" if none is known."""
    capped = node.op == "Attention" and node.attributes.get("softcap", 0.0) and not node.attributes.get("qk_matmul_output_mode", 0)
    if capped and any(node.outputs[3:]):
        return "raw scores beside a softcap"
    causal = node.op == "Attention" and node.attributes.get("is_causal", 0) and node.attributes.get("left_window_size", -1) < 0
    return "lengths of keys beside is_causal" if causal and any(node.inputs[6:]) else ""


def run_reference(node: Node, inputs: list[Array | None]) -> list[Array]:
    """Runs one node on arrays; 16-bit floats are computed in float32.

    Raises:
      UnsupportedError: onnx does not know the op, or its implementation is not trusted.
    """
    return run_in_float32(_run, node, inputs)


def _run(node: Node, inputs: list[Array | None]) -> list[Array]:
    from onnx.reference import ReferenceEvaluator  # slow to import, rarely needed

    if node.op in NEVER:
        raise UnsupportedError(f"node {node}: expected a form that the planned tier runs, got attributes {dict(node.attributes)}")
    if why := distrusted(node):
        raise UnsupportedError(f"node {node}: expected what onnx's reference implementation gets right, got {why}; export it otherwise")
    if node.op == "QuantizeLinear":
        inputs = _quotients(node, inputs)
    names = [f"i{k}" if array is not None else "" for k, array in enumerate(inputs)]
    outputs = [f"o{k}" if name else "" for k, name in enumerate(node.outputs)]
    proto = as_proto(node, names, outputs)

    def described(name: str, array: Array) -> onnx.ValueInfoProto:
        return onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)

    graph = onnx.helper.make_graph(
        [proto], "one", [described(n, a) for n, a in zip(names, inputs, strict=True) if a is not None],
        [onnx.helper.make_empty_tensor_value_info(name) for name in outputs if name])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid(node.domain, max(node.opset, _OLDEST.get(node.op, 0)))])
    try:
        evaluator = ReferenceEvaluator(model)
        with np.errstate(all="ignore"):
            results = evaluator.run(None, {n: a for n, a in zip(names, inputs, strict=True) if a is not None})
    except (NotImplementedError, onnx.checker.ValidationError) as error:
        raise UnsupportedError(f"node {node}: expected an op that onnx implements, got {node.domain or 'ai.onnx'}.{node.op} "
                               f"({error})") from error
    found = iter(results)
    return [np.asarray(next(found)) if name else np.zeros(0, np.float32) for name in outputs]


def _quotients(node: Node, inputs: list[Array | None]) -> list[Array | None]:
    """Operands of QuantizeLinear with x / scale and scale 1, because the implementation wraps quotients that int32 cannot hold."""
    x, scale, *rest = inputs
    if x is None or scale is None or node.attributes.get("precision") or (rest and rest[0] is not None and "float" in rest[0].dtype.name) \
            or "float" in str(node.attributes.get("output_dtype", "")):
        return inputs
    axis, block = int(node.attributes.get("axis", 1)), int(node.attributes.get("block_size", 0))
    if block:
        spread = np.take(np.repeat(scale, block, axis), np.arange(x.shape[axis]), axis)
    elif scale.size == 1:
        spread = scale.reshape(())
    else:
        spread = scale.reshape([-1 if k == axis % x.ndim else 1 for k in range(x.ndim)])
    with np.errstate(all="ignore"):
        quotients = np.clip(x.astype(np.float32) / spread.astype(np.float32), -_FAR, _FAR)
    return [quotients, np.ones_like(scale, np.float32), *rest]


def as_proto(node: Node, inputs: Sequence[str], outputs: Sequence[str]) -> onnx.NodeProto:
    """A node as a NodeProto with other names of inputs and outputs."""
    proto = onnx.helper.make_node(node.op, inputs, outputs, domain=node.domain)
    for name, value in node.attributes.items():
        empty = isinstance(value, tuple) and not value
        proto.attribute.append(onnx.helper.make_attribute(name, _as_exported(value), attr_type=_INTS if empty else None))
    return proto


def _as_exported(value: Any) -> Any:
    """The ONNX form of an attribute."""
    if isinstance(value, np.ndarray):
        return onnx.numpy_helper.from_array(value)
    return onnx.helper.np_dtype_to_tensor_dtype(value) if isinstance(value, np.dtype) else value
