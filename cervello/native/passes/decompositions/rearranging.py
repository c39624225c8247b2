"""Ops that are equal to a few simple ops. Source: ONNX operator specification."""

from __future__ import annotations

import numpy as np

from cervello.native.graph.dtypes import BOOL, F32, I32, I64
from cervello.native.passes.graph_builder import GraphBuilder, Results, decomposes


@decomposes("Sum", "Mean")
def _sum(s: GraphBuilder) -> Results:
    if s.node.op == "Mean" and any(s.dtype(i) != F32 for i in range(len(s.values))):
        return None
    total = s.input(0)
    for name in s.node.inputs[1:]:
        total = s.add("Add", total, name)
    return total if s.node.op == "Sum" else s.add("Div", total, s.constant(len(s.node.inputs), F32))


@decomposes("DepthToSpace", "SpaceToDepth")
def _blocks(s: GraphBuilder) -> Results:
    sizes, b = [size for size in s.shape(0)[1:] if isinstance(size, int)], s.attribute("blocksize")
    if len(sizes) != 3:  # one of them depends on N
        return None
    (c, h, w), depth_first = sizes, s.attribute("mode", "DCR") == "DCR"
    if s.node.op == "SpaceToDepth":
        x = s.reshape(s.input(0), 0, c, h // b, b, w // b, b)
        return s.reshape(s.transpose(x, 0, *((3, 5, 1, 2, 4) if depth_first else (1, 3, 5, 2, 4))), 0, c * b * b, h // b, w // b)
    c //= b * b
    if depth_first:
        x = s.transpose(s.reshape(s.input(0), 0, b, b, c, h, w), 0, 3, 4, 1, 5, 2)
    else:
        x = s.transpose(s.reshape(s.input(0), 0, c, b, b, h, w), 0, 1, 4, 2, 5, 3)
    return s.reshape(x, 0, c, h * b, w * b)


@decomposes("MeanVarianceNormalization")
def _mean_variance(s: GraphBuilder) -> Results:
    if s.dtype(0) != F32:
        return None
    axes = s.constant(s.attribute("axes", (0, 2, 3)))
    centred = s.add("Sub", s.input(0), s.add("ReduceMean", s.input(0), axes, keepdims=1))
    deviation = s.add("Sqrt", s.add("ReduceMean", s.add("Mul", centred, centred), axes, keepdims=1))
    return s.add("Div", centred, s.add("Add", deviation, s.constant(1e-9, F32)))


@decomposes("Shrink")
def _shrink(s: GraphBuilder) -> Results:
    if s.dtype(0) != F32:
        return None
    x, bias, limit = s.input(0), s.attribute("bias", 0.0), s.attribute("lambd", 0.5)
    high = s.add("Where", s.add("Greater", x, s.constant(limit, F32)), s.add("Sub", x, s.constant(bias, F32)), s.constant(0.0, F32))
    return s.add("Where", s.add("Less", x, s.constant(-limit, F32)), s.add("Add", x, s.constant(bias, F32)), high)


@decomposes("OneHot")
def _one_hot(s: GraphBuilder) -> Results:
    depth = s.data(1)
    if depth is None or s.dtype(0) not in (I64, I32):
        return None
    rank, count = len(s.shape(0)), int(depth.reshape(()))
    axis = s.attribute("axis", -1) % (rank + 1)
    wide = s.input(0) if s.dtype(0) == I64 else s.add("Cast", s.input(0), to=I64)
    wrapped = s.add("Where", s.add("Less", wide, s.constant(0)), s.add("Add", wide, s.constant(count)), wide)
    classes = np.arange(count).reshape(-1, *(1,) * (rank - axis))
    hit = s.add("Equal", s.add("Unsqueeze", wrapped, s.constant([axis])), s.constant(classes))
    off, on = (s.add("Slice", s.input(2), s.constant([i]), s.constant([i + 1]), s.constant([0])) for i in range(2))
    return s.add("Where", hit, on, off)


@decomposes("Trilu")
def _trilu(s: GraphBuilder) -> Results:
    sizes, k = [size for size in s.shape(0)[-2:] if isinstance(size, int)], s.data(1)
    if len(sizes) < 2 or (s.input(1) and k is None):
        return None
    whole, shift = np.ones(sizes, bool), 0 if k is None else int(k.reshape(()))
    mask = np.triu(whole, shift) if s.attribute("upper", 1) else np.tril(whole, shift)
    return s.add("Where", s.constant(mask, bool), s.input(0), s.constant(0, s.dtype(0)))


@decomposes("Bernoulli")
def _bernoulli(s: GraphBuilder) -> Results:
    dtype = {1: F32, 7: I64, 6: I32, 9: BOOL}.get(s.attribute("dtype", 1))
    if s.dtype(0) != F32 or dtype is None:
        return None
    hit = s.add("Less", s.draw("RandomUniformLike", s.input(0)), s.input(0))
    return hit if dtype == BOOL else s.add("Cast", hit, to=dtype)


@decomposes("LayerNormalization")
def _layer_normalization(s: GraphBuilder) -> Results:
    """The forms that return mean and deviation, or whose scale is computed."""
    if s.dtype(0) != F32 or (not any(s.node.outputs[1:]) and s.data(1) is not None):
        return None
    rank = len(s.shape(0))
    axes = s.constant(list(range(s.attribute("axis", -1) % max(rank, 1), rank)))
    mean = s.add("ReduceMean", s.input(0), axes, keepdims=1)
    centred = s.add("Sub", s.input(0), mean)
    variance = s.add("ReduceMean", s.add("Mul", centred, centred), axes, keepdims=1)
    deviation = s.add("Sqrt", s.add("Add", variance, s.constant(s.attribute("epsilon", 1e-5), F32)))
    y = s.add("Mul", s.add("Div", centred, deviation), s.input(1))
    return s.add("Add", y, s.input(2)) if s.input(2) else y, mean, s.add("Reciprocal", deviation)


@decomposes("Pow")
def _power(s: GraphBuilder) -> Results:
    """Operands of two types: computed in float32, then cast to the type of the base."""
    base, exponent = s.dtype(0), s.dtype(1)
    if base == exponent or any(dtype not in (F32, I64, I32) for dtype in (base, exponent)):
        return None
    a, b = (s.input(i) if s.dtype(i) == F32 else s.add("Cast", s.input(i), to=F32) for i in range(2))
    found = s.add("Pow", a, b)
    return found if base == F32 else s.add("Cast", found, to=base)


@decomposes("ReduceMax", "ReduceMin")
def _extreme_of_bools(s: GraphBuilder) -> Results:
    if s.dtype(0) != BOOL:
        return None
    rest = [s.input(1)] if s.input(1) else []
    found = s.add(s.node.op, s.add("Cast", s.input(0), to=F32), *rest, **s.node.attributes)
    return s.add("Greater", found, s.constant(0.0, F32))


@decomposes("BatchNormalization")
def _batch_normalization(s: GraphBuilder) -> Results:
    """With statistics that the graph computes, as Keras' LayerNormalization has them in tf2onnx's files: per channel
    (x - mean) · (scale / √(variance + epsilon)) + bias. Constant ones have a kernel.
    """
    parameters = range(1, 5)
    if any(s.dtype(i) != F32 for i in range(5)) or s.attribute("training_mode", 0) or all(s.data(i) is not None for i in parameters):
        return None
    behind = list(range(1, len(s.shape(0)) - 1))
    scale, bias, mean, variance = (s.add("Unsqueeze", s.input(i), s.constant(behind)) if behind else s.input(i) for i in parameters)
    deviation = s.add("Sqrt", s.add("Add", variance, s.constant(s.attribute("epsilon", 1e-5), F32)))
    centred = s.add("Sub", s.input(0), mean)
    return s.add("Add", s.add("Mul", centred, s.add("Div", scale, deviation)), bias)
