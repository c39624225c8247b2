"""GatherND and ScatterND as exporters of indexed arrays write them, in ops that say which rows they take.

torch.onnx writes `x[:, order]` as a GatherND along the first axis of a transposed array, `table[i]` as one with tuples of a single index,
`x[arange(N), i]` as one whose tuples begin with the number of the row, and assignments to such places as ScatterND. Source: ONNX operator
specification, opset 22.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cervello.native.graph.dims import ROWS, Affine, Dim, product
from cervello.native.graph.values import Value
from cervello.native.passes.graph_builder import GraphBuilder, decomposes

Array = np.ndarray[Any, Any]
_I64 = np.dtype(np.int64)
_MOST_PLACES = 1 << 16  # that constants say anew
_PLACED = ("Identity", "Reshape", "Unsqueeze")  # leave the numbers of rows in their order


@decomposes("GatherND")
def _gather_nd(s: GraphBuilder) -> bool:
    found = _operands(s)
    if found is None or s.attribute("batch_dims", 0):
        return False
    data, indices, depth = found
    if depth == 1:
        s.set_outputs(s.add("Gather", s.input(0), _without_tuples(s), axis=0))
        return True
    flat = _flat_places(data, indices, depth)
    if flat is not None:
        rest = (data.shape or ())[depth:]
        s.set_outputs(s.add("Gather", s.reshape(s.input(0), product((data.shape or ())[:depth]), *rest), s.constant(flat), axis=0))
        return True
    others = _behind_rows(s, data)
    if others is None:
        return False
    s.set_outputs(s.add("GatherND", s.input(0), s.add("Concat", *others, axis=-1) if len(others) > 1 else others[0], batch_dims=1))
    return True


@decomposes("ScatterND")
def _scatter_nd(s: GraphBuilder) -> bool:
    found = _operands(s)
    if found is None:
        return False
    data, indices, depth = found
    shape = data.shape or ()
    flat = _flat_places(data, indices, depth)
    if flat is not None and s.attribute("reduction", "none") == "none":
        rest, size = shape[depth:], int(np.prod(np.array(shape[:depth], np.int64)))
        sources = np.arange(size)
        sources[flat.reshape(-1)] = size + np.arange(flat.size)  # the last of several for one place
        both = s.add("Concat", s.reshape(s.input(0), size, *rest), s.reshape(s.input(2), flat.size, *rest), axis=0)
        s.set_outputs(s.reshape(s.add("Gather", both, s.constant(sources), axis=0), *shape))
        return True
    others = _behind_rows(s, data)
    if others is None or depth != 2 or len(shape) != 2 or len(indices.shape or ()) != 2:
        return False
    updates = s.add("Unsqueeze", s.input(2), s.constant([1]))
    s.set_outputs(s.add("ScatterElements", s.input(0), others[0], updates, axis=1, reduction=s.attribute("reduction", "none")))
    return True


def _operands(s: GraphBuilder) -> tuple[Value, Value, int] | None:
    """Data, indices and how many of them a tuple has, where shapes are known."""
    data, indices = s.value(0), s.value(1)
    if data is None or indices is None or data.shape is None or not indices.shape or indices.dtype != _I64:
        return None
    depth = indices.shape[-1]
    return (data, indices, depth) if isinstance(depth, int) and 0 < depth <= len(data.shape) else None


def _without_tuples(s: GraphBuilder) -> str:
    """Indices of tuples of one, without the axis of the tuples."""
    indices = s.value(1)
    assert indices is not None
    if indices.constant is not None:
        return s.constant(indices.constant[..., 0])
    return str(s.add("Squeeze", s.input(1), s.constant([-1])))


def _flat_places(data: Value, indices: Value, depth: int) -> Array | None:
    """Where constant tuples lie in the first axes of the data taken as one; None where it is not known, or outside."""
    sizes = (data.shape or ())[:depth]
    if indices.constant is None or any(isinstance(size, Affine) for size in sizes):
        return None
    known = np.array(sizes, np.int64)
    if max(int(np.prod(known.astype(object))), indices.constant.size) > _MOST_PLACES:
        return None
    tuples = np.where(indices.constant < 0, indices.constant + known, indices.constant)
    if np.any(tuples < 0) or np.any(tuples >= known):
        return None
    return np.asarray(tuples @ np.append(np.cumprod(known[:0:-1])[::-1], 1), np.int64)


def _behind_rows(s: GraphBuilder, data: Value) -> list[str] | None:
    """What the tuples hold behind the number of the row, where they begin with it and the data has rows in front."""
    joined = s.producers.get(s.input(1))
    if joined is None or joined.op != "Concat" or joined.domain or len(joined.inputs) < 2 or (data.shape or ())[:1] != (ROWS,):
        return None
    rank = len((s.graph[s.input(1)]).shape or ())
    if int(joined.attributes.get("axis", 0)) % rank != rank - 1:
        return None
    first = s.graph[joined.inputs[0]].shape
    if first is None or first != (ROWS, *(1,) * (rank - 1)) or not _row_numbers(s, joined.inputs[0]):
        return None
    return list(joined.inputs[1:])


def _row_numbers(s: GraphBuilder, name: str) -> bool:
    """Whether an array of N elements, along its only axis that is not 1, holds 0, 1, …, N - 1."""
    node = s.producers.get(name)
    while node is not None and node.op in _PLACED and not node.domain:
        node = s.producers.get(node.inputs[0])
    if node is None or node.op != "Range" or node.domain:
        return False
    start, limit, step = (s.graph[each].data for each in node.inputs)
    return (start is not None and limit is not None and step is not None and not _same(start, ROWS) and _same(start, 0)
            and _same(step, 1) and _same(limit, ROWS))


def _same(data: Array, number: Dim) -> bool:
    return bool(data.size == 1 and data.reshape(-1)[0] == number)
