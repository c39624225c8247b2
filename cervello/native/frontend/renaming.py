"""Other names for the inputs and computed tensors of a graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from cervello.errors import ConfigurationError
from cervello.native.graph.graph import CALL, Body, Graph, Node

_NAMES_SHOWN = 8


def renamed(graph: Graph, names: Mapping[str, str] | None) -> Graph:
    """The graph with other names.

    Args:
      names: new names of inputs and computed tensors, by the file's names.
    Raises:
      ConfigurationError: not a mapping of strings, an unknown name, or a new name that is already used.
    """
    where = f"model {graph.name!r}, rename"
    if names is None:
        return graph
    if not isinstance(names, Mapping) or any(not isinstance(each, str) or not each for pair in names.items() for each in pair):
        raise ConfigurationError(f"{where}: expected new names by the file's names, got {names!r}")
    known = dict.fromkeys([*(port.name for port in (*graph.outputs, *graph.inputs)),
                           *(name for node in graph.nodes for name in node.outputs if name)])
    for old in names:
        if old not in known or old in graph.constants:
            shown = ", ".join(map(repr, list(known)[:_NAMES_SHOWN]))
            raise ConfigurationError(f"{where} {old!r}: expected an input or a computed tensor (such as {shown}), got another name")
    taken = ({*known, *graph.constants} - {*names}) | _inner(graph.nodes)
    for old, new in names.items():
        if new in taken:
            raise ConfigurationError(f"{where} {old!r}: expected a name that no other tensor of the file has, got {new!r}")
        taken.add(new)
    return replace(graph, inputs=tuple(replace(port, name=names.get(port.name, port.name)) for port in graph.inputs),
                   outputs=tuple(replace(port, name=names.get(port.name, port.name)) for port in graph.outputs),
                   nodes=_nodes(graph.nodes, names))


def _inner(nodes: tuple[Node, ...]) -> set[str]:
    """The names that are defined inside nodes."""
    return {name for node in nodes for body in node.bodies().values() for name in body.own() | _inner(body.nodes)}


def _nodes(nodes: tuple[Node, ...], names: Mapping[str, str]) -> tuple[Node, ...]:
    def of(each: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(names.get(name, name) for name in each)

    def inside(key: str, value: object) -> object:
        if not isinstance(value, Body) or key == CALL:  # a function reads its inputs alone
            return value
        own = value.own()
        left = {old: new for old, new in names.items() if old not in own}
        return replace(value, outputs=tuple(left.get(name, name) for name in value.outputs), nodes=_nodes(value.nodes, left))

    return tuple(replace(node, inputs=of(node.inputs), outputs=of(node.outputs),
                         attributes={key: inside(key, value) for key, value in node.attributes.items()} if node.bodies() else
                         node.attributes) for node in nodes)
