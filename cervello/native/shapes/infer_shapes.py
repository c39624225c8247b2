"""Propagates shapes, dtypes and constants through a graph with N rows, and folds constants.

This is where shape arithmetic disappears: `Shape → Gather → Concat → Reshape` of a dynamic batch becomes a shape with N in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from cervello.errors import GraphError, UnsupportedError
from cervello.native.fallback import NUMPY, run_numpy, run_reference
from cervello.native.fallback.reference import NEVER
from cervello.native.fallback.table import cast, symbolic
from cervello.native.frontend.control_flow import FLOW, RANDOM
from cervello.native.frontend.folding import MOST_ELEMENTS, found, keep, reserve_work
from cervello.native.frontend.operand_rules import check_operands
from cervello.native.frontend.schema_inference import Inferred, infer_by_schema
from cervello.native.graph.budget import MOST_ROW_BYTES
from cervello.native.graph.dims import NotAffine, Shape, at, parts, product, written
from cervello.native.graph.dtypes import Array
from cervello.native.graph.graph import Graph, Node
from cervello.native.graph.values import Value, known
from cervello.native.shapes.control_flow import dead_segment_end, infer_control_flow, is_dead
from cervello.native.shapes.rules import movement as _moved  # noqa: F401  (registers its rules)
from cervello.native.shapes.rules import resizing as _resized  # noqa: F401  (registers its rules)
from cervello.native.shapes.rules import windows as _windows  # noqa: F401  (registers its rules)
from cervello.native.shapes.rules.basic import RULES, Result, Unknown

_MOST_LISTED = 1 << 26  # elements, with sizes of 0 counted as 1, of values whose axes kernels enumerate
_BY_INDEX_LISTS = frozenset({"Pad", "Resize", "Tile", "Upsample"})  # lowered with index lists as long as their axes
_MOST_AXES = 32  # supported by every version of numpy
_UNBOUNDED = frozenset({"AffineGrid", "BlackmanWindow", "CenterCropPad", "Col2Im", "ConvTranspose", "DFT", "DeformConv", "GridSample",
                      "HammingWindow", "HannWindow", "MaxRoiPool", "MaxUnpool", "MelWeightMatrix", "Resize", "RoiAlign", "STFT",
                      "TfIdfVectorizer", "Upsample"})  # no rule bounds the size of their results
_PARTIAL_RULES = frozenset({"Einsum", "GRU", "LSTM"})  # equations with dots, layout 1


def infer_shapes(graph: Graph, shapes: dict[str, Shape], decomposed: bool = False) -> dict[str, Value]:
    """All values of a graph.

    Args:
      shapes: the shape of every input, with N where the batch is.
      decomposed: see `infer_control_flow`.
    """
    values = initial_values(graph, shapes)
    dead_until = ""  # the input name of the marker that ends a dead segment
    for node in graph.nodes:
        if is_dead(node, dead_until):
            values.update((name, Value(name, None, None)) for name in node.outputs if name)
            continue
        for value in infer_node(node, values, decomposed):
            values[value.name] = value
        dead_until = dead_segment_end(node, values)
    return values


def initial_values(graph: Graph, shapes: Mapping[str, Shape]) -> dict[str, Value]:
    """Constants and inputs by name, with "" for what is absent."""
    values = {"": Value("", None, None), **{name: known(name, data, data.dtype == object) for name, data in graph.constants.items()}}
    return values | {port.name: Value(port.name, shapes[port.name], port.dtype) for port in graph.inputs}


def infer_node(node: Node, values: Mapping[str, Value], decomposed: bool = False) -> list[Value]:
    """Infers a node's results from its inputs; `decomposed`: see `infer_control_flow`."""
    inputs = [values[name] if name else None for name in node.inputs]
    check_operands(node, inputs)
    if node.op in FLOW and not node.domain:
        return infer_control_flow(node, values, decomposed)
    while inputs and inputs[-1] is None:
        inputs.pop()
    reached = any(value is not None and value.from_input for value in inputs) or node.op in RANDOM
    folded = _folded(node, inputs)
    if folded is not None:
        return [known(name, array, reached) for name, array in zip(node.outputs, folded, strict=False) if name]
    found = _shapes(node, inputs)
    for shape, dtype in found:
        if shape is not None and dtype is not None and prod(at(size, 1) for size in shape) * dtype.itemsize > MOST_ROW_BYTES:
            raise GraphError(f"node {node}: expected at most {MOST_ROW_BYTES >> 20} MiB of values for one row, got {written(shape)} "
                             f"{dtype}; are its sizes right?")
        if shape is not None and (0 in shape or node.op in _BY_INDEX_LISTS) and prod(max(at(dim, 1), 1) for dim in shape) > _MOST_LISTED:
            raise GraphError(f"node {node}: expected at most {_MOST_LISTED} elements, sizes of 0 taken as 1, got {written(shape)}")
    if any(node.outputs[len(found):]):
        raise GraphError(f"node {node}: expected at most {len(found)} results, got {list(node.outputs)}")
    return [Value(name, shape, dtype, None, reached) for name, (shape, dtype) in zip(node.outputs, found, strict=False) if name]


def _shapes(node: Node, inputs: list[Value | None]) -> Inferred | Result:
    """Shapes and types of all results; None where they depend on data."""
    ruled = _shapes_by_rule(node, inputs)
    found: Inferred | Result = _shapes_by_schema(node, inputs) if ruled is None else ruled
    for shape, _ in found:
        if shape is not None and len(shape) > _MOST_AXES:
            raise GraphError(f"node {node}: expected at most {_MOST_AXES} axes, got {len(shape)}")
        if shape is not None and any(at(dim, 1) < 0 for dim in shape):
            raise GraphError(f"node {node}: expected sizes of at least 0, got {written(shape)}")
    return found


def _shapes_by_rule(node: Node, inputs: list[Value | None]) -> Result | None:
    """Shapes and types by the op's rule; None when they depend on data."""
    infer_rule = RULES.get(node.op) if node.domain == "" else None
    if infer_rule is None:
        return None
    try:
        found = infer_rule(node, *inputs)
    except (NotAffine, Unknown):
        return None
    except (TypeError, ValueError, IndexError, KeyError, AttributeError, RuntimeError, ZeroDivisionError, OverflowError) as error:
        raise GraphError(f"node {node}: expected operands that fit {node.op}, got {[i.shape if i else None for i in inputs]} "
                         f"({error})") from error
    return found


def _shapes_by_schema(node: Node, inputs: list[Value | None]) -> Inferred:
    """Shapes and types by ONNX's own inference, for ops without a rule.

    Where a rule has given up, they stay unknown: `check_batch_independence` takes known sizes that depend on N for independent rows, and
    onnx's inference reads outside its memory for some nodes that rules refuse (GatherND with negative `batch_dims`).
    """
    if node.op in RULES and node.op not in _PARTIAL_RULES:
        return [(None, None)] * len(node.outputs)
    return infer_by_schema(node, inputs)


def _folded(node: Node, inputs: list[Value | None]) -> list[Array] | None:
    """The folded outputs of a node with constant inputs; None if it cannot be folded."""
    if node.domain or node.op in RANDOM:
        return None
    if node.op == "Shape" and inputs[0] is not None and inputs[0].shape is not None:
        dims = inputs[0].shape[node.attributes.get("start", 0):node.attributes.get("end", None)]
        return [_concrete(np.array(dims, object))]
    if node.op == "Size" and inputs[0] is not None and inputs[0].shape is not None:
        return [_concrete(np.array(product(inputs[0].shape), object))]
    if node.op == "CastLike" and inputs[0] is not None and inputs[0].data is not None and inputs[1] is not None:
        if inputs[1].dtype is None:
            return None
        keep(node, [inputs[0].data], made := [cast(inputs[0].data, inputs[1].dtype)])
        return made
    arrays: list[Array | None] = []
    for value in inputs:
        if value is not None and value.data is None:
            return None
        arrays.append(None if value is None else value.data)
    has_sizes = any(a is not None and a.dtype == object for a in arrays)
    if (before := found(node, arrays)) is not None:
        return before
    count, n_bytes = _count(node, inputs, arrays)
    if node.op == "ConstantOfShape" and (has_sizes or count > 4096):
        return None  # one broadcast element, not an array
    if node.op in ("Expand", "Tile", "Range") and has_sizes:
        return None
    if not reserve_work(node, arrays, count, n_bytes):
        return None
    try:
        if node.op in NUMPY:
            results = [_concrete(a) for a in run_numpy(node, arrays)]
        elif has_sizes:
            return None
        else:
            results = run_reference(node, arrays)
    except NotAffine:
        return None
    except UnsupportedError:
        if node.op in NEVER:
            return None
        raise
    except Exception as error:  # user data must not surface as a bare numpy error
        raise GraphError(f"node {node}: expected constant operands that fit {node.op}, got "
                         f"{[None if a is None else a.shape for a in arrays]} ({error})") from error
    keep(node, arrays, results)
    return results


def _count(node: Node, inputs: list[Value | None], arrays: list[Array | None]) -> tuple[int, int]:
    """New elements and bytes that folding a node allocates; views of its operands count as 0.

    Raises:
      GraphError: more than memory should be spent on; a file of a few hundred bytes can ask for any number.
    """
    rule = _shapes(node, inputs)
    known_shapes = [(shape, dtype) for shape, dtype in rule if shape is not None and dtype is not None]
    sizes = [parts(product(shape))[0] for shape, _ in known_shapes]
    total, given = sum(sizes), sum(a.size for a in arrays if a is not None)
    most = max(MOST_ELEMENTS, given)
    if total > most or (len(known_shapes) < len(rule) and node.op in _UNBOUNDED):
        raise GraphError(f"node {node}: expected a constant of at most {most} elements, got {total or 'any number'}")
    build_forest = 0 if total <= given else sum(size * dtype.itemsize for size, (_, dtype) in zip(sizes, known_shapes, strict=True))
    return total, build_forest


def _concrete(array: Array) -> Array:
    """Converts an object array without N to int64, or to float64 if it holds floats."""
    if array.dtype != object or symbolic(array):
        return array
    items: list[Any] = array.reshape(-1).tolist()
    dtype = np.float64 if any(isinstance(i, float) for i in items) else np.int64
    return array.astype(dtype)
