"""Loops of the estimator `mis`: exponentials, and sums over rows of products of features, in float64.

A sum's order depends on the number of rows of a call alone.
"""

from __future__ import annotations

from cervello.codegen.float64_lanes import add_tile, copy_four, exp_four, weighted_four
from cervello.codegen.float64_tile import HIGH, MOST_ROWS, WIDE
from cervello.codegen.memory import read_f64, write_f64
from cervello.codegen.records import view
from cervello.native.kernels.flow_words import FLOW

_flow = view(FLOW)


def exponentials(address, n):
    """Replaces n float64 x ≤ 0 by exp(x); n is a multiple of 4."""
    for i in range(0, n, 4):
        exp_four(address + 8 * i)
    return 0


def add_flow(words):
    """Adds to each candidate's sums Σₜ φₜ (dₜ φₜ − oₜ₋₁ φₜ₋₁)ᵀ, and in the column behind them Σₜ φₜ (oₜ₋₁ + bₜ − dₜ).

    Args:
      words: address of FLOW of `flow_words`.
    """
    w = _flow(words)
    n_rows, F, width, high, K = w.rows, w.features, w.width, w.high, w.candidates
    for first in range(0, n_rows, MOST_ROWS):
        n = min(MOST_ROWS, n_rows - first)
        before = w.phi + 8 * width * first
        d, b = w.d + 8 * first, w.b + 8 * first
        left = w.scratch
        right = left + 8 * high * MOST_ROWS
        for i in range(0, high, HIGH):
            for t in range(n):
                copy_four(left + 8 * (i * n + HIGH * t), before + 8 * (width * (t + 1) + i))
        for k in range(K):
            o = w.o + 8 * (w.stride * k + first)
            for t in range(n):
                gone, here = before + 8 * width * t, before + 8 * width * (t + 1)
                a, c = read_f64(d, t), read_f64(o, t)
                for j in range(0, width, WIDE):
                    panel = right + 8 * (j * n + WIDE * t)
                    for part in range(0, 8 * WIDE, 32):
                        weighted_four(panel + part, here + 8 * j + part, gone + 8 * j + part, a, c)
                j = F // WIDE * WIDE
                write_f64(right + 8 * (j * n + WIDE * t), F - j, c + read_f64(b, t) - a)
            out = w.sums + 8 * high * width * k
            for j in range(0, width, WIDE):
                for i in range(0, high, HIGH):
                    add_tile(left + 8 * i * n, right + 8 * j * n, n, out + 8 * (i * width + j), 8 * width)
    return 0
