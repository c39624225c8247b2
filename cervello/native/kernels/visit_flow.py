"""Loops of the estimator `mis`: exponentials, and sums over rows of outer products of features, in float64.

The order of a sum depends only on the number of rows of a call.
"""

from __future__ import annotations

from cervello.codegen.float64_lanes import add_tile, copy_f64x4, exp_f64x4, weighted_difference_f64x4
from cervello.codegen.float64_tile import BLOCK_TERMS, TILE_COLUMNS, TILE_ROWS
from cervello.codegen.memory import read_f64, write_f64
from cervello.codegen.records import view
from cervello.native.kernels.flow_words import FLOW

_flow = view(FLOW)


def exponentials(address, n):
    """Replaces n float64 x ≤ 0 with exp(x); n is a multiple of 4."""
    for i in range(0, n, 4):
        exp_f64x4(address + 8 * i)
    return 0


def add_flow(words):
    """Adds to each candidate's sums Σₜ φₜ (dₜ φₜ − oₜ₋₁ φₜ₋₁)ᵀ, and in the next column Σₜ φₜ (oₜ₋₁ + bₜ − dₜ).

    Args:
      words: address of FLOW of `flow_words`.
    """
    w = _flow(words)
    n_rows, F, width, high, K = w.rows, w.features, w.width, w.high, w.candidates
    for first in range(0, n_rows, BLOCK_TERMS):
        n = min(BLOCK_TERMS, n_rows - first)
        before = w.phi + 8 * width * first
        d, b = w.d + 8 * first, w.b + 8 * first
        left = w.scratch
        right = left + 8 * high * BLOCK_TERMS
        for i in range(0, high, TILE_ROWS):
            for t in range(n):
                copy_f64x4(left + 8 * (i * n + TILE_ROWS * t), before + 8 * (width * (t + 1) + i))
        for k in range(K):
            o = w.o + 8 * (w.stride * k + first)
            for t in range(n):
                previous, current = before + 8 * width * t, before + 8 * width * (t + 1)
                d_t, o_t = read_f64(d, t), read_f64(o, t)
                for j in range(0, width, TILE_COLUMNS):
                    panel = right + 8 * (j * n + TILE_COLUMNS * t)
                    for part in range(0, 8 * TILE_COLUMNS, 32):
                        weighted_difference_f64x4(panel + part, current + 8 * j + part, previous + 8 * j + part, d_t, o_t)
                j = F // TILE_COLUMNS * TILE_COLUMNS
                write_f64(right + 8 * (j * n + TILE_COLUMNS * t), F - j, o_t + read_f64(b, t) - d_t)
            out = w.sums + 8 * high * width * k
            for j in range(0, width, TILE_COLUMNS):
                for i in range(0, high, TILE_ROWS):
                    add_tile(left + 8 * i * n, right + 8 * j * n, n, out + 8 * (i * width + j), 8 * width)
    return 0
