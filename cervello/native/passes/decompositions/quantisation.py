"""Quantised files: QuantizeLinear and DequantizeLinear, integer products and convolutions, and dynamic quantisation.

Products of 8-bit integers are computed in float32, where they are exact: a product of two numbers below 2**9 and every sum up to 2**24 has
no rounding, in any order. A sum that could become larger is split into ranges of terms that cannot; their sums are added as int32.
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
from cervello.native.graph.dtypes import F32, I32, U8, Array
from cervello.native.passes.graph_builder import GraphBuilder, Results, decomposes

BYTES = (U8, np.dtype(np.int8))
_QUANTISED = (*BYTES, np.dtype(np.uint16), np.dtype(np.int16))
_EXACT = 1 << 24  # float32 has every integer up to it
_WINDOW = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")


def along(s: GraphBuilder, index: int, rank: int, axis: int) -> str:
    """A scale or a zero point, one or a list, in a shape that broadcasts along an axis of a tensor of `rank` axes; "" if it is absent."""
    name, shape = s.input(index), s.shape(index)
    if len(shape) != 1:
        return name
    behind = rank - 1 - axis % max(rank, 1)
    return s.reshape(name) if shape == (1,) else name if behind == 0 else s.reshape(name, shape[0], *(1,) * behind)


def by_row(s: GraphBuilder, index: int) -> str:
    """A scale or a zero point of a product's left operand or result: one, or one for each row."""
    return along(s, index, 2, 0)


def _by_axis(s: GraphBuilder) -> list[str] | None:
    """Scale and zero point of QuantizeLinear or DequantizeLinear, the latter "" where absent; None where they lie in blocks."""
    if s.dtype(1) != F32 or s.attribute("block_size", 0) or len(s.shape(1)) > 1:
        return None
    return [along(s, i, len(s.shape(0)), s.attribute("axis", 1)) for i in (1, 2)]


@decomposes("QuantizeLinear")
def quantize_linear(s: GraphBuilder) -> Results:
    if s.dtype(0) not in (F32, I32) or s.attribute("precision", 0) not in (0, onnx.TensorProto.FLOAT):
        return None
    kind = s.attribute("output_dtype", 0) or onnx.TensorProto.UINT8
    dtype = s.dtype(2) if s.input(2) else np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind))
    operands = _by_axis(s)
    if dtype not in _QUANTISED or operands is None:
        return None
    name = s.input(0) if s.dtype(0) == F32 else s.add("Cast", s.input(0), to=F32)
    return s.add("Quantize", name, operands[0], operands[1] or s.constant(0, dtype))


@decomposes("DequantizeLinear")
def dequantize_linear(s: GraphBuilder) -> Results:
    dtype = s.dtype(0)
    if dtype not in (*_QUANTISED, I32) or s.attribute("output_dtype", 0) not in (0, onnx.TensorProto.FLOAT):
        return None
    operands = _by_axis(s)
    return None if operands is None else s.add("Dequantize", s.input(0), operands[0], operands[1] or s.constant(0, dtype))


@decomposes("DynamicQuantizeLinear")
def _dynamic_quantize(s: GraphBuilder) -> Results:
    """One scale per row of a batch, each as if its row were alone; without a batch, one for the whole tensor."""
    shape = s.shape(0)
    if s.dtype(0) != F32 or shape.count(ROWS) > 1 or any(isinstance(size, Affine) and size != ROWS for size in shape):
        return None  # several rows of one agent share a scale
    row = shape.index(ROWS) if ROWS in shape else None
    count = prod(size for size in shape if isinstance(size, int))
    if not count:
        return None
    in_front = s.input(0) if row in (0, None) else s.transpose(s.input(0), row, *(i for i in range(len(shape)) if i != row))
    flat = s.reshape(in_front, 1 if row is None else ROWS, count)
    one = () if row is None else tuple(ROWS if i == row else 1 for i in range(len(shape)))
    scale, zero = (s.reshape(s.add(op, flat), *one) for op in ("RangeScale", "RangeZero"))
    quantised = s.add("Quantize", s.input(0), scale, zero)
    if s.attribute("by_row", 0):
        scale, zero = s.reshape(scale, ROWS), s.reshape(zero, ROWS)
    return quantised, scale, zero


# Integer products -------------------------------------------------------------------------------------------------------


def _reach(s: GraphBuilder, index: int, zero_index: int) -> int:
    """The largest magnitude of (8-bit operand − zero point)."""
    zero = s.data(zero_index)
    if s.input(zero_index) and zero is None:
        return 255
    info, shift = np.iinfo(s.dtype(index)), 0 if zero is None else zero.astype(np.int64)
    return int(max(np.max(info.max - shift, initial=0), np.max(shift - info.min, initial=0)))


def split_terms(terms: Array, most: int) -> list[tuple[int, int]]:
    """Splits the first axis of `terms` [K, sums] ≥ 0 into ranges whose sums are at most `most`, or that have one term."""
    cuts, total = [0], np.zeros(terms.shape[1:], np.int64)
    for k, term in enumerate(terms):
        total = total + term
        if k > cuts[-1] and total.max(initial=0) > most:
            cuts.append(k)
            total = term
    return list(zip(cuts, [*cuts[1:], len(terms)], strict=True))


def _summed(s: GraphBuilder, parts: list[str]) -> tuple[str, bool]:
    """The sum of parts that are exact in float32, and whether it is float32 (else int32)."""
    if len(parts) == 1:
        return parts[0], True
    total = s.add("Cast", parts[0], to=I32)
    for part in parts[1:]:
        total = s.add("Add", total, s.add("Cast", part, to=I32))
    return total, False


def _shifted(s: GraphBuilder, data: Array, zeros: Array | None) -> Array:
    """Constant integers − zero points, int64."""
    shift = np.zeros((), np.int64) if zeros is None else zeros.astype(np.int64)
    if len(shift.shape) > data.ndim or any(have not in (1, size) for have, size in zip(shift.shape[::-1], data.shape[::-1], strict=False)):
        raise GraphError(f"node {s.node}: expected zero points of a shape that broadcasts to {data.shape}, got {shift.shape}; export the "
                         "policy again")
    return np.asarray(data.astype(np.int64) - shift)


def product(s: GraphBuilder, a: int, b: int, a_zero: int, b_zero: int) -> tuple[str, bool] | None:
    """(a - a_zero) @ (b - b_zero), by the indices of inputs.

    Returns:
      the name of the exact sums, and whether they are float32 rather than int32; None where the form is another.
    """
    left, right, kinds = s.shape(a), s.shape(b), (s.dtype(a), s.dtype(b))
    if not left or not right or any(kind not in BYTES for kind in kinds):
        return None
    k = left[-1]
    if isinstance(k, Affine) or right[-2 if len(right) > 1 else 0] != k:
        return None
    one, most = s.constant(1.0, F32), _EXACT // max(_reach(s, a, a_zero), 1)
    shift = by_row(s, a_zero) or s.constant(0, kinds[0])
    x = s.add("Dequantize", s.input(a), one, shift)
    zeros, zeros_shape = s.data(b_zero), s.shape(b_zero)
    if s.input(b_zero) and (s.dtype(b_zero) != kinds[1] or (zeros_shape not in ((), (1,)) and len(right) < 2)):
        raise GraphError(f"node {s.node}: expected zero points of the type and shape of {s.input(b)!r}, got {s.dtype(b_zero)} "
                         f"{written(zeros_shape)}; export the policy again")
    weights = s.data(b)
    if weights is not None and (zeros is not None or not s.input(b_zero)):
        w = _shifted(s, weights, zeros)
        whole, axis = w.astype(F32), max(w.ndim - 2, 0)
        cuts = split_terms(np.abs(np.moveaxis(w, axis, 0)).reshape(k, -1), most) if w.size else [(0, k)]
        parts = [s.constant(np.take(whole, np.arange(first, end), axis), F32) for first, end in cuts] if len(cuts) > 1 else [
            s.constant(whole, F32)]
    else:
        length = max(most // max(_reach(s, b, b_zero), 1), 1)
        cuts = [(first, min(first + length, k)) for first in range(0, k, length)] or [(0, 0)]
        whole_name = s.add("Dequantize", s.input(b), one, s.input(b_zero) or s.constant(0, kinds[1]))
        parts = [_cut(s, whole_name, first, end, -2 if len(right) > 1 else 0) if len(cuts) > 1 else whole_name for first, end in cuts]
    return _summed(s, [s.add("MatMul", _cut(s, x, first, end, -1) if len(cuts) > 1 else x, part)
                       for (first, end), part in zip(cuts, parts, strict=True)])


def _cut(s: GraphBuilder, name: str, first: int, end: int, axis: int) -> str:
    return s.add("Slice", name, s.constant([first]), s.constant([end]), s.constant([axis]))


def convolution(s: GraphBuilder, w: int, w_zero: int, bias: Array | None = None) -> tuple[str, bool] | None:
    """The exact sums of a convolution of input 0 (zero point: input 2) and the filters at `w`, [filters] int32 `bias` included; as
    `product`."""
    filters, zeros = s.data(w), s.data(w_zero)
    if filters is None or not filters.size or (s.input(w_zero) and zeros is None) or any(s.dtype(i) not in BYTES for i in (0, w)):
        return None
    data = filters.astype(np.int64)
    if zeros is not None:
        data = data - zeros.astype(np.int64).reshape(-1, *(1,) * (data.ndim - 1))
    taps, groups = int(np.prod(data.shape[2:])), s.attribute("group", 1)
    added = np.zeros(len(data), np.int64) if bias is None else bias.astype(np.int64)
    most, largest = _reach(s, 0, 2), int(np.abs(added).max(initial=0))
    flat = np.abs(data).reshape(len(data), -1).T * most
    fits = largest + flat.sum(0).max(initial=0) <= _EXACT
    cuts = [(0, len(flat))] if fits else split_terms(flat, _EXACT)
    name = s.add("Dequantize", s.input(0), s.constant(1.0, F32), s.input(2) or s.constant(0, s.dtype(0)))
    window = s.attributes(*_WINDOW)
    parts = []
    for first, end in cuts:
        part, source = np.zeros_like(data).reshape(len(data), -1), name
        part[:, first:end] = data.reshape(len(data), -1)[:, first:end]
        part = part.reshape(data.shape)
        if len(cuts) > 1 and groups == 1:  # only the channels of these terms
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
    return name if whole == (dtype == F32) else s.add("Cast", name, to=dtype, exact=1)


@decomposes("Cast")
def _cast_pair(s: GraphBuilder) -> Results:
    """Removes a cast from float32 sums to int32 and back."""
    maker = s.maker(0)
    if maker is None or maker.op != "Cast" or maker.domain or not maker.attributes.get("exact", 0) or s.attribute("to") != F32:
        return None
    source = s.graph.get(maker.inputs[0])
    return None if source is None or source.dtype != F32 else s.add("Identity", maker.inputs[0])


@decomposes("MatMulInteger", "ConvInteger")
def _integers(s: GraphBuilder) -> Results:
    sums = product(s, 0, 1, 2, 3) if s.node.op == "MatMulInteger" else convolution(s, 1, 3)
    return None if sums is None else as_type(s, sums, I32)


@decomposes("QLinearMatMul")
def _qlinear_matmul(s: GraphBuilder) -> Results:
    if any(s.dtype(i) != F32 for i in (1, 4, 6)) or s.dtype(7) not in BYTES or (sums := product(s, 0, 3, 2, 5)) is None:
        return None
    factor = s.add("Div", s.add("Mul", by_row(s, 1), along(s, 4, 1, 0)), by_row(s, 6))
    return s.add("Requantize", as_type(s, sums, F32), factor, by_row(s, 7))


@decomposes("QLinearConv")
def _qlinear_conv(s: GraphBuilder) -> Results:
    bias = s.data(8)
    if s.dtype(7) not in BYTES or (s.input(8) and bias is None) or (sums := convolution(s, 3, 5, bias)) is None:
        return None
    factor = s.add("Div", s.add("Mul", s.input(1), along(s, 4, len(s.shape(0)), 1)), s.input(6))
    return s.add("Requantize", as_type(s, sums, F32), factor, s.input(7))


@decomposes("MaxPool")
def _pooled_bytes(s: GraphBuilder) -> Results:
    """The maximum of 8-bit integers, computed in float32."""
    if s.dtype(0) not in BYTES or any(s.node.outputs[1:]):
        return None
    pooled = s.add("MaxPool", s.add("Cast", s.input(0), to=F32), **s.node.attributes)
    return s.add("Cast", pooled, to=s.dtype(0))
