"""Products of rows with a stack of weight matrices (one per agent or ensemble member) or with a shared vector; Gemm with its weights on the
left.
"""

from __future__ import annotations

import numpy as np

from cervello.native.graph.dims import Affine, Shape, depends_on_rows
from cervello.native.graph.dtypes import F32, Array
from cervello.native.passes.graph_builder import GraphBuilder, Results, decomposes

_MOST = 256  # matrices of a stack; each becomes a separate product


@decomposes("MatMul")
def _matmul(s: GraphBuilder) -> Results:
    a, b, matrices, value = s.shape(0), s.shape(1), s.data(1), s.value(1)
    if s.dtype(0) != F32 or s.dtype(1) != F32 or len(a) < 2:
        return None
    if len(b) == 1 and matrices is None and isinstance(a[-2], Affine) and value is not None and value.from_input:
        return s.add("ReduceSum", s.add("Mul", s.input(0), s.input(1)), s.constant([-1]), keepdims=0)
    if matrices is None or len(b) < 3 or isinstance(a[-1], Affine):
        return None
    if not isinstance(a[-2], Affine) or depends_on_rows(a[:-2]):
        return _single_rows(s, a, matrices)
    found = _product_per_matrix(s, s.input(0), a, matrices)
    return None if found is None else s.reshape(found[0], *found[1], a[-2], b[-1])


def _single_rows(s: GraphBuilder, a: Shape, matrices: Array) -> Results:
    """[N, stack…, 1, K] with [stack…, K, width]: the rows of the batch go through each matrix together."""
    stack_sizes, count, k = matrices.shape[:-2], int(np.prod(matrices.shape[:-2])), a[-1]
    if not isinstance(a[0], Affine) or a[1:-1] != (*stack_sizes, 1):
        return None
    stack_first = s.transpose(s.reshape(s.input(0), a[0], count, k), 1, 0, 2)
    found = _product_per_matrix(s, stack_first, (count, a[0], k), matrices.reshape(count, *matrices.shape[-2:]))
    return None if found is None else s.reshape(s.transpose(found[0], 1, 0, 2), a[0], *stack_sizes, 1, matrices.shape[-1])


def _product_per_matrix(s: GraphBuilder, a: str, shape: Shape, weights: Array) -> tuple[str, tuple[int, ...]] | None:
    """Products [stack, rows, width] of `a` [stack…, rows, K] with each matrix, and the sizes of the stack; None where they are too many."""
    sizes = tuple(int(size) for size in shape[:-2] if not isinstance(size, Affine))
    try:
        stack_sizes = np.broadcast_shapes(sizes, weights.shape[:-2])
    except ValueError:
        return None  # the shape rule of MatMul raises the error
    if not 0 < int(np.prod(stack_sizes)) <= _MOST:
        return None
    own = np.broadcast_to(np.arange(int(np.prod(sizes))).reshape(sizes), stack_sizes).reshape(-1)
    matrices = np.broadcast_to(weights, (*stack_sizes, *weights.shape[-2:])).reshape(-1, *weights.shape[-2:])
    flat = s.reshape(a, int(np.prod(sizes)), *shape[-2:])
    parts = []
    for place, matrix in zip(own.tolist(), matrices, strict=True):
        row = s.add("Gather", flat, s.constant(place), axis=0)
        parts.append(s.add("Unsqueeze", s.add("MatMul", row, s.constant(matrix, F32)), s.constant([0])))
    return (s.add("Concat", *parts, axis=0) if len(parts) > 1 else parts[0]), tuple(stack_sizes)


@decomposes("Gemm")
def _gemm(s: GraphBuilder) -> Results:
    """W·X as the transpose of Xᵀ·Wᵀ, where rows of X go through the weights together."""
    if s.data(0) is None or s.data(1) is not None or s.dtype(0) != F32 or s.dtype(1) != F32:
        return None
    rows, beta = s.input(1) if s.attribute("transB", 0) else s.transpose(s.input(1), 1, 0), s.attribute("beta", 1.0)
    product = s.add("Gemm", rows, s.input(0), alpha=s.attribute("alpha", 1.0), transB=int(not s.attribute("transA", 0)))
    y = s.transpose(product, 1, 0)
    if s.input(2) and beta:
        c = s.input(2) if beta == 1 else s.add("Mul", s.input(2), s.constant(beta, F32))
        y = s.add("Add", y, c)
    return y
