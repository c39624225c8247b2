"""Loops of the estimator `mis`: exponentials, and sums over rows of products of features, in float64.

A sum's order depends on the number of rows of a call alone.
"""

from __future__ import annotations

from cervello.codegen.float64_lanes import add_tile, copy_four, exp_four, weighted_four
from cervello.codegen.float64_tile import HIGH, MOST_ROWS, WIDE
from cervello.codegen.memory import read_f64, word, write_f64


def exponentials(address, n):
    """Replaces n float64 x ≤ 0 by exp(x); n is a multiple of 4."""
    for i in range(0, n, 4):
        exp_four(address + 8 * i)
    return 0


def add_flow(words):
    """Adds to each candidate's sums Σₜ φₜ (dₜ φₜ − oₜ₋₁ φₜ₋₁)ᵀ, and in the column behind them Σₜ φₜ (oₜ₋₁ + bₜ − dₜ).

    Args:
      words: addresses of 0 φ [rows + 1, width], the row before the first one first; 1 d [rows]; 2 b [rows]; 3 o [K, …], of the row before;
        4 scratch of (high + width) · MOST_ROWS float64; 5 the sums [K, high, width]. Then 6 rows; 7 F, features; 8 width, a multiple
        of 12 above F; 9 high, a multiple of 4 from F; 10 K; 11 numbers between two candidates' o.
    """
    n_rows, F, width, high, K = word(words, 6), word(words, 7), word(words, 8), word(words, 9), word(words, 10)
    for first in range(0, n_rows, MOST_ROWS):
        n = min(MOST_ROWS, n_rows - first)
        before = word(words, 0) + 8 * width * first
        d, b = word(words, 1) + 8 * first, word(words, 2) + 8 * first
        left = word(words, 4)
        right = left + 8 * high * MOST_ROWS
        for i in range(0, high, HIGH):
            for t in range(n):
                copy_four(left + 8 * (i * n + HIGH * t), before + 8 * (width * (t + 1) + i))
        for k in range(K):
            o = word(words, 3) + 8 * (word(words, 11) * k + first)
            for t in range(n):
                gone, here = before + 8 * width * t, before + 8 * width * (t + 1)
                a, c = read_f64(d, t), read_f64(o, t)
                for j in range(0, width, WIDE):
                    panel = right + 8 * (j * n + WIDE * t)
                    for part in range(0, 8 * WIDE, 32):
                        weighted_four(panel + part, here + 8 * j + part, gone + 8 * j + part, a, c)
                j = F // WIDE * WIDE
                write_f64(right + 8 * (j * n + WIDE * t), F - j, c + read_f64(b, t) - a)
            out = word(words, 5) + 8 * high * width * k
            for j in range(0, width, WIDE):
                for i in range(0, high, HIGH):
                    add_tile(left + 8 * i * n, right + 8 * j * n, n, out + 8 * (i * width + j), 8 * width)
    return 0
