"""Reads the nodes of a policy file, including sub-graphs and functions: reads attributes, checks operands, sorts topologically."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from cervello.errors import FormatError, GraphError, UnsupportedError
from cervello.native.frontend.control_flow import FLOW
from cervello.native.frontend.op_schema import check_signature
from cervello.native.frontend.tensor_data import read_array
from cervello.native.frontend.trees import ML
from cervello.native.graph.dtypes import Array
from cervello.native.graph.graph import CALL, Body, Node

_SEQUENCE_OPS = frozenset({"SequenceEmpty", "SequenceConstruct", "SequenceInsert", "SequenceErase", "SequenceAt", "SequenceLength",
                         "SequenceMap", "SplitToSequence", "ConcatFromSequence", "Optional", "OptionalGetElement", "OptionalHasElement"})
_BROADCASTING = frozenset({"Add", "And", "Div", "Equal", "Greater", "Less", "Mul", "Or", "Pow", "Sub", "Xor"})
_FIRST_OPSETS = {"Cast": 6, "Tile": 6, "Reshape": 5, "Pad": 2, "PRelu": 7, "LSTM": 7, "GRU": 7, "RNN": 7, "Upsample": 7}  # as they are now
_STRINGS = frozenset({"classlabels_strings", "keys_strings", "values_strings", "cats_strings"})  # attributes of ai.onnx.ml
_FIRST_INNER = 1 << 24  # index of the first inner node; no file has as many nodes
_MOST_INNER = 10_000  # inner nodes: nested function calls expand a few bytes to any number
_MOST_DEEP = 64  # nested function calls
_NAMES = 64  # names, or characters of names divided by this, per additional count of an inner node


class NodeReader:
    """Reads nodes, including those of sub-graphs and functions; mutable, used once."""

    def __init__(self, model: onnx.ModelProto, name: str, folders: tuple[Path, ...], opset: int):
        self._name, self._folders, self._opset = name, folders, opset
        self._functions = {(function.domain, function.name): function for function in model.functions}
        self._calls: list[tuple[str, str]] = []
        self._inner = count(_FIRST_INNER)
        self._left = _MOST_INNER
        self._depth = 0  # of sub-graphs
        self._external: dict[Any, Array] = {}  # ranges of external data files
        self._ranges_read: dict[str, tuple[int, int]] = {}  # by external file: bytes read, end of the last range
        self._read: dict[int, tuple[onnx.AttributeProto, Any]] = {}  # attribute values; calls of one function share them

    def nodes(self, protos: Sequence[onnx.NodeProto], opsets: Mapping[str, int], initializers: Iterable[onnx.TensorProto],
              declared: Collection[str], given: Mapping[str, Any] | None = None) -> tuple[list[Node], dict[str, Array]]:
        """Nodes and constants.

        Args:
          given: attributes of the call, inside a function.
        """
        name = self._name
        constants: dict[str, Array] = {}
        for tensor in initializers:
            _check_new(tensor.name, constants, f"model {name!r}, initializer")
            if self._calls:
                self._count_inner_node((tensor.name,))
            constants[tensor.name] = self._array(tensor, f"model {name!r}, initializer {tensor.name!r}")
        nodes: list[Node] = []
        outside = not self._calls and given is None
        for index, node in enumerate(protos):
            if not outside or self._depth > 0:
                self._count_inner_node((node.name, *node.input, *node.output))
            domain = "" if node.domain == "ai.onnx" else node.domain
            attributes = {a.name: value for a in node.attribute if (value := self._attribute(a, node, opsets, given)) is not None}
            if node.op_type == "Constant" and not domain:
                if not any(node.output):
                    raise GraphError(f"model {name!r}, Constant {node.name!r}: expected a result, got none")
                _check_new(node.output[0], constants, f"model {name!r}, Constant")
                _check_new(node.output[0], declared, f"model {name!r}, Constant")
                constants[node.output[0]] = _constant(node, attributes, name)
                continue
            self._check(node, domain, attributes)
            if (domain, node.op_type) in self._functions:
                attributes = {CALL: self._function_body(domain, node, attributes)}
            number = index if outside and not self._depth else next(self._inner)
            nodes.append(Node(node.op_type, tuple(node.input), tuple(node.output), attributes, node.name, domain,
                              opsets.get(domain, self._opset), number))
            check_signature(f"model {name!r}", nodes[-1])
        return nodes, constants

    def _array(self, tensor: onnx.TensorProto, where: str) -> Array:
        """A tensor's data. A range of an external file is read once. Ranges that overlap may sum to at most twice the file, because a small
        model file can request the whole file any number of times."""
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            return read_array(tensor, self._folders, where)
        facts = {entry.key: entry.value for entry in tensor.external_data}
        file, offset = os.path.normpath(facts.get("location", "")), facts.get("offset", "0")
        key = file, offset, facts.get("length"), tensor.data_type, tuple(tensor.dims)
        found = self._external.get(key)
        if found is None:
            found = self._external[key] = read_array(tensor, self._folders, where)
            read, end = self._ranges_read.get(file, (0, 0))
            read, end = read + found.nbytes, max(end, int(offset) + found.nbytes)
            if read > 2 * end:
                raise FormatError(f"{where}: expected ranges in {file!r} that do not overlap, got {read} bytes of {end}")
            self._ranges_read[file] = read, end
        return found

    def _count_inner_node(self, names: Collection[str]) -> None:
        """Deducts an inner node from the limit; a small file can expand to any number of nodes and to names of any length."""
        self._left -= 1 + (len(names) + sum(map(len, names)) // _NAMES) // _NAMES
        if self._left < 0:
            raise UnsupportedError(f"model {self._name!r}: expected at most {_MOST_INNER} nodes in branches, loops and functions, got more")

    def _check(self, node: onnx.NodeProto, domain: str, attributes: Mapping[str, Any]) -> None:
        where = f"model {self._name!r}, node {node.op_type} {node.name!r}"
        if (node.op_type in _SEQUENCE_OPS or node.op_type in FLOW) and not domain:
            raise UnsupportedError(f"{where}: expected ops on tensors, got one on sequences or optional values; export the policy without")
        if self._opset < 7 and not domain and _has_old_meaning(node.op_type, self._opset, attributes):
            raise UnsupportedError(f"{where}: expected opset 7 or later, got {self._opset}; export it with another opset")
        if domain == ML and (strings := [key for key in attributes if key in _STRINGS and attributes[key]]) and node.op_type != "ZipMap":
            raise UnsupportedError(f"{where}: expected numbers, got {strings[0]}; encode the labels as integers before training "
                                   "(sklearn.preprocessing.LabelEncoder) and export the policy again")
        if node.op_type == "Scan" and not domain and self._opset < 9:
            raise UnsupportedError(f"{where}: expected opset 9 or later, got {self._opset}; export it with another opset")

    def _attribute(self, attribute: onnx.AttributeProto, node: onnx.NodeProto, opsets: Mapping[str, int],
                   given: Mapping[str, Any] | None) -> Any:
        """An attribute's value; None if the caller of a function does not give it."""
        if attribute.ref_attr_name:
            return (given or {}).get(attribute.ref_attr_name)
        if attribute.type == onnx.AttributeProto.GRAPH:
            return self._body(attribute.g, opsets, given)
        found = self._read.get(id(attribute))  # the attribute is stored too, so that its id is not reused
        if found is None:
            value = _attribute(attribute, self._folders, f"model {self._name!r}, node {node.name!r}")
            found = self._read[id(attribute)] = attribute, value
        return found[1]

    def _body(self, graph: onnx.GraphProto, opsets: Mapping[str, int], given: Mapping[str, Any] | None) -> Body:
        check_names(graph, self._name)
        inputs = tuple(value.name for value in graph.input)
        self._depth += 1
        try:
            nodes, constants = self.nodes(graph.node, opsets, graph.initializer, inputs, given)
        finally:
            self._depth -= 1
        return _sorted_body(Body(inputs, tuple(value.name for value in graph.output), tuple(nodes), constants), self._name)

    def _function_body(self, domain: str, node: onnx.NodeProto, attributes: Mapping[str, Any]) -> Body:
        """The body of a function of the file, with the attributes of a call."""
        key, where = (domain, node.op_type), f"model {self._name!r}, node {node.op_type} {node.name!r}"
        if key in self._calls:
            raise GraphError(f"{where}: expected a function that ends, got one that calls itself")
        if len(self._calls) >= _MOST_DEEP:
            raise UnsupportedError(f"{where}: expected at most {_MOST_DEEP} calls inside each other, got more")
        function = self._functions[key]
        if len(node.input) > len(function.input) or len(node.output) > len(function.output):
            raise GraphError(f"{where}: expected at most {len(function.input)} operands and {len(function.output)} results, got "
                             f"{len(node.input)} and {len(node.output)}")
        defaults = {a.name: self._attribute(a, node, {}, None) for a in function.attribute_proto}
        opsets = {("" if entry.domain == "ai.onnx" else entry.domain): entry.version for entry in function.opset_import}
        check_texts((node.name, *function.input, *function.output), function.node, self._name)
        self._calls.append(key)
        try:
            nodes, constants = self.nodes(function.node, opsets, (), function.input, defaults | dict(attributes))
        finally:
            self._calls.pop()
        body = _sorted_body(Body(tuple(function.input), tuple(function.output), tuple(nodes), constants), self._name)
        if outside := sorted(body.outer()):
            raise GraphError(f"{where}: expected a function that reads its inputs alone, got one that reads {outside[0]!r}")
        return body


def _sorted_body(body: Body, name: str) -> Body:
    """The body with its nodes in order."""
    known = {*body.inputs, *body.constants, *body.outer()}
    return replace(body, nodes=tuple(topological_order(body.nodes, known, name)))


def _has_old_meaning(op: str, opset: int, attributes: Mapping[str, Any]) -> bool:
    """Whether an op had another meaning before opset 7: broadcasting from an axis, statistics of training."""
    if op == "BatchNormalization":
        return not attributes.get("is_test", 0) or not attributes.get("spatial", 1)
    return opset < _FIRST_OPSETS.get(op, 0) or (op in _BROADCASTING and "axis" in attributes)


def check_names(proto: onnx.GraphProto, name: str) -> None:
    """Raises FormatError for a name that is not UTF-8; protobuf hands it on as bytes."""
    dims = (d.dim_param for v in (*proto.input, *proto.output) for d in v.type.tensor_type.shape.dim)
    ports = (thing.name for thing in (*proto.input, *proto.output, *proto.initializer))
    check_texts((proto.name, *dims, *ports), proto.node, name)


def check_texts(texts: Iterable[str], nodes: Iterable[onnx.NodeProto], name: str) -> None:
    """As `check_names`, for texts and all names in nodes."""
    inside = (text for n in nodes for text in (n.name, n.op_type, n.domain, *n.input, *n.output, *(a.name for a in n.attribute)))
    for text in (*texts, *inside):
        if not isinstance(text, str):
            raise FormatError(f"model {name!r}: expected names in UTF-8, got {text!r}; export or copy the file again")


def _check_new(tensor: str, known: Collection[str], where: str) -> None:
    if tensor in known:
        raise GraphError(f"{where} {tensor!r}: expected a new name, got one that is defined twice")


def topological_order(nodes: Iterable[Node], known: set[str], name: str) -> list[Node]:
    """The nodes in topological order, which is the file's order if that is valid; all outputs are added to `known`.

    The time is linear in nodes and operands. The order equals that of repeated passes over the list, each of which takes the nodes whose
    inputs are known.
    """
    nodes = list(nodes)
    producers: dict[str, int] = {}
    for place, node in enumerate(nodes):
        for output in filter(None, node.outputs):
            if output in known or output in producers:
                raise GraphError(f"model {name!r}, node {node}: expected a new name, got {output!r}, which is defined twice")
            producers[output] = place
    reads = [{i for i in (*node.inputs, *node.outer()) if i and i not in known} for node in nodes]
    readers: list[list[int]] = [[] for _ in nodes]
    missing = [0] * len(nodes)  # inputs that are not known yet
    for place, names in enumerate(reads):
        missing[place] = len(names)
        for input_name in names:
            if input_name in producers:
                readers[producers[input_name]].append(place)
    rounds = [0] * len(nodes)  # the pass that takes a node
    ready = [place for place, count in enumerate(missing) if not count]
    for place in ready:  # grows
        known.update(filter(None, nodes[place].outputs))
        for reader in readers[place]:
            rounds[reader] = max(rounds[reader], rounds[place] + (reader < place))
            missing[reader] -= 1
            if not missing[reader]:
                ready.append(reader)
    if len(ready) < len(nodes):
        place = next(place for place, count in enumerate(missing) if count)
        node = nodes[place]
        absent = next(i for i in (*node.inputs, *sorted(node.outer())) if i and i not in known)
        if absent in producers:
            raise GraphError(f"model {name!r}, node {node}: expected an acyclic graph, got a cycle through {absent!r}")
        raise GraphError(f"model {name!r}, node {node}: expected its input {absent!r} to be produced by a node, an input or "
                         "an initializer, found none (a dangling input)")
    return [nodes[place] for place in sorted(ready, key=lambda place: (rounds[place], place))]


def _attribute(attribute: onnx.AttributeProto, folders: tuple[Path, ...], where: str) -> Any:
    kind = attribute.type
    if kind == onnx.AttributeProto.TENSOR:
        return read_array(attribute.t, folders, f"{where}, attribute {attribute.name!r}")
    if kind == onnx.AttributeProto.GRAPHS:
        raise UnsupportedError(f"{where}: expected no sub-graphs, got attribute {attribute.name!r}")
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if kind in (onnx.AttributeProto.INTS, onnx.AttributeProto.FLOATS):
        return tuple(value)
    if kind == onnx.AttributeProto.STRINGS:
        return tuple(v.decode("utf-8", "replace") for v in value)
    return value


def _constant(node: onnx.NodeProto, attributes: Mapping[str, Any], name: str) -> Array:
    for attribute, value in attributes.items():
        if attribute == "value":
            return np.asarray(value)
        if attribute in ("value_float", "value_floats"):
            return np.asarray(value, np.float32)
        if attribute in ("value_int", "value_ints"):
            return np.asarray(value, np.int64)
    raise UnsupportedError(f"model {name!r}, Constant {node.output[0]!r}: expected a numeric value, got "
                           f"{[a.name for a in node.attribute]}")
