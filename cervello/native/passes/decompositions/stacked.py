"""Products of rows with a stack of weights, one matrix for each agent or member of an ensemble, and with a vector that all rows share;
Gemm whose weights are on the left.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cervello.native.graph.dims import Affine, Dim
from cervello.native.graph.values import Value
from cervello.native.passes.graph_builder import GraphBuilder, decomposes

_F32 = np.dtype(np.float32)
_MOST = 256  # matrices of a stack, each of which becomes a product of its own


@decomposes("MatMul")
def _matmul(s: GraphBuilder) -> bool:
    a, b = s.value(0), s.value(1)
    if a is None or b is None or a.shape is None or b.shape is None or a.dtype != _F32 or b.dtype != _F32 or len(a.shape) < 2:
        return False
    if len(b.shape) == 1 and b.constant is None and isinstance(a.shape[-2], Affine) and b.from_input:
        s.set_outputs(s.add("ReduceSum", s.add("Mul", s.input(0), s.input(1)), s.constant([-1]), keepdims=0))
        return True
    if b.constant is None or len(b.shape) < 3 or any(isinstance(size, Affine) for size in a.shape[-1:]):
        return False
    if isinstance(a.shape[-2], Affine) and not any(isinstance(size, Affine) for size in a.shape[:-2]):
        result, lead = _by_matrix(s, s.input(0), a.shape, b.constant)
        if result:
            s.set_outputs(s.reshape(result, *lead, a.shape[-2], b.shape[-1]))
        return bool(result)
    return _single_rows(s, a, b)


def _single_rows(s: GraphBuilder, a: Value, b: Value) -> bool:
    """[N, stack…, 1, K] with [stack…, K, width]: the rows of the batch go through each matrix together."""
    assert a.shape is not None
    assert b.constant is not None
    lead = b.constant.shape[:-2]
    if not isinstance(a.shape[0], Affine) or a.shape[1:-1] != (*lead, 1):
        return False
    count, k = int(np.prod(lead)), a.shape[-1]
    turned = s.transpose(s.reshape(s.input(0), a.shape[0], count, k), 1, 0, 2)
    result, _ = _by_matrix(s, turned, (count, a.shape[0], k), b.constant.reshape(count, *b.constant.shape[-2:]))
    if result:
        s.set_outputs(s.reshape(s.transpose(result, 1, 0, 2), a.shape[0], *lead, 1, b.constant.shape[-1]))
    return bool(result)


def _by_matrix(s: GraphBuilder, a: str, shape: tuple[Dim, ...], weights: Any) -> tuple[str, tuple[int, ...]]:
    """Products [stack, rows, width] of `a` [stack…, rows, K] with each matrix, and the sizes of the stack; "" where they are too many."""
    sizes = tuple(int(size) for size in shape[:-2] if not isinstance(size, Affine))
    try:
        lead = np.broadcast_shapes(sizes, weights.shape[:-2])
    except ValueError:
        return "", ()  # the rule of the product says what does not fit
    if not 0 < int(np.prod(lead)) <= _MOST:
        return "", ()
    own = np.broadcast_to(np.arange(int(np.prod(sizes))).reshape(sizes), lead).reshape(-1)
    matrices = np.broadcast_to(weights, (*lead, *weights.shape[-2:])).reshape(-1, *weights.shape[-2:])
    flat = s.reshape(a, int(np.prod(sizes)), *shape[-2:])
    parts = []
    for place, matrix in zip(own.tolist(), matrices, strict=True):
        row = s.add("Gather", flat, s.constant(place), axis=0)
        parts.append(s.add("Unsqueeze", s.add("MatMul", row, s.constant(matrix, _F32)), s.constant([0])))
    return (str(s.add("Concat", *parts, axis=0)) if len(parts) > 1 else parts[0]), tuple(lead)


@decomposes("Gemm")
def _gemm(s: GraphBuilder) -> bool:
    """W·X as the transpose of Xᵀ·Wᵀ, where rows of X go through the weights together."""
    a, b = s.value(0), s.value(1)
    if a is None or b is None or a.constant is None or b.constant is not None or a.dtype != _F32 or b.dtype != _F32:
        return False
    rows, beta = s.input(1) if s.attribute("transB", 0) else s.transpose(s.input(1), 1, 0), s.attribute("beta", 1.0)
    product = s.add("Gemm", rows, s.input(0), alpha=s.attribute("alpha", 1.0), transB=int(not s.attribute("transA", 0)))
    y = s.transpose(product, 1, 0)
    if s.input(2) and beta:
        c = s.input(2) if beta == 1 else s.add("Mul", s.input(2), s.constant(beta, _F32))
        y = s.add("Add", y, c)
    s.set_outputs(y)
    return True
