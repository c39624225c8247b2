"""Loads sixteen adjacent integers of 8, 16 or 32 bits as int32 lanes, and stores lanes as integers of 8 or 16 bits.

`load_*` and `store_*` access all lanes; the `*_masked` forms access only the first `count`, and load 0 in the other lanes.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from cervello.codegen.intrinsics import operation
from cervello.codegen.simd import i32x16
from cervello.codegen.simd_ir import I32, I32X16, I64, LANES, emit_masked_load, emit_masked_store, first_lanes, pointer


def _widen(builder: Any, value: Any, bits: int, signed: bool) -> Any:
    return value if bits == 32 else builder.sext(value, I32X16) if signed else builder.zext(value, I32X16)


def _make_loads(bits: int, signed: bool) -> tuple[Any, Any]:
    vector, align = ir.VectorType(ir.IntType(bits), LANES), bits // 8

    @operation(i32x16, types.int64)
    def load(builder, address):
        return _widen(builder, builder.load(pointer(builder, address, vector), align=align), bits, signed)

    @operation(i32x16, types.int64, types.int64)
    def load_masked(builder, address, count):
        return _widen(builder, emit_masked_load(builder, address, first_lanes(builder, count), vector), bits, signed)

    return load, load_masked


def _make_stores(bits: int) -> tuple[Any, Any]:
    """Stores that keep the low bits of each lane."""
    vector, align = ir.VectorType(ir.IntType(bits), LANES), bits // 8

    @operation(types.void, types.int64, i32x16)
    def store(builder, address, value):
        builder.store(builder.trunc(value, vector), pointer(builder, address, vector), align=align)

    @operation(types.void, types.int64, i32x16, types.int64)
    def store_masked(builder, address, value, count):
        # One lane is a case of its own: where LLVM 22 knows that there is one, it stores all 32 bits of it on CPUs with AVX-512.
        with builder.if_else(builder.icmp_signed("==", count, I64(1)), likely=False) as (one, others):
            with one:
                lane = builder.trunc(builder.extract_element(value, I32(0)), vector.element)
                builder.store(lane, pointer(builder, address, vector.element), align=align)
            with others:
                emit_masked_store(builder, address, builder.trunc(value, vector), first_lanes(builder, count), vector)

    return store, store_masked


(load_u8, load_u8_masked), (load_i8, load_i8_masked) = _make_loads(8, False), _make_loads(8, True)
(load_u16, load_u16_masked), (load_i16, load_i16_masked) = _make_loads(16, False), _make_loads(16, True)
load_i32, load_i32_masked = _make_loads(32, True)
(store_8, store_8_masked), (store_16, store_16_masked) = _make_stores(8), _make_stores(16)
