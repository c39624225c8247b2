"""Proves that a graph processes the rows of a batch independently.

The proof goes node by node, from lists of ops known to keep rows independent. The opposite is proven too: a node relates rows if it
reduces, normalises, multiplies or convolves along the batch axis, or computes with the batch size. An op on none of the lists proves
neither. Source: ONNX operator specification.
"""

from __future__ import annotations

import math
from typing import Any

from cervello.native.fallback.table import symbolic
from cervello.native.frontend.control_flow import FLOW, RANDOM
from cervello.native.graph.dims import ROWS, Affine, product, written
from cervello.native.graph.graph import Graph, Node
from cervello.native.graph.op_table import REDUCTIONS, UNARY_FLOATS
from cervello.native.graph.values import Value
from cervello.native.shapes.einsum import letters

# Elementwise with broadcasting: rows stay independent, because two axes that depend on N never align.
ELEMENTWISE = {
    *UNARY_FLOATS, "Add", "And", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Cast", "CastLike", "Dequantize", "Div",
    "Equal", "Expand", "Greater", "GreaterOrEqual", "Identity", "IsInf", "IsNaN", "Less", "LessOrEqual", "Max", "Mean", "Min", "Mod", "Mul",
    "Not", "Or", "PRelu", "Pow", "Quantize", "Requantize", "Shrink", "Sub", "Sum", "Where", "Xor"}
# Sums over an axis of both operands: over the batch axis, the result has no batch axis or two, and either is refused.
_PRODUCTS = frozenset({"Gemm", "MatMul"})
# Moves elements within a row; Reshape is checked separately.
_MOVES = frozenset({"ConstantOfShape", "Flatten", "OneHot", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze", "Resize",
                    "Upsample"})  # a batch that Resize resizes has no shape
# Combine all axes after the first.
_IMAGES = frozenset({"AveragePool", "Conv", "GlobalAveragePool", "GlobalMaxPool", "GroupNormalization",
                       "InstanceNormalization", "MaxPool"})
_CHANNELS = frozenset({"BatchNormalization", "LRN"})  # combine axis 1 only
_ALONG_ONE_AXIS = {"ArgMax": 0, "ArgMin": 0, "Concat": 0, "Gather": 0, "GatherElements": 0, "ScatterElements": 0, "Hardmax": -1,
              "LogSoftmax": -1, "LpNormalization": -1, "RangeScale": -1, "RangeZero": -1, "Softmax": -1,
              "TopK": -1}  # and the axis they take unless told
_RECURRENT = frozenset({"GRU", "LSTM", "RNN"})
# Several operands may have rows.
_SEVERAL_WITH_ROWS = ELEMENTWISE | _PRODUCTS | _RECURRENT | {"Concat", "Einsum", "Gather", "GatherElements", "GatherND", "ScatterElements"}
_SIZES = {"ConstantOfShape": (0,), "Expand": (1,), "Reshape": (1,), "Slice": (1, 2), "Tile": (1,)}  # operands that are sizes


class BatchDependenceError(Exception):
    """A node combines rows of the batch, or is not known to keep them independent; the message names it.

    Attributes:
      related: whether entries of the axis are proven to be related, so that the axis is not a batch.
    """

    def __init__(self, message: str, related: bool = False):
        super().__init__(message)
        self.related = related


def check_batch_independence(graph: Graph, values: dict[str, Value], outputs: tuple[str, ...]) -> dict[str, int]:
    """Refuses graphs in which a row of the batch can affect another, or in which rows share noise.

    Args:
      outputs: names of the results that differ by row.
    Returns:
      for each value with rows, how often all rows repeat along its batch axis: 1 unless the axis absorbed axes before it.
    Raises:
      BatchDependenceError: names the first node that relates rows, else the first that is not known to keep them independent.
    """
    row_repeats: dict[str, int] = {}  # repetitions of all rows in a batch axis that absorbed axes before it; else 1
    unproven: BatchDependenceError | None = None
    for node in graph.nodes:
        try:
            check_node(node, values, row_repeats)
        except BatchDependenceError as error:
            if error.related:
                raise
            unproven = unproven or error
    if unproven is not None:
        raise unproven
    for name in outputs:
        value = values[name]
        if value.data is not None and symbolic(value.data):
            raise BatchDependenceError(f"output {name!r} holds the number of rows")
        if value.shape is not None and value.data is None and not _batch_axes(value):
            raise BatchDependenceError(f"output {name!r} has no batch axis")
        if value.shape is not None and any(value.shape[i] != ROWS for i in _batch_axes(value)):
            maker = next((f" of node {node}" for node in graph.nodes if name in node.outputs), "")
            raise BatchDependenceError(f"output {name!r}{maker} has the shape {written(value.shape)}, without one entry per row")
    return row_repeats


def check_node(node: Node, values: dict[str, Value], row_repeats: dict[str, int]) -> None:
    """Refuses a node that relates rows, and records the layout of rows in its results.

    Raises:
      BatchDependenceError: the node relates rows, or may relate them.
    """
    known = [values[name] for name in node.outputs if name]
    if any(value.data is not None for value in known):
        return
    for value in known:
        if value.shape is None and value.from_input:
            raise BatchDependenceError(f"node {node} gives a shape that depends on data")
        if value.shape is not None and sum(isinstance(d, Affine) for d in value.shape) > 1:
            raise BatchDependenceError(f"node {node} relates rows to each other", related=True)
    inputs = [values[name] for name in node.inputs]
    # A Range over the rows may index each row's own element.
    if any(value.data is not None and symbolic(value.data) and i not in _SIZES.get(node.op, ()) for i, value in enumerate(inputs)):
        raise BatchDependenceError(f"node {node} computes with the number of rows", related=node.op != "Range" and not node.domain)
    if node.op in FLOW and not node.domain:  # passes values on; the nodes between the control markers are checked themselves
        _record_layout(node, inputs, known, row_repeats)
        return
    if node.op in RANDOM and not node.domain:
        _check_random(node, known)
    elif any(_batch_axes(value) for value in inputs):
        _check_operands(node, inputs)
    if any(_batch_axes(value) for value in inputs) and any(not _batch_axes(value) for value in known):
        raise BatchDependenceError(f"node {node} makes one value of all rows", related=True)
    _record_layout(node, inputs, known, row_repeats)


def _batch_axes(value: Value) -> set[int]:
    """The axes whose size depends on N."""
    return {i for i, d in enumerate(value.shape or ()) if isinstance(d, Affine)}


def _in_front(value: Value) -> int:
    """The product of the sizes before the batch axis."""
    in_front: list[Any] = list((value.shape or ())[:min(_batch_axes(value))])
    return math.prod(in_front)


def _record_layout(node: Node, inputs: list[Value], outputs: list[Value], row_repeats: dict[str, int]) -> None:
    """Records the layout of rows in a node's results: a Reshape keeps rows independent only if the number of repetitions is unchanged."""
    found = {row_repeats.get(value.name, 1) for value in inputs if _batch_axes(value)}
    if not found:
        return
    if len(found) > 1:
        raise BatchDependenceError(f"node {node} meets rows in different orders")
    inside = found.pop()
    for value in outputs:
        if _batch_axes(value) and node.op in ("Reshape", "Flatten"):
            before, after = _in_front(inputs[0]) * inside, _in_front(value)
            rows = next(d for d in value.shape or () if isinstance(d, Affine))
            if not after or before % after or rows.const or rows.slope % (before // after):
                raise BatchDependenceError(f"node {node} mixes rows", related=True)
            row_repeats[value.name] = before // after
        else:
            row_repeats[value.name] = inside


def _check_random(node: Node, outputs: list[Value]) -> None:
    for value in outputs:
        axes = _batch_axes(value)
        if not axes:
            raise BatchDependenceError(f"node {node} draws one noise for all rows")
        if value.shape is not None and (value.shape[min(axes)] != ROWS or product(value.shape[:min(axes)]) != 1):
            raise BatchDependenceError(f"node {node} draws numbers whose rows do not lie in front")


def _check_operands(node: Node, inputs: list[Value]) -> None:
    """Refuses a node that is not known to keep the rows of its inputs independent."""
    along = None if node.domain else _combined_axes(node, inputs)
    if along is None:
        raise BatchDependenceError(f"node {node} is not known to process rows independently")
    if along & _batch_axes(inputs[0]) or (node.op == "Concat" and any(along & _batch_axes(value) for value in inputs)):
        raise BatchDependenceError(f"node {node} works along the batch axis", related=node.op not in ("GatherND", "Tile"))
    if (node.op == "Clip" or node.op not in _SEVERAL_WITH_ROWS) and any(_batch_axes(value) for value in inputs[1:]):
        raise BatchDependenceError(f"node {node} takes an operand from the batch that all rows use")
    indexed = node.op in ("GatherElements", "GatherND", "ScatterElements")
    if indexed and any(_batch_axes(value) != _batch_axes(inputs[0]) for value in inputs):
        raise BatchDependenceError(f"node {node} picks by the row's place in the batch")
    if node.op == "Einsum":
        terms = letters(node)[0]
        if len({term[axis] for term, value in zip(terms, inputs, strict=True) for axis in _batch_axes(value)}) > 1:
            raise BatchDependenceError(f"node {node} relates rows to each other", related=True)


def _combined_axes(node: Node, inputs: list[Value]) -> set[int] | None:
    """The axes of the first operand along which the op combines elements; None for an unknown op."""
    rank = len(inputs[0].shape or ())
    if node.op in ELEMENTWISE or node.op in _PRODUCTS or node.op in _MOVES or node.op == "Einsum":
        return set()
    if node.op in _IMAGES:
        return set(range(1, rank))
    if node.op in _CHANNELS or node.op in ("PairwiseCoupling", "Trees"):
        return {1}
    if node.op in _RECURRENT:
        return {0}
    if node.op in _ALONG_ONE_AXIS:
        axis = int(node.attributes.get("axis", _ALONG_ONE_AXIS[node.op])) % max(rank, 1)
        return set(range(axis, rank)) if node.attributes.get("flatten") else {axis}
    if node.op in ("LayerNormalization", "RMSNormalization"):
        return set(range(int(node.attributes.get("axis", -1)) % max(rank, 1), rank))
    if node.op == "MeanVarianceNormalization":
        return {int(axis) % max(rank, 1) for axis in node.attributes.get("axes", (0, 2, 3))}
    if node.op in REDUCTIONS:
        axes = _operand(inputs, 1)
        return {int(a) % max(rank, 1) for a in axes} if axes else set() if node.attributes.get("noop_with_empty_axes") else set(range(rank))
    if node.op == "GatherND":
        return set(range(int(node.attributes.get("batch_dims", 0)), rank))
    if node.op == "CumSum":
        return {int(a) % max(rank, 1) for a in _operand(inputs, 1)} or set(range(rank))
    if node.op == "Tile":
        return {i for i, count in enumerate(_operand(inputs, 1)) if count != 1}
    if node.op == "Pad":
        amounts, places = _operand(inputs, 1), _operand(inputs, 3) or range(rank)
        half = len(amounts) // 2
        return {int(a) % max(rank, 1) for i, a in enumerate(places) if amounts[i:i + 1] != [0] or amounts[half + i:half + i + 1] != [0]}
    return None


def _operand(inputs: list[Value], index: int) -> list[Any]:
    """The elements of a constant operand."""
    data = inputs[index].data if index < len(inputs) else None
    return [] if data is None else [d if isinstance(d, Affine) else int(d) for d in data.reshape(-1).tolist()]
