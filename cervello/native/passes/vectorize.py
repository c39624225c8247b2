"""Vectorizes graphs whose inputs are one row without a batch axis: every computed value gains a leading axis of size N.

The pass goes node by node, with a rule for each op; the error names an op without a rule. `batch_independence` then checks the new axis
like any other batch axis.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import onnx

from cervello.errors import GraphError
from cervello.native.graph.dims import ROWS, Shape, product
from cervello.native.graph.graph import Graph, Node
from cervello.native.graph.values import Value, known
from cervello.native.passes.batch_axes import Batching
from cervello.native.passes.batch_independence import ELEMENTWISE, REDUCTIONS
from cervello.native.passes.dynamic_batch import StaticBatchError
from cervello.native.shapes.infer_shapes import results

Array = np.ndarray[Any, Any]
Form = Callable[["_Vectorizer", Node], None]
_FORMS: dict[str, Form] = {}


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
    return _Vectorizer(graph).done(), Batching(True, shapes, dict.fromkeys(shapes, 0), lifted=True)


class _Vectorizer:
    """The state of one vectorization; `values`: all values for one row, as exported."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.constants = dict(graph.constants)
        self.values: dict[str, Value] = {"": Value("", None, None), **{name: known(name, data) for name, data in graph.constants.items()}}
        for port in graph.inputs:
            self.values[port.name] = Value(port.name, port.shape, port.dtype)  # type: ignore[arg-type]
        self.lifted = {port.name for port in graph.inputs}
        self.nodes: list[Node] = []
        self._numbers = count(1 << 42)

    def done(self) -> Graph:
        for node in self.graph.nodes:
            try:
                found = results(node, self.values)
            except GraphError as error:
                raise StaticBatchError(str(error)) from error
            self.values |= {value.name: value for value in found}
            if not any(name in self.lifted for name in node.inputs):
                self.nodes.append(node)
                continue
            if all(value.data is not None for value in found):  # a constant shape or size, independent of rows
                for value in found:
                    self.constants[value.name] = value.data  # type: ignore[assignment]
                continue
            if any(value.shape is None for value in found):
                raise StaticBatchError(f"node {node} gives a shape that depends on data")
            form = None if node.domain else _FORMS.get(node.op)
            if form is None:
                raise StaticBatchError(f"node {node} is not known with a batch in front")
            form(self, node)
            self.lifted.update(name for name in node.outputs if name)
        return replace(self.graph, nodes=tuple(self.nodes), constants=self.constants)

    def rank(self, name: str) -> int:
        """The rank as exported."""
        return len(self.values[name].shape or ())

    def constant(self, data: Any) -> str:
        name = f"lifted/{next(self._numbers)}"
        self.constants[name] = np.asarray(data)
        return name

    def add(self, op: str, *inputs: str, outputs: tuple[str, ...] = (), **attributes: Any) -> str:
        number = next(self._numbers)
        names = outputs or (f"lifted/{number}",)
        self.nodes.append(Node(op, inputs, names, attributes, "", "", onnx.defs.onnx_opset_version(), number))
        return names[0]

    def given(self, node: Node, index: int) -> Array:
        """The data of an operand that must be constant."""
        data = self.values[node.inputs[index]].constant
        if data is None:
            raise StaticBatchError(f"node {node} takes an operand that is not constant")
        return data

    def only(self, node: Node, *places: int) -> None:
        """Refuses rows in operands other than these."""
        if any(name in self.lifted for i, name in enumerate(node.inputs) if i not in places):
            raise StaticBatchError(f"node {node} takes an operand from the row that it must know")


def _lifts(*ops: str) -> Callable[[Form], Form]:
    def register(form: Form) -> Form:
        for op in ops:
            _FORMS[op] = form
        return form

    return register


def _shifted(axis: int) -> int:
    return axis + 1 if axis >= 0 else axis


@_lifts(*ELEMENTWISE - {"Expand"})
def _elementwise(vectorizer: _Vectorizer, node: Node) -> None:
    rank = max(vectorizer.rank(name) for name in node.inputs if name)
    inputs = []
    for name in node.inputs:
        if name in vectorizer.lifted and vectorizer.rank(name) < rank:  # inserts sizes of 1 after the batch axis
            name = vectorizer.add("Unsqueeze", name, vectorizer.constant(np.arange(1, rank - vectorizer.rank(name) + 1)))
        inputs.append(name)
    vectorizer.nodes.append(replace(node, inputs=tuple(inputs)))


@_lifts("MatMul")
def _matmul(vectorizer: _Vectorizer, node: Node) -> None:
    a, b = node.inputs
    if b in vectorizer.lifted and (vectorizer.rank(b) < 2 or (a in vectorizer.lifted and vectorizer.rank(a) != vectorizer.rank(b))):
        raise StaticBatchError(f"node {node} multiplies vectors of a row")
    vectorizer.nodes.append(node)


@_lifts("Gemm")
def _gemm(vectorizer: _Vectorizer, node: Node) -> None:
    vectorizer.only(node, 0)
    w = vectorizer.given(node, 1)
    w = w.T if node.attributes.get("transB", 0) else w
    if node.attributes.get("transA", 0):
        raise StaticBatchError(f"node {node} turns its rows")
    w = w if node.attributes.get("alpha", 1.0) == 1 else (w.astype(np.float64) * node.attributes["alpha"]).astype(w.dtype)
    if len(node.inputs) > 2 and node.inputs[2]:
        c = vectorizer.given(node, 2)
        c = c if node.attributes.get("beta", 1.0) == 1 else (c * c.dtype.type(node.attributes["beta"]))
        c = c.reshape(c.shape[-1:]) if c.ndim == 2 and c.shape[0] == 1 else c
        vectorizer.add("Add", vectorizer.add("MatMul", node.inputs[0], vectorizer.constant(w)), vectorizer.constant(c),
                            outputs=node.outputs)
    else:
        vectorizer.add("MatMul", node.inputs[0], vectorizer.constant(w), outputs=node.outputs)


@_lifts("QuantizeLinear", "DequantizeLinear")
def _quantise(vectorizer: _Vectorizer, node: Node) -> None:
    vectorizer.only(node, 0)
    vectorizer.nodes.append(replace(node, attributes={**node.attributes, "axis": _shifted(node.attributes.get("axis", 1))}))


@_lifts("DynamicQuantizeLinear")
def _quantise_dynamically(vectorizer: _Vectorizer, node: Node) -> None:
    """One scale and one zero point per row: [N]."""
    vectorizer.nodes.append(replace(node, attributes={"by_row": 1}))


@_lifts("MatMulInteger", "QLinearMatMul")
def _integer_product(vectorizer: _Vectorizer, node: Node) -> None:
    scales = {"MatMulInteger": (2,), "QLinearMatMul": (1, 2, 6, 7)}[node.op]  # that may have rows
    vectorizer.only(node, 0, *scales)
    inputs = list(node.inputs)
    for place in (place for place in scales if place < len(inputs) and inputs[place]):
        name, rank = inputs[place], vectorizer.rank(inputs[0])
        if vectorizer.rank(name) and product(vectorizer.values[name].shape or ()) != 1:
            raise StaticBatchError(f"node {node} has a scale or a zero point for each row of its left operand")
        if name in vectorizer.lifted:
            inputs[place] = vectorizer.add("Reshape", name, vectorizer.constant(np.array([ROWS, *(1,) * rank], object)))
    vectorizer.nodes.append(replace(node, inputs=tuple(inputs)))


@_lifts("Concat")
def _concat(vectorizer: _Vectorizer, node: Node) -> None:
    inputs = []
    for name in node.inputs:
        if name not in vectorizer.lifted:
            shape = np.array([ROWS, *(vectorizer.values[name].shape or ())], object)
            name = vectorizer.add("Expand", vectorizer.add("Unsqueeze", name, vectorizer.constant([0])),
                                       vectorizer.constant(shape))
        inputs.append(name)
    vectorizer.nodes.append(replace(node, inputs=tuple(inputs), attributes={**node.attributes,
                                                                                 "axis": _shifted(node.attributes["axis"])}))


@_lifts("Softmax", "LogSoftmax", "Hardmax", "ArgMax", "ArgMin", "LayerNormalization", "RMSNormalization", "Split", "LpNormalization")
def _along_axis(vectorizer: _Vectorizer, node: Node) -> None:
    vectorizer.only(node, 0)
    if node.attributes.get("flatten"):
        raise StaticBatchError(f"node {node} takes several axes for a row")
    default = 0 if node.op in ("ArgMax", "ArgMin", "Split") else -1
    vectorizer.nodes.append(replace(node, attributes={**node.attributes, "axis": _shifted(node.attributes.get("axis", default))}))


@_lifts("Gather")
def _gather(vectorizer: _Vectorizer, node: Node) -> None:
    vectorizer.only(node, 0)
    vectorizer.nodes.append(replace(node, attributes={**node.attributes, "axis": _shifted(node.attributes.get("axis", 0))}))


@_lifts("Squeeze", "Unsqueeze", *REDUCTIONS)
def _along_axes(vectorizer: _Vectorizer, node: Node) -> None:
    vectorizer.only(node, 0)
    axes = vectorizer.given(node, 1).reshape(-1).tolist() if len(node.inputs) > 1 and node.inputs[1] else []
    if not axes and node.op in REDUCTIONS and node.attributes.get("noop_with_empty_axes", 0):
        vectorizer.nodes.append(node)
        return
    if not axes and node.op == "Squeeze":
        axes = [i for i, size in enumerate(vectorizer.values[node.inputs[0]].shape or ()) if size == 1]
    if not axes and node.op in REDUCTIONS:
        axes = list(range(vectorizer.rank(node.inputs[0])))
    if not axes:
        vectorizer.add("Identity", node.inputs[0], outputs=node.outputs)
        return
    vectorizer.nodes.append(replace(node, inputs=(node.inputs[0], vectorizer.constant([_shifted(int(axis)) for axis in axes]))))


@_lifts("Slice")
def _slice(vectorizer: _Vectorizer, node: Node) -> None:
    vectorizer.only(node, 0)
    axes = vectorizer.given(node, 3).tolist() if len(node.inputs) > 3 and node.inputs[3] else list(
        range(vectorizer.given(node, 1).size))
    rest = node.inputs[4:5]
    vectorizer.nodes.append(replace(node, inputs=(*node.inputs[:3], vectorizer.constant([_shifted(int(axis)) for axis in axes]),
                                                       *rest)))


@_lifts("Transpose")
def _transpose(vectorizer: _Vectorizer, node: Node) -> None:
    order = node.attributes.get("perm") or tuple(reversed(range(vectorizer.rank(node.inputs[0]))))
    vectorizer.nodes.append(replace(node, attributes={"perm": (0, *(axis + 1 for axis in order))}))


@_lifts("Reshape", "Flatten", "Expand")
def _shaped(vectorizer: _Vectorizer, node: Node) -> None:
    vectorizer.only(node, 0)
    shape = vectorizer.values[node.outputs[0]].shape or ()
    target = vectorizer.constant(np.array([ROWS, *shape], object))
    name = node.inputs[0]
    if node.op == "Expand" and vectorizer.rank(name) < len(shape):
        name = vectorizer.add("Unsqueeze", name, vectorizer.constant(np.arange(1, len(shape) - vectorizer.rank(name) + 1)))
    vectorizer.add("Expand" if node.op == "Expand" else "Reshape", name, target, outputs=node.outputs)
