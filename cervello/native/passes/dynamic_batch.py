"""Makes the batch dynamic in graphs that were exported for one row.

The leading 1 of every input becomes N. So do sizes that the file has fixed: targets of Reshape, constant rows beside computed ones, initial
states. Each change leaves the graph unchanged for N = 1, which is checked for every value; `batch_independence` proves that rows stay
independent. The error names a node that cannot be changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count

import numpy as np

from cervello.errors import GraphError
from cervello.native.graph.dims import ROWS, Dim, Shape, at, depends_on_rows, rows_axis
from cervello.native.graph.graph import Graph, Node
from cervello.native.graph.values import Value, known
from cervello.native.passes.batch_axes import Batching
from cervello.native.passes.batch_independence import ELEMENTWISE, BatchDependenceError, check_node
from cervello.native.passes.row_layouts import layouts, moved_rows
from cervello.native.shapes.infer_shapes import infer_node, initial_values

_STATES = {"LSTM": (5, 6), "GRU": (5,), "RNN": (5,)}
_MOST_LAYOUTS = 8  # row layouts tried; each costs a walk and a proof
_ReshapeKind = tuple[Shape, int, tuple[int, ...]]  # a kind of Reshape: source shape, repetitions of rows, target


class StaticBatchError(Exception):
    """A node depends on a batch size of 1; the message names it."""


def make_batch_dynamic(graph: Graph) -> Iterator[tuple[Graph, Batching]]:
    """Yields the graph with N as the first axis of every input, in each layout that `dynamic_graphs` finds.

    Raises:
      StaticBatchError: there is none; names the node that prevents it.
    """
    shapes: dict[str, Shape] = {}
    for port in graph.inputs:
        if port.dtype is None or not port.shape or port.shape[0] != 1 or any(not isinstance(size, int) for size in port.shape):
            raise StaticBatchError(f"input {port.name!r} of shape {port.shape} has no batch in front")
        shapes[port.name] = (ROWS, *(size for size in port.shape[1:] if isinstance(size, int)))
    batching = Batching(True, shapes, dict.fromkeys(shapes, 0))
    for dynamic in dynamic_graphs(graph, shapes):
        yield dynamic, batching


def dynamic_graphs(graph: Graph, shapes: dict[str, Shape]) -> Iterator[Graph]:
    """Yields the graph with N rows in every value that depends on the inputs' rows, once per layout: a Reshape may have several layouts.

    Reshapes of one kind, with equal shapes before and after, share a layout. Layouts that differ before the first node that relates rows
    come first.

    Raises:
      StaticBatchError: there is none; names the node that prevents it.
    """
    layout_of: dict[_ReshapeKind, int] = {}
    first: StaticBatchError | None = None
    n_found = 0
    for _ in range(_MOST_LAYOUTS):
        rewriter = _Rewriter(graph, shapes, layout_of)
        try:
            yield rewriter.done()
            n_found += 1
        except StaticBatchError as error:
            first = first or error
        layout_of = rewriter.next_layouts()
        if not layout_of:
            break
    if first is not None and not n_found:
        raise first


class _Rewriter:
    """The state of one walk through a graph.

    Attributes:
      values: all values with N rows.
      single: all values with one row.
      row_repeats: of values with rows, as in `check_batch_independence`.
      layout_of: layout index of each kind of Reshape, in the order of the walk; n_layouts: the number of its layouts.
      n_before: number of kinds before the first node that relates rows.
    """

    def __init__(self, graph: Graph, shapes: dict[str, Shape], layout_of: Mapping[_ReshapeKind, int]):
        self.graph = graph
        self.row_repeats: dict[str, int] = {}
        self.layout_of = dict(layout_of)
        self.n_layouts: dict[_ReshapeKind, int] = {}
        self.n_before: int | None = None
        self.constants = dict(graph.constants)
        self.values = initial_values(graph, shapes)
        self.single = initial_values(graph, {name: tuple(at(size, 1) for size in shape) for name, shape in shapes.items()})
        self.exported_for_one_row = all(isinstance(size, int) for port in graph.inputs for size in port.shape or ())
        self.nodes: list[Node] = []
        self._numbers = count(1 << 41)

    def done(self) -> Graph:
        for node in self.graph.nodes:
            self.single |= {value.name: value for value in infer_node(node, self.single)}
            self.append(self.rewritten(node))
            _check(node, self.values, self.single)
        return replace(self.graph, nodes=tuple(self.nodes), constants=self.constants)

    def next_layouts(self) -> dict[_ReshapeKind, int]:
        """The next combination of layouts to try; {} if there is none."""
        met = list(self.n_layouts)[:self.n_before]
        while met:
            last = met.pop()
            if self.layout_of[last] + 1 < self.n_layouts[last]:
                return {**{kind: self.layout_of[kind] for kind in met}, last: self.layout_of[last] + 1}
        return {}

    def append(self, node: Node) -> str:
        """Appends a node; returns the name of its first result."""
        try:
            found = infer_node(node, self.values)
        except GraphError as error:
            raise StaticBatchError(str(error)) from error
        self.nodes.append(node)
        self.values |= {value.name: value for value in found}
        try:
            check_node(node, self.values, self.row_repeats)
        except BatchDependenceError as error:  # the later proof decides: the node may be dead or decomposed
            if error.related and self.n_before is None:
                self.n_before = len(self.n_layouts)
        except (ArithmeticError, LookupError, TypeError, ValueError):
            pass  # this form is decomposed before the proof
        return node.outputs[0]

    def shape(self, name: str) -> Shape:
        return self.values[name].shape or ()

    def sized(self, op: str, name: str, shape: Sequence[Dim]) -> str:
        """A Reshape or Expand of a value; its name."""
        number = next(self._numbers)
        return self.append(Node(op, (name, self.sizes(shape)), (f"{name}/{number}",), {}, index=number, name=""))

    def sizes(self, shape: Sequence[Dim]) -> str:
        """A constant that holds sizes, N among them."""
        name = f"sizes/{next(self._numbers)}"
        depends_on_n = depends_on_rows(shape)
        self.constants[name] = np.array(shape, object if depends_on_n else np.int64)
        self.values[name] = known(name, self.constants[name], from_input=True)
        return name

    def rewritten(self, node: Node) -> Node:
        """The node rewritten for N rows; helper nodes are placed before it."""
        if node.domain or all(rows_axis(self.shape(name)) is None for name in node.inputs):
            return node
        if node.op == "Reshape":
            return self.reshape(node)
        if node.op == "Slice":  # on a dynamic batch axis, it takes the first row
            return self.slice_all_rows(node) if self.exported_for_one_row else node
        if node.op == "Concat":
            rows = next(shape for name in node.inputs if rows_axis(shape := self.shape(name)) is not None)
            axis = rows_axis(rows)
            assert axis is not None
            return node if axis == node.attributes["axis"] % len(rows) else self.with_rows(node, range(len(node.inputs)), axis)
        if node.op in _STATES:
            return self.with_rows(self.with_batched_states(node), _STATES[node.op], 1)
        if node.op == "BatchNormalization" and rows_axis(self.shape(node.inputs[0])) == 1:
            return self.with_rows(node, range(1, 5), 0)
        return self.aligned(node) if node.op in ELEMENTWISE else node

    def reshape(self, node: Node) -> Node:
        """A Reshape whose target has N on an axis that keeps rows independent."""
        name, target = node.inputs[0], self.values[node.inputs[1]].constant
        single = self.single[node.outputs[0]].shape
        if target is None or single is None or (node.attributes.get("allowzero", 0) and 0 in target):
            return node
        source, row_repeats = self.shape(name), self.row_repeats.get(name, 1)
        kind = source, row_repeats, tuple(target.tolist())
        sizes = [int(size) for size in single]  # type: ignore[arg-type]
        plain = layouts(source, row_repeats, sizes, kind[2])
        fitting: list[Shape | int] = [*plain, *moved_rows(source, row_repeats, sizes, plain)]
        if not fitting:
            return node
        self.n_layouts.setdefault(kind, len(fitting))
        wanted = fitting[self.layout_of.setdefault(kind, 0)]
        if isinstance(wanted, int):
            return self.moved_batch(node, sizes, wanted)
        return replace(node, inputs=(name, self.sizes(wanted)))

    def moved_batch(self, node: Node, single: Sequence[int], place: int) -> Node:
        """A Reshape of each row, then a Transpose that moves the batch axis to the 1 at `place`."""
        name = node.inputs[0]
        axis, rank = rows_axis(self.shape(name)), len(self.shape(name))
        assert axis is not None
        if axis:
            name = self.transposed(name, (axis, *(i for i in range(rank) if i != axis)))
        rows = self.sized("Reshape", name, (ROWS, *single[:place], *single[place + 1:]))
        order = [*range(1, len(single))]
        order.insert(place, 0)
        return replace(node, op="Transpose", inputs=(rows,), attributes={"perm": tuple(order)})

    def transposed(self, name: str, order: Sequence[int]) -> str:
        """A Transpose of a value; its name."""
        number = next(self._numbers)
        return self.append(Node("Transpose", (name,), (f"{name}/{number}",), {"perm": tuple(order)}, index=number, name=""))

    def slice_all_rows(self, node: Node) -> Node:
        """Makes a Slice of the single row take all rows."""
        axis = rows_axis(self.shape(node.inputs[0]))
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
        """Expands constant operands beside operands with rows to N rows."""
        inputs = list(node.inputs)
        for place in places:
            name = node.input(place)
            shape = self.shape(name)
            if rows_axis(shape) is None and shape[axis:axis + 1] == (1,):
                inputs[place] = self.sized("Expand", name, (*shape[:axis], ROWS, *shape[axis + 1:]))
        return replace(node, inputs=tuple(inputs))

    def with_batched_states(self, node: Node) -> Node:
        """Moves the batch axis of recurrent states from the directions axis, which is also 1 for one row."""
        inputs = list(node.inputs)
        for place in _STATES[node.op]:
            name = node.input(place)
            shape = self.shape(name)
            if len(shape) == 3 and shape[:2] == (ROWS, 1):
                inputs[place] = self.sized("Reshape", name, (1, ROWS, shape[2]))
        return replace(node, inputs=tuple(inputs))

    def aligned(self, node: Node) -> Node:
        """Adds axes to an operand of lower rank so that rows broadcast: for one row, [1] fits [1, 256]; for N rows, it must be [N, 1]."""
        shapes = [self.shape(name) for name in node.inputs]
        rank = max(map(len, shapes))
        axis = next((own for shape in shapes if len(shape) == rank and (own := rows_axis(shape)) is not None), None)
        inputs = list(node.inputs)
        for place, (name, shape) in enumerate(zip(node.inputs, shapes, strict=True)):
            own = rows_axis(shape)
            lost = own is not None and axis is not None and own + rank - len(shape) != axis
            if lost and all(size in (1, ROWS) for size in shape):
                inputs[place] = self.sized("Reshape", name, [ROWS if i == axis else 1 for i in range(rank)])
        return replace(node, inputs=tuple(inputs))


def _check(node: Node, free: dict[str, Value], single: dict[str, Value]) -> None:
    """Checks that all values are unchanged for N = 1."""
    for name in node.outputs:
        a, b = free.get(name), single.get(name)
        if not name or a is None or b is None:
            continue
        if (a.shape is None) != (b.shape is None) or (a.shape is not None and tuple(at(d, 1) for d in a.shape) != b.shape):
            raise StaticBatchError(f"node {node} gives another shape once the batch is free")
