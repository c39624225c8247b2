"""Attention in one pass: scores of a few rows at a time, what is done to them, softmax, mix.

    out = softmax(ops(q @ k)) @ v      for every (sequence, head)

The scores of 48 rows stay in the second-level cache, whatever the sequence's length. Each part is the function that runs when the
chain is not fused, on the same numbers in the same order, so fusing changes no bit.
"""

from __future__ import annotations

from cervello.codegen.compiler import noinline
from cervello.codegen.memory import call_block_2, word
from cervello.native.kernels.gemm import many_rows
from cervello.native.kernels.packing import pack
from cervello.native.kernels.reduce_by_sixteen import softmax_rows
from cervello.native.kernels.reduce_short import MOST
from cervello.native.kernels.reduce_short import softmax_rows as softmax_short

_ROWS = 48
_OPS, _OP = 54, 7  # where the words of the ops begin, and how many each has


@noinline
def _apply(step, ctx, scores, first, rows, n, h, i, j):
    """Runs the elementwise ops on rows of scores, in place."""
    for o in range(word(step, 52)):
        at = step + (_OPS + o * _OP) * 8
        block, on_left, mask_at = word(at, 0), word(at, 1), at + 6 * 8
        operand = word(ctx, word(step, 8 + 2 * o)) + word(step, 9 + 2 * o)
        operand += h * word(at, 2) + i * word(at, 3) + j * word(at, 4) + first * word(at, 5)
        count, turns = n, rows
        if word(mask_at, 0) != 0 and word(at, 5) == 0:  # one number for all: no rows to tell apart
            count, turns = rows * n, 1
        for r in range(turns):
            row = scores + r * n * 4
            if on_left != 0:
                call_block_2(block, row, operand, row, count, mask_at)
            else:
                call_block_2(block, row, row, operand, count, mask_at)
            operand += word(at, 5)
    return 0


def attend(step, ctx):
    """Words: q, k, v, four operands, out, panels of k, panels of v, scores; then see `ops.attention`."""
    q = word(ctx, word(step, 2)) + word(step, 3)
    k = word(ctx, word(step, 4)) + word(step, 5)
    v = word(ctx, word(step, 6)) + word(step, 7)
    out = word(ctx, word(step, 16)) + word(step, 17)
    k_panels = word(ctx, word(step, 18)) + word(step, 19)
    v_panels = word(ctx, word(step, 20)) + word(step, 21)
    scores = word(ctx, word(step, 22)) + word(step, 23)
    m, n, d, dv = word(step, 39), word(step, 40), word(step, 41), word(step, 42)
    q_row, out_row, zeros, softmax = word(step, 43), word(step, 48), word(step, 51), word(step, 53)
    turned = k_panels if m <= _ROWS else scores + (_ROWS * n + 15) // 16 * 64  # the last rows' softmax needs no more keys
    for h in range(word(step, 24)):
        for i in range(word(step, 25)):
            for j in range(word(step, 26)):
                left = q + h * word(step, 27) + i * word(step, 28) + j * word(step, 29)
                pack(k_panels, k + h * word(step, 30) + i * word(step, 31) + j * word(step, 32), d, n, word(step, 44), word(step, 45))
                pack(v_panels, v + h * word(step, 33) + i * word(step, 34) + j * word(step, 35), n, dv, word(step, 46), word(step, 47))
                target = out + h * word(step, 36) + i * word(step, 37) + j * word(step, 38)
                first = 0
                while first < m:
                    rows = min(_ROWS, m - first)
                    many_rows(left + first * q_row, q_row, k_panels, zeros, scores, n * 4, rows, d, n, word(step, 49))
                    _apply(step, ctx, scores, first, rows, n, h, i, j)
                    if n <= MOST:
                        softmax_short(scores, n * 4, scores, n * 4, rows, n, turned, step, softmax)
                    else:
                        softmax_rows(scores, n * 4, scores, n * 4, rows, n, turned, step, softmax)
                    many_rows(scores, n * 4, v_panels, zeros, target + first * out_row, out_row, rows, n, dv, word(step, 50))
                    first += rows
    return 0
