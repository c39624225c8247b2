"""Which axis of each input holds the rows.

Source: conventions met in exported policies: a symbol or an unnamed dim in front; a symbol shared with another input elsewhere
(Stable-Baselines3 LSTM states are (layers, N, H)); exports for one row, with or without a leading 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from cervello.errors import GraphError
from cervello.native.dims import ROWS, Shape
from cervello.native.graph import Graph
from cervello.native.open_dims import symbol

_MOST_READINGS = 16  # of the symbols of a file; each of them may cost as much as loading it


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
      others: symbols that are not the batch and that nothing was said of, and the sizes taken for them.
    """

    free: bool
    shapes: dict[str, Shape]
    axes: dict[str, int | None]
    reason: str = ""
    lifted: bool = False
    others: Mapping[str, int] = field(default_factory=dict)


def declared(graph: Graph, dims: Mapping[str, int]) -> list[tuple[Graph, Batching]]:
    """What the inputs' declared shapes may mean, the likeliest first, each with the graph whose other sizes are fixed.

    A symbol in front of an input is the batch, in most files; where rows then meet, or another symbol is called one, another is tried.
    All other symbols are sizes of their own: what `dims` says, else 1.

    Raises:
      GraphError: an input has no shape or type.
    """
    for port in graph.inputs:
        if port.shape is None or port.dtype is None:
            raise GraphError(f"model {graph.name!r}, input {port.name!r}: expected a declared shape and type, got none; "
                             "export the policy with input shapes")
    entries: list[list[int | str]] = [[
        d if isinstance(d, int) else dims.get(name := symbol(port.name, i, d), name) for i, d in enumerate(port.shape or ())]
        for port in graph.inputs]
    leading = list(dict.fromkeys(row[0] for row in entries if row and isinstance(row[0], str)))
    in_front = frozenset(leading)
    others = [d for d in dict.fromkeys(d for row in entries for d in row if isinstance(d, str)) if d not in in_front]
    named = [d for d in (*others, *leading) if "batch" in d.lower()]
    if named and not in_front.intersection(named):  # another symbol in front is a sequence, then
        in_front = frozenset(named)
        leading, others = named, [*leading, *(d for d in others if d not in in_front)]
    alone = [d for row in entries if not any(d in in_front for d in row) for d in row if isinstance(d, str)]  # another name for the batch?
    single = ([d] for d in (*leading, *others)[:_MOST_READINGS])
    choices = list(dict.fromkeys(frozenset(some) for some in ((*leading, *alone), leading, *single) if some))[:_MOST_READINGS]
    return [_chosen(graph, entries, choice) for choice in choices] or [_chosen(graph, entries, frozenset())]


def _chosen(graph: Graph, entries: list[list[int | str]], batch: frozenset[str]) -> tuple[Graph, Batching]:
    """The graph whose rows lie along some symbols."""
    shapes: dict[str, Shape] = {}
    axes: dict[str, int | None] = {}
    ports = []
    others: dict[str, int] = {}
    for port, row in zip(graph.inputs, entries, strict=True):
        axes[port.name] = next((i for i, d in enumerate(row) if d in batch), None)
        shapes[port.name] = tuple(ROWS if d in batch else 1 if isinstance(d, str) else d for d in row)
        others.update((d, 1) for d in row if isinstance(d, str) and d not in batch)
        ports.append(replace(port, shape=tuple(d if isinstance(d, int) or d in batch else 1 for d in row)))
    graph = replace(graph, inputs=tuple(ports))
    if not batch:
        return graph, replace(one_row(graph, "every input is declared for one row"), others=others)
    return graph, Batching(True, shapes, axes, others=others)


def one_row(graph: Graph, reason: str, batching: Batching | None = None) -> Batching:
    """The graph for a single row: as exported, or with the batch axes it declares where `batching` has found some."""
    if batching is not None and batching.free:
        return Batching(False, {name: tuple(1 if d == ROWS else d for d in shape) for name, shape in batching.shapes.items()},
                        batching.axes, reason, others=batching.others)
    leading = all(port.shape and port.shape[0] in (1, None) for port in graph.inputs)
    ranked = any(port.shape and len(port.shape) > 1 for port in graph.inputs)
    shapes: dict[str, Shape] = {p.name: tuple(d if isinstance(d, int) else 1 for d in p.shape or ()) for p in graph.inputs}
    axis = 0 if leading and ranked else -1
    return Batching(False, shapes, dict.fromkeys(shapes, axis), reason, others={} if batching is None else batching.others)


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
