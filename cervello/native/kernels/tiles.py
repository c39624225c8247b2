"""Register tiles: small products kept in registers, emitted as LLVM IR.

    c[rows, 16 * vectors] = bias + a[rows, K] @ b[K, 16 * vectors]

Each element sums k = 0 … K-1 in order with one fma per term, so every tile shape gives the same bits. Rows of `b` are `ldb` bytes apart
(128 in a packed panel of 32 columns). Stores are masked to the first `columns` columns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from cervello.codegen import cache
from cervello.codegen.intrinsics import operation
from cervello.codegen.simd_ir import F32X16, I64, LANES, emit_masked_store, first_lanes, llvm_function
from cervello.native.kernels.register_sums import (
    Factors,
    Grid,
    connect,
    load_scalar,
    load_vectors,
    offset_address,
    row_addresses,
    store_vectors,
    sum_any_terms,
    sum_terms,
)
from cervello.native.kernels.sizes import PANEL

_WIDE = "+avx512f" in cache.cpu()[1]
# Rows and vectors of the largest tile, for 32 registers of 16 lanes or 16 of 8. More rows would fit the vector registers, but not the
# general-purpose registers for addresses.
ROWS, VECTORS = (8, 2) if _WIDE else (6, 1)


def make_tile(rows: int, vectors: int) -> Any:
    """An intrinsic tile(a, lda, b, ldb, bias, c, ldc, k, columns); addresses and strides in bytes, all int64."""

    @operation(types.void, *[types.int64] * 9)
    def tile(builder, a, lda, b, ldb, bias, c, ldc, k, columns):
        starts = [load_vectors(builder, bias, vectors)] * rows
        a_rows, c_rows = row_addresses(builder, a, lda, rows), row_addresses(builder, c, ldc, rows)
        _store(builder, sum_any_terms(builder, k, starts, [(b, ldb)], _factors(builder, a_rows, vectors)), c_rows, columns, vectors)

    return tile


def _factors(builder: Any, a_rows: list[Any], vectors: int) -> Factors:
    """The factors of a term: a row of `b`, and an element of each row of `a`."""
    def factors(k: Any, b_row: Any) -> tuple[list[Any], Callable[[int], Any]]:
        row, k_bytes = load_vectors(builder, b_row, vectors), builder.shl(k, I64(2))
        return row, lambda i: load_scalar(builder, builder.add(a_rows[i], k_bytes))

    return factors


def make_segmented_tile(rows: int, vectors: int) -> Any:
    """An intrinsic tile(a, lda, b, ldb, bias, c, ldc, k, length, columns) with sums in segments of `length` terms.

    The first segment starts from the bias, the others from zero; the partial sums are added in order, as in `make_row`.
    """

    @operation(types.void, *[types.int64] * 10)
    def tile(builder, a, lda, b, ldb, bias, c, ldc, k, length, columns):
        def phis() -> Grid:
            return [[builder.phi(F32X16) for _ in range(vectors)] for _ in range(rows)]

        zeros = [[ir.Constant(F32X16, [0.0] * LANES)] * vectors] * rows
        starts = [load_vectors(builder, bias, vectors)] * rows
        a_rows, c_rows = row_addresses(builder, a, lda, rows), row_addresses(builder, c, ldc, rows)
        before = builder.block
        segment, done = builder.append_basic_block("segment"), builder.append_basic_block("segments_done")
        builder.cbranch(builder.icmp_signed(">", k, I64(0)), segment, done)

        builder.position_at_end(segment)
        first, b_first, segment_starts, totals = builder.phi(I64), builder.phi(I64), phis(), phis()
        limit = builder.add(first, length)
        end = builder.select(builder.icmp_signed("<", limit, k), limit, k)
        sums, (b_next,) = sum_terms(builder, first, end, segment_starts, [(b_first, ldb)], _factors(builder, a_rows, vectors))
        is_first = builder.icmp_signed("==", first, I64(0))
        new = [[builder.select(is_first, each, builder.fadd(total, each)) for total, each in zip(row_totals, row, strict=True)]
               for row_totals, row in zip(totals, sums, strict=True)]
        last = builder.block
        for phi, start, following in ((first, I64(0), end), (b_first, b, b_next)):
            phi.add_incoming(start, before)
            phi.add_incoming(following, last)
        connect(segment_starts, starts, before)
        connect(segment_starts, zeros, last)
        connect(totals, zeros, before)
        connect(totals, new, last)
        builder.cbranch(builder.icmp_signed("<", end, k), segment, done)

        builder.position_at_end(done)
        results = phis()
        connect(results, starts, before)
        connect(results, new, last)
        _store(builder, results, c_rows, columns, vectors)

    return tile


def make_row(segments: int, vectors: int) -> Any:
    """An intrinsic row(a, b, panel_bytes, bias, c, k, columns): one row against `vectors` / 2 packed panels.

    The sum is split into `segments` of ceil(K / segments) terms, which are computed in parallel to hide the latency of an fma. The partial
    sums are added in order, as in tiles from `make_segmented_tile`, which compute the segments one after another.
    """

    @operation(types.void, *[types.int64] * 7)
    def row(builder, a, b, panel_bytes, bias, c, k_end, columns):
        fma = llvm_function(builder, "llvm.fma.v16f32", F32X16, [F32X16] * 3)
        panels = row_addresses(builder, I64(0), panel_bytes, (vectors + 1) // 2)
        length = builder.sdiv(builder.add(k_end, I64(segments - 1)), I64(segments))
        common = builder.sub(k_end, builder.mul(length, I64(segments - 1)))  # terms of the last, shortest segment
        b_starts = row_addresses(builder, b, builder.mul(length, I64(4 * PANEL)), segments)
        a_starts = row_addresses(builder, a, builder.shl(length, I64(2)), segments)
        sums = [[cgutils.alloca_once(builder, F32X16) for _ in range(vectors)] for _ in range(segments)]
        zeros = [ir.Constant(F32X16, [0.0] * LANES)] * vectors
        for s, segment_sums in enumerate(sums):
            for start, total in zip(load_vectors(builder, bias, vectors) if s == 0 else zeros, segment_sums, strict=True):
                builder.store(start, total)

        def accumulate(first: Any, end: Any, n_segments: int) -> None:
            with cgutils.for_range_slice(builder, first, end, I64(1), inc=True) as (k, _):
                offset, k_bytes = builder.mul(k, I64(4 * PANEL)), builder.shl(k, I64(2))
                for s in range(n_segments):
                    broadcast, at = load_scalar(builder, builder.add(a_starts[s], k_bytes)), builder.add(b_starts[s], offset)
                    for j, total in enumerate(sums[s]):
                        address = offset_address(builder, builder.add(at, panels[j // 2]), 64 * (j % 2))
                        (weights,) = load_vectors(builder, address, 1)
                        builder.store(builder.call(fma, [broadcast, weights, builder.load(total)]), total)

        accumulate(I64(0), common, segments)
        if segments > 1:
            accumulate(common, length, segments - 1)
        totals = []
        for j in range(vectors):
            total = builder.load(sums[0][j])
            for s in range(1, segments):
                total = builder.fadd(total, builder.load(sums[s][j]))
            totals.append(total)
        _store(builder, [totals], [c], columns, vectors)

    return row


def _store(builder: Any, results: Any, c_rows: Any, columns: Any, vectors: int) -> None:
    """Stores whole vectors if all columns are valid, otherwise masked vectors."""
    with builder.if_else(builder.icmp_signed(">=", columns, I64(LANES * vectors)), likely=True) as (whole, part):
        with whole:
            for row, c_row in zip(results, c_rows, strict=True):
                store_vectors(builder, c_row, row)
        with part:
            masks = [first_lanes(builder, builder.sub(columns, I64(LANES * j))) for j in range(vectors)]
            for row, c_row in zip(results, c_rows, strict=True):
                for j, value in enumerate(row):
                    emit_masked_store(builder, builder.add(c_row, I64(4 * LANES * j)), value, masks[j])
