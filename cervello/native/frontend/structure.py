"""A hash of a graph without its weights and inner names; snapshots use it to match an agent's state with a policy."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from cervello.native.graph.dtypes import Array
from cervello.native.graph.graph import Body, Graph, Node

Numbers = dict[str, int]  # of values, in order of first use
Constants = Mapping[str, Array]


def structure_hash(graph: Graph) -> str:
    """A hash of a graph: operations with their attributes and how they are connected, inputs and outputs with names, types and sizes,
    constants by type and shape. Equal for files that differ in weights, in names of nodes and values inside, or in their own name.

    Returns:
      32 hexadecimal digits.
    """
    numbers: Numbers = {}
    digest = hashlib.sha256()
    for port in graph.inputs:
        sizes = None if port.shape is None else tuple(size if isinstance(size, int) else None for size in port.shape)
        digest.update(repr((port.name, str(port.dtype), sizes, _number(port.name, numbers))).encode())
    for text in _nodes(graph.nodes, graph.constants, numbers):
        digest.update(text.encode())
    digest.update(repr([(port.name, _value(port.name, graph.constants, numbers)) for port in graph.outputs]).encode())
    return digest.hexdigest()[:32]


def _number(name: str, numbers: Numbers) -> int:
    return numbers.setdefault(name, len(numbers))


def _value(name: str, constants: Constants, numbers: Numbers) -> Any:
    """The value behind a name: None, the number, type and shape of a constant at its first use, or a number."""
    if name and name not in numbers and name in constants:
        return _number(name, numbers), *_kind(constants[name])
    return _number(name, numbers) if name else None


def _kind(array: Array) -> tuple[str, tuple[int, ...]]:
    return str(array.dtype), array.shape


def _nodes(nodes: Iterable[Node], constants: Constants, numbers: Numbers) -> Iterator[str]:
    for node in nodes:
        read = [_value(name, constants, numbers) for name in node.inputs]
        known = {key: _counted(value) if node.domain == "ai.onnx.ml" else value for key, value in node.attributes.items()}
        attributes = [(key, _attribute(known[key], constants, numbers)) for key in sorted(known)]
        written = [_number(name, numbers) if name else None for name in node.outputs]
        yield repr((node.op, node.domain, node.opset, read, attributes, written))


def _counted(value: Any) -> Any:
    """The length of a list of floats: in the domain ai.onnx.ml weights are attributes."""
    return ("floats", len(value)) if isinstance(value, (list, tuple)) and any(isinstance(each, float) for each in value) else value


def _attribute(value: Any, constants: Constants, numbers: Numbers) -> Any:
    if isinstance(value, Body):
        own = {name: number for name, number in numbers.items() if name not in value.own()}  # what it defines is not what is around it
        inside = {**constants, **value.constants}
        inputs = [_number(name, own) for name in value.inputs]
        nodes = list(_nodes(value.nodes, inside, own))
        return inputs, nodes, [_value(name, inside, own) for name in value.outputs]
    if isinstance(value, np.ndarray):
        return _kind(value)
    if isinstance(value, (list, tuple)):
        return [_attribute(each, constants, numbers) for each in value]
    return value
