"""Replaces nodes by the ops they are spelled in, as soon as the shapes of their inputs are known."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

from cervello.native.dims import Shape
from cervello.native.graph import Graph
from cervello.native.infer import infer
from cervello.native.sketch import SPELLINGS, Sketch
from cervello.native.spellings import attention, convolution, einsum, rearranging, recurrent  # noqa: F401  (each registers its ops)
from cervello.native.values import Value

_FIRST_NUMBER = 1 << 40  # node numbers no file has


def spelled(graph: Graph, shapes: dict[str, Shape]) -> tuple[Graph, dict[str, Value]]:
    """The graph in ops that are lowered as they are, and all its values.

    Args:
      shapes: of every input, with N where the batch is.
    """
    numbers = count(_FIRST_NUMBER)
    while True:
        values = infer(graph, shapes)
        nodes, constants = [], dict(graph.constants)
        changed = False
        for node in graph.nodes:
            spelling = SPELLINGS.get((node.domain, node.op))
            operands = [values[name] if name else None for name in node.inputs]
            if spelling is None or any(value is not None and value.shape is None for value in operands):
                nodes.append(node)
                continue
            sketch = Sketch(node, operands, numbers)
            if not spelling(sketch):
                nodes.append(node)
                continue
            changed = True
            nodes += sketch.nodes
            constants |= sketch.constants
        if not changed:
            return graph, values
        graph = replace(graph, nodes=tuple(nodes), constants=constants)
