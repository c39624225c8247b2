"""Matrix products with few columns: c = activation(a @ w + bias) for up to 8 columns, with lanes along K.

Each column of w is stored contiguously, zero-padded to a multiple of 32 terms. A row of `a` is read once for four columns. Term k is added
in lane k mod 32 of two vectors. The two vectors are added, then their lanes in a fixed tree, then the bias. The order depends only on K
(law 1).
"""

from __future__ import annotations

import numpy as np

from cervello.codegen.compiler import noinline
from cervello.codegen.memory import read_f32, write_f32
from cervello.codegen.records import reader
from cervello.codegen.simd import fma, load, load_masked, splat, store_masked, sum_lanes_of_4
from cervello.native.kernels.gemm import activate
from cervello.native.kernels.lane_trees import sum_lanes
from cervello.native.kernels.schemas import GEMV

_words = reader(GEMV)
_ROWS = 48  # rows per block: results are in the L1 cache when the activation reads them


@noinline
def _dots(a, w, ldw, bias, c, k, columns):
    """Up to four columns of one row; columns of w are ldw bytes apart and zero from term K on. Four columns must be readable."""
    zero = splat(np.float32(0.0))
    s0, s1, s2, s3 = zero, zero, zero, zero
    t0, t1, t2, t3 = zero, zero, zero, zero
    w1, w2, w3 = w + ldw, w + 2 * ldw, w + 3 * ldw
    i, end = 0, k * 4
    while i + 128 <= end:
        x, y = load(a + i), load(a + i + 64)
        s0, t0 = fma(x, load(w + i), s0), fma(y, load(w + i + 64), t0)
        s1, t1 = fma(x, load(w1 + i), s1), fma(y, load(w1 + i + 64), t1)
        s2, t2 = fma(x, load(w2 + i), s2), fma(y, load(w2 + i + 64), t2)
        s3, t3 = fma(x, load(w3 + i), s3), fma(y, load(w3 + i + 64), t3)
        i += 128
    if i < end:
        left = (end - i) >> 2
        x, y = load_masked(a + i, left), load_masked(a + i + 64, left - 16)
        s0, t0 = fma(x, load(w + i), s0), fma(y, load(w + i + 64), t0)
        s1, t1 = fma(x, load(w1 + i), s1), fma(y, load(w1 + i + 64), t1)
        s2, t2 = fma(x, load(w2 + i), s2), fma(y, load(w2 + i + 64), t2)
        s3, t3 = fma(x, load(w3 + i), s3), fma(y, load(w3 + i + 64), t3)
    if columns > 2:
        store_masked(c, sum_lanes_of_4(s0 + t0, s1 + t1, s2 + t2, s3 + t3) + load(bias), columns)
        return 0
    write_f32(c, 0, sum_lanes(s0 + t0) + read_f32(bias, 0))
    if columns > 1:
        write_f32(c, 1, sum_lanes(s1 + t1) + read_f32(bias, 1))
    return 0


def gemm(step, ctx):
    w = _words(step, ctx)
    a, c, weights, bias, n_rows, k, width, lda, ldc = w.a, w.c, w.weights, w.bias, w.rows, w.k, w.width, w.lda, w.ldc
    ldw, activation = w.ldw, w.activation
    i = 0
    while i < n_rows:
        rows = min(_ROWS, n_rows - i)
        for r in range(rows):
            _dots(a + r * lda, weights, ldw, bias, c + r * ldc, k, min(4, width))
            if width > 4:
                _dots(a + r * lda, weights + 4 * ldw, ldw, bias + 16, c + r * ldc + 16, k, width - 4)
        activate(activation, c, ldc, rows, width, w.parameters)
        a, c, i = a + rows * lda, c + rows * ldc, i + rows
    return 0
