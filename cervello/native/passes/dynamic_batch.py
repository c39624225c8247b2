"""Sets the batch free in graphs that were exported for one row.

The leading 1 of every input becomes N, and with it whatever a file has baked in: targets of Reshape, constant rows beside computed ones,
initial states. Each change leaves the graph as it was for N = 1, which is checked for every value; that rows then stay apart is for
`rows_apart` to prove. What cannot be freed is named.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import count

import numpy as np

from cervello.errors import GraphError
from cervello.native.graph.dims import ROWS, Affine, Dim, NotAffine, Shape, at, product
from cervello.native.graph.graph import Graph, Node
from cervello.native.graph.values import Value, known
from cervello.native.passes.batch_axes import Batching
from cervello.native.passes.batch_independence import ELEMENTWISE
from cervello.native.shapes.infer_shapes import results

_STATES = {"LSTM": (5, 6), "GRU": (5,), "RNN": (5,)}


class StaticBatchError(Exception):
    """The batch of 1 is part of what a node does; the message names it."""


def make_batch_dynamic(graph: Graph) -> tuple[Graph, Batching]:
    """The graph with N rows in front of every input.

    Raises:
      Baked: with the node that stands in the way.
    """
    shapes: dict[str, Shape] = {}
    for port in graph.inputs:
        if port.dtype is None or not port.shape or port.shape[0] != 1 or any(not isinstance(size, int) for size in port.shape):
            raise StaticBatchError(f"input {port.name!r} of shape {port.shape} has no batch in front")
        shapes[port.name] = (ROWS, *(size for size in port.shape[1:] if isinstance(size, int)))
    return walked(graph, shapes), Batching(True, shapes, dict.fromkeys(shapes, 0))


def walked(graph: Graph, shapes: dict[str, Shape]) -> Graph:
    """The graph with N rows wherever rows of inputs of these shapes reach.

    Raises:
      Baked: with the node that stands in the way.
    """
    return _Walk(graph, shapes).done()


class _Walk:
    """The state of one walk through a graph; `values`: what everything is with N rows."""

    def __init__(self, graph: Graph, shapes: dict[str, Shape]):
        self.graph = graph
        self.constants = dict(graph.constants)
        self.values: dict[str, Value] = {"": Value("", None, None), **{name: known(name, data) for name, data in graph.constants.items()}}
        self.single = dict(self.values)
        for port in graph.inputs:
            self.values[port.name] = Value(port.name, shapes[port.name], port.dtype)
            self.single[port.name] = Value(port.name, tuple(at(size, 1) for size in shapes[port.name]), port.dtype)
        self.for_one = all(isinstance(size, int) for port in graph.inputs for size in port.shape or ())
        self.nodes: list[Node] = []
        self._numbers = count(1 << 41)

    def done(self) -> Graph:
        for node in self.graph.nodes:
            self.single |= {value.name: value for value in results(node, self.single)}
            self.place(self.rewritten(node))
            _check(node, self.values, self.single)
        return replace(self.graph, nodes=tuple(self.nodes), constants=self.constants)

    def place(self, node: Node) -> None:
        """Puts a node behind the others."""
        try:
            found = results(node, self.values)
        except GraphError as error:
            raise StaticBatchError(str(error)) from error
        self.nodes.append(node)
        self.values |= {value.name: value for value in found}

    def shape(self, name: str) -> Shape:
        return self.values[name].shape or ()

    def sized(self, op: str, name: str, shape: Sequence[Dim]) -> str:
        """A Reshape or Expand of a value; its name."""
        number = next(self._numbers)
        made = f"{name}/{number}"
        self.place(Node(op, (name, self.sizes(shape)), (made,), {}, index=number, name=""))
        return made

    def sizes(self, shape: Sequence[Dim]) -> str:
        """A constant that holds sizes, N among them."""
        name = f"sizes/{next(self._numbers)}"
        moving = any(isinstance(size, Affine) for size in shape)
        self.constants[name] = np.array(shape, object if moving else np.int64)
        self.values[name] = known(name, self.constants[name], from_input=True)
        return name

    def rewritten(self, node: Node) -> Node:
        """The node in a form that N rows pass; what it needs for that is placed before it."""
        if node.domain or all(_rows_axis(self.shape(name)) is None for name in node.inputs):
            return node
        if node.op == "Reshape":
            target = self.values[node.inputs[1]].constant
            if target is None or (node.attributes.get("allowzero", 0) and 0 in target):
                return node
            wanted = _target(self.shape(node.inputs[0]), target.tolist())
            return node if wanted is None else replace(node, inputs=(node.inputs[0], self.sizes(wanted)))
        if node.op == "Slice":  # of a batch that the file leaves open, it takes the first row
            return self.all_rows(node) if self.for_one else node
        if node.op == "Concat":
            rows = next(shape for name in node.inputs if _rows_axis(shape := self.shape(name)) is not None)
            axis = _rows_axis(rows)
            assert axis is not None
            return node if axis == node.attributes["axis"] % len(rows) else self.with_rows(node, range(len(node.inputs)), axis)
        if node.op in _STATES:
            return self.with_rows(self.turned(node), _STATES[node.op], 1)
        return self.aligned(node) if node.op in ELEMENTWISE else node

    def all_rows(self, node: Node) -> Node:
        """A Slice that takes the one row takes all of them."""
        axis = _rows_axis(self.shape(node.inputs[0]))
        operands = [self.values[name].constant if name else None for name in node.inputs[1:]]
        starts, ends, axes, steps = [None if data is None else data.tolist() for data in (*operands, None, None)[:4]]
        if axis is None or starts is None or ends is None or any(name and data is None
                                                                 for name, data in zip(node.inputs[1:], operands, strict=True)):
            return node
        rank = len(self.shape(node.inputs[0]))
        place = next((i for i, own in enumerate(axes or range(len(starts))) if own % rank == axis), None)
        if place is None or starts[place] not in (0, -1) or ends[place] < 1 or (steps or [1] * len(starts))[place] != 1:
            return node
        starts[place], ends[place] = 0, ROWS
        return replace(node, inputs=(node.inputs[0], self.sizes(starts), self.sizes(ends), *node.inputs[3:]))

    def with_rows(self, node: Node, places: Iterable[int], axis: int) -> Node:
        """Constants that stand beside rows get as many of them."""
        inputs = list(node.inputs)
        for place in places:
            name = inputs[place] if place < len(inputs) else ""
            shape = self.shape(name)
            if _rows_axis(shape) is None and shape[axis:axis + 1] == (1,):
                inputs[place] = self.sized("Expand", name, (*shape[:axis], ROWS, *shape[axis + 1:]))
        return replace(node, inputs=tuple(inputs))

    def turned(self, node: Node) -> Node:
        """States with their rows in front, where a layer has its directions; for one row both are 1."""
        inputs = list(node.inputs)
        for place in _STATES[node.op]:
            name = inputs[place] if place < len(inputs) else ""
            shape = self.shape(name)
            if len(shape) == 3 and shape[:2] == (ROWS, 1):
                inputs[place] = self.sized("Reshape", name, (1, ROWS, shape[2]))
        return replace(node, inputs=tuple(inputs))

    def aligned(self, node: Node) -> Node:
        """Rows that an operand of lower rank has lost their axes beside: for one row, [1] fits [1, 256]; for N, it has to be [N, 1]."""
        shapes = [self.shape(name) for name in node.inputs]
        rank = max(map(len, shapes))
        axis = next((own for shape in shapes if len(shape) == rank and (own := _rows_axis(shape)) is not None), None)
        inputs = list(node.inputs)
        for place, (name, shape) in enumerate(zip(node.inputs, shapes, strict=True)):
            own = _rows_axis(shape)
            lost = own is not None and axis is not None and own + rank - len(shape) != axis
            if lost and all(size in (1, ROWS) for size in shape):
                inputs[place] = self.sized("Reshape", name, [ROWS if i == axis else 1 for i in range(rank)])
        return replace(node, inputs=tuple(inputs))


def _check(node: Node, free: dict[str, Value], single: dict[str, Value]) -> None:
    """For N = 1 everything must be as it was."""
    for name in node.outputs:
        a, b = free.get(name), single.get(name)
        if not name or a is None or b is None:
            continue
        if (a.shape is None) != (b.shape is None) or (a.shape is not None and tuple(at(d, 1) for d in a.shape) != b.shape):
            raise StaticBatchError(f"node {node} gives another shape once the batch is free")


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
    return _joined(source, sizes)


def _joined(source: Shape, sizes: list[Dim]) -> list[Dim] | None:
    """Rows that lie behind a sequence and that a Reshape joins with heads: for one row, 1 x heads is heads; for N, it is N x heads."""
    axis = _rows_axis(source)
    if not axis or -1 in sizes:
        return None
    for place, size in enumerate(sizes):
        if product(sizes[:place]) == product(source[:axis]) and size != 1:
            changed = [*sizes[:place], size * ROWS, *sizes[place + 1:]]
            return changed if product(changed) == product(source) else None
    return None


def _front(source: Shape) -> Dim:
    """What lies in front of the batch."""
    return product(source[:next(i for i, size in enumerate(source) if isinstance(size, Affine))])
