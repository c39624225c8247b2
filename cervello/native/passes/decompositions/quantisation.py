"""Quantised files: QuantizeLinear and DequantizeLinear, integer products and convolutions, and dynamic quantisation.

Products of 8-bit integers are computed in float32, where they are exact: a product of two numbers below 2**9 and every sum up to 2**24 has
no rounding, in whatever order. A sum that could become larger is cut into stretches of terms that cannot; their int32 sums are added.
Source: ONNX operator specification, QuantizeLinear-25, DequantizeLinear-25, DynamicQuantizeLinear-11, MatMulInteger-10, ConvInteger-10,
QLinearMatMul-21, QLinearConv-10.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import onnx

from cervello.errors import GraphError
from cervello.native.graph.dims import ROWS, Affine, written
from cervello.native.graph.values import Value
from cervello.native.passes.graph_builder import GraphBuilder, decomposes

Array = np.ndarray[Any, Any]
F32, I32, U8 = np.dtype(np.float32), np.dtype(np.int32), np.dtype(np.uint8)
BYTES = (np.dtype(np.uint8), np.dtype(np.int8))
_QUANTISED = (*BYTES, np.dtype(np.uint16), np.dtype(np.int16))
_EXACT = 1 << 24  # float32 has every integer up to it
_WINDOW = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")


def along(s: GraphBuilder, name: str, value: Value | None, rank: int, axis: int) -> str:
    """A scale or a zero point, one or a list, in a shape that broadcasts along an axis of a tensor of `rank` axes."""
    shape = () if value is None or value.shape is None else value.shape
    if len(shape) != 1:
        return name
    behind = rank - 1 - axis % max(rank, 1)
    return s.reshape(name) if shape == (1,) else name if behind == 0 else s.reshape(name, shape[0], *(1,) * behind)


def _by_axis(s: GraphBuilder, x: Value, first: int) -> list[str] | None:
    """Scale and zero point of QuantizeLinear or DequantizeLinear, the latter "" where absent; None where they lie in blocks."""
    scale = s.value(first)
    if scale is None or scale.shape is None or x.shape is None or scale.dtype != F32:
        return None
    if s.attribute("block_size", 0) or len(scale.shape) > 1:
        return None
    rank, axis, zero = len(x.shape), s.attribute("axis", 1), s.value(first + 1)
    if zero is not None and zero.shape not in ((), (1,), scale.shape):
        raise GraphError(f"node {s.node}: expected zero points of shape {written(scale.shape)}, got {zero.shape}; export the policy again")
    if scale.shape not in ((), (1,)) and (not -rank <= axis < rank or scale.shape != (x.shape[axis],)):
        raise GraphError(f"node {s.node}: expected one scale, or one for each place along axis {axis} of {written(x.shape)}, got "
                         f"{written(scale.shape)}; export the policy again")
    return [along(s, s.input(i), s.value(i), rank, axis) if s.input(i) else "" for i in (first, first + 1)]


@decomposes("QuantizeLinear")
def quantize_linear(s: GraphBuilder) -> bool:
    x, zero = s.value(0), s.value(2)
    if x is None or x.dtype not in (F32, I32) or s.attribute("precision", 0) not in (0, onnx.TensorProto.FLOAT):
        return False
    kind = s.attribute("output_dtype", 0) or onnx.TensorProto.UINT8
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind)) if zero is None else zero.dtype
    operands = _by_axis(s, x, 1)
    if dtype not in _QUANTISED or operands is None:
        return False
    name = s.input(0) if x.dtype == F32 else s.add("Cast", s.input(0), to=F32)
    s.set_outputs(s.add("Quantize", name, operands[0], operands[1] or s.constant(0, dtype)))
    return True


@decomposes("DequantizeLinear")
def dequantize_linear(s: GraphBuilder) -> bool:
    q = s.value(0)
    if q is None or q.dtype not in (*_QUANTISED, I32) or s.attribute("output_dtype", 0) not in (0, onnx.TensorProto.FLOAT):
        return False
    operands = _by_axis(s, q, 1)
    if operands is None:
        return False
    s.set_outputs(s.add("Dequantize", s.input(0), operands[0], operands[1] or s.constant(0, q.dtype)))
    return True


@decomposes("DynamicQuantizeLinear")
def _dynamic(s: GraphBuilder) -> bool:
    """One scale per row of a batch, each as if its row were alone; without a batch, one for the whole tensor."""
    x = s.value(0)
    if x is None or x.shape is None or x.dtype != F32 or x.shape.count(ROWS) > 1:
        return False
    if any(isinstance(size, Affine) and size != ROWS for size in x.shape):  # an agent has several of these
        return False
    row = x.shape.index(ROWS) if ROWS in x.shape else None
    others = [i for i in range(len(x.shape)) if i != row]
    count = prod(size for size in x.shape if isinstance(size, int))
    if not count:
        return False
    in_front = s.input(0) if row in (0, None) else s.transpose(s.input(0), row, *others)
    flat = s.reshape(in_front, 1 if row is None else ROWS, count)
    one = () if row is None else tuple(ROWS if i == row else 1 for i in range(len(x.shape)))
    scale, zero = (s.reshape(s.add(op, flat), *one) for op in ("RangeScale", "RangeZero"))
    quantised = s.add("Quantize", s.input(0), scale, zero)
    if s.attribute("by_row", 0):
        scale, zero = s.reshape(scale, ROWS), s.reshape(zero, ROWS)
    s.set_outputs(quantised, scale, zero)
    return True


# Integer products -------------------------------------------------------------------------------------------------------


def _reach(value: Value, zero: Value | None) -> int:
    """The largest magnitude of an 8-bit operand less its zero point."""
    assert value.dtype is not None
    if zero is not None and zero.constant is None:
        return 255
    info, shift = np.iinfo(value.dtype), 0 if zero is None else zero.constant.astype(np.int64)  # type: ignore[union-attr]
    return int(max(np.max(info.max - shift, initial=0), np.max(shift - info.min, initial=0)))


def stretches(terms: Array, most: int) -> list[tuple[int, int]]:
    """Cuts the first axis of `terms` [K, sums], none negative, into stretches whose sums are at most `most`, or a single term."""
    cuts, total = [0], np.zeros(terms.shape[1:], np.int64)
    for k, term in enumerate(terms):
        total = total + term
        if k > cuts[-1] and total.max(initial=0) > most:
            cuts.append(k)
            total = term
    return list(zip(cuts, [*cuts[1:], len(terms)], strict=True))


def _summed(s: GraphBuilder, parts: list[str]) -> tuple[str, bool]:
    """The sum of parts that are exact in float32; whether it is float32 still."""
    if len(parts) == 1:
        return parts[0], True
    total = s.add("Cast", parts[0], to=I32)
    for part in parts[1:]:
        total = s.add("Add", total, s.add("Cast", part, to=I32))
    return total, False


def row_zero(s: GraphBuilder, index: int) -> str:
    """A zero point or scale of a product's left operand: one, or one for each row."""
    of = s.value(index)
    if not s.input(index) or of is None or of.shape is None or len(of.shape) != 1:
        return s.input(index)
    return s.reshape(s.input(index)) if of.shape == (1,) else s.reshape(s.input(index), of.shape[0], 1)


def _shifted(s: GraphBuilder, data: Array, zeros: Value | None) -> Array:
    """Constant integers less their zero points, int64."""
    shift = np.zeros((), np.int64) if zeros is None else np.asarray(zeros.constant, np.int64)
    if len(shift.shape) > data.ndim or any(have not in (1, size) for have, size in zip(shift.shape[::-1], data.shape[::-1], strict=False)):
        raise GraphError(f"node {s.node}: expected zero points of a shape that broadcasts to {data.shape}, got {shift.shape}; export the "
                         "policy again")
    return np.asarray(data.astype(np.int64) - shift)


def product(s: GraphBuilder, a: int, b: int, a_zero: int, b_zero: int) -> tuple[str, bool] | None:
    """(a - a_zero) @ (b - b_zero), by the indices of inputs.

    Returns:
      the name of the exact sums, and whether they are float32 rather than int32; None where the form is another.
    """
    left, right = s.value(a), s.value(b)
    if left is None or right is None or not left.shape or not right.shape or left.dtype not in BYTES or right.dtype not in BYTES:
        return None
    k = left.shape[-1]
    if isinstance(k, Affine) or (len(right.shape) > 1 and right.shape[-2] != k) or (len(right.shape) == 1 and right.shape[0] != k):
        return None
    zeros = s.value(b_zero)
    one, most = s.constant(1.0, F32), _EXACT // max(_reach(left, s.value(a_zero)), 1)
    shift = row_zero(s, a_zero) or s.constant(0, left.dtype)
    x = s.add("Dequantize", s.input(a), one, shift)
    if zeros is not None and (zeros.dtype != right.dtype or (zeros.shape not in ((), (1,)) and len(right.shape) < 2)):
        raise GraphError(f"node {s.node}: expected zero points of the type and shape of {right.name!r}, got {zeros.dtype} "
                         f"{written(zeros.shape or ())}; export the policy again")
    if right.constant is not None and (zeros is None or zeros.constant is not None):
        w = _shifted(s, right.constant, zeros)
        whole, axis = w.astype(F32), max(w.ndim - 2, 0)
        cuts = stretches(np.abs(np.moveaxis(w, axis, 0)).reshape(k, -1), most) if w.size else [(0, k)]
        parts = [s.constant(np.take(whole, np.arange(first, end), axis), F32) for first, end in cuts] if len(cuts) > 1 else [
            s.constant(whole, F32)]
    else:
        length = max(most // max(_reach(right, zeros), 1), 1)
        cuts = [(first, min(first + length, k)) for first in range(0, k, length)] or [(0, 0)]
        whole_name = s.add("Dequantize", s.input(b), one, s.input(b_zero) or s.constant(0, right.dtype))
        parts = [_cut(s, whole_name, first, end, -2 if len(right.shape) > 1 else 0) if len(cuts) > 1 else whole_name for first, end in cuts]
    return _summed(s, [s.add("MatMul", _cut(s, x, first, end, -1) if len(cuts) > 1 else x, part)
                       for (first, end), part in zip(cuts, parts, strict=True)])


def _cut(s: GraphBuilder, name: str, first: int, end: int, axis: int) -> str:
    return str(s.add("Slice", name, s.constant([first]), s.constant([end]), s.constant([axis])))


def convolution(s: GraphBuilder, x: int, w: int, x_zero: int, w_zero: int, bias: Array | None = None) -> tuple[str, bool] | None:
    """A convolution's exact sums, [filters] int32 `bias` included; as `product`."""
    picture, filters, zeros = s.value(x), s.value(w), s.value(w_zero)
    if picture is None or filters is None or filters.constant is None or picture.dtype not in BYTES or filters.dtype not in BYTES:
        return None
    if (zeros is not None and zeros.constant is None) or picture.shape is None or filters.constant.ndim < 3 or not filters.constant.size:
        return None
    data = filters.constant.astype(np.int64)
    if zeros is not None:
        data = data - zeros.constant.astype(np.int64).reshape(-1, *(1,) * (data.ndim - 1))  # type: ignore[union-attr]
    taps, groups = int(np.prod(data.shape[2:])), s.attribute("group", 1)
    added = np.zeros(len(data), np.int64) if bias is None else bias.astype(np.int64)
    most, largest = _reach(picture, s.value(x_zero)), int(np.abs(added).max(initial=0))
    flat = np.abs(data).reshape(len(data), -1).T * most
    fits = largest + flat.sum(0).max(initial=0) <= _EXACT
    cuts = [(0, len(flat))] if fits else stretches(flat, _EXACT)
    name = s.add("Dequantize", s.input(x), s.constant(1.0, F32), s.input(x_zero) or s.constant(0, picture.dtype))
    window = {key: s.node.attributes[key] for key in _WINDOW if key in s.node.attributes}
    parts = []
    for first, end in cuts:
        part, source = np.zeros_like(data).reshape(len(data), -1), name
        part[:, first:end] = data.reshape(len(data), -1)[:, first:end]
        part = part.reshape(data.shape)
        if len(cuts) > 1 and groups == 1:  # the channels alone that these terms are of
            low, high = first // taps, -(-end // taps)
            source, part = _cut(s, name, low, high, 1), part[:, low:high]
        inner = [s.constant(added, F32)] if bias is not None and fits else []
        parts.append(s.add("Conv", source, s.constant(part, F32), *inner, **window))
    total, floats = _summed(s, parts)
    if bias is None or fits:
        return total, floats
    total = s.add("Cast", total, to=I32) if floats else total
    return s.add("Add", total, s.constant(added.reshape(-1, *(1,) * (data.ndim - 2)), I32)), False


def as_type(s: GraphBuilder, sums: tuple[str, bool], dtype: np.dtype[Any]) -> str:
    """Sums as float32 or int32."""
    name, whole = sums
    return name if whole == (dtype == F32) else str(s.add("Cast", name, to=dtype, exact=1))


@decomposes("Cast")
def _there_and_back(s: GraphBuilder) -> bool:
    """Sums that are float32 still, which a file casts from int32 to float32."""
    maker = s.maker(0)
    if maker is None or maker.op != "Cast" or maker.domain or not maker.attributes.get("exact", 0) or s.attribute("to") != F32:
        return False
    source = s.graph.get(maker.inputs[0])
    if source is None or source.dtype != F32:
        return False
    s.set_outputs(s.add("Identity", maker.inputs[0]))
    return True


@decomposes("MatMulInteger")
def _matmul_integer(s: GraphBuilder) -> bool:
    sums = product(s, 0, 1, 2, 3)
    if sums is not None:
        s.set_outputs(as_type(s, sums, I32))
    return sums is not None


@decomposes("ConvInteger")
def _conv_integer(s: GraphBuilder) -> bool:
    sums = convolution(s, 0, 1, 2, 3)
    if sums is not None:
        s.set_outputs(as_type(s, sums, I32))
    return sums is not None


@decomposes("QLinearMatMul")
def _qlinear_matmul(s: GraphBuilder) -> bool:
    scales = [s.value(i) for i in (1, 4, 6)]
    zero = s.value(7)
    if any(value is None or value.dtype != F32 or value.shape is None for value in scales) or zero is None or zero.dtype not in BYTES:
        return False
    sums = product(s, 0, 3, 2, 5)
    if sums is None:
        return False
    factor = s.add("Div", s.add("Mul", row_zero(s, 1), along(s, s.input(4), s.value(4), 1, 0)), row_zero(s, 6))
    s.set_outputs(s.add("Requantize", as_type(s, sums, F32), factor, row_zero(s, 7)))
    return True


@decomposes("QLinearConv")
def _qlinear_conv(s: GraphBuilder) -> bool:
    x, scales, bias, zero = s.value(0), s.value(4), s.value(8), s.value(7)
    if x is None or x.shape is None or scales is None or zero is None or zero.dtype not in BYTES or (
            bias is not None and bias.constant is None):
        return False
    sums = convolution(s, 0, 3, 2, 5, None if bias is None else bias.constant)
    if sums is None:
        return False
    rank = len(x.shape)
    factor = s.add("Div", s.add("Mul", s.input(1), along(s, s.input(4), scales, rank, 1)), s.input(6))
    s.set_outputs(s.add("Requantize", as_type(s, sums, F32), factor, s.input(7)))
    return True


@decomposes("MaxPool")
def _pooled_bytes(s: GraphBuilder) -> bool:
    """The largest of 8-bit integers, by way of float32."""
    x = s.value(0)
    if x is None or x.dtype not in BYTES or any(s.node.outputs[1:]):
        return False
    pooled = s.add("MaxPool", s.add("Cast", s.input(0), to=F32), **s.node.attributes)
    s.set_outputs(s.add("Cast", pooled, to=x.dtype))
    return True
