"""Decides whether a file's dynamic axes are the batch or sizes of one agent's row.

An axis is the batch if the graph is proven to process its entries independently. If the graph is proven to relate them (a reduction,
softmax, product, recurrence or convolution along the axis, or its size in arithmetic), the axis is a dynamic size of one agent's row. If
neither is proven, a leading axis with a batch name is the batch, and rows run one at a time; any other file is refused with both
readings. See docs/decisions/0017-which-axis-is-the-batch.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum

from cervello.errors import GraphError
from cervello.native.graph.dims import Shape, at
from cervello.native.graph.graph import Graph
from cervello.native.passes.axis_proof import ProofFailure, Reading, as_declared, prove, with_dynamic_batch, without_branches
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
from cervello.native.passes.decompose import decompose_ops
from cervello.native.passes.dynamic_dims import forced_size
from cervello.native.shapes.infer_shapes import infer_shapes

_BATCH_NAMES = frozenset({"N", "B", "bs", "n_envs", "num_envs"})  # a lower-case n often counts entities


class _Verdict(Enum):
    """The verdict on a candidate that is not proven to be the batch."""

    RELATED = "the graph relates its entries"
    IMPOSSIBLE = "the graph does not run with one entry"
    ONE = "the graph runs with one entry only"
    UNKNOWN = "nothing is proven"


@dataclass(frozen=True, slots=True)
class _Rejected:
    """A candidate that is not proven."""

    graph: Graph
    batching: Batching
    verdict: _Verdict
    failure: ProofFailure


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
        if layered is not None and isinstance(found := prove(*layered, names, with_dynamic_batch), Reading):
            return found
        return _read(*single_row(graph, declared, "every input is declared for one row"), names)
    failures = [ProofFailure()] * len(choices)
    for rewrite in (as_declared, with_dynamic_batch):
        for i, (one, batching) in enumerate(choices):
            found = prove(one, batching, names, rewrite)
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
        size = forced_size(graph, declared, lambda fixed: _runs_as_one_row(graph, fixed))
        if size is not None:
            _check_no_batch(graph, declared, size, rejected[0])
            return read_axes(graph, names, {**dims, **size})
        if all(0 not in each.batching.axes.values() for each in rejected):
            return _read(one, row, names)  # which says what is wrong with it
        return _row_by_row(rejected[0])
    if all(row and row[0] == 1 for row in declared):
        found = prove(*single_row(graph, declared, ""), names, with_dynamic_batch)
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
    leading_one = prove(*single_row(graph, declared, ""), names, with_dynamic_batch)
    return leading_one if isinstance(leading_one, Reading) else None


def _runs_as_one_row(graph: Graph, declared: DeclaredShapes) -> bool:
    one, batching = single_row(graph, declared, "")
    return _runs(one, batching.shapes)


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
    failure = ProofFailure()
    for rewrite in (as_declared, with_dynamic_batch):
        found = prove(one, batching, names, rewrite)
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
