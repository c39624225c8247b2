"""LSTM and GRU over [steps, rows, features], or [rows, steps, features]: the input product runs for all steps at once, the cell is fused.

Source: ONNX LSTM and GRU, opset 22, default activations; gates in ONNX order (i o f c, and z r h).
"""

from __future__ import annotations

import numpy as np

from cervello.codegen import functions as f
from cervello.codegen.memory import copy_bytes, word, write_f32
from cervello.codegen.simd import fma, load_masked, splat, store_first
from cervello.native.kernels.gemm import many_rows

_F = np.float32


def lstm(step, ctx):
    """Words: x, h0, c0, y, h, c, gates, recurrent gates; then weights, bias, recurrent weights, zeros, and the sizes.

    h0 and c0 have the space of `h` itself when they are absent (flags); y is written only when wanted.
    """
    x, h0, c0 = (word(ctx, word(step, 2)) + word(step, 3), word(ctx, word(step, 4)) + word(step, 5),
                 word(ctx, word(step, 6)) + word(step, 7))
    y, h, c = (word(ctx, word(step, 8)) + word(step, 9), word(ctx, word(step, 10)) + word(step, 11),
               word(ctx, word(step, 12)) + word(step, 13))
    gates, again = word(ctx, word(step, 14)) + word(step, 15), word(ctx, word(step, 16)) + word(step, 17)
    w, bias, r, zeros = word(step, 18), word(step, 19), word(step, 20), word(step, 21)
    steps, rows, features, hidden = word(step, 22), word(step, 23), word(step, 24), word(step, 25)
    has_h0, has_c0, wants_y, reverse, y_step = word(step, 26), word(step, 27), word(step, 28), word(step, 29), word(step, 30)
    w_segments, r_segments, lda = word(step, 31), word(step, 32), word(step, 33)
    step_by, row_by = (1, steps) if word(step, 34) else (rows, 1)
    n_bytes = rows * hidden * 4
    for i in range(rows * hidden):
        write_f32(h, i, _F(0.0))
        write_f32(c, i, _F(0.0))
    if has_h0:
        copy_bytes(h, h0, n_bytes)
    if has_c0:
        copy_bytes(c, c0, n_bytes)
    width = 4 * hidden
    many_rows(x, lda, w, bias, gates, width * 4, steps * rows, features, width, w_segments)
    for t in range(steps):
        at = steps - 1 - t if reverse else t
        many_rows(h, hidden * 4, r, zeros, again, width * 4, rows, hidden, width, r_segments)
        for n in range(rows):
            g, a = gates + (at * step_by + n * row_by) * width * 4, again + n * width * 4
            i = 0
            while i < hidden:
                left, o = hidden - i, i * 4
                into = f.sigmoid(load_masked(g + o, left) + load_masked(a + o, left))
                out = f.sigmoid(load_masked(g + hidden * 4 + o, left) + load_masked(a + hidden * 4 + o, left))
                keep = f.sigmoid(load_masked(g + hidden * 8 + o, left) + load_masked(a + hidden * 8 + o, left))
                new = f.tanh(load_masked(g + hidden * 12 + o, left) + load_masked(a + hidden * 12 + o, left))
                cell_at = c + n * hidden * 4 + o
                cell = fma(into, new, keep * load_masked(cell_at, left))
                store_first(cell_at, cell, left)
                store_first(h + n * hidden * 4 + o, out * f.tanh(cell), left)
                i += 16
        if wants_y:
            copy_bytes(y + at * y_step, h, n_bytes)
    return 0


def gru(step, ctx):
    """Words: x, h0, y, h, gates, recurrent gates, mixed; weights, bias, recurrent weights of z r, of h, their biases, the sizes."""
    x, h0 = word(ctx, word(step, 2)) + word(step, 3), word(ctx, word(step, 4)) + word(step, 5)
    y, h = word(ctx, word(step, 6)) + word(step, 7), word(ctx, word(step, 8)) + word(step, 9)
    gates, again = word(ctx, word(step, 10)) + word(step, 11), word(ctx, word(step, 12)) + word(step, 13)
    mixed = word(ctx, word(step, 14)) + word(step, 15)
    w, bias, r_gates, r_new, zeros, r_bias = (word(step, 16), word(step, 17), word(step, 18), word(step, 19), word(step, 20),
                                              word(step, 21))
    steps, rows, features, hidden = word(step, 22), word(step, 23), word(step, 24), word(step, 25)
    has_h0, wants_y, reverse, y_step, linear = word(step, 26), word(step, 27), word(step, 28), word(step, 29), word(step, 30)
    w_segments, g_segments, n_segments, lda = word(step, 31), word(step, 32), word(step, 33), word(step, 34)
    step_by, row_by = (1, steps) if word(step, 35) else (rows, 1)
    n_bytes, width = rows * hidden * 4, 3 * hidden
    one = splat(_F(1.0))
    for i in range(rows * hidden):
        write_f32(h, i, _F(0.0))
    if has_h0:
        copy_bytes(h, h0, n_bytes)
    many_rows(x, lda, w, bias, gates, width * 4, steps * rows, features, width, w_segments)
    for t in range(steps):
        at = steps - 1 - t if reverse else t
        many_rows(h, hidden * 4, r_gates, zeros, again, width * 4, rows, hidden, 2 * hidden, g_segments)
        for n in range(rows):
            g, a = gates + (at * step_by + n * row_by) * width * 4, again + n * width * 4
            i = 0
            while i < hidden:
                left, o = hidden - i, i * 4
                update = f.sigmoid(load_masked(g + o, left) + load_masked(a + o, left))
                reset = f.sigmoid(load_masked(g + hidden * 4 + o, left) + load_masked(a + hidden * 4 + o, left))
                store_first(a + o, update, left)
                if linear:
                    store_first(a + hidden * 4 + o, reset, left)
                else:
                    store_first(mixed + n * hidden * 4 + o, reset * load_masked(h + n * hidden * 4 + o, left), left)
                i += 16
        # The candidate's recurrent part: (reset * h) @ r, or reset * (h @ r + bias).
        many_rows(h if linear else mixed, hidden * 4, r_new, r_bias, again + hidden * 8, width * 4, rows, hidden, hidden, n_segments)
        for n in range(rows):
            g, a = gates + (at * step_by + n * row_by) * width * 4, again + n * width * 4
            i = 0
            while i < hidden:
                left, o = hidden - i, i * 4
                part = load_masked(a + hidden * 8 + o, left)
                if linear:
                    new = f.tanh(fma(load_masked(a + hidden * 4 + o, left), part, load_masked(g + hidden * 8 + o, left)))
                else:
                    new = f.tanh(load_masked(g + hidden * 8 + o, left) + part)
                update = load_masked(a + o, left)
                old = load_masked(h + n * hidden * 4 + o, left)
                store_first(h + n * hidden * 4 + o, fma(update, old, (one - update) * new), left)
                i += 16
        if wants_y:
            copy_bytes(y + at * y_step, h, n_bytes)
    return 0
