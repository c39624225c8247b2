"""Operations on four float64 lanes at addresses, in a fixed order of operations."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from cervello.codegen.float64_tile import TILE_COLUMNS, TILE_ROWS
from cervello.codegen.intrinsics import operation

F64, I64 = ir.DoubleType(), ir.IntType(64)
F64X4, I64X4 = ir.VectorType(F64, 4), ir.VectorType(I64, 4)
_LN2_HIGH, _LN2_LOW = 0.693147180369123816490, 1.90821492927058770002e-10  # fdlibm's split of ln 2: n · high is exact
_MAGIC_BIAS = 6755399441055744.0  # 1.5 · 2⁵²: the sum with x holds round(x) in its low bits


def _splat(builder: Any, value: Any) -> Any:
    found = ir.Constant(F64X4, ir.Undefined)
    for lane in range(4):
        found = builder.insert_element(found, value, ir.IntType(32)(lane))
    return found


def _constant(value: float) -> ir.Constant:
    return ir.Constant(F64X4, [value] * 4)


def _pointer(builder: Any, address: Any) -> Any:
    return builder.inttoptr(address, F64X4.as_pointer())


def _fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    return builder.call(cgutils.get_or_insert_function(builder.module, ir.FunctionType(F64X4, [F64X4] * 3), "llvm.fma.v4f64"), [a, b, c])


@operation(types.void, types.int64)
def exp_f64x4(builder, address):
    """Replaces four float64 x ≤ 0 with exp(x), within 2 ulp; 0 below −708; NaN stays NaN.

    x = n ln 2 + r with |r| ≤ ½ ln 2; exp(r) is the Taylor polynomial up to r¹³, whose remainder is below 5e-18.
    """
    pointer = _pointer(builder, address)
    x = builder.load(pointer, align=8)
    tiny = builder.fcmp_ordered("<", x, _constant(-708.0))
    safe = builder.select(tiny, _constant(0.0), x)
    shifted = _fma(builder, safe, _constant(1.4426950408889634), _constant(_MAGIC_BIAS))
    n = builder.fsub(shifted, _constant(_MAGIC_BIAS))
    r = _fma(builder, n, _constant(-_LN2_HIGH), safe)
    r = _fma(builder, n, _constant(-_LN2_LOW), r)
    factorial, coefficients = 1.0, []
    for k in range(14):
        factorial = factorial * k if k else 1.0
        coefficients.append(1.0 / factorial)
    found = _constant(coefficients[-1])
    for each in reversed(coefficients[:-1]):
        found = _fma(builder, found, r, _constant(each))
    power = builder.shl(builder.bitcast(shifted, I64X4), ir.Constant(I64X4, [52] * 4))
    found = builder.bitcast(builder.add(builder.bitcast(found, I64X4), power), F64X4)
    found = builder.select(tiny, _constant(0.0), found)
    builder.store(builder.select(builder.fcmp_unordered("uno", x, x), x, found), pointer, align=8)


@operation(types.void, types.int64, types.int64)
def copy_f64x4(builder, target, source):
    """Copies four float64 from one address to another."""
    builder.store(builder.load(_pointer(builder, source), align=8), _pointer(builder, target), align=8)


@operation(types.void, types.int64, types.int64, types.int64, types.float64, types.float64)
def weighted_difference_f64x4(builder, target, here, before, a, b):
    """target ← a · here − b · before, for four float64; target, here and before are addresses."""
    here, before = (builder.load(_pointer(builder, each), align=8) for each in (here, before))
    found = _fma(builder, here, _splat(builder, a), builder.fneg(builder.fmul(before, _splat(builder, b))))
    builder.store(found, _pointer(builder, target), align=8)


@operation(types.void, *[types.int64] * 5)
def add_tile(builder, rows, columns, n, out, width):
    """out[4, 12] += rows[n, 4]ᵀ columns[n, 12]; rows of out are `width` bytes apart."""
    sums = [[cgutils.alloca_once_value(builder, _constant(0.0)) for _ in range(3)] for _ in range(TILE_ROWS)]
    for line in sums:
        for each in line:
            builder.store(_constant(0.0), each)
    with cgutils.for_range(builder, n) as loop:
        row = builder.add(rows, builder.mul(loop.index, I64(8 * TILE_ROWS)))
        column = builder.add(columns, builder.mul(loop.index, I64(8 * TILE_COLUMNS)))
        right = [builder.load(_pointer(builder, builder.add(column, I64(32 * j))), align=8) for j in range(3)]
        for i, line in enumerate(sums):
            one = builder.load(builder.inttoptr(builder.add(row, I64(8 * i)), F64.as_pointer()), align=8)
            left = _splat(builder, one)
            for each, b in zip(line, right, strict=True):
                builder.store(_fma(builder, left, b, builder.load(each)), each)
    for i, line in enumerate(sums):
        for j, each in enumerate(line):
            pointer = _pointer(builder, builder.add(out, builder.add(builder.mul(width, I64(i)), I64(32 * j))))
            builder.store(builder.fadd(builder.load(pointer, align=8), builder.load(each)), pointer, align=8)
