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
    Entries,
    as_given,
    asked,
    behind_layers,
    candidates,
    entries_of,
    one_row,
    whole,
)
from cervello.native.passes.batch_independence import BatchDependenceError, check_rows_apart
from cervello.native.passes.dead_code import without_dead_code
from cervello.native.passes.decompose import decompose_ops
from cervello.native.passes.dynamic_batch import StaticBatchError, dynamic_graphs, make_batch_dynamic
from cervello.native.passes.dynamic_dims import forced_size
from cervello.native.passes.trip_counts import with_trip_counts
from cervello.native.passes.vectorize import vectorize_graph
from cervello.native.shapes.control_flow import prune_branches
from cervello.native.shapes.infer_shapes import infer

Attempt = Callable[[Graph, Batching], Iterable[tuple[Graph, Batching]]]
_BATCH_NAMES = frozenset({"N", "B", "bs", "n_envs", "num_envs"})  # a lower-case n often counts entities


@dataclass(frozen=True, slots=True)
class Reading:
    """A graph with its batch axes.

    Attributes:
      graph: after decomposition, in the ops that are lowered.
      values: shape, dtype and constant of all its values.
      axes: batch axis of each output that was inferred with N rows.
      stretches: for each value with rows, how often all rows repeat along its batch axis, see `check_rows_apart`.
    """

    graph: Graph
    values: dict[str, Value]
    batching: Batching
    axes: dict[str, int]
    stretches: dict[str, int] = field(default_factory=dict)


class _Verdict(Enum):
    """The verdict on a candidate that is not proven to be the batch."""

    RELATED = "the graph relates its entries"
    IMPOSSIBLE = "the graph does not run with one entry"
    ONE = "the graph runs with one entry only"
    UNKNOWN = "nothing is proven"


@dataclass(frozen=True, slots=True)
class _Stuck:
    """Why a proof failed.

    Attributes:
      related: whether rows are proven to be related.
      axes: batch axes of outputs, as far as they were inferred.
    """

    reason: str = ""
    related: bool = False
    axes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Failed:
    """A candidate that is not proven."""

    graph: Graph
    batching: Batching
    verdict: _Verdict
    stuck: _Stuck


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
        return _one_at_a_time(graph, as_given(graph, shapes), {})
    entries = entries_of(graph, dims)
    if batch_axis is not None:
        return _read(*asked(graph, entries, batch_axis), names)
    choices = candidates(graph, entries)
    if not choices:
        layered = behind_layers(graph, entries)
        if layered is not None and isinstance(found := _proven(*layered, names, _made_dynamic), Reading):
            return found
        return _read(*whole(graph, entries, "every input is declared for one row"), names)
    stuck = [_Stuck()] * len(choices)
    for attempt in (_declared, _made_dynamic):
        for i, (one, taken) in enumerate(choices):
            found = _proven(one, taken, names, attempt)
            if isinstance(found, Reading):
                return _nearer(graph, entries, found, names) or found
            if not stuck[i].related:  # the dynamic-batch error is more specific than the declared shapes; a proven relation is final
                stuck[i] = replace(found, axes=stuck[i].axes or found.axes)
    failed = [_Failed(one, taken, _Verdict.RELATED if why.related else _verdict(one, taken), why)
              for (one, taken), why in zip(choices, stuck, strict=True)]
    return _unproven(graph, entries, dims, names, failed)


def _unproven(graph: Graph, entries: Entries, dims: Mapping[str, int], names: tuple[str, ...], failed: list[_Failed]) -> Reading:
    """The reading of a file whose dynamic axes are not proven to be the batch."""
    possible = [each for each in failed if each.verdict in (_Verdict.ONE, _Verdict.UNKNOWN) and _is_plausible(entries, each)]
    if not possible:
        related = next((each for each in failed if each.verdict is _Verdict.RELATED), None)
        one, row = whole(graph, entries, (related or failed[0]).stuck.reason)
        if related is not None or _runs(one, row.shapes):
            return _read(one, row, names)
        size = forced_size(graph, entries, lambda fixed: _runs(*_alone(graph, fixed)))
        if size is not None:
            _check_no_batch(graph, entries, size, failed[0])
            return read_axes(graph, names, {**dims, **size})
        if all(0 not in each.batching.axes.values() for each in failed):
            return _read(one, row, names)  # which says what is wrong with it
        return _row_by_row(failed[0])
    if all(row and row[0] == 1 for row in entries):
        found = _proven(*whole(graph, entries, ""), names, _made_dynamic)
        if isinstance(found, Reading):
            return found
    for each in possible:
        if each.verdict is _Verdict.ONE or all(_says_batch(name) for name in each.batching.symbols):
            return _row_by_row(each)
    raise GraphError(_both_readings(graph, possible[0]))


def _check_no_batch(graph: Graph, entries: Entries, size: Mapping[str, int], failed: _Failed) -> None:
    """Refuses a size with which alone a graph runs where its axis may be a batch: it leads an input or is called one, and is not the last.

    Raises:
      GraphError: with the node that has the batch baked in.
    """
    ((name, n_baked),) = size.items()
    places = [(port.name, row.index(name), len(row)) for port, row in zip(graph.inputs, entries, strict=True) if name in row]
    port, axis, _ = places[0]
    if any(place == rank - 1 for _, place, rank in places) or (axis > 0 and not _says_batch(name)):
        return
    raise GraphError(f"model {graph.name!r}, input {port!r}, axis {axis}: expected a batch of any size, got a file with {n_baked} baked in "
                     f"({failed.stuck.reason}); {OPEN_BATCH}, or give dims={size} when it is a size of one agent's row")


def _row_by_row(failed: _Failed) -> Reading:
    """The reading with an unproven candidate as the batch."""
    return _one_at_a_time(failed.graph, one_row(failed.batching, failed.stuck.reason), failed.stuck.axes)


def _both_readings(graph: Graph, failed: _Failed) -> str:
    """The error text: why neither reading is used, and how to request each."""
    batching = failed.batching
    name, axis = next((name, axis) for name, axis in batching.axes.items() if axis is not None)
    row = [str(d) for i, d in enumerate(batching.shapes[name]) if i != axis]
    axes = {name: axis for name, axis in batching.axes.items() if axis is not None}
    return (f"model {graph.name!r}, input {name!r}, axis {axis}: expected a graph that is known to keep the entries of its open axis apart "
            f"or to relate them, got neither ({failed.stuck.reason}); say which it is: batch_axis={axes} when it is the batch, with a row "
            f"of ({', '.join(row)}) for every agent, or batch_axis={dict.fromkeys(axes)} when it is a size of one agent's row, which "
            "dims= can fix")


def _is_plausible(entries: Entries, failed: _Failed) -> bool:
    """Whether an axis may be a batch: it is the first axis of an input, or has a batch name."""
    leading = {row[0] for row in entries if row}
    return all(name in leading or _says_batch(name) for name in failed.batching.symbols)


def _says_batch(name: str) -> bool:
    return "batch" in name.lower() or name in _BATCH_NAMES


def _nearer(graph: Graph, entries: Entries, found: Reading, names: tuple[str, ...]) -> Reading | None:
    """The reading whose batch is the leading 1 of every input, if it is also proven and nothing favours the other one."""
    batch = found.batching.symbols
    places = [(i, len(row)) for row in entries for i, d in enumerate(row) if d in batch]
    if not all(row and row[0] == 1 for row in entries):
        return None
    if all(_says_batch(name) for name in batch) and all(i < rank - 1 for i, rank in places):  # a feature axis has any name
        return None
    nearer = _proven(*whole(graph, entries, ""), names, _made_dynamic)
    return nearer if isinstance(nearer, Reading) else None


def _alone(graph: Graph, entries: Entries) -> tuple[Graph, dict[str, Shape]]:
    one, batching = whole(graph, entries, "")
    return one, batching.shapes


def _runs(graph: Graph, shapes: Mapping[str, Shape]) -> bool:
    """Whether shape inference succeeds with inputs of these shapes."""
    try:
        infer(without_branches(graph, shapes), dict(shapes))
    except (GraphError, ArithmeticError, LookupError, TypeError, ValueError):
        return False
    return True


def _verdict(graph: Graph, batching: Batching) -> _Verdict:
    """The verdict from sizes on an axis without a proof."""
    one, two = ({name: tuple(at(d, n) for d in shape) for name, shape in batching.shapes.items()} for n in (1, 2))
    if not _runs(graph, one):
        return _Verdict.IMPOSSIBLE
    return _Verdict.UNKNOWN if _runs(graph, two) else _Verdict.ONE


def _read(one: Graph, batching: Batching, names: tuple[str, ...]) -> Reading:
    """A certain reading, with a dynamic batch if possible, else one row at a time."""
    stuck = _Stuck()
    for attempt in (_declared, _made_dynamic):
        found = _proven(one, batching, names, attempt)
        if isinstance(found, Reading):
            return found
        stuck = replace(found, axes=found.axes or stuck.axes)
    return _one_at_a_time(one, one_row(batching, stuck.reason), stuck.axes)


def _one_at_a_time(graph: Graph, batching: Batching, axes: dict[str, int]) -> Reading:
    try:
        return Reading(*decompose_ops(without_branches(graph, batching.shapes), batching.shapes), batching, axes)
    except GraphError as error:
        raise _with_sizes(error, batching) from error


def _with_sizes(error: GraphError, batching: Batching) -> GraphError:
    """The error with the assumed sizes that may cause it."""
    if not batching.others:
        return error
    sizes = ", ".join(f"{name!r}: {size}" for name, size in batching.others.items())
    return GraphError(f"{error}; sizes that the file leaves open were taken as {{{sizes}}}: give others with dims=")


def _proven(one: Graph, taken: Batching, names: tuple[str, ...], attempt: Attempt) -> Reading | _Stuck:
    """A reading with independent rows, or why there is none; rows are related if every way to run N rows relates them."""
    stuck: list[_Stuck] = []
    try:
        for graph, free in attempt(without_branches(one, taken.shapes), taken):
            found = _checked(graph, free, taken, names)
            if isinstance(found, Reading):
                return found
            stuck.append(found)
    except (StaticBatchError, GraphError) as error:
        return _Stuck(str(error))
    return replace(stuck[0], related=all(each.related for each in stuck))


def _checked(graph: Graph, free: Batching, taken: Batching, names: tuple[str, ...]) -> Reading | _Stuck:
    """The reading of one way to run N rows, or why rows are not known to be independent."""
    axes: dict[str, int] = {}
    try:
        graph, values = decompose_ops(graph, free.shapes)
        graph = without_dead_code(graph, names)  # nodes without consumers after decomposition may relate rows
        axes = {name: (values[name].shape or ()).index(ROWS) for name in names if ROWS in (values[name].shape or ())}
        stretches = check_rows_apart(graph, values, tuple(n for n in names if values[n].from_input))
    except BatchDependenceError as error:
        return _Stuck(str(error), error.related, axes)
    except GraphError as error:
        return _Stuck(str(error), False, axes)
    return Reading(graph, values, replace(free, others=taken.others, symbols=taken.symbols), axes, stretches)


def without_branches(graph: Graph, shapes: Mapping[str, Shape]) -> Graph:
    """The graph without branches that its shapes exclude, and with the trip counts that its shapes determine."""
    graph = with_trip_counts(graph, shapes)
    if not any(node.op == BRANCH for node in graph.nodes):
        return graph
    try:
        values = infer(graph, dict(shapes))
    except GraphError:
        single: dict[str, Shape] = {name: tuple(at(d, 1) for d in shape) for name, shape in shapes.items()}
        if single == shapes:
            raise
        values = infer(graph, single)
    return prune_branches(graph, values)


def _declared(graph: Graph, batching: Batching) -> Iterable[tuple[Graph, Batching]]:
    """The graph with the batch where its inputs declare one."""
    if not batching.free:
        raise StaticBatchError(batching.reason)
    return [(graph, batching)]


def _made_dynamic(graph: Graph, batching: Batching) -> Iterable[tuple[Graph, Batching]]:
    """The graph with N in place of a batch of 1, in the inputs or behind them."""
    if batching.free:
        return ((dynamic, batching) for dynamic in dynamic_graphs(graph, batching.shapes))
    return [vectorize_graph(graph)] if -1 in batching.axes.values() else make_batch_dynamic(graph)
