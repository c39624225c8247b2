"""Transposes of blocks of up to 16 x 16 float32, and strided splits of rows, emitted as LLVM IR shuffles."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from cervello.codegen.intrinsics import operation
from cervello.codegen.simd_ir import I1X16, I32, I32X16, I64, LANES, emit_masked_load, emit_masked_store, first_lanes, splat_value


@operation(types.void, *[types.int64] * 6)
def transpose_16x16(builder, source, row_bytes, target, column_bytes, rows, columns):
    """target[j][i] = source[i][j] for i < rows ≤ 16, j < columns ≤ 16; other elements are not accessed."""
    wanted, empty = first_lanes(builder, columns), ir.Constant(I1X16, [0] * LANES)
    block = []
    for i in range(LANES):
        mask = builder.select(builder.icmp_signed("<", I64(i), rows), wanted, empty)
        block.append(emit_masked_load(builder, builder.add(source, builder.mul(row_bytes, I64(i))), mask))
    distance = LANES // 2
    while distance:  # swaps the off-diagonal blocks of halves, quarters, …
        for i in range(LANES):
            if not i & distance:
                a, b = block[i], block[i + distance]
                low = [j if not j & distance else LANES + j - distance for j in range(LANES)]
                high = [j + distance if not j & distance else LANES + j for j in range(LANES)]
                block[i] = builder.shuffle_vector(a, b, ir.Constant(I32X16, low))
                block[i + distance] = builder.shuffle_vector(a, b, ir.Constant(I32X16, high))
        distance //= 2
    wanted = first_lanes(builder, rows)
    for j in range(LANES):
        mask = builder.select(builder.icmp_signed("<", I64(j), columns), wanted, empty)
        emit_masked_store(builder, builder.add(target, builder.mul(column_bytes, I64(j))), block[j], mask)


def make_split(step: int) -> Any:
    """An intrinsic split(source, low, high, target, part_bytes, count) for step 1, 2 or 4.

    Element u of the source, or zero unless low <= u < high, is stored in part u % step at index u // step < count ≤ 16. Parts are
    part_bytes apart.
    """

    @operation(types.void, *[types.int64] * 6)
    def split(builder, source, low, high, target, part_bytes, count):
        lows, highs = (splat_value(builder, builder.trunc(edge, I32), I32X16) for edge in (low, high))
        parts = []
        for v in range(step):
            place = ir.Constant(I32X16, [LANES * v + i for i in range(LANES)])
            mask = builder.and_(builder.icmp_signed(">=", place, lows), builder.icmp_signed("<", place, highs))
            parts.append(emit_masked_load(builder, builder.add(source, I64(64 * v)), mask))
        evens, odds = (ir.Constant(I32X16, list(range(first, 2 * LANES, 2))) for first in (0, 1))
        if step == 2:
            parts = [builder.shuffle_vector(*parts, evens), builder.shuffle_vector(*parts, odds)]
        elif step == 4:
            even = [builder.shuffle_vector(*parts[:2], evens), builder.shuffle_vector(*parts[2:], evens)]
            odd = [builder.shuffle_vector(*parts[:2], odds), builder.shuffle_vector(*parts[2:], odds)]
            parts = [builder.shuffle_vector(*even, evens), builder.shuffle_vector(*odd, evens),
                     builder.shuffle_vector(*even, odds), builder.shuffle_vector(*odd, odds)]
        wanted = first_lanes(builder, count)
        for value in parts:
            emit_masked_store(builder, target, value, wanted)
            target = builder.add(target, part_bytes)

    return split
