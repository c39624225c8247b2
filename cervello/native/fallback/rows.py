"""numpy definitions of ops that combine elements: reductions, products, softmax, normalisations."""

from __future__ import annotations

from typing import Any

import numpy as np

from cervello.native.fallback.table import NUMPY, Function, numpy_op
from cervello.native.graph.dtypes import Array
from cervello.native.graph.graph import Node


def _axes(x: Array, axes: Array | None, node: Node) -> tuple[int, ...] | None:
    if axes is None or axes.size == 0:
        return () if node.attributes.get("noop_with_empty_axes", 0) else None
    return tuple(int(a) for a in axes)


def _extreme(function: Function, sign: int) -> Function:
    """A maximum or minimum; for no elements, the identity of the operation."""
    def reduce(x: Array, axis: Any, keepdims: bool) -> Array:
        if x.dtype == object or x.size:
            return np.asarray(function(x, axis=axis, keepdims=keepdims))
        if x.dtype.kind in "iu":
            start: Any = np.iinfo(x.dtype).min if sign < 0 else np.iinfo(x.dtype).max
        else:
            start = sign > 0 if x.dtype == bool else sign * np.inf
        return np.asarray(function(x, axis=axis, keepdims=keepdims, initial=start))

    return reduce


def _log_sum_exp(x: Array, axis: Any, keepdims: bool) -> Array:
    highest = np.max(x, axis=axis, keepdims=True, initial=-np.inf)
    shift = np.where(np.isfinite(highest), highest, 0)
    total = np.log(np.sum(np.exp(x - shift), axis=axis, keepdims=True)) + shift
    return np.asarray(total if keepdims else total.squeeze(axis))


def _reducer(function: Function) -> Function:
    def reduce(node: Node, x: Array, axes: Array | None = None) -> Array:
        axis = _axes(x, axes, node)
        if axis == ():
            return x
        result = np.asarray(function(x, axis=axis, keepdims=bool(node.attributes.get("keepdims", 1))))
        return result if x.dtype == object else result.astype(x.dtype)

    return reduce


_REDUCTIONS: dict[str, Function] = {
    "ReduceSum": np.sum, "ReduceMean": np.mean, "ReduceMax": _extreme(np.max, -1), "ReduceMin": _extreme(np.min, 1),
    "ReduceProd": lambda x, **k: np.prod(x, dtype=x.dtype, **k), "ReduceL1": lambda x, **k: np.sum(np.abs(x), **k),
    "ReduceL2": lambda x, **k: np.sqrt(np.sum(x * x, **k)), "ReduceSumSquare": lambda x, **k: np.sum(x * x, **k),
    "ReduceLogSum": lambda x, **k: np.log(np.sum(x, **k)), "ReduceLogSumExp": _log_sum_exp}
NUMPY |= {op: _reducer(function) for op, function in _REDUCTIONS.items()}
NUMPY["MatMul"] = lambda node, a, b: np.matmul(a, b)


@numpy_op("Gemm")
def _gemm(node: Node, a: Array, b: Array, c: Array | None = None) -> Array:
    a = a.T if node.attributes.get("transA", 0) else a
    b = b.T if node.attributes.get("transB", 0) else b
    y = np.asarray(node.attributes.get("alpha", 1.0) * (a @ b)).astype(a.dtype)
    return y if c is None else (y + np.asarray(node.attributes.get("beta", 1.0) * c)).astype(a.dtype)


@numpy_op("Softmax", "LogSoftmax")
def _softmax(node: Node, x: Array) -> Array:
    axis = node.attributes["axis"] % max(x.ndim, 1)
    axes = tuple(range(axis, x.ndim)) if node.attributes.get("flatten") else axis
    moved = x - x.max(axis=axes, keepdims=True)
    total = np.exp(moved).sum(axis=axes, keepdims=True)
    return np.asarray(np.exp(moved) / total if node.op == "Softmax" else moved - np.log(total)).astype(x.dtype)


@numpy_op("Hardmax")
def _hardmax(node: Node, x: Array) -> Array:
    axis = node.attributes["axis"] % max(x.ndim, 1)
    after = int(np.prod(x.shape[axis:], dtype=np.int64)) if node.attributes.get("flatten") else x.shape[axis]
    flat = x.reshape(*x.shape[:axis], after) if node.attributes.get("flatten") else np.moveaxis(x, axis, -1)
    result = (np.arange(after) == np.argmax(flat, axis=-1)[..., None]).astype(x.dtype)  # the first of equals
    return result.reshape(x.shape) if node.attributes.get("flatten") else np.moveaxis(result, -1, axis)


@numpy_op("BatchNormalization")
def _batch_normalization(node: Node, x: Array, scale: Array, bias: Array, mean: Array, variance: Array) -> Array:
    """With fixed statistics per channel; before opset 9, `spatial=0` means per element."""
    shape = x.shape[1:] if node.opset < 9 and not node.attributes.get("spatial", 1) else (-1, *(1,) * (x.ndim - 2)) if x.ndim > 1 else (-1,)
    scale, bias, mean, variance = (operand.reshape(shape) for operand in (scale, bias, mean, variance))
    factor = scale / np.sqrt(variance + np.asarray(node.attributes.get("epsilon", np.float32(1e-5)), variance.dtype))
    return np.asarray((x - mean) * factor + bias).astype(x.dtype)


@numpy_op("MeanVarianceNormalization")
def _mean_variance(node: Node, x: Array) -> Array:
    """Normalises to mean 0 and deviation 1 over some axes."""
    axes = tuple(node.attributes.get("axes", (0, 2, 3)))
    centred = x - x.mean(axis=axes, keepdims=True)
    return np.asarray(centred / (np.sqrt((centred * centred).mean(axis=axes, keepdims=True)) + 1e-9)).astype(x.dtype)


@numpy_op("LRN")
def _local_response(node: Node, x: Array) -> Array:
    """Divides each channel by a power of the sum of squares of its neighbours."""
    size, channels = node.attributes["size"], x.shape[1]
    before, after = (size - 1) // 2, size // 2
    squares = x * x
    total = np.stack([squares[:, max(c - before, 0):c + after + 1].sum(axis=1) for c in range(channels)], axis=1)
    defaults = {"alpha": float(np.float32(1e-4)), "beta": 0.75, "bias": 1.0}
    alpha, beta, bias = (node.attributes.get(name, default) for name, default in defaults.items())
    return np.asarray(x / (bias + alpha / size * total) ** beta).astype(x.dtype)


@numpy_op("Einsum")
def _einsum(node: Node, *xs: Array) -> Array:
    known = [x if x.dtype.kind in "fiub" else x.astype(np.float32) for x in xs]  # numpy's own cannot add bfloat16
    return np.asarray(np.einsum(node.attributes["equation"].replace(" ", ""), *known)).astype(xs[0].dtype)
