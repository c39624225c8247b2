"""Result shapes and dtypes of ONNX ops on sizes that may depend on N.

A rule takes the node and its input values and returns [(shape, dtype), …]. It raises `NotAffine` or `Unknown` when the shape
cannot be told ahead; the op then runs on a slower tier. Source: ONNX operator specification.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cervello.errors import GraphError
from cervello.native.dims import Affine, Dim, NotAffine, Shape, product, written
from cervello.native.graph import Node
from cervello.native.host.table import slices
from cervello.native.values import Value

Result = list[tuple[Shape, np.dtype[Any]]]
Rule = Callable[..., Result]
RULES: dict[str, Rule] = {}
BOOL, I64 = np.dtype(bool), np.dtype(np.int64)


class Unknown(ArithmeticError):
    """The shape depends on data."""


def rule(*ops: str) -> Callable[[Rule], Rule]:
    def register(function: Rule) -> Rule:
        for op in ops:
            RULES[op] = function
        return function

    return register


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


def _same(node: Node, x: Value, *rest: Value | None) -> Result:
    return [(shape_of(x), dtype_of(x))]


for _op in ("Relu", "Sigmoid", "Tanh", "Exp", "Log", "Neg", "Sqrt", "Abs", "Elu", "Selu", "Celu", "LeakyRelu", "ThresholdedRelu",
            "Softplus", "Softsign", "Mish", "HardSigmoid", "HardSwish", "Erf", "Gelu", "Sin", "Cos", "Tan", "Asin", "Acos", "Atan",
            "Sinh", "Cosh", "Floor", "Ceil", "Round", "Sign", "Reciprocal", "Not", "Identity", "Clip", "Softmax", "LogSoftmax",
            "BatchNormalization", "InstanceNormalization", "LpNormalization", "CumSum", "Hardmax", "LRN", "Swish"):
    RULES[_op] = _same


@rule("Add", "Sub", "Mul", "Div", "Pow", "Mod", "PRelu", "Max", "Min", "Sum", "Mean", "BitwiseAnd", "BitwiseOr", "BitwiseXor")
def _arithmetic(node: Node, *xs: Value) -> Result:
    return [(broadcast(node, *(shape_of(x) for x in xs)), dtype_of(xs[0]))]


@rule("Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "And", "Or", "Xor")
def _comparison(node: Node, a: Value, b: Value) -> Result:
    return [(broadcast(node, shape_of(a), shape_of(b)), BOOL)]


@rule("IsNaN", "IsInf")
def _test(node: Node, x: Value) -> Result:
    return [(shape_of(x), BOOL)]


@rule("Where")
def _where(node: Node, condition: Value, a: Value, b: Value) -> Result:
    return [(broadcast(node, shape_of(condition), shape_of(a), shape_of(b)), dtype_of(a))]


@rule("Cast")
def _cast(node: Node, x: Value) -> Result:
    return [(shape_of(x), np.dtype(node.attributes["to"]))]


@rule("CastLike")
def _cast_like(node: Node, x: Value, like: Value) -> Result:
    return [(shape_of(x), dtype_of(like))]


@rule("LayerNormalization", "RMSNormalization")
def _normalisation(node: Node, x: Value, *rest: Value) -> Result:
    if len([o for o in node.outputs if o]) > 1:
        raise Unknown("mean and inverse deviation outputs")
    return [(shape_of(x), dtype_of(x))]


@rule("Gemm")
def _gemm(node: Node, a: Value, b: Value, c: Value | None = None) -> Result:
    left, right = shape_of(a), shape_of(b)
    if len(left) != 2 or len(right) != 2:
        raise GraphError(f"node {node}: expected two matrices, got {written(left)} and {written(right)}")
    left = left[::-1] if node.attributes.get("transA", 0) else left
    right = right[::-1] if node.attributes.get("transB", 0) else right
    if left[1] != right[0]:
        raise GraphError(f"node {node}: expected equal inner sizes, got {written(left)} and {written(right)}")
    return [((left[0], right[1]), dtype_of(a))]


@rule("MatMul")
def _matmul(node: Node, a: Value, b: Value) -> Result:
    left, right = shape_of(a), shape_of(b)
    if not left or not right:
        raise GraphError(f"node {node}: expected at least vectors, got {written(left)} and {written(right)}")
    row, column = len(left) == 1, len(right) == 1
    left, right = ((1, *left) if row else left), ((*right, 1) if column else right)
    if left[-1] != right[-2]:
        raise GraphError(f"node {node}: expected equal inner sizes, got {written(left)} and {written(right)}")
    shape = broadcast(node, left[:-2], right[:-2])
    shape += () if row else (left[-2],)
    return [(shape + (() if column else (right[-1],)), dtype_of(a))]


@rule("Transpose")
def _transpose(node: Node, x: Value) -> Result:
    shape = shape_of(x)
    order = node.attributes.get("perm") or tuple(reversed(range(len(shape))))
    return [(tuple(shape[i] for i in order), dtype_of(x))]


@rule("Reshape")
def _reshape(node: Node, x: Value, target: Value) -> Result:
    source, wanted = shape_of(x), list(data_of(target).tolist())
    if not node.attributes.get("allowzero", 0):
        wanted = [source[i] if d == 0 and i < len(source) else d for i, d in enumerate(wanted)]
    total = product(source)
    if -1 in wanted:
        free = wanted.index(-1)
        rest = product(d for i, d in enumerate(wanted) if i != free)
        if not isinstance(total, Affine) and not isinstance(rest, Affine) and (rest == 0 or total % rest):
            raise GraphError(f"node {node}: expected {written(source)} to fit {written(wanted)}, got {total} elements")
        wanted[free] = total // rest
    if product(wanted) != total:
        if isinstance(total, Affine) or isinstance(product(wanted), Affine):
            raise GraphError(
                f"node {node}: expected {written(source)} to fit {written(wanted)}: the target has a batch size baked in; "
                "export the policy with a dynamic batch axis")
        raise GraphError(f"node {node}: expected {written(source)} to fit {written(wanted)}, got {total} elements")
    return [(tuple(wanted), dtype_of(x))]


@rule("Flatten")
def _flatten(node: Node, x: Value) -> Result:
    shape = shape_of(x)
    axis = node.attributes.get("axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    return [((product(shape[:axis]), product(shape[axis:])), dtype_of(x))]


@rule("Squeeze")
def _squeeze(node: Node, x: Value, axes: Value | None = None) -> Result:
    shape = shape_of(x)
    if axes is None:
        return [(tuple(d for d in shape if d != 1), dtype_of(x))]
    gone = {axis_of(node, int(a), len(shape)) for a in data_of(axes).reshape(-1)}
    for axis in gone:
        if shape[axis] != 1:
            if isinstance(shape[axis], Affine):
                raise GraphError(f"node {node}: expected size 1 on axis {axis}, got {shape[axis]}: a batch of 1 is baked in")
            raise GraphError(f"node {node}: expected size 1 on axis {axis}, got {written(shape)}")
    return [(tuple(d for i, d in enumerate(shape) if i not in gone), dtype_of(x))]


@rule("Unsqueeze")
def _unsqueeze(node: Node, x: Value, axes: Value) -> Result:
    shape, places = shape_of(x), [int(a) for a in data_of(axes).reshape(-1)]
    rank = len(shape) + len(places)
    new = {axis_of(node, a, rank) for a in places}
    rest = iter(shape)
    return [(tuple(1 if i in new else next(rest) for i in range(rank)), dtype_of(x))]


@rule("Concat")
def _concat(node: Node, *xs: Value) -> Result:
    shapes = [shape_of(x) for x in xs]
    axis = axis_of(node, node.attributes["axis"], len(shapes[0]))
    for shape in shapes[1:]:
        if len(shape) != len(shapes[0]) or any(a != b for i, (a, b) in enumerate(zip(shape, shapes[0], strict=True)) if i != axis):
            raise GraphError(f"node {node}: expected equal sizes off axis {axis}, got {' and '.join(map(written, shapes))}")
    total: Dim = 0
    for shape in shapes:
        total = total + shape[axis]
    return [((*shapes[0][:axis], total, *shapes[0][axis + 1:]), dtype_of(xs[0]))]


@rule("Split")
def _split(node: Node, x: Value, split: Value | None = None) -> Result:
    shape = shape_of(x)
    axis = axis_of(node, node.attributes.get("axis", 0), len(shape))
    if split is None:
        size = shape[axis]
        if isinstance(size, Affine):
            raise NotAffine("split of the batch axis")
        each = -(-size // len(node.outputs))
        sizes = [min(each, size - each * i) for i in range(len(node.outputs))]
    else:
        sizes = [int(s) for s in data_of(split)]
        if sum(sizes) != shape[axis] or min(sizes, default=0) < 0:
            raise GraphError(f"node {node}: expected parts of {shape[axis]} on axis {axis}, got {sizes}")
    return [((*shape[:axis], size, *shape[axis + 1:]), dtype_of(x)) for size in sizes]


@rule("Slice")
def _slice(node: Node, x: Value, starts: Value, ends: Value, axes: Value | None = None, steps: Value | None = None) -> Result:
    shape = list(shape_of(x))
    operands = [data_of(v) for v in (starts, ends, axes, steps)]
    for i, cut in enumerate(slices(len(shape), *operands)):
        if cut == slice(None):
            continue
        size = shape[i]
        if isinstance(size, Affine):
            if cut.start in (0, None) and cut.step in (1, None) and ((isinstance(cut.stop, Affine) and cut.stop == size) or
                                                                     (isinstance(cut.stop, int) and cut.stop > 1 << 30)):
                continue
            raise NotAffine("slice of the batch axis")
        if any(isinstance(v, Affine) for v in (cut.start, cut.stop, cut.step)):
            raise NotAffine("slice bounds")
        shape[i] = len(range(*cut.indices(size)))
    return [(tuple(shape), dtype_of(x))]


@rule("Expand")
def _expand(node: Node, x: Value, shape: Value) -> Result:
    return [(broadcast(node, shape_of(x), tuple(data_of(shape).tolist())), dtype_of(x))]


@rule("Gather")
def _gather(node: Node, x: Value, indices: Value) -> Result:
    shape, index = shape_of(x), shape_of(indices)
    axis = axis_of(node, node.attributes.get("axis", 0), len(shape))
    return [((*shape[:axis], *index, *shape[axis + 1:]), dtype_of(x))]


@rule("ConstantOfShape")
def _constant_of_shape(node: Node, shape: Value) -> Result:
    value = node.attributes.get("value")
    return [(tuple(data_of(shape).tolist()), np.dtype(np.float32) if value is None else value.dtype)]


@rule("Pad")
def _pad(node: Node, x: Value, pads: Value, value: Value | None = None, axes: Value | None = None) -> Result:
    shape, amounts = list(shape_of(x)), [int(p) for p in data_of(pads)]
    places = list(range(len(shape))) if axes is None else [axis_of(node, int(a), len(shape)) for a in data_of(axes)]
    half = len(amounts) // 2
    for i, axis in enumerate(places):
        if amounts[i] or amounts[half + i]:
            kept = shape[axis] + min(amounts[i], 0) + min(amounts[half + i], 0)
            if not isinstance(kept, Affine) and kept < 0:
                raise GraphError(f"node {node}: expected to cut at most {shape[axis]} on axis {axis}, got {amounts}")
            shape[axis] = shape[axis] + amounts[i] + amounts[half + i]
    return [(tuple(shape), dtype_of(x))]


@rule("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare",
      "ReduceLogSum", "ReduceLogSumExp")
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
    import onnx

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
    for given in (rest + (None,) * 4)[2:4 if node.op == "LSTM" else 3]:  # behind bias and sequence_lens
        if given is not None and given.shape is not None and given.shape != state:
            raise GraphError(f"node {node}: expected an initial state of shape {written(state)}, got {written(given.shape)}")
    return [((steps, directions, rows, hidden), dtype_of(x)), (state, dtype_of(x)), (state, dtype_of(x))][:len(node.outputs)]
