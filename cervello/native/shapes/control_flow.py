"""Shapes through branches and loops, and branches that are never taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from cervello.errors import GraphError
from cervello.native.frontend.control_flow import BRANCH, FLOW, JOINED, LOOP_BEGIN, OTHERWISE
from cervello.native.graph.dims import Affine, written
from cervello.native.graph.dtypes import BOOL, I64, Array
from cervello.native.graph.graph import Graph, Node
from cervello.native.graph.values import Value, known

ENDLESS = np.iinfo(np.int64).max  # trip count of a loop that only its condition ends


def infer_control_flow(node: Node, values: Mapping[str, Value], decomposed: bool = False) -> list[Value]:
    """Infers the results of a control marker.

    Args:
      decomposed: decomposition is complete. Before, results of ops to decompose, and values that depend on them, may be unknown; after,
        unknown values are refused.
    Raises:
      GraphError: branches differ, a state changes its shape, or the shape of a result depends on a trip count that depends on data.
    """
    if node.op == BRANCH:
        return [_marker_value(node, _condition(node, values[node.inputs[0]]))]
    if node.op == OTHERWISE:
        taken = values[node.inputs[0]].constant
        first = [values[name] if name else Value("", None, None) for name in node.inputs[1:]]
        copies = [_forwarded(value, name, taken) for value, name in zip(first, node.outputs[1:], strict=True)]
        return [_marker_value(node, taken), *copies]
    if node.op == JOINED:
        return _if_end(node, values, decomposed)
    return _loop_begin(node, values, decomposed) if node.op == LOOP_BEGIN else _loop_end(node, values, decomposed)


def _unknown(*values: Value) -> bool:
    """Whether a value's dtype is unknown: it depends on an op that is not yet decomposed."""
    return any(value.dtype is None for value in values)


def is_dead(node: Node, dead_until: str) -> bool:
    """Whether a node is in a dead segment, which ends with the marker that reads `dead_until`."""
    return bool(dead_until) and not (node.op in FLOW and node.inputs[0] == dead_until)


def dead_segment_end(node: Node, values: Mapping[str, Value]) -> str:
    """The input name of the marker that ends the dead segment after this node; "" if none begins here."""
    if node.op not in (BRANCH, OTHERWISE):
        return ""
    taken = values[node.outputs[0]].constant
    return node.outputs[0] if taken is not None and bool(taken) == (node.op == OTHERWISE) else ""


def prune_branches(graph: Graph, values: Mapping[str, Value]) -> Graph:
    """The graph without branches that are never taken."""
    nodes, dead_until = [], ""
    for node in graph.nodes:
        if is_dead(node, dead_until):
            continue
        dead_until = dead_segment_end(node, values)
        taken = values[node.inputs[0]].constant if node.op in (BRANCH, OTHERWISE, JOINED) else None
        if taken is None:
            nodes.append(node)
            continue
        n = len(node.outputs)
        sources: tuple[str, ...] = ()
        names = node.outputs
        if node.op == OTHERWISE and taken:
            sources, names = node.inputs[1:], node.outputs[1:]
        elif node.op == JOINED:
            sources = node.inputs[1:n + 1] if taken else node.inputs[n + 1:]
        nodes += [Node("Identity", (source,), (name,), {}, node.name, index=node.index)
                  for source, name in zip(sources, names, strict=False) if name]
    return replace(graph, nodes=tuple(nodes))


def _marker_value(node: Node, taken: Array | None) -> Value:
    return Value(node.outputs[0], (), BOOL, taken)


def _condition(node: Node, value: Value) -> Array | None:
    if value.shape is not None and any(size != 1 for size in value.shape):
        raise GraphError(f"node {node}: expected one condition, got {written(value.shape)}")
    if value.dtype is not None and value.dtype != BOOL:
        raise GraphError(f"node {node}: expected a condition of type bool, got {value.dtype}")
    return None if value.constant is None else value.constant.reshape(())


def _forwarded(value: Value, name: str, taken: Array | None) -> Value:
    """A value under another name; it keeps its data only if its branch is known to be taken."""
    if taken is not None and bool(taken):
        return replace(value, name=name)
    return Value(name, value.shape, value.dtype)


def _if_end(node: Node, values: Mapping[str, Value], decomposed: bool) -> list[Value]:
    n, taken = len(node.outputs), values[node.inputs[0]].constant
    results = []
    for name, then, otherwise in zip(node.outputs, node.inputs[1:n + 1], node.inputs[n + 1:], strict=True):
        one, other = values[then], values[otherwise]
        if taken is not None:
            results.append(replace(one if taken else other, name=name))
        elif not decomposed and _unknown(one, other):
            results.append(Value(name, None, None))
        elif one.shape is None or one.shape != other.shape or one.dtype != other.dtype:
            raise GraphError(f"node {node}, result {name!r}: expected branches that give the same shape and type, got "
                             f"{_written(one)} and {_written(other)}")
        else:
            results.append(Value(name, one.shape, one.dtype))
    return [value for value in results if value.name]


def _written(value: Value) -> str:
    return "a shape that depends on data" if value.shape is None else f"{written(value.shape)} {value.dtype}"


def _loop_begin(node: Node, values: Mapping[str, Value], decomposed: bool) -> list[Value]:
    trips, condition, *given = (values[name] for name in node.inputs)
    if node.inputs[1]:
        _condition(node, condition)
    n_states = node.attributes["states"]
    trip_count = np.array(ENDLESS, I64) if not node.inputs[0] else trips.constant
    taken: list[Value] = []
    for name, value in zip(node.outputs[4:], given, strict=True):
        if not decomposed and _unknown(value):
            taken.append(Value(name, None, None))
            continue
        if value.shape is None or value.dtype is None:
            raise GraphError(f"node {node}: expected values whose shapes are known ahead, got {value.name!r}, whose shape depends on data")
        shape = value.shape
        if len(taken) >= n_states:
            axis = node.attributes["axes"][len(taken) - n_states]
            if not -len(shape) <= axis < len(shape):
                raise GraphError(f"node {node}: expected a sequence with an axis {axis}, got {written(shape)}")
            axis %= len(shape)
            length = shape[axis]
            if isinstance(length, Affine):
                raise GraphError(f"node {node}: expected a sequence of a fixed length, got one of {written(shape)}")
            if len(taken) > n_states and trip_count is not None and length != int(trip_count):
                raise GraphError(f"node {node}: expected sequences of one length, got {int(trip_count)} and {length}")
            trip_count, shape = np.array(length, I64), (*shape[:axis], *shape[axis + 1:])
        taken.append(Value(name, shape, value.dtype))
    counter, trips_name, iteration, active = node.outputs[:4]  # the condition is true during an iteration
    count = Value(trips_name, (), I64) if trip_count is None else known(trips_name, trip_count.reshape(()).astype(I64), True)
    return [Value(counter, (2,), I64), count, Value(iteration, (), I64), known(active, np.array(True), True), *taken]


def _loop_end(node: Node, values: Mapping[str, Value], decomposed: bool) -> list[Value]:
    n_states, axes = node.attributes["states"], node.attributes["axes"]
    trip_count = values[node.inputs[1]].constant
    for condition in filter(None, node.inputs[2:4]):
        always = _condition(node, values[condition])
        trip_count = trip_count if always is not None and always else None  # how many there are depends on data
    n_given = len(axes)
    ended, given = node.inputs[4:4 + n_states], node.inputs[4 + n_states:4 + n_states + n_given]
    begun = node.inputs[6 + n_states + n_given:][:n_states]
    results = []
    for name, last, first in zip(node.outputs, ended, begun, strict=False):
        before, after = values[first], values[last]
        if not decomposed and _unknown(before, after):
            results.append(Value(name, None, None))
            continue
        if before.shape != after.shape or before.dtype != after.dtype:
            raise GraphError(f"node {node}: expected a state that keeps its shape and type, got {_written(before)} and then "
                             f"{_written(after)}")
        results.append(Value(name, before.shape, before.dtype))
    for name, source, axis in zip(node.outputs[n_states:], given, axes, strict=True):
        value = values[source]
        if not name:
            continue
        if not decomposed and _unknown(value):
            results.append(Value(name, None, None))
            continue
        if value.shape is None or trip_count is None or int(trip_count) > 1 << 31:
            raise GraphError(f"node {node}, result {name!r}: expected a trip count and a shape that are known ahead, got ones that "
                             "depend on data; export the policy with a fixed number of steps, or without the results of each iteration")
        rank = len(value.shape) + 1
        if not -rank <= axis < rank:
            raise GraphError(f"node {node}, result {name!r}: expected an axis of {rank}, got {axis}")
        axis %= rank
        length = max(int(trip_count), 0)
        results.append(Value(name, (*value.shape[:axis], length, *value.shape[axis:]), value.dtype))
    return [value for value in results if value.name]
