"""numpy definitions of ONNX ops: they fold constants, do arithmetic on shapes (object arrays of sizes), and are the numpy tier.

A function takes the node and its input arrays (None where absent) and returns an array or a tuple of arrays.
Source: ONNX operator specification, the newest version of each op; `importer` and `normalise` bring older forms to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cervello.native.dims import Affine
from cervello.native.graph import Node

Array = np.ndarray[Any, Any]
Function = Callable[..., Any]
NUMPY: dict[str, Function] = {}


def host(*ops: str) -> Callable[[Function], Function]:
    def register(function: Function) -> Function:
        for op in ops:
            NUMPY[op] = function
        return function

    return register


def run_numpy(node: Node, inputs: list[Array | None]) -> list[Array]:
    """Runs one node; outputs keep the dtype numpy gives unless the function decides."""
    with np.errstate(all="ignore"):
        results = NUMPY[node.op](node, *inputs)
    if not isinstance(results, tuple):
        results = (results,)
    return [np.asarray(result) for result in results]


def _elementwise() -> None:
    def binary(function: Any) -> Function:
        return lambda node, a, b: function(a, b)

    def unary(function: Any) -> Function:
        return lambda node, x: function(x).astype(x.dtype, copy=False)

    one = np.float32(1)
    binaries: dict[str, Any] = {
        "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Equal": np.equal, "Less": np.less, "Greater": np.greater,
        "LessOrEqual": np.less_equal, "GreaterOrEqual": np.greater_equal, "And": np.logical_and, "Or": np.logical_or,
        "Xor": np.logical_xor,
    }
    for op, function in binaries.items():
        NUMPY[op] = binary(function)
    unaries: dict[str, Any] = {
        "Neg": np.negative, "Abs": np.abs, "Sqrt": np.sqrt, "Exp": np.exp, "Log": np.log, "Sin": np.sin, "Cos": np.cos,
        "Tan": np.tan, "Atan": np.arctan, "Asin": np.arcsin, "Acos": np.arccos, "Sinh": np.sinh, "Cosh": np.cosh,
        "Tanh": np.tanh, "Floor": np.floor, "Ceil": np.ceil, "Round": np.rint, "Sign": np.sign, "Not": np.logical_not,
        "Reciprocal": lambda x: one / x, "Relu": lambda x: np.maximum(x, 0), "Identity": lambda x: x,
        "Sigmoid": lambda x: 1 / (1 + np.exp(-x)), "Softplus": lambda x: np.logaddexp(x, 0), "Softsign": lambda x: x / (1 + abs(x)),
    }
    for op, function in unaries.items():
        NUMPY[op] = unary(function)


_elementwise()


@host("Div")
def _div(node: Node, a: Array, b: Array) -> Array:
    if a.dtype == object or b.dtype == object:
        return np.asarray(np.floor_divide(a, b))
    if np.issubdtype(a.dtype, np.integer):  # ONNX divides integers toward zero
        return np.asarray(np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))).astype(a.dtype)
    return np.asarray(np.divide(a, b))


@host("Mod")
def _mod(node: Node, a: Array, b: Array) -> Array:
    return np.asarray(np.fmod(a, b) if node.attributes.get("fmod", 0) else np.mod(a, b))


@host("Pow")
def _pow(node: Node, a: Array, b: Array) -> Array:
    return np.asarray(np.power(a, b)).astype(a.dtype)


@host("Max")
def _max(node: Node, *xs: Array) -> Array:
    result = xs[0]
    for x in xs[1:]:
        result = np.maximum(result, x)
    return result


@host("Min")
def _min(node: Node, *xs: Array) -> Array:
    result = xs[0]
    for x in xs[1:]:
        result = np.minimum(result, x)
    return result


@host("Clip")
def _clip(node: Node, x: Array, low: Array | None = None, high: Array | None = None) -> Array:
    x = x if low is None else np.maximum(x, low)
    return x if high is None else np.minimum(x, high)


@host("Where")
def _where(node: Node, condition: Array, a: Array, b: Array) -> Array:
    return np.where(condition.astype(bool), a, b)


@host("Cast")
def _cast(node: Node, x: Array) -> Array:
    return cast(x, np.dtype(node.attributes["to"]))


@host("CastLike")
def _cast_like(node: Node, x: Array, like: Array) -> Array:
    return cast(x, like.dtype)


def cast(x: Array, dtype: np.dtype[Any]) -> Array:
    """Converts; floats saturate when they become integers, NaN becomes 0."""
    if x.dtype == object:
        return x  # sizes stay exact
    if np.issubdtype(x.dtype, np.floating) and np.issubdtype(dtype, np.integer):
        info = np.iinfo(dtype)
        safe = np.nan_to_num(np.trunc(x.astype(np.float64)), nan=0.0, posinf=np.inf, neginf=-np.inf)
        result = np.zeros(x.shape, dtype)
        inside = (safe > float(info.min)) & (safe < float(info.max))
        result[inside] = safe[inside].astype(dtype)
        result[safe >= float(info.max)] = info.max
        result[safe <= float(info.min)] = info.min
        return result
    return x.astype(dtype)


@host("Shape")
def _shape(node: Node, x: Array) -> Array:
    return np.array(x.shape, np.int64)[node.attributes.get("start", 0):node.attributes.get("end", None)]


@host("Size")
def _size(node: Node, x: Array) -> Array:
    return np.array(x.size, np.int64)


@host("Reshape")
def _reshape(node: Node, x: Array, shape: Array) -> Array:
    keep_zero = bool(node.attributes.get("allowzero", 0))
    dims = [x.shape[i] if d == 0 and not keep_zero else int(d) for i, d in enumerate(shape.tolist())]
    return x.reshape(dims)


@host("Flatten")
def _flatten(node: Node, x: Array) -> Array:
    axis = node.attributes.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(int(np.prod(x.shape[:axis], dtype=np.int64)), -1)


@host("Squeeze")
def _squeeze(node: Node, x: Array, axes: Array | None = None) -> Array:
    return x.squeeze() if axes is None else x.squeeze(tuple(int(a) for a in axes))


@host("Unsqueeze")
def _unsqueeze(node: Node, x: Array, axes: Array) -> Array:
    return np.expand_dims(x, tuple(int(a) for a in axes))


@host("Transpose")
def _transpose(node: Node, x: Array) -> Array:
    return np.transpose(x, node.attributes.get("perm"))


@host("Concat")
def _concat(node: Node, *xs: Array) -> Array:
    return np.concatenate(xs, axis=node.attributes["axis"])


@host("Gather")
def _gather(node: Node, x: Array, indices: Array) -> Array:
    return np.take(x, indices.astype(np.int64), axis=node.attributes.get("axis", 0))


@host("Slice")
def _slice(node: Node, x: Array, starts: Array, ends: Array, axes: Array | None = None, steps: Array | None = None) -> Array:
    return x[slices(x.ndim, starts, ends, axes, steps)]


def slices(n_dims: int, starts: Array, ends: Array, axes: Array | None, steps: Array | None) -> tuple[slice, ...]:
    """ONNX slice operands as Python slices."""
    found = [slice(None)] * n_dims
    steps_list = [1] * len(starts) if steps is None else steps.tolist()
    axes_list = list(range(len(starts))) if axes is None else axes.tolist()
    for start, end, axis, step in zip(starts.tolist(), ends.tolist(), axes_list, steps_list, strict=True):
        stop = None if step < 0 and end < -(1 << 31) + 2 else end
        found[axis] = slice(start, stop, step)
    return tuple(found)


@host("Split")
def _split(node: Node, x: Array, split: Array | None = None) -> tuple[Array, ...]:
    axis = node.attributes.get("axis", 0)
    if split is None:
        size = -(-x.shape[axis] // len(node.outputs))
        edges = [size * (i + 1) for i in range(len(node.outputs) - 1)]
    else:
        edges = np.cumsum(split)[:-1].tolist()
    return tuple(np.split(x, edges, axis=axis))


@host("Expand")
def _expand(node: Node, x: Array, shape: Array) -> Array:
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(int(d) for d in shape)))


@host("Tile")
def _tile(node: Node, x: Array, repeats: Array) -> Array:
    return np.tile(x, tuple(int(r) for r in repeats))


@host("Range")
def _range(node: Node, start: Array, limit: Array, delta: Array) -> Array:
    return np.arange(start.item(), limit.item(), delta.item()).astype(start.dtype)


@host("ConstantOfShape")
def _constant_of_shape(node: Node, shape: Array) -> Array:
    value = np.asarray(node.attributes.get("value", np.zeros(1, np.float32)))
    return np.full(tuple(int(d) for d in shape), value.reshape(-1)[0], value.dtype)


def _axes(x: Array, axes: Array | None, node: Node) -> tuple[int, ...] | None:
    if axes is None or axes.size == 0:
        return () if node.attributes.get("noop_with_empty_axes", 0) else None
    return tuple(int(a) for a in axes)


def _reductions() -> None:
    def product(x: Array, axis: Any, keepdims: bool) -> Array:
        return np.asarray(np.prod(x, axis=axis, keepdims=keepdims, dtype=x.dtype))

    def reducer(function: Any) -> Function:
        def reduce(node: Node, x: Array, axes: Array | None = None) -> Array:
            axis = _axes(x, axes, node)
            if axis == ():
                return x
            result = function(x, axis=axis, keepdims=bool(node.attributes.get("keepdims", 1)))
            return np.asarray(result) if x.dtype == object else np.asarray(result).astype(x.dtype)
        return reduce

    for op, function in {
        "ReduceSum": np.sum, "ReduceMean": np.mean, "ReduceMax": np.max, "ReduceMin": np.min, "ReduceProd": product,
        "ReduceL1": lambda x, **k: np.sum(np.abs(x), **k), "ReduceL2": lambda x, **k: np.sqrt(np.sum(x * x, **k)),
        "ReduceSumSquare": lambda x, **k: np.sum(x * x, **k), "ReduceLogSum": lambda x, **k: np.log(np.sum(x, **k)),
    }.items():
        NUMPY[op] = reducer(function)


_reductions()


@host("MatMul")
def _matmul(node: Node, a: Array, b: Array) -> Array:
    return np.asarray(np.matmul(a, b))


@host("Gemm")
def _gemm(node: Node, a: Array, b: Array, c: Array | None = None) -> Array:
    a = a.T if node.attributes.get("transA", 0) else a
    b = b.T if node.attributes.get("transB", 0) else b
    y = np.asarray(node.attributes.get("alpha", 1.0) * (a @ b)).astype(a.dtype)
    return y if c is None else (y + np.asarray(node.attributes.get("beta", 1.0) * c)).astype(a.dtype)


@host("Softmax", "LogSoftmax")
def _softmax(node: Node, x: Array) -> Array:
    axis = node.attributes["axis"] % max(x.ndim, 1)
    axes = tuple(range(axis, x.ndim)) if node.attributes.get("flatten") else axis
    moved = x - x.max(axis=axes, keepdims=True)
    total = np.exp(moved).sum(axis=axes, keepdims=True)
    return np.asarray(np.exp(moved) / total if node.op == "Softmax" else moved - np.log(total)).astype(x.dtype)


def symbolic(data: Array) -> bool:
    """Whether an array holds sizes that depend on N."""
    return data.dtype == object and any(isinstance(v, Affine) for v in data.reshape(-1))
