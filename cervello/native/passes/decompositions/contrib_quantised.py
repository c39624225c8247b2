"""Quantised ops of onnxruntime's own domain: dequantised, computed in float32, quantised; integer products as ONNX's own.

Source: onnxruntime, docs/ContribOperators.md, com.microsoft-1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cervello.errors import GraphError
from cervello.native.passes.decompositions.contrib import DOMAIN, contrib, floats
from cervello.native.passes.decompositions.quantisation import BYTES, I32, as_type, dequantize_linear, product, quantize_linear, row_zero
from cervello.native.passes.graph_builder import GraphBuilder, decomposes

F32 = np.dtype(np.float32)
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
    """Operand, scale and zero point from an index on, as float32; None where it is no 8-bit integer."""
    value = s.value(index)
    if value is None or value.dtype not in BYTES or not floats(s, index + 1):
        return None
    zero = _one(s, index + 2) if s.input(index + 2) else s.constant(0, value.dtype)
    return str(s.add("Dequantize", s.input(index), _one(s, index + 1), zero))


def _write(s: GraphBuilder, name: str, index: int, like: int) -> bool:
    """Gives float32 quantised by the scale and the zero point from an index on; without the latter, of the type of operand `like`."""
    value, zero = s.value(like), s.value(index + 1)
    dtype = value.dtype if zero is None and value is not None else None if zero is None else zero.dtype
    if dtype not in BYTES or not floats(s, index):
        return False
    s.set_outputs(s.add("Quantize", name, _one(s, index), _one(s, index + 1) if s.input(index + 1) else s.constant(0, dtype)))
    return True


@contrib("QLinearAdd", "QLinearMul", least=7, most=8)
def _arithmetic(s: GraphBuilder) -> bool:
    a, b = _read(s, 0), _read(s, 3)
    return a is not None and b is not None and _write(s, s.add(s.node.op.removeprefix("QLinear"), a, b), 6, 0)


def _mapped(s: GraphBuilder, op: str, *more: str, **attributes: Any) -> bool:
    """An op of one operand."""
    x = _read(s, 0)
    return x is not None and _write(s, s.add(op, x, *more, **attributes), 3, 0)


@contrib("QLinearSigmoid", least=4, most=5)
def _sigmoid(s: GraphBuilder) -> bool:
    return _mapped(s, "Sigmoid")


@contrib("QLinearLeakyRelu", least=4, most=5, attributes=("alpha",))
def _leaky_relu(s: GraphBuilder) -> bool:
    return _mapped(s, "LeakyRelu", alpha=float(s.attribute("alpha", 0.01)))


@contrib("QLinearSoftmax", least=4, most=5, attributes=("axis", "opset"))
def _softmax(s: GraphBuilder) -> bool:
    if s.attribute("opset", 0) < 13:  # everything from the axis on was one row
        return False
    return _mapped(s, "Softmax", axis=s.attribute("axis", -1))


@contrib("QLinearReduceMean", least=4, most=5, attributes=("axes", "keepdims"))
def _reduce_mean(s: GraphBuilder) -> bool:
    axes = s.attribute("axes")
    return _mapped(s, "ReduceMean", *([s.constant(list(axes))] if axes else []), keepdims=s.attribute("keepdims", 1))


@contrib("QLinearAveragePool", least=4, most=5, attributes=(*_WINDOW, "channels_last"))
def _average_pool(s: GraphBuilder) -> bool:
    if s.attribute("channels_last", 0):
        return False
    return _mapped(s, "AveragePool", **{name: s.node.attributes[name] for name in _WINDOW if name in s.node.attributes})


@contrib("QLinearGlobalAveragePool", least=4, most=5, attributes=("channels_last",))
def _global_average_pool(s: GraphBuilder) -> bool:
    return not s.attribute("channels_last", 0) and _mapped(s, "GlobalAveragePool")


@contrib("QLinearConcat", least=5, most=1 << 16, attributes=("axis",))
def _concat(s: GraphBuilder) -> bool:
    parts = [_read(s, index) for index in range(2, len(s.node.inputs), 3)]
    if len(s.node.inputs) % 3 != 2 or any(part is None for part in parts) or s.attribute("axis") is None:
        return False
    return _write(s, s.add("Concat", *(part for part in parts if part), axis=s.attribute("axis")), 0, 2)


@contrib("QLinearWhere", least=9, most=9)
def _where(s: GraphBuilder) -> bool:
    a, b = _read(s, 1), _read(s, 4)
    return a is not None and b is not None and _write(s, s.add("Where", s.input(0), a, b), 7, 1)


@contrib("QGemm", least=6, most=9, attributes=("alpha", "transA", "transB"))
def _gemm(s: GraphBuilder) -> bool:
    turned = [i for i, flag in ((0, "transA"), (3, "transB")) if s.attribute(flag, 0)]
    if turned:
        inputs = [s.transpose(name, 1, 0) if i in turned else name for i, name in enumerate(s.node.inputs)]
        s.set_outputs(s.add("QGemm", *inputs, domain=DOMAIN, alpha=s.attribute("alpha", 1.0)))
        return True
    left, added, zero = s.value(0), s.value(6), s.value(8)
    sums = product(s, 0, 3, 2, 5) if floats(s, 1, 4, 7) and (added is None or added.dtype == I32) else None
    if sums is None or left is None or (zero is not None and zero.dtype not in BYTES):
        return False
    total = as_type(s, sums, F32) if added is None else s.add("Cast", s.add("Add", as_type(s, sums, I32), s.input(6)), to=F32)
    factor = s.add("Mul", s.constant(s.attribute("alpha", 1.0), F32), s.add("Mul", _one(s, 1), s.input(4)))
    if not s.input(7):
        s.set_outputs(s.add("Mul", total, factor))
        return True
    to = _one(s, 8) if s.input(8) else s.constant(0, left.dtype)
    s.set_outputs(s.add("Requantize", total, s.add("Div", factor, _one(s, 7)), to))
    return True


@contrib("MatMulIntegerToFloat", least=4, most=7)
def _matmul_to_float(s: GraphBuilder) -> bool:
    sums = product(s, 0, 1, 4, 5) if floats(s, 2, 3, 6) else None
    if sums is None:
        return False
    y = s.add("Mul", as_type(s, sums, F32), s.add("Mul", row_zero(s, 2), s.input(3)))
    s.set_outputs(s.add("Add", y, s.input(6)) if s.input(6) else y)
    return True


@contrib("DynamicQuantizeMatMul", least=3, most=5)
def _dynamic_matmul(s: GraphBuilder) -> bool:
    if not floats(s, 0, 2, 4):
        return False
    q, scale, zero = s.add("DynamicQuantizeLinear", s.input(0), outputs=3)
    s.set_outputs(s.add("MatMulIntegerToFloat", q, s.input(1), scale, s.input(2), zero, s.input(3), s.input(4), domain=DOMAIN))
    return True
