"""Register tiles of convolutions, emitted as LLVM IR: lanes over pixels, or lanes over filters.

    out[filters, pixels] = bias[filters] + sum over k of w[k, filters] * x[offset[k] + pixel]

A tap of the window reads the same pixels at an offset, so no im2col copy is made. Each element sums k = 0 … K-1 in order with one fma per
term, so every tile shape gives the same bits. The last vector is masked in loads and stores: no byte outside the pixels is accessed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import types

from cervello.codegen.intrinsics import operation
from cervello.codegen.simd_ir import I64, LANES, emit_masked_load, emit_masked_store, first_lanes, pointer
from cervello.native.kernels.register_sums import (
    load_scalar,
    load_vectors,
    offset_address,
    row_addresses,
    store_vectors,
    sum_any_terms,
)
from cervello.native.kernels.sizes import FILTERS, PANEL


def make_filter_tile(filters: int, vectors: int) -> Any:
    """An intrinsic tile(w, x, offsets, k, bias, out, ldo, pixels).

    w: K rows of FILTERS weights, of which the first `filters` are used; x: address of the first pixel; offsets: K int64 bytes;
    out: rows ldo bytes apart; pixels: number of valid pixels, more than 16 * (vectors - 1).
    """

    @operation(types.void, *[types.int64] * 8)
    def tile(builder, w, x, offsets, k, bias, out, ldo, pixels):
        last = 64 * (vectors - 1)
        mask = first_lanes(builder, builder.sub(pixels, I64(LANES * (vectors - 1))))

        def factors(_: Any, w_row: Any, tap: Any) -> tuple[list[Any], Callable[[int], Any]]:
            moved = builder.add(x, builder.load(pointer(builder, tap, I64), align=8))
            adjacent = load_vectors(builder, moved, vectors - 1)
            adjacent.append(emit_masked_load(builder, offset_address(builder, moved, last), mask))
            return adjacent, lambda i: load_scalar(builder, offset_address(builder, w_row, 4 * i))

        starts = [[load_scalar(builder, offset_address(builder, bias, 4 * i))] * vectors for i in range(filters)]
        sums = sum_any_terms(builder, k, starts, [(w, I64(4 * FILTERS)), (offsets, I64(8))], factors)
        for row, results in zip(row_addresses(builder, out, ldo, filters), sums, strict=True):
            store_vectors(builder, row, results[:-1])
            emit_masked_store(builder, offset_address(builder, row, last), results[-1], mask)

    return tile


def make_pixel_tile(pixels: int, vectors: int) -> Any:
    """An intrinsic tile(windows, offsets, w, k, start, start_stride, out, ldo): `pixels` windows times 16 * vectors filters of a panel.

    windows: int64 addresses of the windows; offsets: K int64 bytes; w: K rows of PANEL weights; start: initial values of the sums, in rows
    start_stride bytes apart: the bias with a stride of 0, or the sums of earlier taps in `out`; out: rows ldo bytes apart, of which
    16 * vectors filters are written.
    """

    @operation(types.void, *[types.int64] * 8)
    def tile(builder, windows, offsets, w, k, start, start_stride, out, ldo):
        addresses = [builder.load(pointer(builder, offset_address(builder, windows, 8 * i), I64), align=8) for i in range(pixels)]

        def factors(_: Any, w_row: Any, tap: Any) -> tuple[list[Any], Callable[[int], Any]]:
            offset = builder.load(pointer(builder, tap, I64), align=8)
            return load_vectors(builder, w_row, vectors), lambda i: load_scalar(builder, builder.add(addresses[i], offset))

        starts = [load_vectors(builder, row, vectors) for row in row_addresses(builder, start, start_stride, pixels)]
        sums = sum_any_terms(builder, k, starts, [(w, I64(4 * PANEL)), (offsets, I64(8))], factors)
        for row, results in zip(row_addresses(builder, out, ldo, pixels), sums, strict=True):
            store_vectors(builder, row, results)

    return tile
