"""Sets the batch free in graphs that were exported for one row.

The leading 1 of every input becomes N, and with it whatever a file has baked in: targets of Reshape, constant rows beside computed ones,
initial states. Each change leaves the graph as it was for N = 1, which is checked for every value; that rows then stay apart is for
`rows_apart` to prove. What cannot be freed is named.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from cervello.errors import GraphError
from cervello.native.batching import Batching
from cervello.native.dims import ROWS, Affine, Dim, NotAffine, Shape, at, product
from cervello.native.graph import Graph, Node
from cervello.native.infer import results
from cervello.native.rows_apart import ELEMENTWISE
from cervello.native.values import Value, known

_STATES = {"LSTM": (5, 6), "GRU": (5,), "RNN": (5,)}


class Baked(Exception):
    """The batch of 1 is part of what a node does; the message names it."""


def free_batch(graph: Graph) -> tuple[Graph, Batching]:
    """The graph with N rows in front of every input.

    Raises:
      Baked: with the node that stands in the way.
    """
    shapes: dict[str, Shape] = {}
    for port in graph.inputs:
        if port.dtype is None or not port.shape or port.shape[0] != 1 or any(not isinstance(size, int) for size in port.shape):
            raise Baked(f"input {port.name!r} of shape {port.shape} has no batch in front")
        shapes[port.name] = (ROWS, *(size for size in port.shape[1:] if isinstance(size, int)))
    try:
        return walked(graph, shapes), Batching(True, shapes, dict.fromkeys(shapes, 0))
    except Baked:
        states = _states(graph)
        if not states:
            raise
        shapes |= {name: (1, ROWS, *shapes[name][2:]) for name in states}  # states are [layers, rows, size]
        return walked(graph, shapes), Batching(True, shapes, {name: int(name in states) for name in shapes})


def _states(graph: Graph) -> list[str]:
    """Inputs from which a recurrent layer takes a state, through whatever keeps the axes."""
    makers = {name: node for node in graph.nodes for name in node.outputs}
    found = []
    for node in graph.nodes:
        for place in _STATES.get(node.op, ()):
            name = node.inputs[place] if place < len(node.inputs) else ""
            while name in makers and makers[name].op in ("Split", "Slice", "Identity", "Cast"):
                name = makers[name].inputs[0]
            found += [port.name for port in graph.inputs if port.name == name and (port.shape or ())[:2] == (1, 1)]
    return found


def walked(graph: Graph, shapes: dict[str, Shape]) -> Graph:
    """The graph with N rows wherever rows of inputs of these shapes reach.

    Raises:
      Baked: with the node that stands in the way.
    """
    constants = dict(graph.constants)
    free: dict[str, Value] = {"": Value("", None, None), **{name: known(name, data) for name, data in constants.items()}}
    single = dict(free)
    for port in graph.inputs:
        free[port.name] = Value(port.name, shapes[port.name], port.dtype)
        single[port.name] = Value(port.name, tuple(at(size, 1) for size in shapes[port.name]), port.dtype)
    nodes: list[Node] = []
    for node in graph.nodes:
        for value in results(node, _operands(node, single)):
            single[value.name] = value
        for piece in _rewritten(node, free, constants):
            try:
                found = results(piece, _operands(piece, free))
            except GraphError as error:
                raise Baked(str(error)) from error
            nodes.append(piece)
            for value in found:
                free[value.name] = value
        _check(node, free, single)
    return replace(graph, nodes=tuple(nodes), constants=constants)


def _operands(node: Node, values: dict[str, Value]) -> list[Value | None]:
    inputs = [values[name] if name else None for name in node.inputs]
    while inputs and inputs[-1] is None:
        inputs.pop()
    return inputs


def _check(node: Node, free: dict[str, Value], single: dict[str, Value]) -> None:
    """For N = 1 everything must be as it was."""
    for name in node.outputs:
        a, b = free.get(name), single.get(name)
        if not name or a is None or b is None:
            continue
        if (a.shape is None) != (b.shape is None) or (a.shape is not None and tuple(at(d, 1) for d in a.shape) != b.shape):
            raise Baked(f"node {node} gives another shape once the batch is free")


def _moving(value: Value | None) -> bool:
    return value is not None and value.shape is not None and any(isinstance(size, Affine) for size in value.shape)


def _rewritten(node: Node, values: dict[str, Value], constants: dict[str, np.ndarray]) -> list[Node]:
    """The node, or what takes its place so that N rows pass."""
    operands = [values[name] if name else None for name in node.inputs]
    if node.domain or not any(_moving(value) for value in operands):
        return [node]
    if node.op == "Reshape":
        target = operands[1].constant if operands[1] is not None else None
        literal = node.attributes.get("allowzero", 0) and target is not None and 0 in target
        shape = None if operands[0] is None or target is None or literal else _target(operands[0].shape or (), target.tolist())
        if shape is not None:
            name = f"{node.outputs[0]}/free shape"
            data = np.array(shape, object if any(isinstance(size, Affine) for size in shape) else np.int64)
            values[name] = known(name, data, from_input=True)
            constants[name] = data
            return [replace(node, inputs=(node.inputs[0], name))]
    elif node.op == "Concat":
        rank = next(len(value.shape or ()) for value in operands if value is not None and _moving(value))
        axis = node.attributes["axis"] % rank
        return _with_rows(node, values, constants, range(len(operands)), axis)
    elif node.op in _STATES:
        turned = _turned(node, values, constants)
        return [*turned[:-1], *_with_rows(turned[-1], values, constants, _STATES[node.op], 0)]
    elif node.op in ELEMENTWISE:
        return _aligned(node, values, constants)
    return [node]


def _turned(node: Node, values: dict[str, Value], constants: dict[str, np.ndarray]) -> list[Node]:
    """States with their rows in front, where a layer has its directions; for one row both are 1."""
    made, inputs = [], list(node.inputs)
    for place in _STATES[node.op]:
        name = inputs[place] if place < len(inputs) else ""
        shape = (values[name].shape or ()) if name else ()
        if len(shape) == 3 and shape[0] == ROWS and shape[1] == 1:
            sizes, wide = f"{node.name or node.outputs[-1]}/rows {place}", f"{node.name or node.outputs[-1]}/turned {place}"
            constants[sizes] = np.array([1, ROWS, shape[2]], object)
            values[sizes] = known(sizes, constants[sizes], from_input=True)
            values[wide] = Value(wide, (1, ROWS, shape[2]), values[name].dtype)
            made.append(Node("Reshape", (name, sizes), (wide,), {}, node.name, index=(1 << 41) + node.index * 64 + place))
            inputs[place] = wide
    return [*made, replace(node, inputs=tuple(inputs))]


def _aligned(node: Node, values: dict[str, Value], constants: dict[str, np.ndarray]) -> list[Node]:
    """Rows that an operand of lower rank has lost their axes beside: for one row, [1] fits [1, 256]; for N, it has to be [N, 1]."""
    shapes = [values[name].shape or () for name in node.inputs if name]
    rank = max(map(len, shapes))
    axis = next((_rows_axis(shape) for shape in shapes if len(shape) == rank and _rows_axis(shape) is not None), None)
    made, inputs = [], list(node.inputs)
    for place, name in enumerate(node.inputs):
        shape = (values[name].shape or ()) if name else ()
        own = _rows_axis(shape)
        if own is None or axis is None or own + rank - len(shape) == axis or any(size not in (1, ROWS) for size in shape):
            continue
        sizes, wide = f"{node.outputs[0]}/rows {place}", f"{node.outputs[0]}/wide {place}"
        constants[sizes] = np.array([ROWS if i == axis else 1 for i in range(rank)], object)
        values[sizes] = known(sizes, constants[sizes], from_input=True)
        made.append(Node("Reshape", (name, sizes), (wide,), {}, node.name, index=(1 << 41) + node.index * 64 + place))
        inputs[place] = wide
    return [*made, replace(node, inputs=tuple(inputs))]


def _rows_axis(shape: Shape) -> int | None:
    return next((i for i, size in enumerate(shape) if isinstance(size, Affine)), None)


def _target(source: Shape, target: list[int]) -> list[Dim] | None:
    """Where a Reshape has to leave N in place of a 1: in front if it can, else the first place that makes the sizes fit."""
    total = product(source)
    sizes: list[Dim] = [source[i] if size == 0 and i < len(source) else size for i, size in enumerate(target)]
    if any(isinstance(size, Affine) for size in sizes) or sizes[:1] == [-1]:
        return None
    for place, size in enumerate(sizes):
        if size != 1:
            continue
        changed = [*sizes[:place], ROWS, *sizes[place + 1:]]
        if -1 not in changed:
            if product(changed) == total:
                return changed
            continue
        rest = product(size for size in changed if size != -1)
        try:
            filled = total // rest
        except NotAffine:
            continue
        if not isinstance(filled, Affine) and (place == 0 or _front(source) == 1):
            return [filled if size == -1 else size for size in changed]
    return None


def _front(source: Shape) -> Dim:
    """What lies in front of the batch."""
    return product(source[:next(i for i, size in enumerate(source) if isinstance(size, Affine))])


def _with_rows(node: Node, values: dict[str, Value], constants: dict[str, np.ndarray], places: Iterable[int], along: int,
               ) -> list[Node]:
    """Constants that stand beside rows get as many of them."""
    rows = next(values[name] for name in node.inputs if name and _moving(values[name]))
    assert rows.shape is not None
    axis = 1 if node.op in _STATES else next(i for i, size in enumerate(rows.shape) if isinstance(size, Affine))
    made, inputs = [], list(node.inputs)
    for place in places:
        value = values[inputs[place] if place < len(inputs) else ""]
        if _moving(value) or value.shape is None or (axis == along and node.op == "Concat"):
            continue
        if len(value.shape) <= axis or value.shape[axis] != 1:
            continue
        shape = np.array([*value.shape[:axis], ROWS, *value.shape[axis + 1:]], object)
        sizes, wide = f"{node.outputs[0] or node.name}/rows {place}", f"{node.outputs[0] or node.name}/wide {place}"
        constants[sizes] = shape
        values[sizes] = known(sizes, shape, from_input=True)
        made.append(Node("Expand", (inputs[place], sizes), (wide,), {}, node.name, index=(1 << 41) + node.index * 64 + place))
        inputs[place] = wide
    return [*made, replace(node, inputs=tuple(inputs))]
