"""Dead-code elimination."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cervello.native.graph.graph import Graph, Node

# Ops whose optional results are often listed in files but not used.
_EXTRAS = frozenset({"BatchNormalization", "LayerNormalization", "MaxPool"})


def without_dead_code(graph: Graph, outputs: Sequence[str]) -> Graph:
    """The graph with only the nodes that outputs need; unused optional results lose their name."""
    wanted, live = set(outputs), []
    for node in reversed(graph.nodes):
        if any(name in wanted for name in node.outputs if name):
            live.append(_trimmed(node, wanted))
            wanted.update(node.inputs)
    return replace(graph, nodes=tuple(live[::-1]))


def _trimmed(node: Node, wanted: set[str]) -> Node:
    if node.op not in _EXTRAS or node.domain or (node.op == "BatchNormalization" and node.opset < 14):
        return node  # before opset 14, listing the statistics of a BatchNormalization is what puts it into training mode
    outputs = [name if i == 0 or name in wanted else "" for i, name in enumerate(node.outputs)]
    while not outputs[-1]:
        outputs.pop()
    return replace(node, outputs=tuple(outputs))
