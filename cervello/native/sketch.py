"""A few nodes in place of one: how an op is spelled in others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx

from cervello.native.dims import Affine
from cervello.native.graph import Node
from cervello.native.values import Value

Array = np.ndarray[Any, Any]


class Sketch:
    """Nodes and constants that take the place of a node; mutable, used once.

    Attributes:
      node: what is replaced; values: of its inputs, None where absent.
    """

    def __init__(self, node: Node, values: Sequence[Value | None], numbers: Iterator[int]):
        self.node, self.values = node, values
        self.nodes: list[Node] = []
        self.constants: dict[str, Array] = {}
        self._numbers = numbers

    def input(self, index: int) -> str:
        """The name of an input, "" where it is absent."""
        return self.node.inputs[index] if index < len(self.node.inputs) else ""

    def value(self, index: int) -> Value | None:
        return self.values[index] if index < len(self.values) else None

    def attribute(self, name: str, default: Any = None) -> Any:
        return self.node.attributes.get(name, default)

    def constant(self, data: Any, dtype: Any = np.int64) -> str:
        """A new constant's name."""
        name = f"{self.node.outputs[0] or self.node.name}/{next(self._numbers)}"
        data = np.asarray(data, dtype)
        if data.dtype == object and not any(isinstance(size, Affine) for size in data.reshape(-1)):
            data = data.astype(np.int64)  # sizes without N in them
        self.constants[name] = data
        return name

    def add(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """A node in the newest form of its op; the name of its result, or a list of several."""
        number = next(self._numbers)
        names = [f"{self.node.outputs[0] or self.node.name}/{number}.{i}" for i in range(outputs)]
        self.nodes.append(Node(op, inputs, tuple(names), attributes, self.node.name, "", onnx.defs.onnx_opset_version(), number))
        return names[0] if outputs == 1 else names

    def draw(self, op: str, *inputs: str) -> str:
        """A node that draws noise in place of the one that is replaced: its place in the file, which is part of the noise's key."""
        name = str(self.add(op, *inputs))
        self.nodes[-1] = replace(self.nodes[-1], index=self.node.index)
        return name

    def reshape(self, x: str, *shape: int) -> str:
        """Sizes of 0 stay, as Reshape has it."""
        return str(self.add("Reshape", x, self.constant(shape)))

    def transpose(self, x: str, *order: int) -> str:
        return str(self.add("Transpose", x, perm=order))

    def give(self, *results: str) -> None:
        """What the node's outputs are."""
        for name, result in zip(self.node.outputs, results, strict=False):
            if name and result:
                number = next(self._numbers)
                self.nodes.append(Node("Identity", (result,), (name,), {}, self.node.name, "", onnx.defs.onnx_opset_version(), number))


Spelling = Callable[[Sketch], bool]  # gives the sketch its nodes; False: not in this form, or not with what is known of the inputs
SPELLINGS: dict[tuple[str, str], Spelling] = {}


def spells(*ops: str, domain: str = "") -> Callable[[Spelling], Spelling]:
    """Registers how ops are spelled."""
    def register(function: Spelling) -> Spelling:
        for op in ops:
            SPELLINGS[domain, op] = function
        return function

    return register
