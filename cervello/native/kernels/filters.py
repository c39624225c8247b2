"""Register tiles of convolutions, emitted as LLVM IR: lanes over pixels, or lanes over filters.

    out[filters, pixels] = bias[filters] + sum over k of w[k, filters] * x[offset[k] + pixel]

A tap of the window reads the same pixels at an offset, so no im2col copy is made. Each element sums k = 0 … K-1 in order with one fma per
term, so every tile shape gives the same bits. The last vector is masked in loads and stores: no byte outside the pixels is accessed.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import intrinsic

from cervello.codegen.simd_ir import (
    F32,
    F32X16,
    I64,
    LANES,
    emit_masked_load,
    emit_masked_store,
    first_lanes,
    llvm_function,
    pointer,
    splat_value,
)
from cervello.native.kernels.sizes import FILTERS, PANEL


def make_filter_tile(filters: int, vectors: int) -> Any:
    """An intrinsic tile(w, x, offsets, k, bias, out, ldo, pixels).

    w: K rows of FILTERS weights, of which the first `filters` are used; x: address of the first pixel; offsets: K int64 bytes;
    out: rows ldo bytes apart; pixels: number of valid pixels, more than 16 * (vectors - 1).
    """

    @intrinsic
    def tile(typing_context, w, x, offsets, k, bias, out, ldo, pixels):
        def codegen(context, builder, sig, args):
            w, x, offsets, k_end, bias, out, ldo, pixels = args
            fma = llvm_function(builder, "llvm.fma.v16f32", F32X16, [F32X16] * 3)
            mask = first_lanes(builder, builder.sub(pixels, I64(LANES * (vectors - 1))))

            def offset_address(address: Any, n_bytes: int) -> Any:
                return builder.add(address, I64(n_bytes)) if n_bytes else address

            def at(address: Any, n_bytes: int, kind: Any) -> Any:
                return pointer(builder, offset_address(address, n_bytes), kind)

            starts = [splat_value(builder, builder.load(at(bias, 4 * i, F32), align=4), F32X16) for i in range(filters)]
            entry = builder.block
            loop, done = builder.append_basic_block("k"), builder.append_basic_block("k_done")
            builder.cbranch(builder.icmp_signed(">", k_end, I64(0)), loop, done)

            builder.position_at_end(loop)
            k, w_row, tap = builder.phi(I64), builder.phi(I64), builder.phi(I64)
            sums = [[builder.phi(F32X16) for _ in range(vectors)] for _ in range(filters)]
            for phi, first in ((k, I64(0)), (w_row, w), (tap, offsets)):
                phi.add_incoming(first, entry)
            moved = builder.add(x, builder.load(pointer(builder, tap, I64), align=8))
            pixels_now = [builder.load(at(moved, 64 * j, F32X16), align=4) for j in range(vectors - 1)]
            pixels_now.append(emit_masked_load(builder, offset_address(moved, 64 * (vectors - 1)), mask))
            new = []
            for i in range(filters):
                weight = splat_value(builder, builder.load(at(w_row, 4 * i, F32), align=4), F32X16)
                new.append([builder.call(fma, [weight, pixels_now[j], sums[i][j]]) for j in range(vectors)])
            k_next = builder.add(k, I64(1))
            k.add_incoming(k_next, loop)
            w_row.add_incoming(builder.add(w_row, I64(4 * FILTERS)), loop)
            tap.add_incoming(builder.add(tap, I64(8)), loop)
            for i in range(filters):
                for j in range(vectors):
                    sums[i][j].add_incoming(starts[i], entry)
                    sums[i][j].add_incoming(new[i][j], loop)
            builder.cbranch(builder.icmp_signed("<", k_next, k_end), loop, done)

            builder.position_at_end(done)
            row = out
            for i in range(filters):
                for j in range(vectors):
                    result = builder.phi(F32X16)
                    result.add_incoming(starts[i], entry)
                    result.add_incoming(new[i][j], loop)
                    new[i][j] = result
            for i in range(filters):
                for j in range(vectors - 1):
                    builder.store(new[i][j], at(row, 64 * j, F32X16), align=4)
                emit_masked_store(builder, offset_address(row, 64 * (vectors - 1)), new[i][-1], mask)
                row = builder.add(row, ldo)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 8), codegen

    return tile


def make_pixel_tile(pixels: int, vectors: int) -> Any:
    """An intrinsic tile(windows, offsets, w, k, start, start_stride, out, ldo): `pixels` windows times 16 * vectors filters of a panel.

    windows: int64 addresses of the windows; offsets: K int64 bytes; w: K rows of PANEL weights; start: initial values of the sums, in rows
    start_stride bytes apart: the bias with a stride of 0, or the sums of earlier taps in `out`; out: rows ldo bytes apart, of which
    16 * vectors filters are written.
    """

    @intrinsic
    def tile(typing_context, windows, offsets, w, k, start, start_stride, out, ldo):
        def codegen(context, builder, sig, args):
            windows, offsets, w, k_end, start, start_stride, out, ldo = args
            fma = llvm_function(builder, "llvm.fma.v16f32", F32X16, [F32X16] * 3)

            def at(address: Any, n_bytes: int, kind: Any) -> Any:
                return pointer(builder, builder.add(address, I64(n_bytes)) if n_bytes else address, kind)

            addresses = [builder.load(at(windows, 8 * i, I64), align=8) for i in range(pixels)]
            starts = []
            for i in range(pixels):
                starts.append([builder.load(at(start, 64 * j, F32X16), align=4) for j in range(vectors)])
                start = builder.add(start, start_stride) if i + 1 < pixels else start
            entry = builder.block
            loop, done = builder.append_basic_block("k"), builder.append_basic_block("k_done")
            builder.cbranch(builder.icmp_signed(">", k_end, I64(0)), loop, done)

            builder.position_at_end(loop)
            k, w_row, tap = builder.phi(I64), builder.phi(I64), builder.phi(I64)
            sums = [[builder.phi(F32X16) for _ in range(vectors)] for _ in range(pixels)]
            for phi, first in ((k, I64(0)), (w_row, w), (tap, offsets)):
                phi.add_incoming(first, entry)
            offset = builder.load(pointer(builder, tap, I64), align=8)
            weights = [builder.load(at(w_row, 64 * j, F32X16), align=4) for j in range(vectors)]
            new = []
            for i in range(pixels):
                value = splat_value(builder, builder.load(pointer(builder, builder.add(addresses[i], offset), F32), align=4), F32X16)
                new.append([builder.call(fma, [value, weights[j], sums[i][j]]) for j in range(vectors)])
            k_next = builder.add(k, I64(1))
            k.add_incoming(k_next, loop)
            w_row.add_incoming(builder.add(w_row, I64(4 * PANEL)), loop)
            tap.add_incoming(builder.add(tap, I64(8)), loop)
            for i in range(pixels):
                for j in range(vectors):
                    sums[i][j].add_incoming(starts[i][j], entry)
                    sums[i][j].add_incoming(new[i][j], loop)
            builder.cbranch(builder.icmp_signed("<", k_next, k_end), loop, done)

            builder.position_at_end(done)
            for i in range(pixels):
                for j in range(vectors):
                    result = builder.phi(F32X16)
                    result.add_incoming(starts[i][j], entry)
                    result.add_incoming(new[i][j], loop)
                    new[i][j] = result
            row = out
            for i in range(pixels):
                for j in range(vectors):
                    builder.store(new[i][j], at(row, 64 * j, F32X16), align=4)
                row = builder.add(row, ldo)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 8), codegen

    return tile
