"""Reads ONNX bytes to a `Graph`, with checks in Python.

onnx's own checker and shape inference are C++ and can crash the process on a damaged file, so neither is called; declared
shapes of intermediate and output values are ignored (exporters write wrong ones).

Source: ONNX IR specification, ir_version 3 and later; operator sets from 1.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from cervello.errors import CervelloError, FormatError, GraphError, MissingFileError, UnsupportedError
from cervello.native.frontend import crvo
from cervello.native.frontend.control_flow import flattened
from cervello.native.frontend.node_reader import NodeReader, check_names, topological_order
from cervello.native.frontend.tensor_data import data_folders
from cervello.native.graph.graph import Graph, Port

OLDEST_OPSET = 1
Source = str | os.PathLike[str] | bytes | bytearray | memoryview | onnx.ModelProto


def read(source: Source) -> Graph:
    """Reads a policy file.

    Args:
      source: a path, the bytes of a file, ONNX or a container of cervo with it, or a ModelProto.
    Raises:
      GraphError: dangling or doubled names, a cycle, operands that are missing.
      UnsupportedError: an opset or construct Cervello does not run.
      MissingFileError: no such file, or no file of external data beside it.
      FormatError: a file that cannot be read (a folder, say), is empty, truncated or not ONNX.
    """
    folders: tuple[Path, ...] = ()
    if isinstance(source, onnx.ModelProto):
        model, name = source, source.graph.name or "model"
    else:
        if isinstance(source, (bytes, bytearray, memoryview)):
            data, name = bytes(source), "model"
        elif not isinstance(source, (str, os.PathLike)):
            raise FormatError(f"model: expected a path, the bytes of a file or a ModelProto, got {type(source).__name__}")
        else:
            path = Path(source)
            data, name, folders = read_bytes(path), path.stem, data_folders(path)
        model = _parse(crvo.unpacked(name, data) if crvo.is_crvo(data) else data, name)
    try:
        return _graph(model, name, folders)
    except CervelloError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        # Attributes of another type than their op's, say: a file may contradict itself in more ways than are looked for.
        raise GraphError(f"model {name!r}: expected a graph without contradictions, got one that fails with "
                         f"{type(error).__name__}: {error}; export the policy again") from error


def read_bytes(path: Path) -> bytes:
    """The bytes of a policy's file.

    Raises:
      MissingFileError, FormatError: no file, or one that cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        hint = "" if path.is_absolute() else f", the working folder is {str(Path.cwd())!r}"
        raise MissingFileError(f"model {str(path)!r}: expected a file, found none; check the path{hint}") from error
    except IsADirectoryError as error:
        raise FormatError(f"model {str(path)!r}: expected a file, got a folder; name a file in it") from error
    except PermissionError as error:
        raise FormatError(f"model {str(path)!r}: expected a file that can be read, got permission denied; check its permissions") from error
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise FormatError(f"model {str(path)!r}: expected a file that can be read, got {error}; check the path") from error
    if path.suffix.lower() == ".toml":
        raise FormatError(f"model {str(path)!r}: expected an ONNX file, got a description; name {str(path.with_suffix('.onnx'))!r}")
    return data


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


def _graph(model: onnx.ModelProto, name: str, folders: tuple[Path, ...]) -> Graph:
    proto = model.graph
    check_names(proto, name)
    opsets = {("" if entry.domain == "ai.onnx" else entry.domain): entry.version for entry in model.opset_import}
    newest = onnx.defs.onnx_opset_version()
    custom_only = "" not in opsets and not any(node.domain in ("", "ai.onnx") for node in proto.node)  # nothing of ONNX's own domain
    opset = newest if custom_only else opsets.get("", 0)
    if not OLDEST_OPSET <= opset <= newest:
        raise UnsupportedError(
            f"model {name!r}: expected opset {OLDEST_OPSET} to {newest}, got {opset}; export it with another opset")
    reader = NodeReader(model, name, folders, opset)
    nodes, constants = reader.nodes(proto.node, opsets, proto.initializer, {value.name for value in proto.input})
    if proto.sparse_initializer:
        raise UnsupportedError(f"model {name!r}: expected dense initializers, got sparse ones; export it dense")
    inputs = tuple(_port(v) for v in proto.input if v.name not in constants)
    known = set(constants)
    for port in inputs:
        if port.name in known:
            raise GraphError(f"model {name!r}, input {port.name!r}: expected a new name, got one that is defined twice")
        known.add(port.name)
    seen: dict[str, Port] = {}
    for value in proto.output:  # a file may name an output twice
        seen.setdefault(value.name, _port(value))
    if not seen:
        raise GraphError(f"model {name!r}: expected at least one output, got none")
    in_order = topological_order(nodes, known, name)
    for output in seen:
        if output not in known:
            raise GraphError(f"model {name!r}, output {output!r}: expected a node that produces it, found none "
                             "(a dangling output); remove it from the graph's outputs or export the policy again")
    return flattened(Graph(name, inputs, tuple(seen.values()), tuple(in_order), constants, opset, model.producer_name,
                           {entry.key: entry.value for entry in model.metadata_props}))


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


