"""Vectorizes graphs whose inputs are one row without a batch axis: every computed value gains a leading axis of size N.

The pass goes node by node, with a rule for each op; the error names an op without a rule. `batch_independence` then checks the new axis
like any other batch axis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import onnx

from cervello.errors import GraphError
from cervello.native.graph.dims import ROWS, Shape, product
from cervello.native.graph.dtypes import Array
from cervello.native.graph.graph import Graph, Node
from cervello.native.graph.op_table import REDUCTIONS, registers
from cervello.native.passes.batch_axes import Batching
from cervello.native.passes.batch_independence import ELEMENTWISE
from cervello.native.passes.dynamic_batch import StaticBatchError
from cervello.native.shapes.infer_shapes import infer_node, initial_values

VectorizeRule = Callable[["_Vectorizer", Node], None]
_RULES: dict[str, VectorizeRule] = {}
_vectorizes = registers(_RULES)


def vectorize_graph(graph: Graph) -> tuple[Graph, Batching]:
    """The graph with N rows in front of every input.

    Raises:
      StaticBatchError: names the node that prevents it.
    """
    shapes: dict[str, Shape] = {}
    for port in graph.inputs:
        if port.dtype is None or port.shape is None or any(not isinstance(size, int) for size in port.shape):
            raise StaticBatchError(f"input {port.name!r} has no fixed shape")
        shapes[port.name] = (ROWS, *port.shape)  # type: ignore[arg-type]
    return _Vectorizer(graph).done(), Batching(True, shapes, dict.fromkeys(shapes, 0), vectorized=True)


class _Vectorizer:
    """The state of one vectorization; `values`: all values for one row, as exported."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.constants = dict(graph.constants)
        self.values = initial_values(graph, {port.name: port.shape for port in graph.inputs})  # type: ignore[misc]
        self.with_rows = {port.name for port in graph.inputs}
        self.nodes: list[Node] = []
        self._numbers = count(1 << 42)

    def done(self) -> Graph:
        for node in self.graph.nodes:
            try:
                found = infer_node(node, self.values)
            except GraphError as error:
                raise StaticBatchError(str(error)) from error
            self.values |= {value.name: value for value in found}
            if not any(name in self.with_rows for name in node.inputs):
                self.nodes.append(node)
                continue
            if all(value.data is not None for value in found):  # a constant shape or size, independent of rows
                for value in found:
                    self.constants[value.name] = value.data  # type: ignore[assignment]
                continue
            if any(value.shape is None for value in found):
                raise StaticBatchError(f"node {node} gives a shape that depends on data")
            rule = None if node.domain else _RULES.get(node.op)
            if rule is None:
                raise StaticBatchError(f"node {node} is not known with a batch in front")
            rule(self, node)
            self.with_rows.update(name for name in node.outputs if name)
        return replace(self.graph, nodes=tuple(self.nodes), constants=self.constants)

    def rank(self, name: str) -> int:
        """The rank as exported."""
        return len(self.values[name].shape or ())

    def constant(self, data: Any) -> str:
        name = f"vectorized/{next(self._numbers)}"
        self.constants[name] = np.asarray(data)
        return name

    def add(self, op: str, *inputs: str, outputs: tuple[str, ...] = (), **attributes: Any) -> str:
        number = next(self._numbers)
        names = outputs or (f"vectorized/{number}",)
        self.nodes.append(Node(op, inputs, names, attributes, "", "", onnx.defs.onnx_opset_version(), number))
        return names[0]

    def constant_operand(self, node: Node, index: int) -> Array:
        """The data of an operand that must be constant."""
        data = self.values[node.inputs[index]].constant
        if data is None:
            raise StaticBatchError(f"node {node} takes an operand that is not constant")
        return data

    def append(self, node: Node, inputs: Sequence[str] | None = None, axis: int | None = None) -> None:
        """Adds a node as it is, but for its inputs and for an attribute `axis`, which counts the axes of the row."""
        attributes = node.attributes if axis is None else {**node.attributes, "axis": _behind_batch(node.attributes.get("axis", axis))}
        self.nodes.append(replace(node, inputs=tuple(node.inputs if inputs is None else inputs), attributes=attributes))

    def aligned(self, name: str, rank: int) -> str:
        """A value with rows, with sizes of 1 behind the batch axis so that its row has a rank."""
        n_missing = rank - self.rank(name)
        return self.add("Unsqueeze", name, self.constant(np.arange(1, n_missing + 1))) if n_missing > 0 else name

    def refuse_rows_except(self, node: Node, *places: int) -> None:
        """Refuses rows in operands other than these."""
        if any(name in self.with_rows for i, name in enumerate(node.inputs) if i not in places):
            raise StaticBatchError(f"node {node} takes an operand from the row that it must know")


def _behind_batch(axis: int) -> int:
    return axis + 1 if axis >= 0 else axis


@_vectorizes(*ELEMENTWISE - {"Expand"})
def _elementwise(v: _Vectorizer, node: Node) -> None:
    rank = max(v.rank(name) for name in node.inputs if name)
    v.append(node, [v.aligned(name, rank) if name in v.with_rows else name for name in node.inputs])


@_vectorizes("MatMul")
def _matmul(v: _Vectorizer, node: Node) -> None:
    a, b = node.inputs
    if b in v.with_rows and (v.rank(b) < 2 or (a in v.with_rows and v.rank(a) != v.rank(b))):
        raise StaticBatchError(f"node {node} multiplies vectors of a row")
    v.append(node)


@_vectorizes("Gemm")
def _gemm(v: _Vectorizer, node: Node) -> None:
    v.refuse_rows_except(node, 0)
    w = v.constant_operand(node, 1)
    w = w.T if node.attributes.get("transB", 0) else w
    if node.attributes.get("transA", 0):
        raise StaticBatchError(f"node {node} transposes its rows")
    w = w if node.attributes.get("alpha", 1.0) == 1 else (w.astype(np.float64) * node.attributes["alpha"]).astype(w.dtype)
    if not node.input(2):
        v.add("MatMul", node.inputs[0], v.constant(w), outputs=node.outputs)
        return
    c = v.constant_operand(node, 2)
    c = c if node.attributes.get("beta", 1.0) == 1 else (c * c.dtype.type(node.attributes["beta"]))
    c = c.reshape(c.shape[-1:]) if c.ndim == 2 and c.shape[0] == 1 else c
    v.add("Add", v.add("MatMul", node.inputs[0], v.constant(w)), v.constant(c), outputs=node.outputs)


@_vectorizes("DynamicQuantizeLinear")
def _quantise_dynamically(v: _Vectorizer, node: Node) -> None:
    """One scale and one zero point per row: [N]."""
    v.nodes.append(replace(node, attributes={"by_row": 1}))


@_vectorizes("MatMulInteger", "QLinearMatMul")
def _integer_product(v: _Vectorizer, node: Node) -> None:
    scales = {"MatMulInteger": (2,), "QLinearMatMul": (1, 2, 6, 7)}[node.op]  # that may have rows
    v.refuse_rows_except(node, 0, *scales)
    inputs = list(node.inputs)
    for place in filter(node.input, scales):
        name, rank = inputs[place], v.rank(inputs[0])
        if v.rank(name) and product(v.values[name].shape or ()) != 1:
            raise StaticBatchError(f"node {node} has a scale or a zero point for each row of its left operand")
        if name in v.with_rows:
            inputs[place] = v.add("Reshape", name, v.constant(np.array([ROWS, *(1,) * rank], object)))
    v.append(node, inputs)


@_vectorizes("Concat")
def _concat(v: _Vectorizer, node: Node) -> None:
    inputs = []
    for name in node.inputs:
        if name not in v.with_rows:
            shape = np.array([ROWS, *(v.values[name].shape or ())], object)
            name = v.add("Expand", v.add("Unsqueeze", name, v.constant([0])), v.constant(shape))
        inputs.append(name)
    v.append(node, inputs, axis=0)


_AXES = {  # ops along one axis: the default axis
    "ArgMax": 0, "ArgMin": 0, "DequantizeLinear": 1, "Gather": 0, "Hardmax": -1, "LayerNormalization": -1, "LogSoftmax": -1,
    "LpNormalization": -1, "QuantizeLinear": 1, "RMSNormalization": -1, "Softmax": -1, "Split": 0}


@_vectorizes(*_AXES)
def _along_axis(v: _Vectorizer, node: Node) -> None:
    v.refuse_rows_except(node, 0)
    if node.attributes.get("flatten"):
        raise StaticBatchError(f"node {node} takes several axes for a row")
    v.append(node, axis=_AXES[node.op])


@_vectorizes("Squeeze", "Unsqueeze", *REDUCTIONS)
def _along_axes(v: _Vectorizer, node: Node) -> None:
    v.refuse_rows_except(node, 0)
    axes = v.constant_operand(node, 1).reshape(-1).tolist() if node.input(1) else []
    if not axes and node.op in REDUCTIONS and node.attributes.get("noop_with_empty_axes", 0):
        v.append(node)
        return
    if not axes and node.op == "Squeeze":
        axes = [i for i, size in enumerate(v.values[node.inputs[0]].shape or ()) if size == 1]
    if not axes and node.op in REDUCTIONS:
        axes = list(range(v.rank(node.inputs[0])))
    if not axes:
        v.add("Identity", node.inputs[0], outputs=node.outputs)
        return
    v.append(node, [node.inputs[0], v.constant([_behind_batch(int(axis)) for axis in axes])])


@_vectorizes("Slice")
def _slice(v: _Vectorizer, node: Node) -> None:
    v.refuse_rows_except(node, 0)
    axes = v.constant_operand(node, 3).tolist() if node.input(3) else range(v.constant_operand(node, 1).size)
    v.append(node, [*node.inputs[:3], v.constant([_behind_batch(int(axis)) for axis in axes]), *node.inputs[4:5]])


@_vectorizes("Transpose")
def _transpose(v: _Vectorizer, node: Node) -> None:
    order = node.attributes.get("perm") or tuple(reversed(range(v.rank(node.inputs[0]))))
    v.nodes.append(replace(node, attributes={"perm": (0, *(axis + 1 for axis in order))}))


@_vectorizes("Reshape", "Flatten", "Expand")
def _shaped(v: _Vectorizer, node: Node) -> None:
    v.refuse_rows_except(node, 0)
    shape = v.values[node.outputs[0]].shape or ()
    target, name = v.constant(np.array([ROWS, *shape], object)), node.inputs[0]
    if node.op == "Expand":
        v.add("Expand", v.aligned(name, len(shape)), target, outputs=node.outputs)
    else:
        v.add("Reshape", name, target, outputs=node.outputs)
