"""Products with packed weights: c = activation(a @ w + bias).

Weights lie in panels of 32 columns ([panels, K, 32], zero-padded), the bias is padded to whole panels. The order of every sum
depends only on K and the width (law 1): narrow products cut K into segments, which single rows run side by side while taller
tiles run them one after another, with what they have so far in other registers.
"""

from __future__ import annotations

from cervello.compiled.compiler import shared
from cervello.compiled.memory import call_block, word
from cervello.native.kernels.tiles import (
    PANEL,
    ROWS_CUT,
    ROWS_LOW,
    ROWS_TALL,
    VECTORS,
    make_cut_tile,
    make_row,
    make_tile,
)

_tall = make_tile(ROWS_TALL, VECTORS)
_cut, _low_cut = make_cut_tile(ROWS_CUT, VECTORS), make_cut_tile(ROWS_LOW, VECTORS)
# The last columns of a width when they fill no more than half a panel; where a tile is one vector wide anyway, never.
_HALF = 16 if VECTORS > 1 else 0
_half_cut = make_cut_tile(ROWS_TALL, 1)
_row, _row_2, _row_4, _row_wide = make_row(1, 2), make_row(2, 4), make_row(4, 2), make_row(1, 8)
_COLUMNS = 16 * VECTORS


@shared
def one_row(a, w, bias, c, k, width, segments):
    """c[width] = bias + a[k] @ w for a single row."""
    panel_bytes = k * PANEL * 4
    if segments == 4:
        _row_4(a, w, panel_bytes, bias, c, k, width)
    elif segments == 2:
        _row_2(a, w, panel_bytes, bias, c, k, width)
    else:
        at = 0
        while width - at > 3 * PANEL:  # four panels: eight sums in flight
            _row_wide(a, w, panel_bytes, bias + at * 4, c + at * 4, k, width - at)
            w += 4 * panel_bytes
            at += 4 * PANEL
        while at < width:
            _row(a, w, panel_bytes, bias + at * 4, c + at * 4, k, width - at)
            w += panel_bytes
            at += PANEL
    return 0


@shared
def _cut_rows(a, lda, w, bias, c, ldc, n_rows, k, width, length):
    """Rows of a product whose sums are cut, as many as tiles take; returns how many. Partial sums stay in registers."""
    tiled = n_rows // ROWS_CUT * ROWS_CUT
    at = 0
    while at < width:
        panel = w + (at // PANEL) * k * PANEL * 4 + (at % PANEL) * 4
        i = 0
        while i < tiled:
            if width - at <= _HALF and tiled - i >= ROWS_TALL:
                _half_cut(a + i * lda, lda, panel, PANEL * 4, bias + at * 4, c + i * ldc + at * 4, ldc, k, length, width - at)
                i += ROWS_TALL
            else:
                _cut(a + i * lda, lda, panel, PANEL * 4, bias + at * 4, c + i * ldc + at * 4, ldc, k, length, width - at)
                i += ROWS_CUT
        at += _COLUMNS
    return tiled


@shared
def many_rows(a, lda, w, bias, c, ldc, n_rows, k, width, segments):
    """c[n_rows, width] = bias + a[n_rows, k] @ w; strides in bytes. Tall tiles, then low ones, then single rows."""
    length = (k + segments - 1) // segments
    i = 0
    if segments > 1:
        i = _cut_rows(a, lda, w, bias, c, ldc, n_rows, k, width, length)
        a, c = a + i * lda, c + i * ldc
    while n_rows - i >= ROWS_LOW:
        tall = n_rows - i >= ROWS_TALL
        at = 0
        while at < width:
            panel = w + (at // PANEL) * k * PANEL * 4 + (at % PANEL) * 4
            if tall and width - at <= _HALF:
                _half_cut(a, lda, panel, PANEL * 4, bias + at * 4, c + at * 4, ldc, k, length, width - at)
            elif tall:
                _tall(a, lda, panel, PANEL * 4, bias + at * 4, c + at * 4, ldc, k, width - at)
            else:
                _low_cut(a, lda, panel, PANEL * 4, bias + at * 4, c + at * 4, ldc, k, length, width - at)
            at += _COLUMNS
        done = ROWS_TALL if tall else ROWS_LOW
        a, c, i = a + done * lda, c + done * ldc, i + done
    while i < n_rows:
        one_row(a, w, bias, c, k, width, segments)
        a, c, i = a + lda, c + ldc, i + 1
    return 0


_BLOCK = 4 * ROWS_TALL  # rows whose results are still in the first-level cache when the activation reads them


def gemm(step, ctx):
    """Words: a, c as (space, offset); w, bias, rows, k, width, lda, ldc, segments, activation (0: none), its parameter."""
    a = word(ctx, word(step, 2)) + word(step, 3)
    c = word(ctx, word(step, 4)) + word(step, 5)
    w, bias, n_rows = word(step, 6), word(step, 7), word(step, 8)
    k, width, lda, ldc, segments = word(step, 9), word(step, 10), word(step, 11), word(step, 12), word(step, 13)
    activation, parameter = word(step, 14), step + 15 * 8
    i = 0
    while i < n_rows:
        rows = min(_BLOCK, n_rows - i)
        if rows == 1:
            one_row(a, w, bias, c, k, width, segments)
        else:
            many_rows(a, lda, w, bias, c, ldc, rows, k, width, segments)
        if activation != 0:
            if ldc == width * 4:
                call_block(activation, c, c, rows * width, parameter)
            else:
                for r in range(rows):
                    call_block(activation, c + r * ldc, c + r * ldc, width, parameter)
        a, c, i = a + rows * lda, c + rows * ldc, i + rows
    return 0
