"""Extents of matrix products: with packed weights, with computed operands, in attention and in recurrent cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cervello.native.kernels.schemas import ATTEND_OP
from cervello.native.kernels.sizes import PANEL, SCORE_ROWS, row_scratch
from cervello.native.memory.extents.blocks import BLOCKS
from cervello.native.memory.extents.declaration import expect, kernel, repeated
from cervello.native.memory.extents.loops import block_spans, in_place_activation
from cervello.native.memory.extents.spans import Span, covered, dense, round_up

_SOFTMAX = "cervello.native.kernels.normalize_last:softmax"


def packed(k: int, width: int, segments: int) -> Span:
    """The whole panels that a product reads."""
    expect(segments in (1, 2, 4) and (segments == 1 or -(-k // segments) * (segments - 1) <= k),
           f"1, 2 or 4 segments of {k} terms, none of them empty", segments)
    return dense(_columns(width, segments) * k * 4)


def bias(width: int, segments: int) -> Span:
    """The bias elements that a product reads, in whole panels."""
    return dense(_columns(width, segments) * 4)


def _columns(width: int, segments: int) -> int:
    return max(round_up(width, PANEL), PANEL if segments > 1 else 0)


@kernel("gemm:gemm")
def _gemm(w: Any) -> Mapping[str, Span]:
    in_place_activation(w)
    return {"a": covered(dense(w.k * 4), [w.rows], [w.lda]), "c": covered(dense(w.width * 4), [w.rows], [w.ldc]),
            "weights": packed(w.k, w.width, w.segments), "bias": bias(w.width, w.segments)}


@kernel("gemm:gemm_residual")
def _gemm_residual(w: Any) -> Mapping[str, Span]:
    return {**_gemm(w), "residual": covered(dense(w.width * 4), [w.rows], [w.ldr])}


@kernel("gemv:gemm")
def _gemv(w: Any) -> Mapping[str, Span]:
    in_place_activation(w)
    four = 2 if w.width > 4 else 1
    last = w.width - 4 * (four - 1)  # columns of the last group of four
    return {"a": covered(dense(w.k * 4), [w.rows], [w.lda]), "c": covered(dense(max(w.width, 1) * 4), [w.rows], [w.ldc]),
            "weights": covered(dense(round_up(w.k, 32) * 4), [4 * four], [w.ldw]),
            "bias": dense(16 * (four - 1) + (64 if last > 2 else 8))}


@kernel("products:product")
def _product(w: Any) -> Mapping[str, Span]:
    return {"a": covered(covered(dense(w.k * 4), [w.m], [w.lda]), w.sizes, w.a_by),
            "b": covered((0, 4), [w.k, w.n, *w.sizes], [w.ldb, w.column, *w.b_by]),
            "c": covered(dense(w.m * w.n * 4), w.sizes, w.c_by),
            "panels": packed(w.k, w.n, w.segments), "zeros": bias(w.n, w.segments)}


@kernel("attention:attend")
def _attend(w: Any) -> Mapping[str, Span]:
    expect(w.softmax is BLOCKS[_SOFTMAX], "the block of a softmax", w.softmax)
    n_words = w.n_ops * ATTEND_OP.n_words
    expect(w.n_ops <= 4 and len(w.ops) >= n_words, "up to 4 ops with their words", w.n_ops)
    keys, values = packed(w.d, w.n, w.d_segments), packed(w.n, w.dv, w.n_segments)
    free = row_scratch(w.n) * 4
    rows = min(SCORE_ROWS, w.m)
    scores = rows * w.n * 4 if w.m <= SCORE_ROWS else round_up(SCORE_ROWS * w.n, 16) * 4 + free
    found = {
        "q": covered(dense(w.d * 4), [w.m, *w.sizes], [w.q_row, *w.q_by]),
        "k": covered((0, 4), [w.d, w.n, *w.sizes], [w.k_row, w.k_column, *w.k_by]),
        "v": covered((0, 4), [w.n, w.dv, *w.sizes], [w.v_row, w.v_column, *w.v_by]),
        "out": covered(dense(w.dv * 4), [w.m, *w.sizes], [w.out_row, *w.out_by]),
        "keys": dense(max(keys[1] if keys else 0, free if w.m <= SCORE_ROWS else 0)), "values": values, "scores": dense(scores),
        "zeros": dense(max(_columns(w.n, w.d_segments), _columns(w.dv, w.n_segments)) * 4)}
    for name, op in zip(("first", "second", "third", "fourth"), repeated(ATTEND_OP, w.ops[:n_words], w.n_rows), strict=False):
        found[name] = _operand(w, op)
    return found


def _operand(w: Any, op: Any) -> Span:
    """The span of the other operand of one elementwise op on attention scores."""
    expect(op.mask in (0, 1 if op.on_left else 2), "a block that does not broadcast the scores", op.mask)
    expect(op.block.elementwise, "an op on float32", op.block)
    spans = block_spans(op.block, 2, w.n, [op.mask])
    return covered(spans[1 if op.on_left else 2], [w.m, *w.sizes], [op.row, *op.by])


def _cell(w: Any, gates: int) -> dict[str, Span]:
    """The spans that both recurrent cells share."""
    row = w.rows * w.hidden * 4
    width = gates * w.hidden
    return {"x": covered(dense(w.features * 4), [w.steps * w.rows], [w.lda]), "h0": dense(row) if w.has_h0 else None,
            "y": covered(dense(row), [w.steps], [w.y_step]) if w.wants_y else None, "h": dense(row),
            "gates": dense(w.steps * w.rows * width * 4), "hidden_gates": dense(w.rows * width * 4),
            "weights": packed(w.features, width, w.w_segments), "bias": bias(width, w.w_segments)}


@kernel("recurrent:lstm")
def _lstm(w: Any) -> Mapping[str, Span]:
    row = dense(w.rows * w.hidden * 4)
    return {**_cell(w, 4), "c": row, "c0": row if w.has_c0 else None, "r": packed(w.hidden, 4 * w.hidden, w.r_segments),
            "zeros": bias(4 * w.hidden, w.r_segments)}


@kernel("recurrent:gru")
def _gru(w: Any) -> Mapping[str, Span]:
    return {**_cell(w, 3), "reset_hidden": None if w.linear_before_reset else dense(w.rows * w.hidden * 4),
            "r_gates": packed(w.hidden, 2 * w.hidden, w.g_segments), "r_new": packed(w.hidden, w.hidden, w.n_segments),
            "zeros": bias(2 * w.hidden, w.g_segments), "r_bias": bias(w.hidden, w.n_segments)}
