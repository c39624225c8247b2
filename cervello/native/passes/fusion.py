"""Fuses chains of nodes into one kernel: x * Sigmoid(x), attention, a rectifier written with masks; and layer norms, see `layer_norms`.

A chain is fused only if its intermediate values have no other consumer. The fused node takes the position of the chain's last node, so
all its operands are available. Results are bitwise equal, except for layer norms.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from cervello.native.graph.dims import Affine
from cervello.native.graph.dtypes import F32
from cervello.native.graph.graph import Node
from cervello.native.graph.values import Value
from cervello.native.passes.layer_norms import with_layer_norms

MOST_OPS = 4  # on the scores of one fused attention: its kernel has words for so many operands
SoleProducer = Callable[[str], Node | None]
_ELEMENTWISE = frozenset({"Abs", "Elu", "Erf", "Exp", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "Neg", "Relu", "Selu", "Sigmoid",
                          "Softplus", "Softsign", "Sqrt", "Swish", "Tanh"})
_SCORES = frozenset({"Add", "Sub", "Mul", "Div"})


def fused(nodes: Sequence[Node], values: dict[str, Value], outputs: Sequence[str]) -> list[Node]:
    """The nodes with chains replaced; `outputs` are names that callers see."""
    nodes = with_layer_norms(nodes, values, outputs)
    reads = Counter(name for node in nodes for name in node.inputs if name)
    reads.update(outputs)
    producers = {name: node for node in nodes for name in node.outputs if name}

    def sole_producer(name: str) -> Node | None:
        """The producer of a value with exactly one consumer."""
        return producers.get(name) if reads[name] == 1 else None

    replaced: dict[int, Node] = {}
    removed: set[int] = set()
    for node in nodes:
        if node.domain:
            continue
        if node.op == "Add":
            found = _rectifier(node, sole_producer, producers, reads, values)
        elif node.op == "Mul":
            found = _swish(node, producers, reads, values)
        elif node.op == "MatMul":
            found = _attention(node, sole_producer, values)
        else:
            continue
        if found is not None:
            replaced[node.index], chain = found
            removed.update(member.index for member in chain)
    return _sink_transposes([replaced.get(node.index, node) for node in nodes if node.index not in removed], values, outputs)


def _sink_transposes(nodes: Sequence[Node], values: dict[str, Value], outputs: Sequence[str]) -> list[Node]:
    """Moves elementwise nodes before the transposes they read: producers can then absorb them, and adjacent transposes cancel."""
    reads = Counter(name for node in nodes for name in node.inputs if name)
    reads.update(outputs)
    moved: dict[int, Node] = {}
    found: dict[str, Node] = {}
    for node in nodes:
        transpose = found.get(node.inputs[0]) if node.op in _ELEMENTWISE and not node.domain and len(node.inputs) == 1 else None
        if transpose is not None and reads[node.inputs[0]] == 1:
            before = values[transpose.inputs[0]]
            name = f"{node.outputs[0]} before {transpose.outputs[0]}"
            values[name] = replace(before, name=name, dtype=values[node.outputs[0]].dtype)
            moved[transpose.index] = replace(node, inputs=transpose.inputs, outputs=(name,), index=transpose.index)  # swaps the two nodes
            moved[node.index] = node = replace(transpose, inputs=(name,), outputs=node.outputs, index=node.index)
        if node.op == "Transpose" and not node.domain:
            found[node.outputs[0]] = node
    return [moved.get(node.index, node) for node in nodes]


def _swish(node: Node, producers: Mapping[str, Node], reads: Counter[str], values: Mapping[str, Value]) -> tuple[Node, list[Node]] | None:
    """x * Sigmoid(x), in either order."""
    for x, gate in (node.inputs, node.inputs[::-1]):
        producer = producers.get(gate)
        if producer is not None and producer.op == "Sigmoid" and not producer.domain and reads[gate] == 1 and producer.inputs == (x,):
            if values[x].dtype != F32 or values[x].data is not None:
                return None
            return replace(node, op="Swish", inputs=(x,), attributes={"alpha": 1.0}), [producer]
    return None


def _rectifier(node: Node, sole_producer: SoleProducer, producers: Mapping[str, Node], reads: Counter[str], values: Mapping[str, Value],
               ) -> tuple[Node, list[Node]] | None:
    """max(x, 0) written with masks: x * Cast(x > 0) + 0 * Cast(not x > 0), as tf2onnx writes a select; -inf gives 0 and not NaN."""
    for positive, negative in (node.inputs, node.inputs[::-1]):
        product, zero_product = sole_producer(positive), sole_producer(negative)
        if product is None or zero_product is None or product.op != "Mul" or zero_product.op != "Mul":
            continue
        for mask, x in (product.inputs, product.inputs[::-1]):
            for zero, rest in (zero_product.inputs, zero_product.inputs[::-1]):
                casts = sole_producer(mask), sole_producer(rest)
                if not _is_zero(values, zero) or any(cast is None or cast.op != "Cast" for cast in casts):
                    continue
                test, negated = producers.get(casts[0].inputs[0]), sole_producer(casts[1].inputs[0])  # type: ignore[union-attr]
                if test is None or negated is None or test.op != "Greater" or negated.op != "Not" or reads[test.outputs[0]] != 2:
                    continue
                if test.inputs[0] == x and negated.inputs[0] == test.outputs[0] and _is_zero(values, test.inputs[1]) and values[
                        x].dtype == F32 and values[x].shape == values[node.outputs[0]].shape:
                    chain = [product, zero_product, *casts, test, negated]
                    return replace(node, op="Relu", inputs=(x,), attributes={}), chain  # type: ignore[return-value]
    return None


def _is_zero(values: Mapping[str, Value], name: str) -> bool:
    data = values[name].constant
    return data is not None and data.dtype == F32 and data.size == 1 and not data.any()


def _attention(node: Node, sole_producer: SoleProducer, values: Mapping[str, Value]) -> tuple[Node, list[Node]] | None:
    """softmax(ops(q @ k)) @ v."""
    softmax = sole_producer(node.inputs[0])
    if softmax is None or softmax.op != "Softmax" or softmax.domain or not _plain(values, (*node.inputs, softmax.inputs[0])):
        return None
    shape = values[softmax.inputs[0]].shape or ()
    axis = softmax.attributes.get("axis", -1)
    if len(shape) < 2 or axis not in (-1, len(shape) - 1):
        return None
    chain, name = [softmax], softmax.inputs[0]
    ops: list[tuple[str, bool]] = []
    operands: list[str] = []
    while True:
        producer = sole_producer(name)
        if producer is None or producer.domain or not _plain(values, producer.inputs) or values[name].shape != shape:
            return None
        chain.append(producer)
        if producer.op == "MatMul":
            break
        sides = [i for i, side in enumerate(producer.inputs) if values[side].shape == shape and sole_producer(side) is not None]
        if producer.op not in _SCORES or len(producer.inputs) != 2 or not sides or len(ops) == MOST_OPS:
            return None
        ops.append((producer.op, sides[0] == 1))
        operands.append(producer.inputs[1 - sides[0]])
        name = producer.inputs[sides[0]]
    if any(isinstance(size, Affine) for part in (producer.inputs[0], producer.inputs[1], node.inputs[1]) for size in (
            values[part].shape or ())[-2:]) or any(len(values[part].shape or ()) < 2 for part in (*producer.inputs, node.inputs[1])):
        return None
    if values[producer.inputs[1]].data is not None or (values[node.outputs[0]].shape or ())[:-2] != shape[:-2]:
        return None
    fused_node = replace(node, op="Attend", inputs=(*producer.inputs, node.inputs[1], *operands[::-1]),
                         attributes={"scores": shape, "ops": tuple(ops[::-1])})
    return fused_node, chain


def _plain(values: Mapping[str, Value], names: Sequence[str]) -> bool:
    """Whether all are float32 of known shape."""
    return all(name and values[name].dtype == F32 and values[name].shape is not None for name in names)
