"""Quantised ops of onnxruntime's domain: operands are dequantised, computed in float32 and quantised; integer products are exact.

Source: onnxruntime, docs/ContribOperators.md, com.microsoft-1.
"""

from __future__ import annotations

from typing import Any

from cervello.errors import GraphError
from cervello.native.graph.dtypes import F32, I32
from cervello.native.passes.decompositions.contrib import DOMAIN, are_floats, contrib
from cervello.native.passes.decompositions.quantisation import BYTES, as_type, by_row, dequantize_linear, product, quantize_linear
from cervello.native.passes.graph_builder import GraphBuilder, Results, decomposes

_WINDOW = ("auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides")

decomposes("QuantizeLinear", domain=DOMAIN)(quantize_linear)
decomposes("DequantizeLinear", domain=DOMAIN)(dequantize_linear)


def _one(s: GraphBuilder, index: int) -> str:
    """A scale or a zero point that is one number."""
    value = s.value(index)
    if value is None or value.shape not in ((), (1,)):
        raise GraphError(f"node {s.node}: expected one number as operand {index}, got {None if value is None else value.shape}; export "
                         "the policy again")
    return s.reshape(s.input(index)) if value.shape == (1,) else s.input(index)


def _read(s: GraphBuilder, index: int) -> str | None:
    """The operand at an index, dequantised with the scale and zero point after it; None if it is not an 8-bit integer."""
    dtype = s.dtype(index)
    if dtype not in BYTES or not are_floats(s, index + 1):
        return None
    zero = _one(s, index + 2) if s.input(index + 2) else s.constant(0, dtype)
    return s.add("Dequantize", s.input(index), _one(s, index + 1), zero)


def _write(s: GraphBuilder, name: str, index: int, like: int) -> str | None:
    """A float32 value quantised with the scale and zero point at an index; without a zero point, to the type of operand `like`."""
    dtype = s.dtype(index + 1) if s.input(index + 1) else s.dtype(like)
    if dtype not in BYTES or not are_floats(s, index):
        return None
    return s.add("Quantize", name, _one(s, index), _one(s, index + 1) if s.input(index + 1) else s.constant(0, dtype))


@contrib("QLinearAdd", "QLinearMul", least=7, most=8, floats=())
def _arithmetic(s: GraphBuilder) -> Results:
    a, b = _read(s, 0), _read(s, 3)
    return None if a is None or b is None else _write(s, s.add(s.node.op.removeprefix("QLinear"), a, b), 6, 0)


def _mapped(s: GraphBuilder, op: str, *more: str, **attributes: Any) -> Results:
    """An op of one operand."""
    x = _read(s, 0)
    return None if x is None else _write(s, s.add(op, x, *more, **attributes), 3, 0)


@contrib("QLinearSigmoid", least=4, most=5, floats=())
def _sigmoid(s: GraphBuilder) -> Results:
    return _mapped(s, "Sigmoid")


@contrib("QLinearLeakyRelu", least=4, most=5, floats=(), attributes=("alpha",))
def _leaky_relu(s: GraphBuilder) -> Results:
    return _mapped(s, "LeakyRelu", alpha=float(s.attribute("alpha", 0.01)))


@contrib("QLinearSoftmax", least=4, most=5, floats=(), attributes=("axis", "opset"))
def _softmax(s: GraphBuilder) -> Results:
    if s.attribute("opset", 0) < 13:  # everything from the axis on was one row
        return None
    return _mapped(s, "Softmax", axis=s.attribute("axis", -1))


@contrib("QLinearReduceMean", least=4, most=5, floats=(), attributes=("axes", "keepdims"))
def _reduce_mean(s: GraphBuilder) -> Results:
    axes = s.attribute("axes")
    return _mapped(s, "ReduceMean", *([s.constant(list(axes))] if axes else []), keepdims=s.attribute("keepdims", 1))


@contrib("QLinearAveragePool", least=4, most=5, floats=(), attributes=(*_WINDOW, "channels_last"))
@contrib("QLinearGlobalAveragePool", least=4, most=5, floats=(), attributes=("channels_last",))
def _average_pool(s: GraphBuilder) -> Results:
    if s.attribute("channels_last", 0):
        return None
    return _mapped(s, s.node.op.removeprefix("QLinear"), **s.attributes(*_WINDOW))


@contrib("QLinearConcat", least=5, most=1 << 16, floats=(), attributes=("axis",))
def _concat(s: GraphBuilder) -> Results:
    parts = [_read(s, index) for index in range(2, len(s.node.inputs), 3)]
    if len(s.node.inputs) % 3 != 2 or any(part is None for part in parts) or s.attribute("axis") is None:
        return None
    return _write(s, s.add("Concat", *(part for part in parts if part), axis=s.attribute("axis")), 0, 2)


@contrib("QLinearWhere", least=9, most=9, floats=())
def _where(s: GraphBuilder) -> Results:
    a, b = _read(s, 1), _read(s, 4)
    return None if a is None or b is None else _write(s, s.add("Where", s.input(0), a, b), 7, 1)


@contrib("QGemm", least=6, most=9, floats=(), attributes=("alpha", "transA", "transB"))
def _gemm(s: GraphBuilder) -> Results:
    transposed = [i for i, flag in ((0, "transA"), (3, "transB")) if s.attribute(flag, 0)]
    if transposed:
        inputs = [s.transpose(name, 1, 0) if i in transposed else name for i, name in enumerate(s.node.inputs)]
        return s.add("QGemm", *inputs, domain=DOMAIN, alpha=s.attribute("alpha", 1.0))
    added, zero = s.dtype(6), s.dtype(8)
    sums = product(s, 0, 3, 2, 5) if are_floats(s, 1, 4, 7) and (added is None or added == I32) else None
    if sums is None or (zero is not None and zero not in BYTES):
        return None
    total = as_type(s, sums, F32 if added is None else I32)
    if added is not None:
        total = s.add("Cast", s.add("Add", total, s.input(6)), to=F32)
    factor = s.add("Mul", s.constant(s.attribute("alpha", 1.0), F32), s.add("Mul", _one(s, 1), s.input(4)))
    if not s.input(7):
        return s.add("Mul", total, factor)
    to = _one(s, 8) if s.input(8) else s.constant(0, s.dtype(0))
    return s.add("Requantize", total, s.add("Div", factor, _one(s, 7)), to)


@contrib("MatMulIntegerToFloat", least=4, most=7, floats=(2, 3, 6))
def _matmul_to_float(s: GraphBuilder) -> Results:
    sums = product(s, 0, 1, 4, 5)
    if sums is None:
        return None
    y = s.add("Mul", as_type(s, sums, F32), s.add("Mul", by_row(s, 2), s.input(3)))
    return s.add("Add", y, s.input(6)) if s.input(6) else y


@contrib("DynamicQuantizeMatMul", least=3, most=5, floats=(0, 2, 4))
def _dynamic_matmul(s: GraphBuilder) -> Results:
    q, scale, zero = s.add("DynamicQuantizeLinear", s.input(0), outputs=3)
    return s.add("MatMulIntegerToFloat", q, s.input(1), scale, s.input(2), zero, s.input(3), s.input(4), domain=DOMAIN)
