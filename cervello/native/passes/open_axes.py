"""The dynamic axes of a file's inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping

from cervello.errors import GraphError
from cervello.native.graph.dims import Shape
from cervello.native.graph.graph import Graph
from cervello.native.passes.axis_proof import without_branches
from cervello.native.passes.batch_axes import Batching, declared_shapes
from cervello.native.shapes.infer_shapes import infer_shapes

_MOST_NAMES = 200_000  # names visited over all symbols to find the outputs that depend on each
OpenAxes = Mapping[str, Mapping[int, str]]  # symbol by axis of the file's own array, by input or output


def open_axes(graph: Graph, batching: Batching, dims: Mapping[str, int], outputs: tuple[str, ...]) -> OpenAxes:
    """Symbols by axis, for inputs as declared and for outputs whose shape depends on a symbol's size.

    An output axis is omitted if its shape rule does not give the dependence. All output axes are omitted if the file has too many symbols
    and nodes to propagate each symbol.
    """
    if not batching.assumed_sizes:
        return {}
    declared = {port.name: row for port, row in zip(graph.inputs, declared_shapes(graph, dims), strict=True)}
    found = {name: {axis: d for axis, d in enumerate(row) if isinstance(d, str) and d in batching.assumed_sizes} for name,
             row in declared.items()}
    names = len(graph.inputs) + len(outputs) + sum(len(node.inputs) + len(node.outputs) for node in graph.nodes)
    if len(batching.assumed_sizes) * names > _MOST_NAMES:
        return found
    base = _shapes(graph, declared, batching.assumed_sizes, outputs)
    for symbol, size in batching.assumed_sizes.items():
        other = _shapes(graph, declared, {**batching.assumed_sizes, symbol: size + 1}, outputs)
        for name, shape in other.items():
            if (before := base.get(name)) is not None and len(before) == len(shape):
                found.setdefault(name, {}).update((axis, symbol) for axis, (a, b) in enumerate(zip(before, shape, strict=True)) if a != b)
    return found


def _shapes(graph: Graph, declared: Mapping[str, list[int | str]], sizes: Mapping[str, int], outputs: tuple[str, ...]) -> dict[str, Shape]:
    """Shapes of outputs with one row and these sizes; {} when the graph does not run with them."""
    shapes: dict[str, Shape] = {
        name: tuple(d if isinstance(d, int) else sizes.get(d, 1) for d in row) for name, row in declared.items()}
    try:
        values = infer_shapes(without_branches(graph, shapes), shapes)
    except (GraphError, ArithmeticError):
        return {}
    return {name: shape for name in outputs if name in values and (shape := values[name].shape) is not None}


def of_row(axes: Mapping[int, str], batch: int | None) -> tuple[tuple[int, str], ...]:
    """Symbols by axis of one agent's row; `batch`: the batch axis of the file's own array, None when it has none."""
    return tuple((axis - (batch is not None and axis > batch), symbol) for axis, symbol in sorted(axes.items()))
