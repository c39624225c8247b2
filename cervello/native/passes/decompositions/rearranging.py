"""Ops that are a few well-known ones in a row. Source: ONNX operator specification."""

from __future__ import annotations

from typing import Any

import numpy as np

from cervello.native.graph.dims import Affine
from cervello.native.passes.graph_builder import GraphBuilder, decomposes

F32, I64 = np.dtype(np.float32), np.dtype(np.int64)


@decomposes("Sum")
def _sum(s: GraphBuilder) -> bool:
    total = s.input(0)
    for name in s.node.inputs[1:]:
        total = s.add("Add", total, name)
    s.set_outputs(total)
    return True


@decomposes("Mean")
def _mean(s: GraphBuilder) -> bool:
    if any(value is None or value.dtype != F32 for value in s.values):
        return False
    total = s.input(0)
    for name in s.node.inputs[1:]:
        total = s.add("Add", total, name)
    s.set_outputs(s.add("Div", total, s.constant(len(s.node.inputs), F32)))
    return True


def _picture(s: GraphBuilder) -> list[int] | None:
    """Channels, rows and columns of the first input, where they are known."""
    value = s.value(0)
    shape = () if value is None or value.shape is None else value.shape
    sizes = [size for size in shape[1:] if isinstance(size, int)]
    return sizes if len(shape) == 4 and len(sizes) == 3 else None


@decomposes("DepthToSpace")
def _depth_to_space(s: GraphBuilder) -> bool:
    picture = _picture(s)
    if picture is None:
        return False
    c, h, w = picture
    b = s.attribute("blocksize")
    if s.attribute("mode", "DCR") == "DCR":
        x = s.transpose(s.reshape(s.input(0), 0, b, b, c // (b * b), h, w), 0, 3, 4, 1, 5, 2)
    else:
        x = s.transpose(s.reshape(s.input(0), 0, c // (b * b), b, b, h, w), 0, 1, 4, 2, 5, 3)
    s.set_outputs(s.reshape(x, 0, c // (b * b), h * b, w * b))
    return True


@decomposes("SpaceToDepth")
def _space_to_depth(s: GraphBuilder) -> bool:
    picture = _picture(s)
    if picture is None:
        return False
    c, h, w = picture
    b = s.attribute("blocksize")
    order = (0, 3, 5, 1, 2, 4) if s.attribute("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    x = s.transpose(s.reshape(s.input(0), 0, c, h // b, b, w // b, b), *order)
    s.set_outputs(s.reshape(x, 0, c * b * b, h // b, w // b))
    return True


@decomposes("MeanVarianceNormalization")
def _mean_variance(s: GraphBuilder) -> bool:
    if s.value(0) is None or s.value(0).dtype != F32:  # type: ignore[union-attr]
        return False
    axes = s.constant(s.attribute("axes", (0, 2, 3)))
    away = s.add("Sub", s.input(0), s.add("ReduceMean", s.input(0), axes, keepdims=1))
    spread = s.add("Sqrt", s.add("ReduceMean", s.add("Mul", away, away), axes, keepdims=1))
    s.set_outputs(s.add("Div", away, s.add("Add", spread, s.constant(1e-9, F32))))
    return True


@decomposes("Shrink")
def _shrink(s: GraphBuilder) -> bool:
    if s.value(0) is None or s.value(0).dtype != F32:  # type: ignore[union-attr]
        return False
    x, bias, limit = s.input(0), s.attribute("bias", 0.0), s.attribute("lambd", 0.5)
    high = s.add("Where", s.add("Greater", x, s.constant(limit, F32)), s.add("Sub", x, s.constant(bias, F32)), s.constant(0.0, F32))
    s.set_outputs(s.add("Where", s.add("Less", x, s.constant(-limit, F32)), s.add("Add", x, s.constant(bias, F32)), high))
    return True


@decomposes("OneHot")
def _one_hot(s: GraphBuilder) -> bool:
    indices, depth, values = (s.value(i) for i in range(3))
    if indices is None or depth is None or depth.constant is None or values is None or indices.dtype not in (I64, np.dtype(np.int32)):
        return False
    rank, count = len(indices.shape or ()), int(depth.constant.reshape(()))
    axis = s.attribute("axis", -1) % (rank + 1)
    wide = s.input(0) if indices.dtype == I64 else s.add("Cast", s.input(0), to=I64)
    wrapped = s.add("Where", s.add("Less", wide, s.constant(0)), s.add("Add", wide, s.constant(count)), wide)
    places = np.arange(count).reshape(-1, *(1,) * (rank - axis))
    hit = s.add("Equal", s.add("Unsqueeze", wrapped, s.constant([axis])), s.constant(places))
    off, on = (s.add("Slice", s.input(2), s.constant([i]), s.constant([i + 1]), s.constant([0])) for i in range(2))
    s.set_outputs(s.add("Where", hit, on, off))
    return True


@decomposes("Trilu")
def _trilu(s: GraphBuilder) -> bool:
    value, k = s.value(0), s.value(1)
    shape = () if value is None or value.shape is None else value.shape
    if len(shape) < 2 or any(isinstance(size, Affine) for size in shape[-2:]) or (k is not None and k.constant is None) or value is None:
        return False
    rows, columns = (int(size) for size in shape[-2:])  # type: ignore[arg-type]
    shift = 0 if k is None or k.constant is None else int(k.constant.reshape(()))
    whole = np.ones((rows, columns), bool)
    kept = np.triu(whole, shift) if s.attribute("upper", 1) else np.tril(whole, shift)
    s.set_outputs(s.add("Where", s.constant(kept, bool), s.input(0), s.constant(0, value.dtype)))
    return True


@decomposes("Bernoulli")
def _bernoulli(s: GraphBuilder) -> bool:
    value = s.value(0)
    if value is None or value.dtype != F32 or s.attribute("dtype", 1) not in (1, 7, 6, 9):
        return False
    drawn = s.draw("RandomUniformLike", s.input(0))
    kinds: dict[int, np.dtype[Any]] = {1: F32, 7: I64, 6: np.dtype(np.int32), 9: np.dtype(bool)}
    dtype = kinds[s.attribute("dtype", 1)]
    hit = s.add("Less", drawn, s.input(0))
    s.set_outputs(hit if dtype.kind == "b" else s.add("Cast", hit, to=dtype))
    return True


@decomposes("LayerNormalization")
def _layer_normalization(s: GraphBuilder) -> bool:
    """With the mean and the deviation among its results, or a scale that is computed."""
    x, scale = s.value(0), s.value(1)
    seen = any(s.node.outputs[1:])
    if x is None or x.dtype != F32 or scale is None or (not seen and scale.constant is not None):
        return False
    rank = len(x.shape or ())
    axis = s.attribute("axis", -1) % max(rank, 1)
    axes = s.constant(list(range(axis, rank)))
    mean = s.add("ReduceMean", s.input(0), axes, keepdims=1)
    away = s.add("Sub", s.input(0), mean)
    variance = s.add("ReduceMean", s.add("Mul", away, away), axes, keepdims=1)
    spread = s.add("Sqrt", s.add("Add", variance, s.constant(s.attribute("epsilon", 1e-5), F32)))
    y = s.add("Mul", s.add("Div", away, spread), s.input(1))
    s.set_outputs(s.add("Add", y, s.input(2)) if s.input(2) else y, mean, s.add("Reciprocal", spread))
    return True


@decomposes("Pow")
def _power(s: GraphBuilder) -> bool:
    """Of two types: in float32, and back to the type of the base."""
    x, y = s.value(0), s.value(1)
    ordinary = (F32, I64, np.dtype(np.int32))
    if x is None or y is None or x.dtype == y.dtype or x.dtype not in ordinary or y.dtype not in ordinary:
        return False
    a, b = (name if value.dtype == F32 else s.add("Cast", name, to=F32) for name, value in ((s.input(0), x), (s.input(1), y)))
    found = s.add("Pow", a, b)
    s.set_outputs(found if x.dtype == F32 else s.add("Cast", found, to=x.dtype))
    return True


@decomposes("ReduceMax", "ReduceMin")
def _extreme_of_bools(s: GraphBuilder) -> bool:
    x = s.value(0)
    if x is None or x.dtype != np.dtype(bool):
        return False
    rest = [s.input(1)] if s.input(1) else []
    found = s.add(s.node.op, s.add("Cast", s.input(0), to=F32), *rest, **dict(s.node.attributes))
    s.set_outputs(s.add("Greater", found, s.constant(0.0, F32)))
    return True


@decomposes("BatchNormalization")
def _batch_normalization(s: GraphBuilder) -> bool:
    """With statistics that the graph computes, as Keras' LayerNormalization has them in tf2onnx's files: per channel
    (x - mean) · (scale / √(variance + epsilon)) + bias. Constant ones have a kernel.
    """
    x, *parameters = (s.value(i) for i in range(5))
    if x is None or x.shape is None or x.dtype != F32 or s.attribute("training_mode", 0) or any(
            value is None or value.shape is None or value.dtype != F32 for value in parameters):
        return False
    if all(value is not None and value.constant is not None for value in parameters):
        return False
    behind = list(range(1, len(x.shape) - 1))
    scale, bias, mean, variance = (s.add("Unsqueeze", s.input(i), s.constant(behind)) if behind else s.input(i) for i in range(1, 5))
    deviation = s.add("Sqrt", s.add("Add", variance, s.constant(s.attribute("epsilon", 1e-5), F32)))
    centred = s.add("Sub", s.input(0), mean)
    s.set_outputs(s.add("Add", s.add("Mul", centred, s.add("Div", scale, deviation)), bias))
    return True
