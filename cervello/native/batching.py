"""Which axis of each input holds the rows.

Source: conventions met in exported policies: a symbol or an unnamed dim in front; a symbol shared with another input elsewhere
(Stable-Baselines3 LSTM states are (layers, N, H)); exports for one row, with or without a leading 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cervello.errors import GraphError
from cervello.native.dims import ROWS, Affine, Shape
from cervello.native.graph import Graph


@dataclass(frozen=True, slots=True)
class Batching:
    """How rows enter a graph.

    Attributes:
      free: whether N rows can run at once.
      shapes: input shapes, with N where the rows are.
      axes: batch axis of each input; None: no rows, all share it. For a graph exported for one row: 0 when its leading 1 stands for
        the row, -1 when the whole array is the row.
      reason: why not free.
      lifted: whether the file has arrays without any batch axis where callers give one.
    """

    free: bool
    shapes: dict[str, Shape]
    axes: dict[str, int | None]
    reason: str = ""
    lifted: bool = False


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


def one_row(graph: Graph, reason: str, batching: Batching | None = None) -> Batching:
    """The graph for a single row: as exported, or with the batch axes it declares where `batching` has found some."""
    if batching is not None and batching.free:
        return Batching(False, {name: tuple(1 if d == ROWS else d for d in shape) for name, shape in batching.shapes.items()},
                        batching.axes, reason)
    leading = all(port.shape and port.shape[0] in (1, None) for port in graph.inputs)
    ranked = any(port.shape and len(port.shape) > 1 for port in graph.inputs)
    shapes: dict[str, Shape] = {p.name: tuple(d if isinstance(d, int) else 1 for d in p.shape or ()) for p in graph.inputs}
    axis = 0 if leading and ranked else -1
    return Batching(False, shapes, dict.fromkeys(shapes, axis), reason)


def as_given(graph: Graph, shapes: Mapping[str, Shape]) -> Batching:
    """Arrays of these shapes, each of them a row as it stands.

    Raises:
      GraphError: an input has no shape here.
    """
    missing = [port.name for port in graph.inputs if port.name not in shapes or port.dtype is None]
    if missing:
        raise GraphError(f"model {graph.name!r}: expected a shape and a type for every input, got none for {missing}")
    return Batching(False, {port.name: tuple(shapes[port.name]) for port in graph.inputs}, {port.name: -1 for port in graph.inputs},
                    "shapes are given")
