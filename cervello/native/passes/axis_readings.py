"""Decides whether a file's dynamic axes are the batch or sizes of one agent's row.

An axis is the batch if the graph is proven to process its entries independently. If the graph is proven to relate them (a reduction,
softmax, product, recurrence or convolution along the axis, or its size in arithmetic), the axis is a dynamic size of one agent's row. If
neither is proven, a leading axis with a batch name is the batch, and rows run one at a time; any other file is refused with both
readings. See docs/decisions/0017-which-axis-is-the-batch.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from cervello.errors import GraphError
from cervello.native.frontend.control_flow import BRANCH
from cervello.native.graph.dims import ROWS, Shape, at
from cervello.native.graph.graph import Graph
from cervello.native.graph.values import Value
from cervello.native.passes.batch_axes import (
    OPEN_BATCH,
    BatchAxis,
    Batching,
    DeclaredShapes,
    candidates,
    declared_shapes,
    from_shapes,
    layers_first,
    one_row,
    requested,
    single_row,
)
from cervello.native.passes.batch_independence import BatchDependenceError, check_batch_independence
from cervello.native.passes.dead_code import without_dead_code
from cervello.native.passes.decompose import decompose_ops
from cervello.native.passes.dynamic_batch import StaticBatchError, dynamic_graphs, make_batch_dynamic
from cervello.native.passes.dynamic_dims import forced_size
from cervello.native.passes.trip_counts import with_trip_counts
from cervello.native.passes.vectorize import vectorize_graph
from cervello.native.shapes.control_flow import prune_branches
from cervello.native.shapes.infer_shapes import infer_shapes

Rewrite = Callable[[Graph, Batching], Iterable[tuple[Graph, Batching]]]
_BATCH_NAMES = frozenset({"N", "B", "bs", "n_envs", "num_envs"})  # a lower-case n often counts entities


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


class _Verdict(Enum):
    """The verdict on a candidate that is not proven to be the batch."""

    RELATED = "the graph relates its entries"
    IMPOSSIBLE = "the graph does not run with one entry"
    ONE = "the graph runs with one entry only"
    UNKNOWN = "nothing is proven"


@dataclass(frozen=True, slots=True)
class _ProofFailure:
    """Why a proof failed.

    Attributes:
      related: whether rows are proven to be related.
      axes: batch axes of outputs, as far as they were inferred.
    """

    reason: str = ""
    related: bool = False
    axes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Rejected:
    """A candidate that is not proven."""

    graph: Graph
    batching: Batching
    verdict: _Verdict
    failure: _ProofFailure


def read_axes(graph: Graph, names: tuple[str, ...], dims: Mapping[str, int], shapes: Mapping[str, Shape] | None = None,
              batch_axis: BatchAxis = None) -> Reading:
    """Chooses the batch axes and makes the batch dynamic if possible.

    Args:
      names: of the outputs.
      dims: sizes by symbol.
      shapes: of all inputs, which are then one row without a batch axis.
      batch_axis: the caller's batch axis; None lets the graph decide.
    Raises:
      GraphError: no reading is proven, or the graph runs with none.
    """
    if shapes is not None:
        return _one_at_a_time(graph, from_shapes(graph, shapes), {})
    declared = declared_shapes(graph, dims)
    if batch_axis is not None:
        return _read(*requested(graph, declared, batch_axis), names)
    choices = candidates(graph, declared)
    if not choices:
        layered = layers_first(graph, declared)
        if layered is not None and isinstance(found := _prove(*layered, names, _with_dynamic_batch), Reading):
            return found
        return _read(*single_row(graph, declared, "every input is declared for one row"), names)
    failures = [_ProofFailure()] * len(choices)
    for rewrite in (_as_declared, _with_dynamic_batch):
        for i, (one, batching) in enumerate(choices):
            found = _prove(one, batching, names, rewrite)
            if isinstance(found, Reading):
                return _with_leading_one(graph, declared, found, names) or found
            if not failures[i].related:  # the dynamic-batch error is more specific than the declared shapes; a proven relation is final
                failures[i] = replace(found, axes=failures[i].axes or found.axes)
    rejected = [_Rejected(one, batching, _Verdict.RELATED if failure.related else _verdict_from_sizes(one, batching), failure)
              for (one, batching), failure in zip(choices, failures, strict=True)]
    return _unproven(graph, declared, dims, names, rejected)


def _unproven(graph: Graph, declared: DeclaredShapes, dims: Mapping[str, int], names: tuple[str, ...],
              rejected: list[_Rejected]) -> Reading:
    """The reading of a file whose dynamic axes are not proven to be the batch."""
    possible = [each for each in rejected if each.verdict in (_Verdict.ONE, _Verdict.UNKNOWN) and _is_plausible(declared, each)]
    if not possible:
        related = next((each for each in rejected if each.verdict is _Verdict.RELATED), None)
        one, row = single_row(graph, declared, (related or rejected[0]).failure.reason)
        if related is not None or _runs(one, row.shapes):
            return _read(one, row, names)
        size = forced_size(graph, declared, lambda fixed: _runs(*_alone(graph, fixed)))
        if size is not None:
            _check_no_batch(graph, declared, size, rejected[0])
            return read_axes(graph, names, {**dims, **size})
        if all(0 not in each.batching.axes.values() for each in rejected):
            return _read(one, row, names)  # which says what is wrong with it
        return _row_by_row(rejected[0])
    if all(row and row[0] == 1 for row in declared):
        found = _prove(*single_row(graph, declared, ""), names, _with_dynamic_batch)
        if isinstance(found, Reading):
            return found
    for each in possible:
        if each.verdict is _Verdict.ONE or all(_is_batch_name(name) for name in each.batching.symbols):
            return _row_by_row(each)
    raise GraphError(_ambiguity(graph, possible[0]))


def _check_no_batch(graph: Graph, declared: DeclaredShapes, size: Mapping[str, int], rejected: _Rejected) -> None:
    """Refuses a size with which alone a graph runs where its axis may be a batch: it leads an input or is called one, and is not the last.

    Raises:
      GraphError: with the node that has the batch baked in.
    """
    ((name, n_baked),) = size.items()
    positions = [(port.name, row.index(name), len(row)) for port, row in zip(graph.inputs, declared, strict=True) if name in row]
    port, axis, _ = positions[0]
    if any(position == rank - 1 for _, position, rank in positions) or (axis > 0 and not _is_batch_name(name)):
        return
    raise GraphError(f"model {graph.name!r}, input {port!r}, axis {axis}: expected a batch of any size, got a file with {n_baked} baked in "
                     f"({rejected.failure.reason}); {OPEN_BATCH}, or give dims={size} when it is a size of one agent's row")


def _row_by_row(rejected: _Rejected) -> Reading:
    """The reading with an unproven candidate as the batch."""
    return _one_at_a_time(rejected.graph, one_row(rejected.batching, rejected.failure.reason), rejected.failure.axes)


def _ambiguity(graph: Graph, rejected: _Rejected) -> str:
    """The error text: why neither reading is used, and how to request each."""
    batching = rejected.batching
    name, axis = next((name, axis) for name, axis in batching.axes.items() if axis is not None)
    row = [str(d) for i, d in enumerate(batching.shapes[name]) if i != axis]
    axes = {name: axis for name, axis in batching.axes.items() if axis is not None}
    return (f"model {graph.name!r}, input {name!r}, axis {axis}: expected a graph that is known to keep the entries of its open axis apart "
            f"or to relate them, got neither ({rejected.failure.reason}); say which it is: batch_axis={axes} when it is the batch, with a "
            f"row of ({', '.join(row)}) for every agent, or batch_axis={dict.fromkeys(axes)} when it is a size of one agent's row, which "
            "dims= can fix")


def _is_plausible(declared: DeclaredShapes, rejected: _Rejected) -> bool:
    """Whether an axis may be a batch: it is the first axis of an input, or has a batch name."""
    leading = {row[0] for row in declared if row}
    return all(name in leading or _is_batch_name(name) for name in rejected.batching.symbols)


def _is_batch_name(name: str) -> bool:
    return "batch" in name.lower() or name in _BATCH_NAMES


def _with_leading_one(graph: Graph, declared: DeclaredShapes, found: Reading, names: tuple[str, ...]) -> Reading | None:
    """The reading whose batch is the leading 1 of every input, if it is also proven and nothing favours the other one."""
    batch = found.batching.symbols
    positions = [(i, len(row)) for row in declared for i, d in enumerate(row) if d in batch]
    if not all(row and row[0] == 1 for row in declared):
        return None
    if all(_is_batch_name(name) for name in batch) and all(i < rank - 1 for i, rank in positions):  # a feature axis has any name
        return None
    leading_one = _prove(*single_row(graph, declared, ""), names, _with_dynamic_batch)
    return leading_one if isinstance(leading_one, Reading) else None


def _alone(graph: Graph, declared: DeclaredShapes) -> tuple[Graph, dict[str, Shape]]:
    one, batching = single_row(graph, declared, "")
    return one, batching.shapes


def _runs(graph: Graph, shapes: Mapping[str, Shape]) -> bool:
    """Whether shape inference succeeds with inputs of these shapes."""
    try:
        infer_shapes(without_branches(graph, shapes), dict(shapes))
    except (GraphError, ArithmeticError, LookupError, TypeError, ValueError):
        return False
    return True


def _verdict_from_sizes(graph: Graph, batching: Batching) -> _Verdict:
    """The verdict from sizes on an axis without a proof."""
    one, two = ({name: tuple(at(d, n) for d in shape) for name, shape in batching.shapes.items()} for n in (1, 2))
    if not _runs(graph, one):
        return _Verdict.IMPOSSIBLE
    return _Verdict.UNKNOWN if _runs(graph, two) else _Verdict.ONE


def _read(one: Graph, batching: Batching, names: tuple[str, ...]) -> Reading:
    """A certain reading, with a dynamic batch if possible, else one row at a time."""
    failure = _ProofFailure()
    for rewrite in (_as_declared, _with_dynamic_batch):
        found = _prove(one, batching, names, rewrite)
        if isinstance(found, Reading):
            return found
        failure = replace(found, axes=found.axes or failure.axes)
    return _one_at_a_time(one, one_row(batching, failure.reason), failure.axes)


def _one_at_a_time(graph: Graph, batching: Batching, axes: dict[str, int]) -> Reading:
    try:
        return Reading(*decompose_ops(without_branches(graph, batching.shapes), batching.shapes), batching, axes)
    except GraphError as error:
        raise _with_sizes(error, batching) from error


def _with_sizes(error: GraphError, batching: Batching) -> GraphError:
    """The error with the assumed sizes that may cause it."""
    if not batching.assumed_sizes:
        return error
    sizes = ", ".join(f"{name!r}: {size}" for name, size in batching.assumed_sizes.items())
    return GraphError(f"{error}; sizes that the file leaves open were taken as {{{sizes}}}: give others with dims=")


def _prove(one: Graph, batching: Batching, names: tuple[str, ...], rewrite: Rewrite) -> Reading | _ProofFailure:
    """A reading with independent rows, or why there is none; rows are related if every way to run N rows relates them."""
    failures: list[_ProofFailure] = []
    try:
        for graph, dynamic_batching in rewrite(without_branches(one, batching.shapes), batching):
            found = _check_independence(graph, dynamic_batching, batching, names)
            if isinstance(found, Reading):
                return found
            failures.append(found)
    except (StaticBatchError, GraphError) as error:
        return _ProofFailure(str(error))
    return replace(failures[0], related=all(each.related for each in failures))


def _check_independence(graph: Graph, dynamic_batching: Batching, batching: Batching, names: tuple[str, ...]) -> Reading | _ProofFailure:
    """The reading of one way to run N rows, or why rows are not known to be independent."""
    axes: dict[str, int] = {}
    try:
        graph, values = decompose_ops(graph, dynamic_batching.shapes)
        graph = without_dead_code(graph, names)  # nodes without consumers after decomposition may relate rows
        axes = {name: (values[name].shape or ()).index(ROWS) for name in names if ROWS in (values[name].shape or ())}
        row_repeats = check_batch_independence(graph, values, tuple(n for n in names if values[n].from_input))
    except BatchDependenceError as error:
        return _ProofFailure(str(error), error.related, axes)
    except GraphError as error:
        return _ProofFailure(str(error), False, axes)
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


def _as_declared(graph: Graph, batching: Batching) -> Iterable[tuple[Graph, Batching]]:
    """The graph with the batch where its inputs declare one."""
    if not batching.dynamic:
        raise StaticBatchError(batching.reason)
    return [(graph, batching)]


def _with_dynamic_batch(graph: Graph, batching: Batching) -> Iterable[tuple[Graph, Batching]]:
    """The graph with N in place of a batch of 1, in the inputs or behind them."""
    if batching.dynamic:
        return ((dynamic, batching) for dynamic in dynamic_graphs(graph, batching.shapes))
    return [vectorize_graph(graph)] if -1 in batching.axes.values() else make_batch_dynamic(graph)
