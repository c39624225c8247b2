"""Result shapes and dtypes of ONNX ops on sizes that may depend on N.

A rule takes the node and its input values and returns [(shape, dtype), …]. It raises `NotAffine` or `Unknown` when the shape
cannot be told ahead; the op then runs on a slower tier. Source: ONNX operator specification.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

from cervello.errors import GraphError, UnsupportedError
from cervello.native.graph.dims import Dim, Shape, written
from cervello.native.graph.dtypes import BOOL, I64
from cervello.native.graph.graph import Node
from cervello.native.graph.op_table import REDUCTIONS, UNARY_FLOATS, registers
from cervello.native.graph.values import Value
from cervello.native.shapes.einsum import letters

Result = list[tuple[Shape, np.dtype[Any]]]
Rule = Callable[..., Result]
RULES: dict[str, Rule] = {}
rule = registers(RULES)


class Unknown(ArithmeticError):
    """The shape depends on data."""


def shape_of(value: Value) -> Shape:
    if value.shape is None:
        raise Unknown(value.name)
    return value.shape


def dtype_of(value: Value) -> np.dtype[Any]:
    if value.dtype is None:
        raise Unknown(value.name)
    return value.dtype


def data_of(value: Value | None) -> Any:
    """The data of an operand that must be known ahead (axes, shapes); None when absent."""
    if value is None:
        return None
    if value.data is None:
        raise Unknown(value.name)
    return value.data


def one_type(node: Node, *values: Value | None) -> np.dtype[Any]:
    """The element type that operands share.

    Raises:
      GraphError: they differ.
    """
    dtypes = [dtype_of(value) for value in values if value is not None and not (value.data is not None and value.data.dtype == object)]
    if not dtypes:
        return I64
    if any(dtype != dtypes[0] for dtype in dtypes):
        raise GraphError(f"node {node}: expected operands of one element type, got {' and '.join(map(str, dtypes))}")
    return dtypes[0]


def broadcast(node: Node, *shapes: Shape) -> Shape:
    """numpy broadcasting of sizes."""
    rank = max((len(shape) for shape in shapes), default=0)
    result: list[Dim] = []
    for axis in range(-rank, 0):
        size: Dim = 1
        for shape in shapes:
            if -axis > len(shape) or shape[axis] == 1:
                continue
            if size not in (1, shape[axis]):
                raise GraphError(f"node {node}: expected shapes that broadcast, got {' and '.join(map(written, shapes))}")
            size = shape[axis]
        result.append(size)
    return tuple(result)


def axis_of(node: Node, axis: int, rank: int) -> int:
    if not -rank <= axis < max(rank, 1):
        raise GraphError(f"node {node}: expected an axis within rank {rank}, got {axis}")
    return axis + rank if axis < 0 else axis


@rule(*UNARY_FLOATS, "Not", "Identity", "Softmax", "LogSoftmax", "InstanceNormalization", "LpNormalization", "CumSum", "Hardmax", "LRN",
      "Trilu", "ScatterElements", "ScatterND", "MeanVarianceNormalization", "ReverseSequence", "GroupNormalization", "Shrink", "Scatter")
def _same(node: Node, x: Value, *rest: Value | None) -> Result:
    return [(shape_of(x), dtype_of(x))]


RULES |= {
    "IsNaN": lambda node, x: [(shape_of(x), BOOL)],
    "IsInf": lambda node, x: [(shape_of(x), BOOL)],
    "Cast": lambda node, x: [(shape_of(x), np.dtype(node.attributes["to"]))],
    "CastLike": lambda node, x, like: [(shape_of(x), dtype_of(like))],
    "Pow": lambda node, x, exponent: [(broadcast(node, shape_of(x), shape_of(exponent)), dtype_of(x))],
    "Where": lambda node, condition, a, b: [(broadcast(node, *map(shape_of, (condition, a, b))), one_type(node, a, b))]}


@rule("BatchNormalization")
def _batch_normalization(node: Node, x: Value, *statistics: Value) -> Result:
    if node.attributes.get("training_mode", 0) or any(node.outputs[1:]):
        raise UnsupportedError(f"node {node}: expected statistics that are fixed, got training mode (training_mode=1, or statistics among "
                               "its results), in which an agent's result depends on the others; export the policy for inference")
    return [(shape_of(x), dtype_of(x))]


@rule("Add", "Sub", "Mul", "Div", "Mod", "PRelu", "Max", "Min", "Sum", "Mean", "BitwiseAnd", "BitwiseOr", "BitwiseXor")
def _arithmetic(node: Node, *xs: Value) -> Result:
    return [(broadcast(node, *(shape_of(x) for x in xs)), one_type(node, *xs))]


@rule("Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "And", "Or", "Xor")
def _comparison(node: Node, a: Value, b: Value) -> Result:
    one_type(node, a, b)
    return [(broadcast(node, shape_of(a), shape_of(b)), BOOL)]


@rule("LayerNormalization", "RMSNormalization")
def _normalisation(node: Node, x: Value, *rest: Value) -> Result:
    shape = shape_of(x)
    axis = axis_of(node, node.attributes.get("axis", -1), len(shape))
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(node.attributes.get("stash_type", 1)))
    statistics = ((*shape[:axis], *(1,) * (len(shape) - axis)), dtype)
    return [(shape, dtype_of(x)), statistics, statistics][:len(node.outputs)]


@rule("Gemm")
def _gemm(node: Node, a: Value, b: Value, c: Value | None = None) -> Result:
    left, right = shape_of(a), shape_of(b)
    left = left[::-1] if node.attributes.get("transA", 0) else left
    right = right[::-1] if node.attributes.get("transB", 0) else right
    if left[1] != right[0]:
        raise GraphError(f"node {node}: expected equal inner sizes, got {written(left)} and {written(right)}")
    result = (left[0], right[1])
    added = () if c is None else shape_of(c)
    if len(added) > 2 or any(have not in (1, size) for have, size in zip(added[::-1], result[::-1], strict=False)):
        raise GraphError(f"node {node}: expected a shape that broadcasts to {written(result)}, got {written(added)}")
    return [(result, one_type(node, a, b, c))]


@rule("GatherND")
def _gather_nd(node: Node, x: Value, indices: Value) -> Result:
    shape, index = shape_of(x), shape_of(indices)
    behind = node.attributes.get("batch_dims", 0) + int(index[-1])  # type: ignore[arg-type]
    return [((*index[:-1], *shape[behind:]), dtype_of(x))]


@rule("MatMul")
def _matmul(node: Node, a: Value, b: Value) -> Result:
    left, right = shape_of(a), shape_of(b)
    row, column = len(left) == 1, len(right) == 1
    left, right = ((1, *left) if row else left), ((*right, 1) if column else right)
    if left[-1] != right[-2]:
        raise GraphError(f"node {node}: expected equal inner sizes, got {written(left)} and {written(right)}")
    shape = broadcast(node, left[:-2], right[:-2])
    shape += () if row else (left[-2],)
    return [(shape + (() if column else (right[-1],)), one_type(node, a, b))]


@rule(*REDUCTIONS)
def _reduce(node: Node, x: Value, axes: Value | None = None) -> Result:
    shape = shape_of(x)
    keep = bool(node.attributes.get("keepdims", 1))
    places = None if axes is None else data_of(axes)
    if places is None or places.size == 0:
        if node.attributes.get("noop_with_empty_axes", 0):
            return [(shape, dtype_of(x))]
        gone = set(range(len(shape)))
    else:
        gone = {axis_of(node, int(a), len(shape)) for a in places.reshape(-1)}
    if keep:
        return [(tuple(1 if i in gone else d for i, d in enumerate(shape)), dtype_of(x))]
    return [(tuple(d for i, d in enumerate(shape) if i not in gone), dtype_of(x))]


@rule("ArgMax", "ArgMin")
def _arg(node: Node, x: Value) -> Result:
    shape = shape_of(x)
    axis = axis_of(node, node.attributes.get("axis", 0), len(shape))
    kept = (1,) if node.attributes.get("keepdims", 1) else ()
    return [((*shape[:axis], *kept, *shape[axis + 1:]), I64)]


@rule("RandomNormalLike", "RandomUniformLike", "Bernoulli")
def _random_like(node: Node, x: Value) -> Result:
    kind = node.attributes.get("dtype")
    return [(shape_of(x), dtype_of(x) if kind is None else np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind)))]


@rule("Multinomial")
def _multinomial(node: Node, x: Value) -> Result:
    dtype = np.dtype(np.int64 if node.attributes.get("dtype", 6) == 7 else np.int32)
    return [((shape_of(x)[0], node.attributes.get("sample_size", 1)), dtype)]


@rule("LSTM", "GRU")
def _recurrent(node: Node, x: Value, w: Value, r: Value, *rest: Value | None) -> Result:
    steps, rows, _ = shape_of(x)
    directions, _, hidden = shape_of(r)
    if node.attributes.get("layout", 0):
        raise Unknown("layout 1")
    state: Shape = (directions, rows, hidden)
    return [((steps, directions, rows, hidden), dtype_of(x)), (state, dtype_of(x)), (state, dtype_of(x))][:len(node.outputs)]


@rule("Einsum")
def _einsum(node: Node, *xs: Value) -> Result:
    terms, result = letters(node)
    if any("." in term for term in (*terms, result)):
        raise Unknown("an equation with dots")
    sizes: dict[str, Dim] = {}
    for term, x in zip(terms, xs, strict=True):
        for letter, size in zip(term, shape_of(x), strict=True):
            if sizes.setdefault(letter, size) != size:
                raise GraphError(f"node {node}: expected one size for {letter!r}, got {sizes[letter]} and {size}")
    return [(tuple(sizes[letter] for letter in result), one_type(node, *xs))]
