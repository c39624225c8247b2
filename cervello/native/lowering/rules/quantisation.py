"""Quantize, Requantize and Dequantize: float32 to integers and back, with a scale and a zero point that broadcast.

`passes.decompositions.quantisation` makes these nodes; no file holds one. Their operands are

    Quantize(x, scale, zero)      saturate(round(x / scale) + zero), of the type of `zero`
    Requantize(x, factor, zero)   saturate(round(x * factor) + zero), of the type of `zero`
    Dequantize(q, scale, zero)    (q - zero) * scale, float32; q and `zero` share a type
    RangeScale(x), RangeZero(x)   scale and uint8 zero point of dynamic quantisation for each row of the last axis, which becomes 1

Source: ONNX operator specification, QuantizeLinear-25, DequantizeLinear-25.
"""

from __future__ import annotations

import numpy as np

from cervello.errors import GraphError
from cervello.native.fallback.table import numpy_op
from cervello.native.graph.dims import ROWS, Shape, written
from cervello.native.graph.dtypes import F32, I32, U8, Array
from cervello.native.graph.graph import Node
from cervello.native.graph.values import Value
from cervello.native.lowering.lowering import Lowering
from cervello.native.lowering.registry import lowers
from cervello.native.lowering.rules.elementwise import emit_binary
from cervello.native.lowering.rules.reductions import emit_rows
from cervello.native.shapes.rules.basic import Result, broadcast, dtype_of, rule, shape_of

KINDS = {U8: "u8", np.dtype(np.int8): "i8", np.dtype(np.uint16): "u16", np.dtype(np.int16): "i16"}


def _checked(node: Node, fits: bool, *values: Value) -> Result:
    if not fits:
        raise GraphError(f"node {node}: expected float32 and quantised integers, got {' and '.join(str(v.dtype) for v in values)}; "
                         "export the policy again")
    return [(broadcast(node, *(shape_of(value) for value in values)), F32)]


@rule("Quantize", "Requantize")
def _quantised(node: Node, x: Value, scale: Value, zero: Value) -> Result:
    dtype = dtype_of(zero)
    ((shape, _),) = _checked(node, dtype_of(x) == dtype_of(scale) == F32 and dtype in KINDS, x, scale, zero)
    return [(shape, dtype)]


@rule("Dequantize")
def _dequantised(node: Node, q: Value, scale: Value, zero: Value) -> Result:
    dtype = dtype_of(q)
    return _checked(node, (dtype in KINDS or dtype == I32) and dtype_of(zero) == dtype and dtype_of(scale) == F32, q, scale, zero)


@rule("DynamicQuantizeLinear")
def _dynamic(node: Node, x: Value) -> Result:
    """With the attribute `by_row`, which no file has, scale and zero point are [N]."""
    one: Shape = (ROWS,) if node.attributes.get("by_row", 0) else ()
    found: Result = [(shape_of(x), U8), (one, F32), (one, U8)]
    return found[:len(node.outputs)]


@rule("RangeScale", "RangeZero")
def _range(node: Node, x: Value) -> Result:
    shape = shape_of(x)
    if not shape or dtype_of(x) != F32:
        raise GraphError(f"node {node}: expected rows of float32, got {written(shape)} {x.dtype}; export the policy again")
    return [((*shape[:-1], 1), F32 if node.op == "RangeScale" else U8)]


@lowers("RangeScale", "RangeZero")
def _lower_range(lowering: Lowering, node: Node) -> None:
    source = lowering.contiguous(lowering.tensor(node.inputs[0]), len(lowering.shape(node.inputs[0])) - 1)
    block = "quantisation:dynamic_scale" if node.op == "RangeScale" else "quantisation:dynamic_zero_point"
    emit_rows(lowering, block, source, lowering.output(node.outputs[0]), source.shape[-1])


@lowers("Quantize", "Requantize", "Dequantize")
def _lower(lowering: Lowering, node: Node) -> None:
    operands = tuple(lowering.tensor(name) for name in node.inputs)
    kind = "i32" if operands[2].dtype == I32 else KINDS[operands[2].dtype]
    found = None if node.op == "Dequantize" else _fused_dequantize(lowering, node)
    if found is None:
        emit_binary(lowering, f"quantisation:{node.op.lower()}_{kind}", operands, lowering.output(node.outputs[0], contiguous=False))
        return
    reader, times = found
    lowering.mark_fused(reader)
    block = "fake_quantize" if node.op == "Quantize" else "fake_requantize"
    emit_binary(lowering, f"quantisation:{block}_{kind}", operands, lowering.output(reader.outputs[0], contiguous=False),
                times_scale=times)


def _fused_dequantize(lowering: Lowering, node: Node) -> tuple[Node, int] | None:
    """The only consumer of a result if it is a Dequantize with the same zero point; with 1 for the same scale, 0 for a scale of 1."""
    reader = lowering.only_reader(node.outputs[0])
    if reader is None or reader.op != "Dequantize" or reader.domain or reader.inputs[0] != node.outputs[0]:
        return None
    if not _same(lowering, reader.inputs[2], node.inputs[2]) or lowering.shape(reader.outputs[0]) != lowering.shape(node.outputs[0]):
        return None
    if node.op == "Quantize" and _same(lowering, reader.inputs[1], node.inputs[1]):
        return reader, 1
    scale = lowering.constant(reader.inputs[1])
    return (reader, 0) if scale is not None and scale.size == 1 and np.all(scale == 1) else None


def _same(lowering: Lowering, a: str, b: str) -> bool:
    x, y = lowering.constant(a), lowering.constant(b)
    return a == b or (x is not None and y is not None and x.dtype == y.dtype and x.shape == y.shape and bool(np.array_equal(x, y)))


def _rounded(x: Array, zero: Array) -> Array:
    info = np.iinfo(zero.dtype)
    shift = zero.astype(F32)
    low, high = np.float32(info.min) - shift, np.float32(info.max) - shift
    bounded = np.fmin(np.fmax(np.rint(x), low), high)  # NaN becomes the minimum
    return np.asarray(bounded.astype(np.int32) + zero.astype(np.int32)).astype(zero.dtype)


@numpy_op("Quantize")
def _quantize(node: Node, x: Array, scale: Array, zero: Array) -> Array:
    return _rounded(x / scale, zero)


@numpy_op("Requantize")
def _requantize(node: Node, x: Array, factor: Array, zero: Array) -> Array:
    return _rounded(x * factor, zero)


@numpy_op("Dequantize")
def _dequantize(node: Node, q: Array, scale: Array, zero: Array) -> Array:
    return np.asarray((q.astype(np.int32) - zero.astype(np.int32)).astype(F32) * scale)


@numpy_op("RangeScale")
def _dynamic_scale(node: Node, x: Array) -> Array:
    reach = np.maximum(x.max(-1, keepdims=True, initial=0), 0) - np.minimum(x.min(-1, keepdims=True, initial=0), 0)
    return np.where(reach == 0, np.float32(1), reach / np.float32(255)).astype(F32)


@numpy_op("RangeZero")
def _dynamic_zero_point(node: Node, x: Array) -> Array:
    return _rounded(-np.minimum(x.min(-1, keepdims=True, initial=0), 0) / _dynamic_scale(node, x), np.zeros((), np.uint8))
