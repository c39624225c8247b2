"""SIMD operations for noise in addition to `codegen.simd`: interleaving, full products, gathering by slot, single lanes."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from cervello.codegen.simd import f32x16, i32x16
from cervello.codegen.simd_ir import I1X16, I32, I32X16, I64, I64X16, LANES, emit_masked_load, first_lanes, llvm_function, splat_value


def _interleaver(start: int) -> Any:
    order = [start + i // 2 + i % 2 * LANES for i in range(LANES)]

    @intrinsic
    def interleave(typing_context, a, b):
        def codegen(context, builder, sig, args):
            return builder.shuffle_vector(args[0], args[1], ir.Constant(I32X16, order))
        return f32x16(f32x16, f32x16), codegen

    return interleave


# a0 b0 a1 b1 … a7 b7, and a8 b8 … a15 b15
interleave_low, interleave_high = _interleaver(0), _interleaver(LANES // 2)


@intrinsic
def mul_wide(typing_context, a, b):
    """Low and high 32 bits of the unsigned products, two i32x16; even and odd lanes are computed apart, so that no lane moves far."""
    def codegen(context, builder, sig, args):
        halves = ir.VectorType(I64, LANES // 2)
        low, high = (ir.Constant(halves, [value] * (LANES // 2)) for value in (0xFFFFFFFF, 0xFFFFFFFF << 32))
        thirty_two = ir.Constant(halves, [32] * (LANES // 2))
        a, b = (builder.bitcast(arg, halves) for arg in args)
        even = builder.mul(builder.and_(a, low), builder.and_(b, low))
        odd = builder.mul(builder.lshr(a, thirty_two), builder.lshr(b, thirty_two))
        lows = builder.or_(builder.and_(even, low), builder.shl(odd, thirty_two))
        highs = builder.or_(builder.lshr(even, thirty_two), builder.and_(odd, high))
        return context.make_tuple(builder, sig.return_type, [builder.bitcast(half, I32X16) for half in (lows, highs)])
    return types.UniTuple(i32x16, 2)(i32x16, i32x16), codegen


@intrinsic
def gather_by_slot(typing_context, base, slots, stride, count):
    """The int32 at base + slot * stride bytes, for the first `count` of adjacent int64 slots; other lanes are 0."""
    def codegen(context, builder, sig, args):
        base, slots, stride, count = args
        present = first_lanes(builder, count)
        offsets = builder.mul(emit_masked_load(builder, slots, present, I64X16), splat_value(builder, stride, I64X16))
        addresses = builder.add(splat_value(builder, base, I64X16), offsets)
        pointers = builder.inttoptr(addresses, ir.VectorType(I32.as_pointer(), LANES))
        gather = llvm_function(builder, "llvm.masked.gather.v16i32.v16p0", I32X16, [pointers.type, I32, I1X16, I32X16])
        return builder.call(gather, [pointers, I32(4), present, ir.Constant(I32X16, [0] * LANES)])
    return i32x16(types.int64, types.int64, types.int64, types.int64), codegen


@intrinsic
def lane_word(typing_context, value, index):
    """One lane of i32x16 as an int64, zero-extended."""
    def codegen(context, builder, sig, args):
        return builder.zext(builder.extract_element(args[0], args[1]), I64)
    return types.int64(i32x16, types.int64), codegen


@intrinsic(prefer_literal=True)
def stack_words(typing_context, count):
    """The address of `count` (a literal) int64 words that live until the kernel returns."""
    n = count.literal_value

    def codegen(context, builder, sig, args):
        with builder.goto_entry_block():
            words = builder.alloca(I64, I32(n))
        return builder.ptrtoint(words, I64)
    return types.int64(count), codegen
