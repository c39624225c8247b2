"""Computes the trip count of a loop whose condition depends on its own counters only.

tf2onnx writes tf.while_loop and Keras' recurrent layers this way. The condition's part of the body is evaluated on constants. A loop with a
known trip count needs no condition: its scan outputs have known shapes, and rows can run together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from cervello.errors import GraphError
from cervello.native.fallback import NUMPY, run_numpy
from cervello.native.frontend.control_flow import LOOP_BEGIN, LOOP_END
from cervello.native.graph.budget import current
from cervello.native.graph.dims import Shape
from cervello.native.graph.dtypes import Array
from cervello.native.graph.graph import Graph, Node
from cervello.native.graph.values import Value, known
from cervello.native.shapes.control_flow import ENDLESS, dead_segment_end, is_dead
from cervello.native.shapes.infer_shapes import infer_node, initial_values

_MOST_TRIPS = 2048
_MOST_NODES = 64  # that a condition depends on
_SMALL = 16  # elements of what they compute
_WORK = 1 << 14  # most work per node and iteration, in the units of `folding`


def with_trip_counts(graph: Graph, shapes: Mapping[str, Shape]) -> Graph:
    """The graph with a constant trip count for each loop whose condition can be evaluated with inputs of these shapes.

    An inconsistent loop is left unchanged; the later shape inference reports the error.
    """
    if not any(node.op == LOOP_END and node.inputs[3] for node in graph.nodes):
        return graph
    values = initial_values(graph, shapes)
    nodes, constants = list(graph.nodes), dict(graph.constants)
    begins: dict[str, int] = {}
    dead_until = ""  # end of a segment that never runs
    for place, node in enumerate(graph.nodes):
        if is_dead(node, dead_until):
            values.update((name, Value(name, None, None)) for name in node.outputs if name)
            continue
        if node.op == LOOP_BEGIN:
            begins[node.outputs[0]] = place
        elif node.op == LOOP_END and node.inputs[3]:
            first = begins[node.inputs[0]]
            trips = _trip_count(nodes[first], nodes[first + 1:place], node, values)
            if trips is not None:
                name = f"{node.inputs[0]}/trips"
                while name in values:
                    name += "'"
                constants[name] = np.array(trips, np.int64)
                values[name] = known(name, constants[name])
                nodes[first] = replace(nodes[first], inputs=(name, "", *nodes[first].inputs[2:]))
                nodes[place] = replace(node, inputs=(*node.inputs[:2], "", "", *node.inputs[4:]))
                values[node.inputs[1]] = known(node.inputs[1], constants[name], True)
        try:
            values.update((value.name, value) for value in infer_node(nodes[place], values))
            dead_until = dead_segment_end(node, values)
        except (GraphError, ArithmeticError, LookupError, TypeError, ValueError):
            break
    return replace(graph, nodes=tuple(nodes), constants=constants)


def _trip_count(begin: Node, body: Sequence[Node], end: Node, values: Mapping[str, Value]) -> int | None:
    """The trip count of a loop; None if it depends on data or exceeds the limits above."""
    if (always := values[end.inputs[3]].constant) is not None and always.all():
        return None  # the trip count is already constant
    n_states = begin.attributes["states"]
    trips, condition = (values[name].constant for name in begin.inputs[:2])
    if (begin.inputs[0] and trips is None) or (begin.inputs[1] and condition is None):
        return None
    if any(data is not None and data.size != 1 for data in (trips, condition)):
        return None
    most = ENDLESS if trips is None else max(int(trips.reshape(())), 0)
    if condition is not None and not condition.reshape(()):
        return 0
    after = dict(zip(begin.outputs[4:4 + n_states], end.inputs[4:4 + n_states], strict=True))
    needed = _condition_slice(end.inputs[3], begin, body, after)
    if needed is None:
        return None
    nodes, states = needed
    at: dict[str, Array] = {"": np.zeros(0)}
    for name in {each for node in nodes for each in node.inputs} | {end.inputs[3], *(after[state] for state in states)}:
        if name in values and (data := values[name].constant) is not None:
            at[name] = data
    for state, name in zip(begin.outputs[4:], begin.inputs[2:], strict=True):
        if state in states:
            if (data := values[name].constant) is None:
                return None
            at[state] = data
    return _run_condition(nodes, {state: after[state] for state in states}, at, begin.outputs[2], end.inputs[3], most)


def _condition_slice(condition: str, begin: Node, body: Sequence[Node], after: Mapping[str, str]) -> tuple[list[Node], set[str]] | None:
    """The nodes in order and the states that a condition depends on; None if it depends on data or on ops without a numpy form.

    Args:
      after: by state, its value in the next iteration.
    """
    producers = {name: node for node in body for name in node.outputs if name}
    sequence_elements = set(begin.outputs[4:]) - set(after)
    nodes: dict[int, Node] = {}
    states: set[str] = set()
    pending, seen = [condition], {""}
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in sequence_elements:
            return None
        if name in after:
            states.add(name)
            pending.append(after[name])
        elif name in producers:
            node = producers[name]
            if node.domain or node.op not in NUMPY or len(nodes) > _MOST_NODES:
                return None
            nodes[node.index] = node
            pending += node.inputs
    return [node for node in body if node.index in nodes], states


def _run_condition(nodes: Sequence[Node], after: Mapping[str, str], at: dict[str, Array], iteration: str, condition: str, most: int,
             ) -> int | None:
    """Runs iterations until the condition is false.

    Args:
      after: by state, its value in the next iteration.
      at: known values by name; changed.
    """
    budget = current()
    for n_trips in range(1, _MOST_TRIPS + 1):
        if n_trips > most:
            return most
        at[iteration] = np.array(n_trips - 1, np.int64)
        for node in nodes:
            budget.left_work -= _WORK
            if budget.left_work < 0 or any(name not in at or at[name].dtype == object or at[name].size > _SMALL for name in node.inputs):
                return None
            try:
                found = run_numpy(node, [at[name] if name else None for name in node.inputs])
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
                return None
            at.update(zip(node.outputs, found, strict=False))
        if condition not in at or at[condition].size != 1 or at[condition].dtype != bool:
            return None
        if not at[condition].reshape(()):
            return n_trips
        if any(name not in at for name in after.values()):
            return None
        at.update({state: at[name] for state, name in after.items()})
    return None
