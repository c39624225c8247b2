"""Lowers a graph node by node: to kernels where they exist, else to the fallback tiers."""

from __future__ import annotations

from collections import Counter

from cervello.native.graph.graph import Node
from cervello.native.lowering.lowering import Lowering
from cervello.native.lowering.registry import LOWER, NoKernelError
from cervello.native.lowering.rules.fallback import lower_fallback
from cervello.native.lowering.rules.movement import plan_concats
from cervello.native.passes.fusion import fused


def lower_graph(lowering: Lowering, early: bool = True) -> None:
    """Lowers every live node; `early`: see `plan_concats`."""
    live = fused(_live(lowering), lowering.values, lowering.outputs)
    lowering.uses = Counter(name for node in live for name in set(node.inputs) if name)
    lowering.uses.update(lowering.outputs)
    for node in live:
        for name in set(node.inputs):
            lowering.readers.setdefault(name, []).append(node)
    plan_concats(lowering, live, early)
    for node in live:
        lowering.node = node
        if node.index not in lowering.fused_nodes:
            _lower(lowering, node)
        for name in node.outputs:
            _finish_result(lowering, name)
        for name in set(node.inputs):
            if name and name in lowering.tensors:
                lowering.tensors[name].buffer.readers -= 1
    lowering.node = None
    for name, destination in lowering.destinations.items():  # outputs that are unchanged inputs or constants
        source = lowering.tensors.get(name)
        if name in lowering.outputs and source is not None and source is not destination:
            lowering.copy(source, destination)


def _live(lowering: Lowering) -> list[Node]:
    wanted, live = set(lowering.outputs), []
    for node in reversed(lowering.graph.nodes):
        if any(name in wanted and lowering.values[name].data is None for name in node.outputs):
            live.append(node)
            wanted.update(node.inputs)
    return live[::-1]


def _lower(lowering: Lowering, node: Node) -> None:
    before, n_fused = len(lowering.steps), len(lowering.fused_nodes)
    lower = LOWER.get(node.op) if not node.domain else None
    try:
        if lower is None:
            raise NoKernelError("no kernel for this op")
        lower(lowering, node)
    except NoKernelError as reason:
        del lowering.steps[before:]
        while len(lowering.fused_nodes) > n_fused:
            lowering.fused_nodes.popitem()
        for name in node.outputs:  # partial results
            lowering.tensors.pop(name, None)
        lowering.fallback_nodes[str(node)] = str(reason)
        lower_fallback(lowering, node, str(reason))


def _finish_result(lowering: Lowering, name: str) -> None:
    """After a node: copies a result to its requested location, and sets its number of consumers."""
    tensor = lowering.tensors.get(name) if name else None
    if tensor is None:
        return
    destination = lowering.destinations.get(name)
    if destination is not None and tensor is not destination:
        lowering.copy(tensor, destination)
        tensor = lowering.tensors[name] = destination
    tensor.buffer.readers += lowering.uses[name]
