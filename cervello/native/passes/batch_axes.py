"""Candidates for the batch axis of each input.

Source: conventions met in exported policies: a symbol or an unnamed dim in front; a symbol shared with another input elsewhere
(Stable-Baselines3 LSTM states are (layers, N, H)); exports for one row, with or without a leading 1. `axis_readings` proves which it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from cervello.errors import ConfigurationError, GraphError
from cervello.native.graph.dims import ROWS, Shape
from cervello.native.graph.graph import Graph
from cervello.native.passes.dynamic_dims import symbol

_MOST_READINGS = 16  # readings per file; each may cost as much as loading the file
_FEWEST_READINGS = 4
_MOST_SYMBOLS_READ = 50_000  # symbols times readings: each reading looks at every input
OPEN_BATCH = "export it with that axis open (torch.onnx.export: dynamic_shapes=, or dynamic_axes= with dynamo=False)"
DeclaredShapes = list[list[int | str]]  # sizes and symbols, by input and axis
BatchAxis = int | Mapping[str, int | None] | None


@dataclass(frozen=True, slots=True)
class Batching:
    """The batch axes of a graph's inputs.

    Attributes:
      dynamic: whether N rows can run at once.
      shapes: input shapes, with N on the batch axis.
      axes: batch axis of each input; None: all rows share the input. For a graph exported for one row: 0 if its leading 1 is the batch
        axis, -1 if the whole array is the row.
      reason: why not dynamic.
      vectorized: whether the file's arrays have no batch axis and callers' arrays have one.
      assumed_sizes: symbols that are not the batch and not given in `dims`, with their assumed sizes.
      symbols: symbols read as the batch.
    """

    dynamic: bool
    shapes: dict[str, Shape]
    axes: dict[str, int | None]
    reason: str = ""
    vectorized: bool = False
    assumed_sizes: Mapping[str, int] = field(default_factory=dict)
    symbols: frozenset[str] = frozenset()

    @property
    def file_axes(self) -> dict[str, int | None]:
        """The batch axis of each of the file's own arrays; None: no batch axis."""
        return {name: None if self.vectorized or axis == -1 else axis for name, axis in self.axes.items()}


def declared_shapes(graph: Graph, dims: Mapping[str, int]) -> DeclaredShapes:
    """Sizes and symbols of every input, with those sizes in place that `dims` gives.

    Raises:
      GraphError: an input has no shape or type.
    """
    for port in graph.inputs:
        if port.shape is None or port.dtype is None:
            raise GraphError(f"model {graph.name!r}, input {port.name!r}: expected a declared shape and type, got none; "
                             "export the policy with input shapes")
    return [[d if isinstance(d, int) else dims.get(name := symbol(port.name, i, d), name) for i, d in enumerate(port.shape or ())]
            for port in graph.inputs]


def candidates(graph: Graph, declared: DeclaredShapes) -> list[tuple[Graph, Batching]]:
    """Candidates for the batch of a file with dynamic axes, the likeliest first, each with the graph whose other sizes are fixed.

    In most files, the symbol on an input's first axis is the batch. Another symbol is tried if this relates rows or if the other one has a
    batch name. All other symbols are set to 1.
    """
    leading = list(dict.fromkeys(row[0] for row in declared if row and isinstance(row[0], str)))
    leading_symbols = frozenset(leading)
    others = [d for d in dict.fromkeys(d for row in declared for d in row if isinstance(d, str)) if d not in leading_symbols]
    named = [d for d in (*others, *leading) if "batch" in d.lower()]
    if named and not leading_symbols.intersection(named):  # another leading symbol is then a sequence length
        leading_symbols = frozenset(named)
        leading, others = named, [*leading, *(d for d in others if d not in leading_symbols)]
    alone = [d for row in declared if not any(d in leading_symbols for d in row)
             for d in row if isinstance(d, str)]  # another name for the batch?
    n_symbols = len(leading) + len(others)
    most = max(_FEWEST_READINGS, min(_MOST_READINGS, _MOST_SYMBOLS_READ // max(n_symbols, 1)))
    single = ([d] for d in (*leading, *others)[:most])
    choices = list(dict.fromkeys(frozenset(some) for some in ((*leading, *alone), leading, *single) if some))[:most]
    return [_with_batch(graph, declared, choice) for choice in choices]


def _with_batch(graph: Graph, declared: DeclaredShapes, batch: frozenset[str]) -> tuple[Graph, Batching]:
    """The graph with some symbols as the batch."""
    axes = {port.name: next((i for i, d in enumerate(row) if d in batch), None) for port, row in zip(graph.inputs, declared, strict=True)}
    shapes: dict[str, Shape] = {port.name: tuple(ROWS if d in batch else 1 if isinstance(d, str) else d for d in row)
                                for port, row in zip(graph.inputs, declared, strict=True)}
    batching = Batching(True, shapes, axes, assumed_sizes=_assumed_sizes(declared, batch), symbols=batch)
    return _with_fixed_sizes(graph, declared, batch), batching


def single_row(graph: Graph, declared: DeclaredShapes, reason: str, batch_in_front: bool | None = None) -> tuple[Graph, Batching]:
    """The graph for one row: no open axis is a batch.

    Args:
      batch_in_front: whether the leading 1 of every input is the batch axis; None lets the file's shapes decide.
    """
    if batch_in_front is None:
        batch_in_front = all(row and row[0] == 1 for row in declared) and any(len(row) > 1 for row in declared)
    shapes = _shapes(graph, declared, {})
    axes: dict[str, int | None] = dict.fromkeys(shapes, 0 if batch_in_front else -1)
    batching = Batching(False, shapes, axes, reason, assumed_sizes=_assumed_sizes(declared, frozenset()))
    return _with_fixed_sizes(graph, declared, frozenset()), batching


def layers_first(graph: Graph, declared: DeclaredShapes) -> tuple[Graph, Batching] | None:
    """The reading of a file for one row whose states have their layers in front: (layers, 1, H) beside an observation (1, F).

    None where no state has that form, or an input has neither form.
    """
    axes: dict[str, int | None] = {}
    for port, row in zip(graph.inputs, declared, strict=True):
        if row and row[0] == 1:  # [1]: a number per agent, such as whether an episode begins
            axes[port.name] = 0
        elif len(row) == 3 and row[1] == 1:
            axes[port.name] = 1
        else:
            return None
    if set(axes.values()) != {0, 1}:
        return None
    return _with_fixed_sizes(graph, declared, frozenset()), Batching(True, _shapes(graph, declared, axes), axes)


def requested(graph: Graph, declared: DeclaredShapes, batch_axis: BatchAxis) -> tuple[Graph, Batching]:
    """The reading that the caller requests; see `Model.load`.

    Raises:
      ConfigurationError: an input or an axis that the file does not have, or one of a fixed size other than 1.
    """
    where = f"model {graph.name!r}, batch_axis"
    names = [port.name for port in graph.inputs]
    given = dict(batch_axis) if isinstance(batch_axis, Mapping) else dict.fromkeys(names, batch_axis)
    for name, axis in given.items():
        if name not in names:
            raise ConfigurationError(f"{where}: expected inputs among {names}, got {name!r}")
        row = declared[names.index(name)]
        if axis is None:
            continue
        if isinstance(axis, bool) or not isinstance(axis, (int, np.integer)) or not 0 <= axis < len(row):
            raise ConfigurationError(f"{where}, input {name!r}: expected None or an axis 0 ≤ axis < {len(row)}, got {axis!r}")
        if not isinstance(row[axis], str) and row[axis] != 1:
            raise ConfigurationError(f"{where}, input {name!r}: expected an axis of open size or of size 1, got axis {axis} of size "
                                     f"{row[axis]}; name the axis of each input that has one: batch_axis={{input: axis}}; a batch of "
                                     f"{row[axis]} is fixed in the file: {OPEN_BATCH}")
    batch_sizes = [declared[names.index(name)][axis] for name, axis in given.items() if axis is not None]
    if not batch_sizes and all(name in given for name in names):
        return single_row(graph, declared, "no input has a batch axis", batch_in_front=False)
    batch = frozenset(d for d in batch_sizes if isinstance(d, str))
    axes: dict[str, int | None] = {}
    for name, row in zip(names, declared, strict=True):
        shared_axis = next((i for i, d in enumerate(row) if d in batch), None)
        leading = 0 if row[:1] == [1] and not batch else None
        axes[name] = given.get(name, leading if shared_axis is None else shared_axis)
    shapes = _shapes(graph, declared, axes)
    batching = Batching(True, shapes, axes, assumed_sizes=_assumed_sizes(declared, batch), symbols=batch)
    return _with_fixed_sizes(graph, declared, batch), batching


def check_batch_axis(graph: Graph, batch_axis: BatchAxis) -> None:
    """Raises ConfigurationError unless it is None, an int or a mapping by input."""
    if batch_axis is not None and (isinstance(batch_axis, bool) or not isinstance(batch_axis, (int, np.integer, Mapping))):
        raise ConfigurationError(f"model {graph.name!r}, batch_axis: expected an axis for all inputs or {{input: axis or None}}, got "
                                 f"{batch_axis!r}")


def _with_fixed_sizes(graph: Graph, declared: DeclaredShapes, batch: frozenset[str]) -> Graph:
    """The graph with 1 for every symbol that is not the batch."""
    return replace(graph, inputs=tuple(
        replace(port, shape=tuple(d if isinstance(d, int) or d in batch else 1 for d in row))
        for port, row in zip(graph.inputs, declared, strict=True)))


def _shapes(graph: Graph, declared: DeclaredShapes, axes: Mapping[str, int | None]) -> dict[str, Shape]:
    """The shapes of inputs, with N on these axes and 1 for every other symbol."""
    return {port.name: tuple(ROWS if i == axes.get(port.name) else 1 if isinstance(d, str) else d for i, d in enumerate(row))
            for port, row in zip(graph.inputs, declared, strict=True)}


def _assumed_sizes(declared: DeclaredShapes, batch: frozenset[str]) -> dict[str, int]:
    return {d: 1 for row in declared for d in row if isinstance(d, str) and d not in batch}


def one_row(batching: Batching, reason: str) -> Batching:
    """The same reading, a row at a time."""
    return replace(batching, dynamic=False, shapes={name: tuple(1 if d == ROWS else d for d in shape)
                                                 for name, shape in batching.shapes.items()}, reason=reason)


def from_shapes(graph: Graph, shapes: Mapping[str, Shape]) -> Batching:
    """Arrays of these shapes, each of them a row as it stands.

    Raises:
      GraphError: an input has no shape here.
    """
    missing = [port.name for port in graph.inputs if port.name not in shapes or port.dtype is None]
    if missing:
        raise GraphError(f"model {graph.name!r}: expected a shape and a type for every input, got none for {missing}")
    return Batching(False, {port.name: tuple(shapes[port.name]) for port in graph.inputs}, {port.name: -1 for port in graph.inputs},
                    "shapes are given")
