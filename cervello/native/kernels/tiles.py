"""Register tiles: small products kept in registers, emitted as LLVM IR.

    c[rows, 16 * vectors] = bias + a[rows, K] @ b[K, 16 * vectors]

Each element sums k = 0 … K-1 in order with one fma per term, so every tile shape gives the same bits. Rows of `b` are `ldb` bytes apart
(128 in a packed panel of 32 columns). Stores are masked to the first `columns` columns.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from cervello.codegen import cache
from cervello.codegen.simd_ir import F32, F32X16, I64, LANES, emit_masked_store, first_lanes, llvm_function, pointer, splat_value
from cervello.native.kernels.sizes import PANEL

_WIDE = "+avx512f" in cache.cpu()[1]
# Rows and vectors of the largest tile, for 32 registers of 16 lanes or 16 of 8. More rows would fit the vector registers, but not the
# general-purpose registers for addresses.
ROWS, VECTORS = (8, 2) if _WIDE else (6, 1)


def make_tile(rows: int, vectors: int) -> Any:
    """An intrinsic tile(a, lda, b, ldb, bias, c, ldc, k, columns); addresses and strides in bytes, all int64."""

    @intrinsic
    def tile(typing_context, a, lda, b, ldb, bias, c, ldc, k, columns):
        def codegen(context, builder, sig, args):
            a, lda, b, ldb, bias, c, ldc, k_end, columns = args
            fma = llvm_function(builder, "llvm.fma.v16f32", F32X16, [F32X16] * 3)

            def offset_address(address: Any, n_bytes: int) -> Any:
                return builder.add(address, I64(n_bytes)) if n_bytes else address

            def load(address: Any, j: int) -> Any:
                return builder.load(pointer(builder, offset_address(address, 4 * LANES * j), F32X16), align=4)

            def row_addresses(first: Any, stride: Any) -> list[Any]:
                found = [first]
                for _ in range(1, rows):
                    found.append(builder.add(found[-1], stride))
                return found

            starts = [load(bias, j) for j in range(vectors)]
            a_rows, c_rows = row_addresses(a, lda), row_addresses(c, ldc)
            entry = builder.block
            loop, done = builder.append_basic_block("k"), builder.append_basic_block("k_done")
            builder.cbranch(builder.icmp_signed(">", k_end, I64(0)), loop, done)

            builder.position_at_end(loop)
            k, b_row = builder.phi(I64), builder.phi(I64)
            sums = [[builder.phi(F32X16) for _ in range(vectors)] for _ in range(rows)]
            k.add_incoming(I64(0), entry)
            b_row.add_incoming(b, entry)
            b_vectors = [load(b_row, j) for j in range(vectors)]
            k_bytes = builder.shl(k, I64(2))
            new = []
            for i in range(rows):
                value = builder.load(pointer(builder, builder.add(a_rows[i], k_bytes), F32), align=4)
                broadcast = splat_value(builder, value, F32X16)
                new.append([builder.call(fma, [broadcast, b_vectors[j], sums[i][j]]) for j in range(vectors)])
            k_next, b_next = builder.add(k, I64(1)), builder.add(b_row, ldb)
            k.add_incoming(k_next, loop)
            b_row.add_incoming(b_next, loop)
            for i in range(rows):
                for j in range(vectors):
                    sums[i][j].add_incoming(starts[j], entry)
                    sums[i][j].add_incoming(new[i][j], loop)
            builder.cbranch(builder.icmp_signed("<", k_next, k_end), loop, done)

            builder.position_at_end(done)
            results = []
            for i in range(rows):
                results.append([builder.phi(F32X16) for _ in range(vectors)])
                for j in range(vectors):
                    results[i][j].add_incoming(starts[j], entry)
                    results[i][j].add_incoming(new[i][j], loop)
            _store(builder, results, c_rows, columns, vectors)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 9), codegen

    return tile


def make_segmented_tile(rows: int, vectors: int) -> Any:
    """An intrinsic tile(a, lda, b, ldb, bias, c, ldc, k, length, columns) with sums in segments of `length` terms.

    The first segment starts from the bias, the others from zero; the partial sums are added in order, as in `make_row`.
    """

    @intrinsic
    def tile(typing_context, a, lda, b, ldb, bias, c, ldc, k, length, columns):
        def codegen(context, builder, sig, args):
            a, lda, b, ldb, bias, c, ldc, k_end, length, columns = args
            fma = llvm_function(builder, "llvm.fma.v16f32", F32X16, [F32X16] * 3)

            def load(address: Any, j: int) -> Any:
                return builder.load(pointer(builder, builder.add(address, I64(4 * LANES * j)) if j else address, F32X16), align=4)

            def phis() -> list[list[Any]]:
                return [[builder.phi(F32X16) for _ in range(vectors)] for _ in range(rows)]

            def add_incoming_all(found: list[list[Any]], values: Any, block: Any) -> None:
                for i in range(rows):
                    for j in range(vectors):
                        found[i][j].add_incoming(values[i][j], block)

            def row_addresses(first: Any, stride: Any) -> list[Any]:
                found = [first]
                for _ in range(1, rows):
                    found.append(builder.add(found[-1], stride))
                return found

            zeros = [[ir.Constant(F32X16, [0.0] * LANES)] * vectors] * rows
            starts = [[load(bias, j) for j in range(vectors)]] * rows
            a_rows, c_rows = row_addresses(a, lda), row_addresses(c, ldc)
            entry = builder.block
            segment, loop, added, done = (builder.append_basic_block(name) for name in ("segment", "k", "added", "k_done"))
            builder.cbranch(builder.icmp_signed(">", k_end, I64(0)), segment, done)

            builder.position_at_end(segment)
            first = builder.phi(I64)
            b_first = builder.phi(I64)
            segment_starts, totals = phis(), phis()
            first.add_incoming(I64(0), entry)
            b_first.add_incoming(b, entry)
            add_incoming_all(segment_starts, starts, entry)
            add_incoming_all(totals, zeros, entry)
            limit = builder.add(first, length)
            end = builder.select(builder.icmp_signed("<", limit, k_end), limit, k_end)
            builder.branch(loop)

            builder.position_at_end(loop)
            k, b_row = builder.phi(I64), builder.phi(I64)
            sums = phis()
            k.add_incoming(first, segment)
            b_row.add_incoming(b_first, segment)
            add_incoming_all(sums, segment_starts, segment)
            b_vectors = [load(b_row, j) for j in range(vectors)]
            k_bytes = builder.shl(k, I64(2))
            new = []
            for i in range(rows):
                broadcast = splat_value(builder, builder.load(pointer(builder, builder.add(a_rows[i], k_bytes), F32), align=4), F32X16)
                new.append([builder.call(fma, [broadcast, b_vectors[j], sums[i][j]]) for j in range(vectors)])
            k_next, b_next = builder.add(k, I64(1)), builder.add(b_row, ldb)
            k.add_incoming(k_next, loop)
            b_row.add_incoming(b_next, loop)
            add_incoming_all(sums, new, loop)
            builder.cbranch(builder.icmp_signed("<", k_next, end), loop, added)

            builder.position_at_end(added)
            whole = builder.icmp_signed("==", first, I64(0))
            sums_now = [[builder.select(whole, new[i][j], builder.fadd(totals[i][j], new[i][j])) for j in range(vectors)]
                        for i in range(rows)]
            first.add_incoming(end, added)
            b_first.add_incoming(b_next, added)
            add_incoming_all(segment_starts, zeros, added)
            add_incoming_all(totals, sums_now, added)
            builder.cbranch(builder.icmp_signed("<", end, k_end), segment, done)

            builder.position_at_end(done)
            results = phis()
            add_incoming_all(results, starts, entry)
            add_incoming_all(results, sums_now, added)
            _store(builder, results, c_rows, columns, vectors)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 10), codegen

    return tile


def make_row(segments: int, vectors: int) -> Any:
    """An intrinsic row(a, b, panel_bytes, bias, c, k, columns): one row against `vectors` / 2 packed panels.

    The sum is split into `segments` of ceil(K / segments) terms, which are computed in parallel to hide the latency of an fma. The partial
    sums are added in order, as in tiles from `make_segmented_tile`, which compute the segments one after another.
    """

    @intrinsic
    def row(typing_context, a, b, panel_bytes, bias, c, k, columns):
        def codegen(context, builder, sig, args):
            a, b, panel_bytes, bias, c, k_end, columns = args
            fma = llvm_function(builder, "llvm.fma.v16f32", F32X16, [F32X16] * 3)
            zero = ir.Constant(F32X16, [0.0] * LANES)
            panels = [I64(0)]
            for _ in range(1, (vectors + 1) // 2):
                panels.append(builder.add(panels[-1], panel_bytes))

            def load(address: Any, n_bytes: int) -> Any:
                return builder.load(pointer(builder, builder.add(address, I64(n_bytes)), F32X16), align=4)

            length = builder.sdiv(builder.add(k_end, I64(segments - 1)), I64(segments))
            common = builder.sub(k_end, builder.mul(length, I64(segments - 1)))  # terms of the last, shortest segment
            b_starts, a_starts = [b], [a]
            for _ in range(1, segments):
                b_starts.append(builder.add(b_starts[-1], builder.mul(length, I64(4 * PANEL))))
                a_starts.append(builder.add(a_starts[-1], builder.shl(length, I64(2))))
            sums = [[cgutils.alloca_once(builder, F32X16) for _ in range(vectors)] for _ in range(segments)]
            for s in range(segments):
                for j in range(vectors):
                    builder.store(load(bias, 64 * j) if s == 0 else zero, sums[s][j])

            def accumulate(first: Any, end: Any, n_segments: int) -> None:
                with cgutils.for_range_slice(builder, first, end, I64(1), inc=True) as (k, _):
                    offset, k_bytes = builder.mul(k, I64(4 * PANEL)), builder.shl(k, I64(2))
                    for s in range(n_segments):
                        value = builder.load(pointer(builder, builder.add(a_starts[s], k_bytes), F32), align=4)
                        broadcast, at = splat_value(builder, value, F32X16), builder.add(b_starts[s], offset)
                        for j in range(vectors):
                            weights = load(builder.add(at, panels[j // 2]), 64 * (j % 2))
                            builder.store(builder.call(fma, [broadcast, weights, builder.load(sums[s][j])]), sums[s][j])

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
            return context.get_dummy_value()

        return types.void(*[types.int64] * 7), codegen

    return row


def _store(builder: Any, results: Any, c_rows: Any, columns: Any, vectors: int) -> None:
    """Stores whole vectors if all columns are valid, otherwise masked vectors."""
    with builder.if_else(builder.icmp_signed(">=", columns, I64(LANES * vectors)), likely=True) as (whole, part):
        with whole:
            for row, c_row in zip(results, c_rows, strict=True):
                for j, value in enumerate(row):
                    builder.store(value, pointer(builder, builder.add(c_row, I64(4 * LANES * j)), F32X16), align=4)
        with part:
            masks = [first_lanes(builder, builder.sub(columns, I64(LANES * j))) for j in range(vectors)]
            for row, c_row in zip(results, c_rows, strict=True):
                for j, value in enumerate(row):
                    emit_masked_store(builder, builder.add(c_row, I64(4 * LANES * j)), value, masks[j])
