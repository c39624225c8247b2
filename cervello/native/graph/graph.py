"""The graph as imported: names, nodes, constants. Immutable; passes return new graphs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from cervello.native.graph.dtypes import Array

CALL = "(the function's nodes)"


@dataclass(frozen=True, slots=True)
class Node:
    """One operation. Inputs and outputs are value names, "" where an optional one is absent."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    name: str
    domain: str = ""
    opset: int = 0
    index: int = 0  # position in the file; the noise site of random ops

    def __str__(self) -> str:
        return f"{self.op} {self.name!r}" if self.name else f"{self.op} → {next(iter(self.outputs), '')!r}"

    def input(self, index: int) -> str:
        """The name of the input at `index`, "" where it is absent."""
        return self.inputs[index] if index < len(self.inputs) else ""

    def bodies(self) -> dict[str, Body]:
        """Its sub-graphs or function body, by attribute."""
        return {key: value for key, value in self.attributes.items() if isinstance(value, Body)}

    def outer(self) -> set[str]:
        """The outer names that its bodies read; the body of a function reads only its inputs."""
        return {name for key, body in self.bodies().items() if key != CALL for name in body.outer()}


@dataclass(frozen=True, slots=True)
class Body:
    """Nodes inside a node: a branch, the body of a loop, or a function that the file defines (attribute `CALL`)."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    constants: Mapping[str, Array]

    def own(self) -> set[str]:
        """The names it defines."""
        return {*self.inputs, *self.constants, *(name for node in self.nodes for name in node.outputs)} - {""}

    def outer(self) -> set[str]:
        """The names that it reads from outside."""
        read = {*self.outputs, *(name for node in self.nodes for name in (*node.inputs, *node.outer()))}
        return read - self.own() - {""}


@dataclass(frozen=True, slots=True)
class Port:
    """A graph input or output as the file declares it; dims are ints, symbol names or None."""

    name: str
    dtype: np.dtype[Any] | None
    shape: tuple[int | str | None, ...] | None


@dataclass(frozen=True, slots=True)
class Graph:
    """A whole model. `constants` are initializers and Constant nodes."""

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    nodes: tuple[Node, ...]
    constants: Mapping[str, Array]
    opset: int
    producer: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)

    def bound(self, values: Mapping[str, Array]) -> Graph:
        """The graph with inputs of fixed values, which become constants."""
        if not values:
            return self
        return replace(self, inputs=tuple(port for port in self.inputs if port.name not in values), constants={**self.constants, **values})
