"""`GraphBuilder`: replaces one node by several."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, overload

import numpy as np
import onnx

from cervello.native.graph.dims import Dim, Shape, depends_on_rows
from cervello.native.graph.dtypes import Array
from cervello.native.graph.graph import Node
from cervello.native.graph.values import Value


class GraphBuilder:
    """The nodes and constants that replace a node; mutable, used once. Made by Cervello for each node that a function of
    `cervello.ops` rewrites.

    Attributes:
      node: the replaced node; values: of its inputs, None where absent.
      graph: values of the whole graph; producers: the node that produces each of them.
      nodes, constants: those added so far.
    """

    def __init__(self, node: Node, values: Sequence[Value | None], numbers: Iterator[int], makers: Mapping[str, Node],
                 graph: Mapping[str, Value], producers: Mapping[str, Node]):
        self.node, self.values = node, values
        self._makers = makers
        self.graph, self.producers = graph, producers
        self.nodes: list[Node] = []
        self.constants: dict[str, Array] = {}
        self._numbers = numbers

    def input(self, index: int) -> str:
        """The name of the input at `index`, "" where it is absent."""
        return self.node.input(index)

    def maker(self, index: int) -> Node | None:
        """The producer of the input at `index`, if this node is its only consumer.

        It is removed if the builder's nodes do not read its result.
        """
        return self._makers.get(self.input(index))

    def value(self, index: int) -> Value | None:
        """Type, shape and perhaps constant of the input at `index`; None where it is absent."""
        return self.values[index] if index < len(self.values) else None

    def shape(self, index: int) -> Shape:
        """The shape of the input at `index`; () where it is absent. A node is decomposed when the shapes of all its inputs are known."""
        value = self.value(index)
        return () if value is None or value.shape is None else value.shape

    def dtype(self, index: int) -> np.dtype[Any] | None:
        """The element type of the input at `index`; None where it is absent."""
        value = self.value(index)
        return None if value is None else value.dtype

    def data(self, index: int) -> Array | None:
        """The constant at input `index`, an array of shape `shape(index)`; None where the input is computed or absent."""
        value = self.value(index)
        return None if value is None else value.constant

    def attribute(self, name: str, default: Any = None) -> Any:
        """The value of the replaced node's attribute `name`; `default` where it has none."""
        return self.node.attributes.get(name, default)

    def attributes(self, *names: str) -> dict[str, Any]:
        """Those of the replaced node's attributes `names` that it has."""
        return {name: self.node.attributes[name] for name in names if name in self.node.attributes}

    def constant(self, data: Any, dtype: Any = np.int64) -> str:
        """The name of a new constant that holds `data` as an array of type `dtype`."""
        name = f"{self.node.outputs[0] or self.node.name}/{next(self._numbers)}"
        data = np.asarray(data, dtype)
        if data.dtype == object and not depends_on_rows(data.reshape(-1)):
            data = data.astype(np.int64)  # sizes without N in them
        self.constants[name] = data
        return name

    @overload
    def add(self, op: str, *inputs: str, outputs: Literal[1] = 1, domain: str = "", **attributes: Any) -> str: ...

    @overload
    def add(self, op: str, *inputs: str, outputs: int, domain: str = "", **attributes: Any) -> Any: ...

    def add(self, op: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: Any) -> Any:
        """Adds a node of the newest opset; returns the name of its result, or a list of names.

        Args:
          op: its type.
          inputs: names, "" for one that is absent.
          outputs: how many results it has.
          domain: of the op; "" for ONNX's own.
          attributes: of the node, by name.
        """
        number = next(self._numbers)
        names = [f"{self.node.outputs[0] or self.node.name}/{number}.{i}" for i in range(outputs)]
        self.nodes.append(Node(op, inputs, tuple(names), attributes, self.node.name, domain, onnx.defs.onnx_opset_version(), number))
        return names[0] if outputs == 1 else names

    def draw(self, op: str, *inputs: str) -> str:
        """Adds a node of type `op` that draws noise in place of the replaced node; it keeps that node's index in the file, which is part of
        the noise key.
        """
        name = self.add(op, *inputs)
        self.nodes[-1] = replace(self.nodes[-1], index=self.node.index)
        return name

    def reshape(self, x: str, *shape: Dim) -> str:
        """The name of x in another shape; a size of 0 copies x's size, as in Reshape."""
        return self.add("Reshape", x, self.constant(np.array(shape, object), object))

    def transpose(self, x: str, *order: int) -> str:
        """The name of x with its axes in this order."""
        return self.add("Transpose", x, perm=order)

    def set_outputs(self, *results: str) -> None:
        """Says which `results`, by name, are the node's outputs."""
        for name, result in zip(self.node.outputs, results, strict=False):
            if not name or not result:
                continue
            if results.count(result) == 1 and any(result in node.outputs for node in self.nodes):  # rename at its producer
                self.nodes = [replace(node, inputs=_renamed(node.inputs, result, name), outputs=_renamed(node.outputs, result, name))
                              for node in self.nodes]
            else:
                number = next(self._numbers)
                self.nodes.append(Node("Identity", (result,), (name,), {}, self.node.name, "", onnx.defs.onnx_opset_version(), number))


def _renamed(names: tuple[str, ...], old: str, new: str) -> tuple[str, ...]:
    return tuple(new if name == old else name for name in names)


Decomposition = Callable[[GraphBuilder], bool]  # adds nodes and sets the outputs; False: the node stays as it is
Results = str | tuple[str, ...] | None  # names of a node's results
Rule = Callable[[GraphBuilder], Results]  # adds nodes; None: the form is not supported, or too little is known of the inputs
DECOMPOSITIONS: dict[tuple[str, str], tuple[Decomposition, ...]] = {}  # by (domain, op), in the order in which they are tried


def decomposes(*ops: str, domain: str = "") -> Callable[[Rule], Rule]:
    """Registers a rule as a decomposition of ops."""
    def register(rule: Rule) -> Rule:
        for op in ops:
            DECOMPOSITIONS[domain, op] = (*DECOMPOSITIONS.get((domain, op), ()), applied(rule))
        return rule

    return register


def applied(rule: Rule) -> Decomposition:
    """A rule as a function that sets the outputs itself."""
    def decomposition(builder: GraphBuilder) -> bool:
        results = rule(builder)
        if results is not None:
            builder.set_outputs(*((results,) if isinstance(results, str) else results))
        return results is not None

    return decomposition


def register_first(domain: str, op: str, function: Decomposition) -> None:
    """Registers a decomposition of an op; it is tried before all others."""
    DECOMPOSITIONS[domain, op] = (function, *(other for other in DECOMPOSITIONS.get((domain, op), ()) if other is not function))
