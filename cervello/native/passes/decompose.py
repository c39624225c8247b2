"""Decomposes nodes into simpler ops, as soon as the shapes of their inputs are known."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import count

from cervello.errors import UnsupportedError
from cervello.native.frontend.control_flow import FLOW
from cervello.native.graph.dims import Shape
from cervello.native.graph.graph import Graph, Node
from cervello.native.graph.values import Value
from cervello.native.passes.decompositions import (  # noqa: F401  (each registers its ops)
    attention,
    contrib,
    contrib_quantised,
    convolution,
    einsum,
    half_precision,
    indexing,
    quantisation,
    rearranging,
    recurrent,
    stacked,
    support_vectors,
    traditional,
    trees,
    volumes,
)
from cervello.native.passes.graph_builder import DECOMPOSITIONS, GraphBuilder
from cervello.native.shapes.infer_shapes import infer_shapes

_FIRST_NUMBER = 1 << 40  # node numbers no file has
_MOST_ADDED = 20_000  # nodes added to those of the file: a sequence is unrolled to its length


def decompose_ops(graph: Graph, shapes: dict[str, Shape]) -> tuple[Graph, dict[str, Value]]:
    """The decomposed graph, and all its values.

    Args:
      shapes: of every input, with N on the batch axis.
    Raises:
      GraphError: a branch or loop has values of unknown type.
      UnsupportedError: the decomposition adds too many nodes.
    """
    numbers = count(_FIRST_NUMBER)
    most = len(graph.nodes) + _MOST_ADDED
    while True:
        values = infer_shapes(graph, shapes)
        nodes, constants = [], dict(graph.constants)
        changed = False
        added = 0
        single_producers = _single_consumer_producers(graph)
        producers = {name: node for node in graph.nodes for name in node.outputs if name}
        for node in graph.nodes:
            operands = [values[name] if name else None for name in node.inputs]
            unknown = any(value is not None and value.shape is None for value in operands)
            for decomposition in () if unknown else DECOMPOSITIONS.get((node.domain, node.op), ()):
                builder = GraphBuilder(node, operands, numbers, single_producers, values, producers)
                if decomposition(builder):
                    changed = True
                    added += len(builder.nodes)
                    if len(graph.nodes) + added > most:
                        raise UnsupportedError(f"node {node}: expected decompositions that add at most {_MOST_ADDED} nodes in all, "
                                               "got more; export the policy for shorter sequences")
                    nodes += builder.nodes
                    constants |= builder.constants
                    break
            else:
                nodes.append(node)
        if not changed:
            if any(values[name].dtype is None for node in graph.nodes if node.op in FLOW for name in node.inputs if name):
                infer_shapes(graph, shapes, decomposed=True)  # raises the specific error
            return graph, values
        graph = replace(graph, nodes=tuple(nodes), constants=constants)


def _single_consumer_producers(graph: Graph) -> dict[str, Node]:
    """Producers by result name, for results with exactly one consumer."""
    reads = Counter(name for node in graph.nodes for name in set(node.inputs))
    reads.update(port.name for port in graph.outputs)
    return {name: node for node in graph.nodes for name in node.outputs if name and reads[name] == 1}
