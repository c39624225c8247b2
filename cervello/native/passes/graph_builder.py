"""`GraphBuilder`: replaces one node by several."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx

from cervello.native.graph.dims import Affine, Dim
from cervello.native.graph.graph import Node
from cervello.native.graph.values import Value

Array = np.ndarray[Any, Any]


class GraphBuilder:
    """The nodes and constants that replace a node; mutable, used once. Made by Cervello for each node that a function of
    `cervello.ops` rewrites.

    Attributes:
      node: the replaced node; values: of its inputs, None where absent.
      graph: values of the whole graph; producers: the node that produces each of them.
      nodes, constants: those added so far.
    """

    def __init__(self, node: Node, values: Sequence[Value | None], numbers: Iterator[int], makers: Mapping[str, Node] | None = None,
                 graph: Mapping[str, Value] | None = None, producers: Mapping[str, Node] | None = None):
        self.node, self.values = node, values
        self._makers = makers or {}
        self.graph, self.producers = graph or {}, producers or {}
        self.nodes: list[Node] = []
        self.constants: dict[str, Array] = {}
        self._numbers = numbers

    def input(self, index: int) -> str:
        """The name of the input at `index`, "" where it is absent."""
        return self.node.inputs[index] if index < len(self.node.inputs) else ""

    def maker(self, index: int) -> Node | None:
        """The producer of the input at `index`, if this node is its only consumer.

        It is removed if the builder's nodes do not read its result.
        """
        return self._makers.get(self.input(index))

    def value(self, index: int) -> Value | None:
        """Type, shape and perhaps constant of the input at `index`; None where it is absent."""
        return self.values[index] if index < len(self.values) else None

    def attribute(self, name: str, default: Any = None) -> Any:
        """The value of the replaced node's attribute `name`; `default` where it has none."""
        return self.node.attributes.get(name, default)

    def constant(self, data: Any, dtype: Any = np.int64) -> str:
        """The name of a new constant that holds `data` as an array of type `dtype`."""
        name = f"{self.node.outputs[0] or self.node.name}/{next(self._numbers)}"
        data = np.asarray(data, dtype)
        if data.dtype == object and not any(isinstance(size, Affine) for size in data.reshape(-1)):
            data = data.astype(np.int64)  # sizes without N in them
        self.constants[name] = data
        return name

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
        name = str(self.add(op, *inputs))
        self.nodes[-1] = replace(self.nodes[-1], index=self.node.index)
        return name

    def reshape(self, x: str, *shape: Dim) -> str:
        """The name of x in another shape; a size of 0 copies x's size, as in Reshape."""
        return str(self.add("Reshape", x, self.constant(np.array(shape, object), object)))

    def transpose(self, x: str, *order: int) -> str:
        """The name of x with its axes in this order."""
        return str(self.add("Transpose", x, perm=order))

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


Decomposition = Callable[[GraphBuilder],
                         bool]  # adds nodes to the builder; False: the form is not supported, or too little is known of the inputs
SPELLINGS: dict[tuple[str, str], tuple[Decomposition, ...]] = {}  # by (domain, op), in the order in which they are tried


def decomposes(*ops: str, domain: str = "") -> Callable[[Decomposition], Decomposition]:
    """Registers a decomposition of ops."""
    def register(function: Decomposition) -> Decomposition:
        for op in ops:
            SPELLINGS[domain, op] = (*SPELLINGS.get((domain, op), ()), function)
        return function

    return register


def own(domain: str, op: str, function: Decomposition) -> None:
    """Registers a user's decomposition of an op; it is tried before all others."""
    SPELLINGS[domain, op] = (function, *(other for other in SPELLINGS.get((domain, op), ()) if other is not function))
