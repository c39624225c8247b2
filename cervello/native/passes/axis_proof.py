"""Proves that N rows of a graph can run at once, independently of each other, with the batch on given axes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from cervello.errors import GraphError
from cervello.native.frontend.control_flow import BRANCH
from cervello.native.graph.dims import ROWS, Shape, at
from cervello.native.graph.graph import Graph
from cervello.native.graph.values import Value
from cervello.native.passes.batch_axes import Batching
from cervello.native.passes.batch_independence import BatchDependenceError, check_batch_independence
from cervello.native.passes.dead_code import without_dead_code
from cervello.native.passes.decompose import decompose_ops
from cervello.native.passes.dynamic_batch import StaticBatchError, dynamic_graphs, make_batch_dynamic
from cervello.native.passes.trip_counts import with_trip_counts
from cervello.native.passes.vectorize import vectorize_graph
from cervello.native.shapes.control_flow import prune_branches
from cervello.native.shapes.infer_shapes import infer_shapes

Rewrite = Callable[[Graph, Batching], Iterable[tuple[Graph, Batching]]]


@dataclass(frozen=True, slots=True)
class Reading:
    """A graph with its batch axes.

    Attributes:
      graph: after decomposition, in the ops that are lowered.
      values: shape, dtype and constant of all its values.
      axes: batch axis of each output that was inferred with N rows.
      row_repeats: for each value with rows, how often all rows repeat along its batch axis, see `check_batch_independence`.
    """

    graph: Graph
    values: dict[str, Value]
    batching: Batching
    axes: dict[str, int]
    row_repeats: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProofFailure:
    """Why a proof failed.

    Attributes:
      related: whether rows are proven to be related.
      axes: batch axes of outputs, as far as they were inferred.
    """

    reason: str = ""
    related: bool = False
    axes: dict[str, int] = field(default_factory=dict)


def prove(one: Graph, batching: Batching, names: tuple[str, ...], rewrite: Rewrite) -> Reading | ProofFailure:
    """A reading with independent rows, or why there is none; rows are related if every way to run N rows relates them."""
    failures: list[ProofFailure] = []
    try:
        for graph, dynamic_batching in rewrite(without_branches(one, batching.shapes), batching):
            found = _check_independence(graph, dynamic_batching, batching, names)
            if isinstance(found, Reading):
                return found
            failures.append(found)
    except (StaticBatchError, GraphError) as error:
        return ProofFailure(str(error))
    return replace(failures[0], related=all(each.related for each in failures))


def _check_independence(graph: Graph, dynamic_batching: Batching, batching: Batching, names: tuple[str, ...]) -> Reading | ProofFailure:
    """The reading of one way to run N rows, or why rows are not known to be independent."""
    axes: dict[str, int] = {}
    try:
        graph, values = decompose_ops(graph, dynamic_batching.shapes)
        graph = without_dead_code(graph, names)  # nodes without consumers after decomposition may relate rows
        axes = {name: (values[name].shape or ()).index(ROWS) for name in names if ROWS in (values[name].shape or ())}
        row_repeats = check_batch_independence(graph, values, tuple(n for n in names if values[n].from_input))
    except BatchDependenceError as error:
        return ProofFailure(str(error), error.related, axes)
    except GraphError as error:
        return ProofFailure(str(error), False, axes)
    return Reading(graph, values, replace(dynamic_batching, assumed_sizes=batching.assumed_sizes, symbols=batching.symbols), axes,
                   row_repeats)


def without_branches(graph: Graph, shapes: Mapping[str, Shape]) -> Graph:
    """The graph without branches that its shapes exclude, and with the trip counts that its shapes determine."""
    graph = with_trip_counts(graph, shapes)
    if not any(node.op == BRANCH for node in graph.nodes):
        return graph
    try:
        values = infer_shapes(graph, dict(shapes))
    except GraphError:
        single: dict[str, Shape] = {name: tuple(at(d, 1) for d in shape) for name, shape in shapes.items()}
        if single == shapes:
            raise
        values = infer_shapes(graph, single)
    return prune_branches(graph, values)


def as_declared(graph: Graph, batching: Batching) -> Iterable[tuple[Graph, Batching]]:
    """The graph with the batch where its inputs declare one."""
    if not batching.dynamic:
        raise StaticBatchError(batching.reason)
    return [(graph, batching)]


def with_dynamic_batch(graph: Graph, batching: Batching) -> Iterable[tuple[Graph, Batching]]:
    """The graph with N in place of a batch of 1, in the inputs or behind them."""
    if batching.dynamic:
        return ((dynamic, batching) for dynamic in dynamic_graphs(graph, batching.shapes))
    return [vectorize_graph(graph)] if -1 in batching.axes.values() else make_batch_dynamic(graph)
