"""Flattens branches, loops and functions: their nodes join the graph's single list, between control markers.

    If:    BRANCH, the nodes of the first branch, OTHERWISE, those of the second, JOINED
    Loop:  LOOP_BEGIN, the nodes of one iteration, LOOP_END
    Scan:  the same; the markers hold the axes and directions of the sequences that an iteration reads and writes

Shapes, fusion and the memory plan see one graph. A marker reads every value that must outlive it: LOOP_END reads all values that an
iteration reads from outside the loop. ONNX has no such nodes: `lowering.rules.control_flow` lowers them, `shapes.control_flow` infers their
shapes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from itertools import count

from cervello.errors import GraphError, UnsupportedError
from cervello.native.graph.graph import CALL, Body, Graph, Node

BRANCH, OTHERWISE, JOINED, LOOP_BEGIN, LOOP_END = "If begins", "If turns", "If ends", "Loop begins", "Loop ends"
_FIRST_NUMBER = 1 << 36  # of markers; no node of a file has such a number
_MOST_NAMES = 1 << 26  # characters of all names of inner nodes: each call and loop lengthens them
FLOW = frozenset({BRANCH, OTHERWISE, JOINED, LOOP_BEGIN, LOOP_END})
RANDOM = frozenset({"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"})


def flattened(graph: Graph) -> Graph:
    """The graph with the nodes of branches, loops and functions in its own list.

    Raises:
      GraphError: a node whose bodies do not fit its operands and results.
    """
    if not any(node.bodies() for node in graph.nodes):
        return graph
    flat = _Flat(graph)
    for node in graph.nodes:
        flat.add(node, {}, loop="")
    return replace(graph, nodes=tuple(flat.nodes), constants=flat.constants)


class _Flat:
    """A list of nodes that grows; mutable, used once."""

    def __init__(self, graph: Graph):
        self._where = f"model {graph.name!r}"
        self.nodes: list[Node] = []
        self.constants = dict(graph.constants)
        self._numbers = count(_FIRST_NUMBER)
        self._n_suffixes: Counter[str] = Counter()
        self._characters_left = _MOST_NAMES
        self._used_names = {*graph.constants, *(port.name for port in graph.inputs),
                            *(name for node in graph.nodes for name in node.outputs)}

    def add(self, node: Node, names: Mapping[str, str], loop: str) -> None:
        """Adds a node, or the nodes of its bodies.

        Args:
          names: new names of the values around it, by old name.
          loop: the loop that contains it; "" outside of loops.
        """
        inputs, outputs = (tuple(names.get(name, name) for name in side) for side in (node.inputs, node.outputs))
        placed = replace(node, inputs=inputs, outputs=outputs)
        if not node.bodies():
            if loop and node.op in RANDOM and not node.domain:
                raise UnsupportedError(f"{self._where}, node {placed}: expected no random op in {loop}, whose iterations would all draw "
                                       "the same; export the policy with its draws outside")
            self.nodes.append(placed)
        elif CALL in node.attributes:
            self._call(placed, loop)
        elif node.domain or node.op not in ("If", "Loop", "Scan"):
            raise UnsupportedError(f"{self._where}, node {placed}: expected no sub-graphs, got attribute {next(iter(node.bodies()))!r}")
        elif node.op == "If":
            self._branches(placed, names, loop)
        else:
            self._loop(placed, names)

    def _fresh(self, node: Node, what: str) -> str:
        first = name = f"{next((name for name in node.outputs if name), node.name)}/{what}"
        while name in self._used_names:
            self._n_suffixes[first] += 1
            name = f"{first}'{self._n_suffixes[first]}"
        self._used_names.add(name)
        self._characters_left -= len(name)
        if self._characters_left < 0:
            raise UnsupportedError(f"{self._where}, node {node.op}: expected names of at most {_MOST_NAMES} characters in branches, loops "
                                   "and functions, got more")
        return name

    def _inside(self, node: Node, body: Body, bound: Mapping[str, str], names: Mapping[str, str], loop: str) -> tuple[str, ...]:
        """Adds the nodes of a body; returns the names of its outputs.

        Args:
          bound: names of its inputs.
        """
        inner = {**names, **bound} if names else dict(bound)
        for name in sorted(body.own() - set(bound)):
            inner[name] = self._fresh(node, name)
        for name, data in body.constants.items():
            self.constants[inner[name]] = data
        for part in body.nodes:
            self.add(part, inner, loop)
        return tuple(inner.get(name, name) for name in body.outputs)

    def _identities(self, node: Node, given: tuple[str, ...]) -> None:
        for source, name in zip(given, node.outputs, strict=False):
            if name:
                self.nodes.append(Node("Identity", (source,), (name,), {}, node.name, index=next(self._numbers)))

    def _call(self, node: Node, loop: str) -> None:
        body = node.bodies()[CALL]
        operands = (*node.inputs, *[""] * (len(body.inputs) - len(node.inputs)))
        self._identities(node, self._inside(node, body, dict(zip(body.inputs, operands, strict=True)), {}, loop))

    def _branches(self, node: Node, names: Mapping[str, str], loop: str) -> None:
        branches = [node.attributes.get(key) for key in ("then_branch", "else_branch")]
        if len(node.inputs) != 1 or any(not isinstance(b, Body) or b.inputs or len(b.outputs) < len(node.outputs) for b in branches):
            raise GraphError(f"{self._where}, node {node}: expected a condition and two branches without inputs that give "
                             f"{len(node.outputs)} results each, got other ones")
        first, second = (b for b in branches if isinstance(b, Body))
        n = len(node.outputs)
        then_marker, else_marker = self._fresh(node, "if"), self._fresh(node, "else")
        copies = tuple(self._fresh(node, f"result {i}") for i in range(n))
        self.nodes.append(Node(BRANCH, node.inputs, (then_marker,), {}, node.name, index=next(self._numbers)))
        then = self._inside(node, first, {}, names, loop)[:n]
        self.nodes.append(Node(OTHERWISE, (then_marker, *then), (else_marker, *copies), {}, node.name, index=next(self._numbers)))
        otherwise = self._inside(node, second, {}, names, loop)[:n]
        self.nodes.append(Node(JOINED, (else_marker, *copies, *otherwise), node.outputs, {}, node.name, index=next(self._numbers)))

    def _loop(self, node: Node, names: Mapping[str, str]) -> None:
        body = node.attributes.get("body")
        if not isinstance(body, Body):
            raise GraphError(f"{self._where}, node {node}: expected a body, got none")
        scan = node.op == "Scan"
        n_sequences = int(node.attributes.get("num_scan_inputs", 0)) if scan else 0
        n_states = len(node.inputs) - n_sequences - (0 if scan else 2)
        n_given = len(body.outputs) - n_states - (not scan)
        n_body_inputs = n_states + n_sequences + (0 if scan else 2)
        fits = len(body.inputs) == n_body_inputs and len(node.outputs) <= n_states + n_given
        if n_states < 0 or n_given < 0 or n_sequences < 0 or not fits:
            raise GraphError(f"{self._where}, node {node}: expected a body that takes {n_body_inputs} values and gives those of "
                             f"{len(node.outputs)} results, got one of {len(body.inputs)} and {len(body.outputs)}")
        counter, count, iteration, active = (self._fresh(node, what) for what in ("counter", "trip_count", "iteration", "active"))
        trips, condition = ("", "") if scan else node.inputs[:2]
        initial = node.inputs[:n_states] if scan else node.inputs[2:]
        sequences = node.inputs[len(node.inputs) - n_sequences:] if scan else ()
        skipped = 0 if scan else 2  # iteration number and condition come before the states of a body
        identities = {part.outputs[0]: part.inputs[0] for part in body.nodes if part.op == "Identity" and not part.domain}
        carried = [i for i in range(n_states)
                   if not initial[i] or _source(identities, body.outputs[i + (not scan)]) != body.inputs[i + skipped]]
        fixed = [i for i in range(n_states) if i not in carried]  # never changed, as tf2onnx passes weights: read from outside the loop
        changing = [*carried, *range(n_states, n_states + n_sequences)]
        body_inputs = tuple(self._fresh(node, body.inputs[i + skipped]) for i in changing)
        before = (trips, condition, *(initial[i] for i in carried), *sequences)
        self.nodes.append(Node(LOOP_BEGIN, before, (counter, count, iteration, active, *body_inputs), {
            "states": len(carried), "axes": _each(node, "scan_input_axes", n_sequences),
            "reverse": _each(node, "scan_input_directions", n_sequences)}, node.name, index=next(self._numbers)))
        first = len(self.nodes)
        bound = {**({} if scan else dict(zip(body.inputs[:2], (iteration, active), strict=True))),
                 **{body.inputs[i + skipped]: name for i, name in zip(changing, body_inputs, strict=True)},
                 **{body.inputs[i + skipped]: initial[i] for i in fixed}}
        given = self._inside(node, body, bound, names, loop=str(node))
        continues, given = ("", given) if scan else (given[0], given[1:])
        given = (*(given[i] for i in carried), *given[n_states:])
        inside = self.nodes[first:]
        made = {counter, count, iteration, active, *body_inputs, *(name for part in inside for name in part.outputs), ""}
        outer = sorted({name for part in inside for name in part.inputs} - made)
        results = (*node.outputs, *[""] * (n_states + n_given - len(node.outputs)))
        self.nodes.append(Node(LOOP_END, (counter, count, condition, continues, *given, iteration, active, *body_inputs, *outer),
                               (*(results[i] for i in carried), *results[n_states:]), {
            "states": len(carried), "axes": _each(node, "scan_output_axes", n_given),
            "reverse": _each(node, "scan_output_directions", n_given)}, node.name, index=next(self._numbers)))
        self._identities(replace(node, outputs=tuple(results[i] for i in fixed)), tuple(initial[i] for i in fixed))


def _source(identities: Mapping[str, str], name: str) -> str:
    """The value that a chain of Identity nodes copies to a name; `identities`: their inputs by result."""
    seen: set[str] = set()
    while name in identities and name not in seen:
        seen.add(name)
        name = identities[name]
    return name


def _each(node: Node, attribute: str, count: int) -> tuple[int, ...]:
    values = tuple(int(v) for v in node.attributes.get(attribute, (0,) * count))
    if len(values) != count:
        raise GraphError(f"node {node}: expected {count} numbers as {attribute}, got {len(values)}")
    return values
