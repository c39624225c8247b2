"""LSTM and GRU over [steps, rows, features] or [rows, steps, features]: one input product for all steps, and fused cells.

Source: ONNX operator specification, LSTM and GRU, opset 22, default activations; gates in ONNX order (i o f c, and z r h).
"""

from __future__ import annotations

import numpy as np

from cervello.codegen import functions as f
from cervello.codegen.memory import copy_bytes, write_f32
from cervello.codegen.records import reader
from cervello.codegen.simd import fma, load_masked, splat, store_masked
from cervello.native.kernels.gemm import many_rows
from cervello.native.kernels.schemas import GRU, LSTM

_lstm, _gru = reader(LSTM), reader(GRU)
_F = np.float32


def lstm(step, ctx):
    """x is [steps * rows, features] or, with rows_first, [rows * steps, features]. h0, c0 and y are accessed only if has_h0, has_c0 and
    wants_y are set."""
    w = _lstm(step, ctx)
    h0, c0, y, h, c, gates, hidden_gates, zeros = w.h0, w.c0, w.y, w.h, w.c, w.gates, w.hidden_gates, w.zeros
    steps, rows, features, hidden = w.steps, w.rows, w.features, w.hidden
    wants_y, reverse, y_step, r, r_segments = w.wants_y, w.reverse, w.y_step, w.r, w.r_segments
    step_by, row_by = (1, steps) if w.rows_first else (rows, 1)
    n_bytes = rows * hidden * 4
    for i in range(rows * hidden):
        write_f32(h, i, _F(0.0))
        write_f32(c, i, _F(0.0))
    if w.has_h0:
        copy_bytes(h, h0, n_bytes)
    if w.has_c0:
        copy_bytes(c, c0, n_bytes)
    width = 4 * hidden
    many_rows(w.x, w.lda, w.weights, w.bias, gates, width * 4, steps * rows, features, width, w.w_segments)
    for t in range(steps):
        at = steps - 1 - t if reverse else t
        many_rows(h, hidden * 4, r, zeros, hidden_gates, width * 4, rows, hidden, width, r_segments)
        for n in range(rows):
            g, a = gates + (at * step_by + n * row_by) * width * 4, hidden_gates + n * width * 4
            i = 0
            while i < hidden:
                left, o = hidden - i, i * 4
                input_gate = f.sigmoid(load_masked(g + o, left) + load_masked(a + o, left))
                output_gate = f.sigmoid(load_masked(g + hidden * 4 + o, left) + load_masked(a + hidden * 4 + o, left))
                forget_gate = f.sigmoid(load_masked(g + hidden * 8 + o, left) + load_masked(a + hidden * 8 + o, left))
                candidate = f.tanh(load_masked(g + hidden * 12 + o, left) + load_masked(a + hidden * 12 + o, left))
                cell_at = c + n * hidden * 4 + o
                cell = fma(input_gate, candidate, forget_gate * load_masked(cell_at, left))
                store_masked(cell_at, cell, left)
                store_masked(h + n * hidden * 4 + o, output_gate * f.tanh(cell), left)
                i += 16
        if wants_y:
            copy_bytes(y + at * y_step, h, n_bytes)
    return 0


def gru(step, ctx):
    """Operands as in `lstm`."""
    w = _gru(step, ctx)
    h0, y, h, gates, hidden_gates, reset_hidden = w.h0, w.y, w.h, w.gates, w.hidden_gates, w.reset_hidden
    r_gates, r_new, linear_before_reset = w.r_gates, w.r_new, w.linear_before_reset
    zeros, r_bias, steps, rows, features, hidden = w.zeros, w.r_bias, w.steps, w.rows, w.features, w.hidden
    wants_y, reverse, y_step, g_segments, n_segments = w.wants_y, w.reverse, w.y_step, w.g_segments, w.n_segments
    step_by, row_by = (1, steps) if w.rows_first else (rows, 1)
    n_bytes, width = rows * hidden * 4, 3 * hidden
    one = splat(_F(1.0))
    for i in range(rows * hidden):
        write_f32(h, i, _F(0.0))
    if w.has_h0:
        copy_bytes(h, h0, n_bytes)
    many_rows(w.x, w.lda, w.weights, w.bias, gates, width * 4, steps * rows, features, width, w.w_segments)
    for t in range(steps):
        at = steps - 1 - t if reverse else t
        many_rows(h, hidden * 4, r_gates, zeros, hidden_gates, width * 4, rows, hidden, 2 * hidden, g_segments)
        for n in range(rows):
            g, a = gates + (at * step_by + n * row_by) * width * 4, hidden_gates + n * width * 4
            i = 0
            while i < hidden:
                left, o = hidden - i, i * 4
                update = f.sigmoid(load_masked(g + o, left) + load_masked(a + o, left))
                reset = f.sigmoid(load_masked(g + hidden * 4 + o, left) + load_masked(a + hidden * 4 + o, left))
                store_masked(a + o, update, left)
                if linear_before_reset:
                    store_masked(a + hidden * 4 + o, reset, left)
                else:
                    store_masked(reset_hidden + n * hidden * 4 + o, reset * load_masked(h + n * hidden * 4 + o, left), left)
                i += 16
        # The recurrent part of the candidate: (reset * h) @ r + bias, or h @ r + bias, which is then multiplied by reset.
        many_rows(h if linear_before_reset else reset_hidden, hidden * 4, r_new, r_bias, hidden_gates + hidden * 8, width * 4, rows, hidden,
                  hidden, n_segments)
        for n in range(rows):
            g, a = gates + (at * step_by + n * row_by) * width * 4, hidden_gates + n * width * 4
            i = 0
            while i < hidden:
                left, o = hidden - i, i * 4
                recurrent_part = load_masked(a + hidden * 8 + o, left)
                if linear_before_reset:
                    candidate = f.tanh(fma(load_masked(a + hidden * 4 + o, left), recurrent_part, load_masked(g + hidden * 8 + o, left)))
                else:
                    candidate = f.tanh(load_masked(g + hidden * 8 + o, left) + recurrent_part)
                update = load_masked(a + o, left)
                previous = load_masked(h + n * hidden * 4 + o, left)
                store_masked(h + n * hidden * 4 + o, fma(update, previous, (one - update) * candidate), left)
                i += 16
        if wants_y:
            copy_bytes(y + at * y_step, h, n_bytes)
    return 0
