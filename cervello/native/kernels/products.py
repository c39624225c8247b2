"""Matrix products of two computed operands: the right operand is packed into panels, then multiplied as weights are."""

from __future__ import annotations

from cervello.codegen.records import reader
from cervello.native.kernels.gemm import many_rows
from cervello.native.kernels.packing import pack
from cervello.native.kernels.schemas import PRODUCT

_words = reader(PRODUCT)


def product(step, ctx):
    w = _words(step, ctx)
    a, b, c, panels, m, k, n, lda, ldb, column = w.a, w.b, w.c, w.panels, w.m, w.k, w.n, w.lda, w.ldb, w.column
    segments, zeros = w.segments, w.zeros
    for h in range(w.sizes[0]):
        for i in range(w.sizes[1]):
            for j in range(w.sizes[2]):
                left = a + h * w.a_by[0] + i * w.a_by[1] + j * w.a_by[2]
                right = b + h * w.b_by[0] + i * w.b_by[1] + j * w.b_by[2]
                target = c + h * w.c_by[0] + i * w.c_by[1] + j * w.c_by[2]
                pack(panels, right, k, n, ldb, column)
                many_rows(left, lda, panels, zeros, target, n * 4, m, k, n, segments)
    return 0
