"""Packs a computed matrix into panels of 32 columns, the layout of stored weights."""

from __future__ import annotations

from cervello.codegen.compiler import noinline
from cervello.codegen.memory import read_i32, write_i32
from cervello.codegen.simd import load_masked, store_masked
from cervello.native.kernels.sizes import PANEL
from cervello.native.kernels.transpose import transpose_16x16


@noinline
def pack(target, source, k, n, row_bytes, column_bytes):
    """Packs [K, n] with any strides as [ceil(n / 32), K, 32]. Columns from n on are not written; no result depends on them."""
    for p in range((n + PANEL - 1) // PANEL):
        width, first = min(PANEL, n - p * PANEL), source + p * PANEL * column_bytes
        if column_bytes == 4:
            for r in range(k):
                store_masked(target + r * PANEL * 4, load_masked(first + r * row_bytes, width), width)
                store_masked(target + r * PANEL * 4 + 64, load_masked(first + r * row_bytes + 64, width - 16), width - 16)
        elif row_bytes == 4:
            r = 0
            while r < k:
                transpose_16x16(first + r * 4, column_bytes, target + r * PANEL * 4, PANEL * 4, min(16, width), min(16, k - r))
                if width > 16:
                    transpose_16x16(first + 16 * column_bytes + r * 4, column_bytes, target + r * PANEL * 4 + 64, PANEL * 4,
                                    width - 16, min(16, k - r))
                r += 16
        else:
            for r in range(k):
                for q in range(width):
                    write_i32(target + r * PANEL * 4, q, read_i32(first + r * row_bytes + q * column_bytes, 0))
        target += k * PANEL * 4
    return 0
