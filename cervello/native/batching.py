"""Which axis of each input holds the rows, and whether a graph keeps rows apart.

Source: conventions met in exported policies: a symbol or an unnamed dim in front; a symbol shared with another input elsewhere
(Stable-Baselines3 LSTM states are (layers, N, H)); exports for one row, with or without a leading 1.
"""

from __future__ import annotations

from dataclasses import dataclass

from cervello.errors import GraphError
from cervello.native.dims import ROWS, Affine, Shape
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
        axis = next((i for i, d in enumerate(port.shape) if d is None and i == 0 or isinstance(d, str) and d in symbols), None)
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
    leading = all(port.shape and port.shape[0] in (1, None) or port.shape and isinstance(port.shape[0], str) for port in graph.inputs)
    ranked = any(port.shape and len(port.shape) > 1 for port in graph.inputs)
    shapes = {p.name: tuple(d if isinstance(d, int) else 1 for d in p.shape or ()) for p in graph.inputs}
    axis = 0 if leading and ranked else -1
    return Batching(False, shapes, dict.fromkeys(shapes, axis), reason)


_FREE_AXES = frozenset({"ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare",
                        "ReduceLogSum", "ReduceLogSumExp"})


def check_rows_apart(graph: Graph, values: dict[str, Value], outputs: tuple[str, ...]) -> None:
    """Refuses graphs in which a row of the batch can reach another.

    Raises:
      RowsMixed: with the node.
    """
    for node in graph.nodes:
        known = [values[name] for name in node.outputs if name]
        if any(value.data is not None for value in known):
            continue
        for value in known:
            if value.shape is not None and sum(isinstance(d, Affine) for d in value.shape) > 1:
                raise RowsMixed(f"node {node} relates rows to each other")
        _check_node(node, [values[name] for name in node.inputs if name])
    for name in outputs:
        shape = values[name].shape
        if shape is not None and not any(isinstance(d, Affine) for d in shape):
            raise RowsMixed(f"output {name!r} has no batch axis")


def _check_node(node: Node, inputs: list[Value]) -> None:
    shape = inputs[0].shape if inputs else None
    if shape is None:
        return
    moving = {i for i, d in enumerate(shape) if isinstance(d, Affine)}
    if not moving:
        return
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
    elif node.op in ("Gather", "Concat", "Slice", "CumSum", "TopK"):
        if node.op == "Gather":
            along = {int(node.attributes.get("axis", 0)) % rank}
        elif node.op == "Concat" and any(len(v.shape or ()) and v.shape is not None for v in inputs):
            along = {int(node.attributes["axis"]) % rank}
    if along & moving:
        raise RowsMixed(f"node {node} works along the batch axis")
