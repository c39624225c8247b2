"""Products of two computed operands (attention): the right one is packed into panels, then multiplied like weights."""

from __future__ import annotations

from cervello.codegen.memory import word
from cervello.native.kernels.gemm import many_rows
from cervello.native.kernels.packing import pack


def product(step, ctx):
    """Words: a, b, c, panel; 3 sizes, 3 strides each of a, b, c, then m, k, n, lda, ldb, column stride of b, segments, zeros."""
    a = word(ctx, word(step, 2)) + word(step, 3)
    b = word(ctx, word(step, 4)) + word(step, 5)
    c = word(ctx, word(step, 6)) + word(step, 7)
    panel = word(ctx, word(step, 8)) + word(step, 9)
    m, k, n, lda, ldb, column = word(step, 22), word(step, 23), word(step, 24), word(step, 25), word(step, 26), word(step, 27)
    segments, zeros = word(step, 28), word(step, 29)
    for h in range(word(step, 10)):
        for i in range(word(step, 11)):
            for j in range(word(step, 12)):
                left = a + h * word(step, 13) + i * word(step, 14) + j * word(step, 15)
                right = b + h * word(step, 16) + i * word(step, 17) + j * word(step, 18)
                target = c + h * word(step, 19) + i * word(step, 20) + j * word(step, 21)
                pack(panel, right, k, n, ldb, column)
                many_rows(left, lda, panel, zeros, target, n * 4, m, k, n, segments)
    return 0
