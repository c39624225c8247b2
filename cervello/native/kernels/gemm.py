"""Matrix products with packed weights: c = activation(a @ w + bias), or activation((a @ w + bias) + residual).

Weights are packed in panels of 32 columns ([panels, K, 32], zero-padded); the bias is padded to whole panels. The order of every sum
depends only on K and the width (law 1). Narrow products split K into segments, whose partial sums are added in order. Single rows compute
the segments in parallel, to hide latency; tiles of several rows compute them one after another.
"""

from __future__ import annotations

from cervello.codegen.compiler import inline, noinline
from cervello.codegen.memory import call_block
from cervello.codegen.records import reader
from cervello.codegen.simd import load, load_masked, store, store_masked
from cervello.native.kernels.schemas import GEMM, GEMM_RESIDUAL
from cervello.native.kernels.sizes import PANEL
from cervello.native.kernels.tiles import ROWS, VECTORS, make_row, make_segmented_tile, make_tile

_words, _residual_words = reader(GEMM), reader(GEMM_RESIDUAL)
_tall = make_tile(ROWS, VECTORS)
_segmented_8, _segmented_7, _segmented_6, _segmented_5, _segmented_4, _segmented_3, _segmented_2 = (
    make_segmented_tile(min(rows, ROWS), VECTORS) for rows in (8, 7, 6, 5, 4, 3, 2))
# Most columns of a partial last panel that run in half-panel tiles; 0 if a tile is only one vector wide.
_HALF = 16 if VECTORS > 1 else 0
_ROWS_HALF = 2 * ROWS
_half, _half_low, _half_one = make_segmented_tile(_ROWS_HALF, 1), make_segmented_tile(ROWS, 1), make_segmented_tile(1, 1)
_row, _row_2, _row_4, _row_wide = make_row(1, 2), make_row(2, 4), make_row(4, 2), make_row(1, 8)
_row_2_short = make_row(2, 2)  # for a single panel: reads no second one
_COLUMNS = 16 * VECTORS


@noinline
def one_row(a, w, bias, c, k, width, segments):
    """c[width] = bias + a[k] @ w for a single row."""
    panel_bytes = k * PANEL * 4
    if segments == 4:
        _row_4(a, w, panel_bytes, bias, c, k, width)
    elif segments == 2 and width <= PANEL:
        _row_2_short(a, w, panel_bytes, bias, c, k, width)
    elif segments == 2:
        _row_2(a, w, panel_bytes, bias, c, k, width)
    else:
        at = 0
        while width - at > 3 * PANEL:  # four panels: eight independent sums
            _row_wide(a, w, panel_bytes, bias + at * 4, c + at * 4, k, width - at)
            w += 4 * panel_bytes
            at += 4 * PANEL
        while at < width:
            _row(a, w, panel_bytes, bias + at * 4, c + at * 4, k, width - at)
            w += panel_bytes
            at += PANEL
    return 0


@noinline
def _tile(rows, a, lda, panel, bias, c, ldc, k, length, columns):
    """A tile of 2 to ROWS rows, with sums in segments of `length` terms."""
    if rows == ROWS and length == k:
        _tall(a, lda, panel, PANEL * 4, bias, c, ldc, k, columns)
    elif rows == 8:
        _segmented_8(a, lda, panel, PANEL * 4, bias, c, ldc, k, length, columns)
    elif rows == 7:
        _segmented_7(a, lda, panel, PANEL * 4, bias, c, ldc, k, length, columns)
    elif rows == 6:
        _segmented_6(a, lda, panel, PANEL * 4, bias, c, ldc, k, length, columns)
    elif rows == 5:
        _segmented_5(a, lda, panel, PANEL * 4, bias, c, ldc, k, length, columns)
    elif rows == 4:
        _segmented_4(a, lda, panel, PANEL * 4, bias, c, ldc, k, length, columns)
    elif rows == 3:
        _segmented_3(a, lda, panel, PANEL * 4, bias, c, ldc, k, length, columns)
    else:
        _segmented_2(a, lda, panel, PANEL * 4, bias, c, ldc, k, length, columns)
    return 0


@noinline
def _half_panel(a, lda, panel, bias, c, ldc, n_rows, k, length, columns):
    """All rows times at most half a panel."""
    i = 0
    while i < n_rows:
        left = n_rows - i
        rows = min(left, ROWS)
        if left >= _ROWS_HALF:
            rows = _ROWS_HALF
            _half(a, lda, panel, PANEL * 4, bias, c, ldc, k, length, columns)
        elif left >= ROWS:
            _half_low(a, lda, panel, PANEL * 4, bias, c, ldc, k, length, columns)
        elif left > 1:
            _tile(rows, a, lda, panel, bias, c, ldc, k, length, columns)
        else:
            _half_one(a, lda, panel, PANEL * 4, bias, c, ldc, k, length, columns)
        a, c, i = a + rows * lda, c + rows * ldc, i + rows
    return 0


@noinline
def many_rows(a, lda, w, bias, c, ldc, n_rows, k, width, segments):
    """c[n_rows, width] = bias + a[n_rows, k] @ w; strides in bytes."""
    if n_rows == 1:
        return one_row(a, w, bias, c, k, width, segments)
    length = (k + segments - 1) // segments
    half = width % PANEL
    whole = width - half if half <= _HALF else width
    at = 0
    while at < whole:
        panel = w + (at // PANEL) * k * PANEL * 4 + (at % PANEL) * 4
        i = 0
        while i < n_rows:
            left = n_rows - i
            rows = left if left <= ROWS else (left + 1) // 2 if left < 2 * ROWS else ROWS  # splits evenly, so that no single row remains
            _tile(rows, a + i * lda, lda, panel, bias + at * 4, c + i * ldc + at * 4, ldc, k, length, width - at)
            i += rows
        at += _COLUMNS
    if whole < width:
        _half_panel(a, lda, w + whole // PANEL * k * PANEL * 4, bias + whole * 4, c + whole * 4, ldc, n_rows, k, length, half)
    return 0


_BLOCK = 48  # rows per block: results are in the L1 cache when the activation reads them


@inline
def activate(activation, c, ldc, n_rows, width, parameter):
    """Applies an activation block, if any, to c[n_rows, width] in place."""
    if activation != 0:
        if ldc == width * 4:
            call_block(activation, c, c, n_rows * width, parameter)
        else:
            for r in range(n_rows):
                call_block(activation, c + r * ldc, c + r * ldc, width, parameter)


@noinline
def _add(c, ldc, residual, ldr, n_rows, width):
    """c[n_rows, width] += residual[n_rows, width]; strides in bytes."""
    for _ in range(n_rows):
        i = 0
        while i + 16 <= width:
            store(c + i * 4, load(c + i * 4) + load(residual + i * 4))
            i += 16
        if i < width:
            n = width - i
            store_masked(c + i * 4, load_masked(c + i * 4, n) + load_masked(residual + i * 4, n), n)
        c, residual = c + ldc, residual + ldr
    return 0


@inline
def _gemm(w, residual, ldr):
    """c = activation(a @ weights + bias + residual), for the words `w` of either kernel; residual: address, 0 for none."""
    a, c, weights, bias, n_rows, k, width, lda, ldc = w.a, w.c, w.weights, w.bias, w.rows, w.k, w.width, w.lda, w.ldc
    segments, activation = w.segments, w.activation
    i = 0
    while i < n_rows:
        rows = min(_BLOCK, n_rows - i)
        many_rows(a, lda, weights, bias, c, ldc, rows, k, width, segments)
        if residual != 0:
            _add(c, ldc, residual, ldr, rows, width)
            residual += rows * ldr
        activate(activation, c, ldc, rows, width, w.parameters)
        a, c, i = a + rows * lda, c + rows * ldc, i + rows
    return 0


def gemm(step, ctx):
    return _gemm(_words(step, ctx), 0, 0)


def gemm_residual(step, ctx):
    w = _residual_words(step, ctx)
    return _gemm(w, w.residual, w.ldr)
