"""Loads sixteen adjacent integers of 8, 16 or 32 bits as int32 lanes, and stores lanes as integers of 8 or 16 bits.

`load_*` and `store_*` access all lanes; the `*_masked` forms access only the first `count`, and load 0 in the other lanes.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from cervello.codegen.simd import i32x16
from cervello.codegen.simd_ir import I32X16, LANES, emit_masked_load, emit_masked_store, first_lanes, pointer


def _widen(builder: Any, value: Any, bits: int, signed: bool) -> Any:
    return value if bits == 32 else builder.sext(value, I32X16) if signed else builder.zext(value, I32X16)


def _make_loads(bits: int, signed: bool) -> tuple[Any, Any]:
    vector, align = ir.VectorType(ir.IntType(bits), LANES), bits // 8

    @intrinsic
    def load(typing_context, address):
        def codegen(context, builder, sig, args):
            return _widen(builder, builder.load(pointer(builder, args[0], vector), align=align), bits, signed)
        return i32x16(types.int64), codegen

    @intrinsic
    def load_masked(typing_context, address, count):
        def codegen(context, builder, sig, args):
            return _widen(builder, emit_masked_load(builder, args[0], first_lanes(builder, args[1]), vector), bits, signed)
        return i32x16(types.int64, types.int64), codegen

    return load, load_masked


def _make_stores(bits: int) -> tuple[Any, Any]:
    """Stores that keep the low bits of each lane."""
    vector, align = ir.VectorType(ir.IntType(bits), LANES), bits // 8

    def truncate(builder: Any, value: Any) -> Any:
        return value if bits == 32 else builder.trunc(value, vector)

    @intrinsic
    def store(typing_context, address, value):
        def codegen(context, builder, sig, args):
            builder.store(truncate(builder, args[1]), pointer(builder, args[0], vector), align=align)
            return context.get_dummy_value()
        return types.void(types.int64, i32x16), codegen

    @intrinsic
    def store_masked(typing_context, address, value, count):
        def codegen(context, builder, sig, args):
            emit_masked_store(builder, args[0], truncate(builder, args[1]), first_lanes(builder, args[2]), vector)
            return context.get_dummy_value()
        return types.void(types.int64, i32x16, types.int64), codegen

    return store, store_masked


(load_u8, load_u8_masked), (load_i8, load_i8_masked) = _make_loads(8, False), _make_loads(8, True)
(load_u16, load_u16_masked), (load_i16, load_i16_masked) = _make_loads(16, False), _make_loads(16, True)
load_i32, load_i32_masked = _make_loads(32, True)
(store_8, store_8_masked), (store_16, store_16_masked) = _make_stores(8), _make_stores(16)
