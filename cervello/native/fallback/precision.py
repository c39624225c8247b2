"""Law 1 and precision on the fallback tiers: rows run one at a time, and 16-bit floats are computed in float32.

numpy and BLAS sum in an order that depends on the whole array, and round every step of a 16-bit computation. An op that rounds more than
once per element therefore runs on one row at a time, and in float32 if its type has 16 bits, with one rounding at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx

from cervello.native.graph.dtypes import F32, Array
from cervello.native.graph.graph import Node

Runner = Callable[[Node, list[Array | None]], list[Array]]
RowAxis = tuple[int, int]  # the batch axis, and how often all rows repeat along it
HALF_TYPES = (np.dtype(np.float16), np.dtype(onnx.helper.tensor_dtype_to_np_dtype(onnx.TensorProto.BFLOAT16)))

# Ops that move or compare elements, or round each exact result once: these run on all rows at once, in their own type.
_EXACT = frozenset({
    "Abs", "Add", "And", "ArgMax", "ArgMin", "BitCast", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Cast",
    "CastLike", "Ceil", "CenterCropPad", "Clip", "Compress", "Concat", "ConstantOfShape", "DepthToSpace", "Div", "Equal", "Expand",
    "EyeLike", "Flatten", "Floor", "Gather", "GatherElements", "GatherND", "GlobalMaxPool", "Greater", "GreaterOrEqual", "Hardmax",
    "Identity", "IsInf", "IsNaN", "Less", "LessOrEqual", "Max", "MaxPool", "Min", "Mod", "Mul", "Neg", "NonZero", "Not", "OneHot", "Or",
    "Pad", "Range", "ReduceMax", "ReduceMin", "Relu", "Reshape", "ReverseSequence", "Round", "Shape", "Sign", "Size", "Slice",
    "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub", "Tile", "TopK", "Transpose", "Trilu", "Unique", "Unsqueeze", "Where", "Xor"})
_OWN_TYPE = frozenset({"DequantizeLinear", "QuantizeLinear"})  # these define their own precision


def by_row(node: Node, arrays: Sequence[Array | None]) -> bool:
    """Whether a node runs on one row at a time."""
    return node.op not in _EXACT and any(a is not None and (a.dtype.kind == "f" or a.dtype in HALF_TYPES) for a in arrays)


def run_in_float32(run: Runner, node: Node, arrays: list[Array | None]) -> list[Array]:
    """Runs a node in float32 where it would compute with 16-bit floats."""
    is_half = [a is not None and a.dtype in HALF_TYPES for a in arrays]
    if not any(is_half) or node.op in _EXACT or node.op in _OWN_TYPE or node.domain:
        return run(node, arrays)
    results = run(node, [a.astype(F32) if a is not None and half else a for a, half in zip(arrays, is_half, strict=True)])
    types = _result_types(node, arrays)
    with np.errstate(over="ignore"):
        return [result if dtype is None else result.astype(dtype) for result, dtype in zip(results, types, strict=True)]


def _result_types(node: Node, arrays: Sequence[Array | None]) -> list[np.dtype[Any] | None]:
    """The 16-bit type of each result, by the schema that of an operand; None for other types."""
    schema = onnx.defs.get_schema(node.op, node.opset)
    inputs, outputs = schema.inputs, schema.outputs
    of_operands = {inputs[min(k, len(inputs) - 1)].type_str: a.dtype for k, a in reversed(list(enumerate(arrays))) if a is not None}
    found = [of_operands.get(outputs[min(k, len(outputs) - 1)].type_str) for k in range(len(node.outputs))]
    return [dtype if dtype in HALF_TYPES else None for dtype in found]


def rows_first(array: Array, place: RowAxis, n_rows: int) -> Array:
    """[n_rows, one row's array], without gaps."""
    axis, row_repeats = place
    shape = array.shape
    split = array.reshape(*shape[:axis], row_repeats, n_rows, shape[axis] // (row_repeats * n_rows), *shape[axis + 1:])
    moved = np.moveaxis(split, axis + 1, 0)
    return np.ascontiguousarray(moved).reshape(n_rows, *shape[:axis], shape[axis] // n_rows, *shape[axis + 1:])


def rows_back(rows: Array, place: RowAxis) -> Array:
    """The inverse of `rows_first`."""
    axis, row_repeats = place
    n_rows, *shape = rows.shape
    split = rows.reshape(n_rows, *shape[:axis], row_repeats, shape[axis] // row_repeats, *shape[axis + 1:])
    return np.moveaxis(split, 0, axis + 1).reshape(*shape[:axis], shape[axis] * n_rows, *shape[axis + 1:])
