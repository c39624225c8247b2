"""Checks the operands, results and attributes of nodes against ONNX's schemas."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import onnx

from cervello.errors import GraphError
from cervello.native.graph.graph import CALL, Body, Node

_Option = onnx.defs.OpSchema.FormalParameterOption
_Kind = onnx.defs.OpSchema.AttrType


@dataclass(frozen=True, slots=True)
class Signature:
    """The signature of one version of an op.

    Attributes:
      names, required, letters: of each formal operand; operands with the same type letter share an element type.
      types: element types in ONNX's notation, by letter, or by the type itself if it is fixed.
      variadic: whether the last operand is variadic; homogeneous: whether variadic operands share one type.
      attributes: kind and whether required, by name.
    """

    max_inputs: int
    max_outputs: int
    min_inputs: int
    names: tuple[str, ...]
    required: tuple[bool, ...]
    letters: tuple[str, ...]
    types: Mapping[str, frozenset[str]]
    variadic: bool
    homogeneous: bool
    attributes: Mapping[str, tuple[Any, bool]]

    def formal_index(self, index: int) -> int | None:
        """The formal operand for an actual one; None if there are too many."""
        last = len(self.names) - 1
        return index if index <= last else last if self.variadic else None


def _schema(op: str, opset: int, domain: str) -> onnx.defs.OpSchema | None:
    try:
        return onnx.defs.get_schema(op, opset, domain)
    except onnx.defs.SchemaError:
        return None


@lru_cache(maxsize=2048)
def signature(op: str, opset: int, domain: str) -> Signature | None:
    """The signature of an op in an opset, else in the newest one; None if ONNX does not define the op."""
    schema = _schema(op, opset, domain) or _schema(op, onnx.defs.onnx_opset_version(), domain)
    if schema is None:
        return None
    types = {one.type_param_str: frozenset(one.allowed_type_strs) for one in schema.type_constraints}
    letters = tuple(formal.type_str for formal in schema.inputs)
    last = schema.inputs[-1] if schema.inputs else None
    return Signature(
        schema.max_input, schema.max_output, schema.min_input, tuple(formal.name for formal in schema.inputs),
        tuple(formal.option != _Option.Optional for formal in schema.inputs), letters,
        {letter: types.get(letter, frozenset((letter,))) for letter in letters},
        last is not None and last.option == _Option.Variadic, last is None or last.is_homogeneous,
        {name: (attribute.type, attribute.required) for name, attribute in schema.attributes.items()})


def check_signature(where: str, node: Node) -> None:
    """Checks a node against its ONNX schema. Ops without a schema and calls of the file's functions are checked elsewhere.

    Raises:
      GraphError: a required operand or attribute is missing, an attribute is of another kind or unknown, or there are too many operands
        or results.
    """
    found = signature(node.op, node.opset, node.domain)
    if found is None or CALL in node.attributes:
        return
    place = f"{where}, node {node}"
    if len(node.inputs) > found.max_inputs or len(node.outputs) > found.max_outputs:
        raise GraphError(f"{place}: expected at most {found.max_inputs} operands and {found.max_outputs} results, got "
                         f"{len(node.inputs)} and {len(node.outputs)}")
    for index in range(max(found.min_inputs, len(node.inputs))):
        formal = min(index, len(found.names) - 1)
        if found.required[formal] and (index >= len(node.inputs) or not node.inputs[index]):
            raise GraphError(f"{place}: expected operand {index} ({found.names[formal]}), got none; export the policy again")
    for name, (kind, required) in found.attributes.items():
        if required and name not in node.attributes and kind != _Kind.GRAPH:  # bodies are checked when they are flattened
            raise GraphError(f"{place}: expected attribute {name!r}, got none; export the policy again")
    for name, value in node.attributes.items():
        if name not in found.attributes:
            raise GraphError(f"{place}: expected attributes among {sorted(found.attributes)}, got {name!r}; is its opset right?")
        kind, _ = found.attributes[name]
        if kind in _KINDS and not _KINDS[kind](value):
            raise GraphError(f"{place}: expected attribute {name!r} of kind {kind.name}, got {_written(value)}; export the policy again")


def _each(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, tuple) and all(isinstance(one, kind) for one in value)


_KINDS: dict[Any, Callable[[Any], bool]] = {
    _Kind.INT: lambda value: isinstance(value, int), _Kind.FLOAT: lambda value: isinstance(value, float),
    _Kind.STRING: lambda value: isinstance(value, str), _Kind.INTS: _each(int), _Kind.FLOATS: _each(float), _Kind.STRINGS: _each(str),
    _Kind.TENSOR: lambda value: isinstance(value, np.ndarray), _Kind.GRAPH: lambda value: isinstance(value, Body)}


def _written(value: Any) -> str:
    return type(value).__name__ if isinstance(value, (np.ndarray, Body)) else repr(value)
