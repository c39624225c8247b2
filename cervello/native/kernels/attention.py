"""Fused attention: for blocks of query rows, scores, elementwise ops on them, softmax, and the product with v.

    out = softmax(ops(q @ k)) @ v      for every (sequence, head)

The scores of 48 rows stay in the L2 cache for usual sequence lengths. Each part calls the functions of the unfused kernels on the same
numbers in the same order, so the result is bitwise equal to that of the unfused ops.
"""

from __future__ import annotations

from cervello.codegen.compiler import noinline
from cervello.codegen.memory import call_block_2, word
from cervello.codegen.records import reader, view
from cervello.native.kernels.gemm import many_rows
from cervello.native.kernels.packing import pack
from cervello.native.kernels.reduce_batched import softmax_rows
from cervello.native.kernels.reduce_short import softmax_rows as softmax_short
from cervello.native.kernels.schemas import ATTEND, ATTEND_OP
from cervello.native.kernels.sizes import SCORE_ROWS, SHORT_ROW

_OP_BYTES = ATTEND_OP.n_bytes
_words, _op = reader(ATTEND), view(ATTEND_OP)


@noinline
def _apply(w, ctx, scores, first, rows, n, h, i, j):
    """Runs the elementwise ops on rows of scores, in place."""
    for o in range(w.n_ops):
        op = _op(w.ops + o * _OP_BYTES)
        block, on_left, mask_at = op.block, op.on_left, op.mask_at
        operand = word(ctx, word(w.first_at, 2 * o)) + word(w.first_at, 2 * o + 1)
        operand += h * op.by[0] + i * op.by[1] + j * op.by[2] + first * op.row
        count, calls = n, rows
        if op.mask != 0 and op.row == 0:  # one operand for all scores: a single call covers all rows
            count, calls = rows * n, 1
        for r in range(calls):
            row = scores + r * n * 4
            if on_left != 0:
                call_block_2(block, row, operand, row, count, mask_at)
            else:
                call_block_2(block, row, row, operand, count, mask_at)
            operand += op.row
    return 0


def attend(step, ctx):
    w = _words(step, ctx)
    q, k, v, out, k_panels, v_panels, scores = w.q, w.k, w.v, w.out, w.keys, w.values, w.scores
    m, n, d, dv, q_row, out_row, zeros, softmax = w.m, w.n, w.d, w.dv, w.q_row, w.out_row, w.zeros, w.softmax
    # The softmax of the last rows runs after the last use of the packed keys.
    softmax_scratch = k_panels if m <= SCORE_ROWS else scores + (SCORE_ROWS * n + 15) // 16 * 64
    for h in range(w.sizes[0]):
        for i in range(w.sizes[1]):
            for j in range(w.sizes[2]):
                left = q + h * w.q_by[0] + i * w.q_by[1] + j * w.q_by[2]
                pack(k_panels, k + h * w.k_by[0] + i * w.k_by[1] + j * w.k_by[2], d, n, w.k_row, w.k_column)
                pack(v_panels, v + h * w.v_by[0] + i * w.v_by[1] + j * w.v_by[2], n, dv, w.v_row, w.v_column)
                target = out + h * w.out_by[0] + i * w.out_by[1] + j * w.out_by[2]
                first = 0
                while first < m:
                    rows = min(SCORE_ROWS, m - first)
                    many_rows(left + first * q_row, q_row, k_panels, zeros, scores, n * 4, rows, d, n, w.d_segments)
                    _apply(w, ctx, scores, first, rows, n, h, i, j)
                    if n <= SHORT_ROW:
                        softmax_short(scores, n * 4, scores, n * 4, rows, n, softmax_scratch, step, softmax)
                    else:
                        softmax_rows(scores, n * 4, scores, n * 4, rows, n, softmax_scratch, step, softmax)
                    many_rows(scores, n * 4, v_panels, zeros, target + first * out_row, out_row, rows, n, dv, w.n_segments)
                    first += rows
    return 0
