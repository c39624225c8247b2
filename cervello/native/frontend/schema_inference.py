"""Shapes and types by ONNX's own inference, for ops that have no rule of the project's.

The inference of one node runs on sizes and small constants alone, behind checks that its attributes have their types. Sizes that depend on
N are followed by inferring at several N: a size is taken as affine only when all of them lie on one line.
Source: onnx.shape_inference.infer_node_outputs; ONNX operator schemas.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import shape_inference

from cervello.errors import GraphError
from cervello.native.fallback.reference import as_proto
from cervello.native.fallback.table import symbolic
from cervello.native.graph.dims import Dim, Shape, affine, at, depends_on_rows, written
from cervello.native.graph.graph import Node
from cervello.native.graph.values import Value

Inferred = list[tuple[Shape | None, np.dtype[Any] | None]]
_PROBED_ROWS = (1, 2, 5, 12, 1000, 1_000_003)  # past any bound that a rule might cut sizes at
_MOST_DATA = 1024  # elements of a constant that may hold a shape


def infer_by_schema(node: Node, inputs: Sequence[Value | None]) -> Inferred:
    """Shape and type of every result; None where they depend on data, or where ONNX has no rule.

    Raises:
      GraphError: operands or attributes that do not fit the op.
    """
    nothing: Inferred = [(None, None)] * len(node.outputs)
    if node.domain or node.bodies() or any(value is not None and value.dtype is None for value in inputs):
        return nothing
    try:
        schema = onnx.defs.get_schema(node.op, node.opset)
    except onnx.defs.SchemaError:
        return nothing
    names = [f"i{k}" if value is not None else "" for k, value in enumerate(inputs)]
    proto = as_proto(node, names, [f"o{k}" if name else "" for k, name in enumerate(node.outputs)])
    _check_attributes(node, schema, proto)
    rows_vary = any(value is not None and (depends_on_rows(value.shape or ()) or (value.data is not None and symbolic(value.data)))
               for value in inputs)
    found = [_inferred(node, schema, proto, inputs, n_rows) for n_rows in (_PROBED_ROWS if rows_vary else _PROBED_ROWS[:1])]
    results: Inferred = []
    for each in zip(*found, strict=True):
        dtypes, shapes = {dtype for _, dtype in each}, [shape for shape, _ in each]
        results.append((_affine_shape(shapes), dtypes.pop() if len(dtypes) == 1 else None))
    return results


def _check_attributes(node: Node, schema: onnx.defs.OpSchema, proto: onnx.NodeProto) -> None:
    for attribute in proto.attribute:
        known: Any = schema.attributes.get(attribute.name)
        if known is None or known.type.value != attribute.type:
            kind = onnx.AttributeProto.AttributeType.Name(attribute.type)
            wanted = "no such attribute" if known is None else known.type.name
            raise GraphError(f"node {node}, attribute {attribute.name!r}: expected {wanted}, got {kind}; export the policy again")


def _inferred(node: Node, schema: onnx.defs.OpSchema, proto: onnx.NodeProto, inputs: Sequence[Value | None], n_rows: int,
              ) -> list[tuple[tuple[int, ...] | None, np.dtype[Any] | None]]:
    """Shapes and types for N = n_rows."""
    types, data = {}, {}
    for name, value in zip(proto.input, inputs, strict=True):
        if value is None or value.dtype is None:
            continue
        shape = None if value.shape is None else tuple(at(size, n_rows) for size in value.shape)
        types[name] = onnx.helper.make_tensor_type_proto(onnx.helper.np_dtype_to_tensor_dtype(value.dtype), shape)
        if value.data is not None and value.data.ndim < 2 and value.data.size <= _MOST_DATA:
            array = value.data
            if array.dtype == object:
                array = np.array([at(size, n_rows) for size in array.reshape(-1)], np.int64).reshape(array.shape)
            data[name] = onnx.numpy_helper.from_array(array, name)
    try:
        found = shape_inference.infer_node_outputs(schema, proto, types, data, opset_imports=[onnx.helper.make_opsetid("", node.opset)])
    except (shape_inference.InferenceError, onnx.checker.ValidationError) as error:
        given = [written(value.shape) if value is not None and value.shape is not None else None for value in inputs]
        raise GraphError(f"node {node}: expected operands that fit {node.op}, got {given} ({str(error).strip()})") from error
    return [_read(found.get(name)) for name in proto.output]


def _read(kind: onnx.TypeProto | None) -> tuple[tuple[int, ...] | None, np.dtype[Any] | None]:
    if kind is None or not kind.HasField("tensor_type") or not kind.tensor_type.elem_type:
        return None, None
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.tensor_type.elem_type))
    if dtype.kind == "O":  # strings
        return None, None
    dims = kind.tensor_type.shape.dim
    if not kind.tensor_type.HasField("shape") or any(not dim.HasField("dim_value") for dim in dims):
        return None, dtype
    return tuple(dim.dim_value for dim in dims), dtype


def _affine_shape(shapes: Sequence[tuple[int, ...] | None]) -> Shape | None:
    """One shape that gives all of these, for the N of `_PROBED_ROWS`; None when there is none."""
    first, *others = shapes
    if first is None or any(shape is None or len(shape) != len(first) for shape in others):
        return None
    result: list[Dim] = []
    for sizes in zip(*(shape for shape in shapes if shape is not None), strict=True):
        slope = sizes[1] - sizes[0] if others else 0  # the first two N are 1 and 2
        size = affine(sizes[0] - slope, slope)
        if any(at(size, n_rows) != found for n_rows, found in zip(_PROBED_ROWS, sizes, strict=False)):
            return None
        result.append(size)
    return tuple(result)
