"""ONNX bytes to a `Graph`, checked in Python.

onnx's own checker and shape inference are C++ and can crash the process on a damaged file, so neither is called; declared
shapes of intermediate and output values are not believed either (exporters get them wrong).

Source: ONNX IR specification, ir_version 3 and later; operator sets from 8.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from cervello.errors import FormatError, GraphError, MissingFileError, ModelError, UnsupportedError
from cervello.native.graph import Graph, Node, Port
from cervello.native.signatures import check_signature

OLDEST_OPSET = 1
Source = str | os.PathLike[str] | bytes | bytearray | memoryview | onnx.ModelProto
_CONTROL_FLOW = frozenset({"If", "Loop", "Scan"})
_NO_TENSORS = frozenset({"SequenceEmpty", "SequenceConstruct", "SequenceInsert", "SequenceErase", "SequenceAt", "SequenceLength",
                         "SequenceMap", "SplitToSequence", "ConcatFromSequence", "Optional", "OptionalGetElement", "OptionalHasElement"})
_BROADCASTING = frozenset({"Add", "And", "Div", "Equal", "Greater", "Less", "Mul", "Or", "Pow", "Sub", "Xor"})
_SINCE = {"Cast": 6, "Tile": 6, "Reshape": 5, "Pad": 2, "PRelu": 7, "LSTM": 7, "GRU": 7, "RNN": 7, "Upsample": 7}  # as they are now


def read(source: Source) -> Graph:
    """Reads a policy file.

    Args:
      source: a path, the bytes of a file, or a ModelProto.
    Raises:
      GraphError: dangling or doubled names, a cycle, operands that are missing.
      UnsupportedError: an opset or construct Cervello does not run.
      MissingFileError: no such file.
      FormatError: a file that cannot be read (a folder, say), is empty, truncated or not ONNX.
    """
    folder: Path | None = None
    if isinstance(source, onnx.ModelProto):
        model, name = source, source.graph.name or "model"
    else:
        if isinstance(source, (bytes, bytearray, memoryview)):
            data, name = bytes(source), "model"
        elif not isinstance(source, (str, os.PathLike)):
            raise FormatError(f"model: expected a path, the bytes of a file or a ModelProto, got {type(source).__name__}")
        else:
            path = Path(source)
            data, name, folder = _bytes(path), path.stem, path.resolve().parent
        model = _parse(data, name)
    return _graph(model, name, folder)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        hint = "" if path.is_absolute() else f"; the working folder is {str(Path.cwd())!r}"
        raise MissingFileError(f"model {str(path)!r}: expected a file, found none{hint}") from error
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise FormatError(f"model {str(path)!r}: expected a file that can be read, got {error}") from error


def _parse(data: bytes, name: str) -> onnx.ModelProto:
    if not data:
        raise FormatError(f"model {name!r}: expected an ONNX file, got 0 bytes; export it again")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, ValueError) as error:
        raise FormatError(
            f"model {name!r}: expected an ONNX file, got {len(data)} bytes that are truncated or not ONNX ({error}); "
            "export or copy it again") from error
    if not model.HasField("graph") or not model.opset_import:
        raise FormatError(f"model {name!r}: expected a graph and an opset, got {len(data)} bytes without; is it an ONNX file?")
    return model


def _graph(model: onnx.ModelProto, name: str, folder: Path | None) -> Graph:
    proto = model.graph
    _check_names(proto, name)
    opsets = {("" if entry.domain == "ai.onnx" else entry.domain): entry.version for entry in model.opset_import}
    opset = opsets.get("", 0)
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST_OPSET <= opset <= newest:
        raise UnsupportedError(
            f"model {name!r}: expected opset {OLDEST_OPSET} to {newest}, got {opset}; export it with another opset")
    constants: dict[str, np.ndarray[Any, Any]] = {}
    for tensor in proto.initializer:
        _check_new(tensor.name, constants, f"model {name!r}, initializer")
        constants[tensor.name] = _array(tensor, folder, f"model {name!r}, initializer {tensor.name!r}")
    if proto.sparse_initializer:
        raise UnsupportedError(f"model {name!r}: expected dense initializers, got sparse ones; export it dense")
    nodes: list[Node] = []
    declared = {value.name for value in proto.input}
    for index, node in enumerate(proto.node):
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
            if not any(node.output):
                raise GraphError(f"model {name!r}, Constant {node.name!r}: expected a result, got none")
            _check_new(node.output[0], constants, f"model {name!r}, Constant")
            _check_new(node.output[0], declared, f"model {name!r}, Constant")
            constants[node.output[0]] = _constant(node, folder, name)
            continue
        domain = "" if node.domain == "ai.onnx" else node.domain
        if node.op_type in _CONTROL_FLOW and not domain:
            raise UnsupportedError(f"model {name!r}, node {node.op_type} {node.name!r}: expected no control flow, got "
                                   f"{node.op_type}; export the policy without branches or loops")
        if node.op_type in _NO_TENSORS and not domain:
            raise UnsupportedError(f"model {name!r}, node {node.op_type} {node.name!r}: expected ops on tensors, got one on sequences or "
                                   "optional values; export the policy without")
        attributes = {a.name: _attribute(a, folder, f"model {name!r}, node {node.name!r}") for a in node.attribute}
        if opset < 7 and not domain and _meant_otherwise(node.op_type, opset, attributes):
            raise UnsupportedError(f"model {name!r}, node {node.op_type} {node.name!r}: expected opset 7 or later, got {opset}; "
                                   "export it with another opset")
        nodes.append(Node(node.op_type, tuple(node.input), tuple(node.output), attributes, node.name, domain,
                          opsets.get(domain, opset), index))
        check_signature(f"model {name!r}", nodes[-1])
    inputs = tuple(_port(v) for v in proto.input if v.name not in constants)
    names = [port.name for port in inputs]
    for input_name in names:
        if names.count(input_name) > 1:
            raise GraphError(f"model {name!r}, input {input_name!r}: expected a new name, got one that is defined twice")
    seen: dict[str, Port] = {}
    for value in proto.output:  # a file may name an output twice
        seen.setdefault(value.name, _port(value))
    if not seen:
        raise GraphError(f"model {name!r}: expected at least one output, got none")
    known = set(constants) | {port.name for port in inputs}
    ordered = _ordered(nodes, known, name)
    for output in seen:
        if output not in known:
            raise GraphError(f"model {name!r}, output {output!r}: expected a node that produces it, found none "
                             "(a dangling output); remove it from the graph's outputs or export the policy again")
    return Graph(name, inputs, tuple(seen.values()), tuple(ordered), constants, opset, model.producer_name,
                 {entry.key: entry.value for entry in model.metadata_props})


def _meant_otherwise(op: str, opset: int, attributes: Mapping[str, Any]) -> bool:
    """Whether an op of an opset before 7 is not what it is now: broadcasting from an axis on, statistics of training."""
    if op == "BatchNormalization":
        return not attributes.get("is_test", 0) or not attributes.get("spatial", 1)
    return opset < _SINCE.get(op, 0) or (op in _BROADCASTING and "axis" in attributes)


def _check_names(proto: onnx.GraphProto, name: str) -> None:
    """Raises FormatError for a name that is not UTF-8; protobuf hands it on as bytes."""
    dims = (d.dim_param for v in (*proto.input, *proto.output) for d in v.type.tensor_type.shape.dim)
    ports = (thing.name for thing in (*proto.input, *proto.output, *proto.initializer))
    nodes = (text for n in proto.node for text in (n.name, n.op_type, n.domain, *n.input, *n.output, *(a.name for a in n.attribute)))
    for text in (proto.name, *dims, *ports, *nodes):
        if not isinstance(text, str):
            raise FormatError(f"model {name!r}: expected names in UTF-8, got {text!r}; export or copy the file again")


def _check_new(tensor: str, known: Collection[str], where: str) -> None:
    if tensor in known:
        raise GraphError(f"{where} {tensor!r}: expected a new name, got one that is defined twice")


def _ordered(nodes: Iterable[Node], known: set[str], name: str) -> list[Node]:
    """Nodes in an order in which every input is known before it is read; `known` grows by all outputs."""
    waiting, ordered = list(nodes), []
    while waiting:
        later = []
        for node in waiting:
            if all(not i or i in known for i in node.inputs):
                for output in node.outputs:
                    if output and output in known:
                        raise GraphError(f"model {name!r}, node {node}: expected a new name, got {output!r}, which is defined twice")
                    known.add(output)
                ordered.append(node)
            else:
                later.append(node)
        if len(later) == len(waiting):
            node = later[0]
            produced = {output for n in later for output in n.outputs}
            missing = next(i for i in node.inputs if i and i not in known)
            if missing in produced:
                raise GraphError(f"model {name!r}, node {node}: expected an acyclic graph, got a cycle through {missing!r}")
            raise GraphError(f"model {name!r}, node {node}: expected its input {missing!r} to be produced by a node, an input or "
                             "an initializer, found none (a dangling input)")
        waiting = later
    known.discard("")
    return ordered


def _port(value: onnx.ValueInfoProto) -> Port:
    kind = value.type.tensor_type
    dtype = None
    if kind.elem_type:
        try:
            dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
        except (KeyError, TypeError) as error:
            raise UnsupportedError(f"value {value.name!r}: expected a known element type, got {kind.elem_type}") from error
        if dtype.kind == "O":
            raise UnsupportedError(f"value {value.name!r}: expected numbers, got strings")
    if not kind.HasField("shape"):
        return Port(value.name, dtype, None)
    shape = tuple(d.dim_value if d.HasField("dim_value") and d.dim_value >= 0 else (d.dim_param or None) for d in kind.shape.dim)
    return Port(value.name, dtype, shape)


def _attribute(attribute: onnx.AttributeProto, folder: Path | None, where: str) -> Any:
    kind = attribute.type
    if kind == onnx.AttributeProto.TENSOR:
        return _array(attribute.t, folder, f"{where}, attribute {attribute.name!r}")
    if kind in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS):
        raise UnsupportedError(f"{where}: expected no sub-graphs, got attribute {attribute.name!r}")
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if kind in (onnx.AttributeProto.INTS, onnx.AttributeProto.FLOATS):
        return tuple(value)
    if kind == onnx.AttributeProto.STRINGS:
        return tuple(v.decode("utf-8", "replace") for v in value)
    return value


def _constant(node: onnx.NodeProto, folder: Path | None, name: str) -> np.ndarray[Any, Any]:
    for attribute in node.attribute:
        value = _attribute(attribute, folder, f"model {name!r}, Constant {node.output[0]!r}")
        if attribute.name == "value":
            return np.asarray(value)
        if attribute.name in ("value_float", "value_floats"):
            return np.asarray(value, np.float32)
        if attribute.name in ("value_int", "value_ints"):
            return np.asarray(value, np.int64)
    raise UnsupportedError(f"model {name!r}, Constant {node.output[0]!r}: expected a numeric value, got "
                           f"{[a.name for a in node.attribute]}")


def _array(tensor: onnx.TensorProto, folder: Path | None, where: str) -> np.ndarray[Any, Any]:
    try:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            return _external(tensor, folder, where)
        array = np.asarray(numpy_helper.to_array(tensor))
        if array.dtype.kind == "O":
            raise UnsupportedError(f"{where}: expected numbers, got strings")
        return array
    except ModelError:
        raise
    except Exception as error:  # numpy_helper raises whatever its inputs provoke
        raise FormatError(f"{where}: expected {list(tensor.dims)} elements of type {tensor.data_type}, got unreadable data "
                          f"({error})") from error


def _external(tensor: onnx.TensorProto, folder: Path | None, where: str) -> np.ndarray[Any, Any]:
    """Reads weights kept beside the model: never outside the model's own folder."""
    facts = {entry.key: entry.value for entry in tensor.external_data}
    location = facts.get("location", "")
    if folder is None:
        raise FormatError(f"{where}: expected its data in the model, got external file {location!r}; load the model by path")
    path = (folder / location).resolve()
    if not location or Path(location).is_absolute() or not path.is_relative_to(folder) or not path.is_file():
        raise FormatError(f"{where}: expected a file inside the model's folder, got {location!r}")
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
    count = 1
    for dim in tensor.dims:
        count *= dim
    offset, n_bytes = int(facts.get("offset", 0)), count * dtype.itemsize
    available = path.stat().st_size
    if offset < 0 or count < 0 or offset + n_bytes > available or int(facts.get("length", n_bytes)) != n_bytes:
        raise FormatError(f"{where}: expected {n_bytes} bytes at {offset} of {location!r}, got a file of {available} bytes")
    return np.fromfile(path, dtype, count, offset=offset).reshape(tuple(tensor.dims))
