"""Rewrites GatherND and ScatterND of exported array indexing to ops that keep rows independent.

torch.onnx writes `x[:, order]` as a GatherND along the first axis of a transposed array, `table[i]` as one with tuples of a single index,
`x[arange(N), i]` as one whose tuples begin with the row number, and assignments to such elements as ScatterND. Source: ONNX operator
specification, opset 22.
"""

from __future__ import annotations

import numpy as np

from cervello.native.graph.dims import ROWS, depends_on_rows, product
from cervello.native.graph.dtypes import Array
from cervello.native.passes.graph_builder import GraphBuilder, Results, decomposes

_MOST_ELEMENTS = 1 << 16  # elements of constants that are made
_KEEP_ORDER = ("Identity", "Reshape", "Unsqueeze")  # keep the order of row numbers


@decomposes("GatherND")
def _gather_nd(s: GraphBuilder) -> Results:
    if s.attribute("batch_dims", 0):
        return None
    shape, depth = s.shape(0), _depth(s)
    if depth == 1:
        return s.add("Gather", s.input(0), _squeezed_indices(s), axis=0)
    flat = _flat_indices(s, depth)
    if flat is not None:
        return s.add("Gather", s.reshape(s.input(0), product(shape[:depth]), *shape[depth:]), s.constant(flat), axis=0)
    others = _after_row_number(s)
    if others is None:
        return None
    return s.add("GatherND", s.input(0), s.add("Concat", *others, axis=-1) if len(others) > 1 else others[0], batch_dims=1)


@decomposes("ScatterND")
def _scatter_nd(s: GraphBuilder) -> Results:
    shape, depth = s.shape(0), _depth(s)
    flat = _flat_indices(s, depth)
    if flat is not None and s.attribute("reduction", "none") == "none":
        rest, size = shape[depth:], int(np.prod(np.array(shape[:depth], np.int64)))
        sources = np.arange(size)
        sources[flat.reshape(-1)] = size + np.arange(flat.size)  # the last of several for one place
        both = s.add("Concat", s.reshape(s.input(0), size, *rest), s.reshape(s.input(2), flat.size, *rest), axis=0)
        return s.reshape(s.add("Gather", both, s.constant(sources), axis=0), *shape)
    others = _after_row_number(s)
    if others is None or depth != 2 or len(shape) != 2 or len(s.shape(1)) != 2:
        return None
    updates = s.add("Unsqueeze", s.input(2), s.constant([1]))
    return s.add("ScatterElements", s.input(0), others[0], updates, axis=1, reduction=s.attribute("reduction", "none"))


def _depth(s: GraphBuilder) -> int:
    """The number of indices in a tuple."""
    depth = s.shape(1)[-1]
    assert isinstance(depth, int)
    return depth


def _squeezed_indices(s: GraphBuilder) -> str:
    """Indices of tuples of one, without the axis of the tuples."""
    indices = s.data(1)
    return s.add("Squeeze", s.input(1), s.constant([-1])) if indices is None else s.constant(indices[..., 0])


def _flat_indices(s: GraphBuilder, depth: int) -> Array | None:
    """Flat positions of constant tuples in the first `depth` axes of the data; None if they are unknown or out of range."""
    sizes, indices = s.shape(0)[:depth], s.data(1)
    if indices is None or depends_on_rows(sizes):
        return None
    known = np.array(sizes, np.int64)
    if max(int(np.prod(known.astype(object))), indices.size) > _MOST_ELEMENTS:
        return None
    tuples = np.where(indices < 0, indices + known, indices)
    if np.any(tuples < 0) or np.any(tuples >= known):
        return None
    return np.asarray(tuples @ np.append(np.cumprod(known[:0:-1])[::-1], 1), np.int64)


def _after_row_number(s: GraphBuilder) -> list[str] | None:
    """The parts of the tuples after the row number; None if tuples do not begin with it or the data has no leading batch axis."""
    joined = s.producers.get(s.input(1))
    if joined is None or joined.op != "Concat" or joined.domain or len(joined.inputs) < 2 or s.shape(0)[:1] != (ROWS,):
        return None
    rank = len(s.shape(1))
    if int(joined.attributes.get("axis", 0)) % rank != rank - 1:
        return None
    if s.graph[joined.inputs[0]].shape != (ROWS, *(1,) * (rank - 1)) or not _row_numbers(s, joined.inputs[0]):
        return None
    return list(joined.inputs[1:])


def _row_numbers(s: GraphBuilder, name: str) -> bool:
    """Whether an array of N elements, along its only axis that is not 1, holds 0, 1, …, N - 1."""
    node = s.producers.get(name)
    while node is not None and node.op in _KEEP_ORDER and not node.domain:
        node = s.producers.get(node.inputs[0])
    if node is None or node.op != "Range" or node.domain:
        return False
    return all((data := s.graph[each].data) is not None and data.size == 1 and data.reshape(-1)[0] == number
               for each, number in zip(node.inputs, (0, ROWS, 1), strict=True))
