"""Which axis of each input holds the rows, and whether a graph keeps rows apart.

Source: conventions met in exported policies: a symbol or an unnamed dim in front; a symbol shared with another input elsewhere
(Stable-Baselines3 LSTM states are (layers, N, H)); exports for one row, with or without a leading 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from cervello.errors import GraphError
from cervello.native.dims import ROWS, Affine, Shape, written
from cervello.native.graph import Graph, Node
from cervello.native.values import Value


class RowsMixed(Exception):
    """A node combines rows of the batch; the message names it."""


@dataclass(frozen=True, slots=True)
class Batching:
    """How rows enter a graph.

    Attributes:
      free: whether N rows can run at once.
      shapes: input shapes, with N where the rows are.
      axes: batch axis of each input; None: no rows. For a graph exported for one row: 0 when its leading 1 stands for the row, -1
        when the whole array is the row.
      reason: why not free.
    """

    free: bool
    shapes: dict[str, Shape]
    axes: dict[str, int | None]
    reason: str = ""


def declared(graph: Graph) -> Batching:
    """What the inputs' declared shapes say.

    Raises:
      GraphError: an input has no shape, or a symbol that is not the batch.
    """
    symbols: set[str] = set()
    for port in graph.inputs:
        if port.shape is None or port.dtype is None:
            raise GraphError(f"model {graph.name!r}, input {port.name!r}: expected a declared shape and type, got none; "
                             "export the policy with input shapes")
        if port.shape and isinstance(port.shape[0], str):
            symbols.add(port.shape[0])
    shapes: dict[str, Shape] = {}
    axes: dict[str, int | None] = {}
    for port in graph.inputs:
        assert port.shape is not None
        axis = next((i for i, d in enumerate(port.shape) if (d is None and i == 0) or (isinstance(d, str) and d in symbols)), None)
        axes[port.name] = axis
        dims: list[int | Affine] = []
        for i, dim in enumerate(port.shape):
            if i == axis:
                dims.append(ROWS)
            elif isinstance(dim, int):
                dims.append(dim)
            else:
                raise GraphError(f"model {graph.name!r}, input {port.name!r}: expected fixed sizes beside the batch, got {dim!r} on "
                                 f"axis {i}; export the policy with that size fixed")
        shapes[port.name] = tuple(dims)
    if any(axis is not None for axis in axes.values()):
        return Batching(True, shapes, axes)
    return one_row(graph, "every input is declared for one row")


def one_row(graph: Graph, reason: str) -> Batching:
    """The graph as exported for a single row."""
    leading = all((port.shape and port.shape[0] in (1, None)) or (port.shape and isinstance(port.shape[0], str)) for port in graph.inputs)
    ranked = any(port.shape and len(port.shape) > 1 for port in graph.inputs)
    shapes: dict[str, Shape] = {p.name: tuple(d if isinstance(d, int) else 1 for d in p.shape or ()) for p in graph.inputs}
    axis = 0 if leading and ranked else -1
    return Batching(False, shapes, dict.fromkeys(shapes, axis), reason)


_FREE_AXES = frozenset({"ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare",
                        "ReduceLogSum", "ReduceLogSumExp"})


def check_rows_apart(graph: Graph, values: dict[str, Value], outputs: tuple[str, ...]) -> None:
    """Refuses graphs in which a row of the batch can reach another.

    Raises:
      RowsMixed: with the node.
    """
    stretches: dict[str, int] = {}  # inside a batch axis that absorbed the axes before it: rows repeat this many times; else 1
    for node in graph.nodes:
        known = [values[name] for name in node.outputs if name]
        if any(value.data is not None for value in known):
            continue
        for value in known:
            if value.shape is None and value.from_input:
                raise RowsMixed(f"node {node} gives a shape that depends on data")
            if value.shape is not None and sum(isinstance(d, Affine) for d in value.shape) > 1:
                raise RowsMixed(f"node {node} relates rows to each other")
        inputs = [values[name] for name in node.inputs if name]
        _check_node(node, inputs, known)
        if any(_moving(value) for value in inputs) and any(value.shape is not None and not _moving(value) for value in known):
            raise RowsMixed(f"node {node} makes one value of all rows")
        _follow(node, inputs, known, stretches)
    for name in outputs:
        shape = values[name].shape
        if shape is not None and not any(isinstance(d, Affine) for d in shape):
            raise RowsMixed(f"output {name!r} has no batch axis")
        if shape is not None and any(isinstance(d, Affine) and d != ROWS for d in shape):
            raise RowsMixed(f"output {name!r} has {written(shape)} rows")


def _moving(value: Value) -> set[int]:
    """The axes along which rows lie."""
    return {i for i, d in enumerate(value.shape or ()) if isinstance(d, Affine)}


def _in_front(value: Value) -> int:
    """The product of the axes before the rows."""
    in_front: list[Any] = list((value.shape or ())[:min(_moving(value))])
    return math.prod(in_front)


def _follow(node: Node, inputs: list[Value], outputs: list[Value], stretches: dict[str, int]) -> None:
    """Notes how rows lie in a node's results: a reshape keeps them apart only if as many stretches of rows follow each other."""
    found = {stretches.get(value.name, 1) for value in inputs if _moving(value)}
    if not found:
        return
    if len(found) > 1:
        raise RowsMixed(f"node {node} meets rows in different orders")
    inside = found.pop()
    for value in outputs:
        if _moving(value) and node.op in ("Reshape", "Flatten"):
            before, after = _in_front(inputs[0]) * inside, _in_front(value)
            rows = next(d for d in value.shape or () if isinstance(d, Affine))
            if not after or before % after or rows.const or rows.slope % (before // after):
                raise RowsMixed(f"node {node} mixes rows")
            stretches[value.name] = before // after
        else:
            stretches[value.name] = inside


def _check_node(node: Node, inputs: list[Value], outputs: list[Value]) -> None:
    shape = inputs[0].shape if inputs else None
    moving = _moving(inputs[0]) if inputs else set()
    if shape is None or not moving:
        return
    if node.op in ("Slice", "Split") and any(value.shape is None for value in outputs):
        raise RowsMixed(f"node {node} works along the batch axis")
    rank = len(shape)
    along: set[int] = set()
    if node.op in _FREE_AXES:
        data = inputs[1].data if len(inputs) > 1 else None
        along = set(range(rank)) if data is None or data.size == 0 else {int(a) % rank for a in data.reshape(-1)}
        if (data is None or data.size == 0) and node.attributes.get("noop_with_empty_axes", 0):
            along = set()
    elif node.op in ("Softmax", "LogSoftmax", "ArgMax", "ArgMin", "Hardmax", "LpNormalization"):
        axis = int(node.attributes.get("axis", -1 if node.op != "ArgMax" and node.op != "ArgMin" else 0)) % rank
        along = set(range(axis, rank)) if node.attributes.get("flatten") else {axis}
    elif node.op == "LayerNormalization":
        along = set(range(int(node.attributes.get("axis", -1)) % rank, rank))
    elif node.op in ("LSTM", "GRU", "RNN"):
        along = {0}
    elif node.op == "Conv":
        along = set(range(1, rank))
    elif node.op in ("Gather", "GatherElements", "Concat", "TopK"):
        along = {int(node.attributes.get("axis", -1 if node.op == "TopK" else 0)) % rank}
    elif node.op == "CumSum":
        along = {int(a) % rank for a in _operand(inputs, 1)} or set(range(rank))
    elif node.op == "Tile":
        along = {i for i, count in enumerate(_operand(inputs, 1)) if count != 1}
    elif node.op == "Pad":
        amounts, places = _operand(inputs, 1), _operand(inputs, 3) or range(rank)
        half = len(amounts) // 2
        along = {int(a) % rank for i, a in enumerate(places) if amounts[i:i + 1] != [0] or amounts[half + i:half + i + 1] != [0]}
    if along & moving:
        raise RowsMixed(f"node {node} works along the batch axis")


def _operand(inputs: list[Value], index: int) -> list[Any]:
    """The numbers of an operand that is known ahead."""
    data = inputs[index].data if index < len(inputs) else None
    return [] if data is None else [d if isinstance(d, Affine) else int(d) for d in data.reshape(-1).tolist()]
