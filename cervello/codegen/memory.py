"""Scalar loads, stores and calls at addresses, for kernels.

Addresses are int64, in bytes; indices count elements of the type in the function's name.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from cervello.codegen.compiler import inline

I8, I16, I32, I64, F32, F64 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType(), ir.DoubleType()


def _element(builder: Any, kind: Any, args: Any) -> Any:
    return builder.gep(builder.inttoptr(args[0], kind.as_pointer()), [args[1]], inbounds=True)


def _reader(kind: Any, numba_type: Any, align: int) -> Any:
    @intrinsic
    def read(typing_context, address, index):
        def codegen(context, builder, sig, args):
            return builder.load(_element(builder, kind, args), align=align)
        return numba_type(types.int64, types.int64), codegen

    return read


def _writer(kind: Any, numba_type: Any, align: int) -> Any:
    @intrinsic
    def write(typing_context, address, index, value):
        def codegen(context, builder, sig, args):
            builder.store(args[2], _element(builder, kind, args), align=align)
            return context.get_dummy_value()
        return types.void(types.int64, types.int64, numba_type), codegen

    return write


read_f32, write_f32 = _reader(F32, types.float32, 4), _writer(F32, types.float32, 4)
read_f64, write_f64 = _reader(F64, types.float64, 8), _writer(F64, types.float64, 8)
read_i64, write_i64 = _reader(I64, types.int64, 8), _writer(I64, types.int64, 8)
read_i32, write_i32 = _reader(I32, types.int32, 4), _writer(I32, types.int32, 4)
read_u8, write_u8 = _reader(I8, types.uint8, 1), _writer(I8, types.uint8, 1)
read_u16, read_i16 = _reader(I16, types.uint16, 2), _reader(I16, types.int16, 2)
write_u16 = _writer(I16, types.uint16, 2)
read_i8, write_i8 = _reader(I8, types.int8, 1), _writer(I8, types.int8, 1)
word = read_i64  # one word of a step or of a run's context


@intrinsic
def word_f32(typing_context, address, index):
    """The float32 whose bits are the low half of a word."""
    def codegen(context, builder, sig, args):
        return builder.bitcast(builder.trunc(builder.load(_element(builder, I64, args), align=8), I32), F32)
    return types.float32(types.int64, types.int64), codegen


@intrinsic
def copy_bytes(typing_context, target, source, count):
    """memcpy of `count` bytes that do not overlap."""
    def codegen(context, builder, sig, args):
        kind = I8.as_pointer()
        function = builder.module.declare_intrinsic("llvm.memcpy", [kind, kind, I64])
        builder.call(function, [builder.inttoptr(args[0], kind), builder.inttoptr(args[1], kind), args[2], ir.IntType(1)(0)])
        return context.get_dummy_value()
    return types.void(types.int64, types.int64, types.int64), codegen


@inline
def copy_row(target, source, row_bytes):
    """Copies a row; rows of 4 bytes are a special case, faster than `copy_bytes`."""
    if row_bytes == 4:
        write_i32(target, 0, read_i32(source, 0))
    else:
        copy_bytes(target, source, row_bytes)


@intrinsic
def prefetch(typing_context, address):
    """Prefetches the cache line at an address, which may be invalid."""
    def codegen(context, builder, sig, args):
        kind, flag = I8.as_pointer(), ir.IntType(32)
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [kind, flag, flag, flag]), "llvm.prefetch.p0")
        builder.call(function, [builder.inttoptr(args[0], kind), flag(0), flag(3), flag(1)])
        return context.get_dummy_value()
    return types.void(types.int64), codegen


def _call_compiled(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    """Calls the compiled function at address args[0] with the other words, with numba's calling convention; returns its word."""
    result, error = cgutils.alloca_once(builder, I64), cgutils.alloca_once(builder, I8.as_pointer())
    words = [I64] * len(args[1:])
    kind = ir.FunctionType(I32, [I64.as_pointer(), I8.as_pointer().as_pointer(), *words]).as_pointer()
    builder.call(builder.inttoptr(args[0], kind), [result, error, *args[1:]])
    return builder.load(result)


@intrinsic
def call_kernel(typing_context, function, a, b):
    """Calls a compiled function of two words by address; returns its word."""
    return types.int64(types.int64, types.int64, types.int64), _call_compiled


@intrinsic
def call_block(typing_context, function, target, source, count, parameters):
    """Calls a compiled block function (target, source, count, address of parameters) by address."""
    return types.int64(*[types.int64] * 5), _call_compiled


@intrinsic
def call_block_2(typing_context, function, target, a, b, count, parameters):
    """Calls a compiled block function (target, a, b, count, parameters) by address."""
    return types.int64(*[types.int64] * 6), _call_compiled


@intrinsic
def call_block_3(typing_context, function, target, a, b, c, count, parameters):
    """Calls a compiled block function (target, a, b, c, count, parameters) by address."""
    return types.int64(*[types.int64] * 7), _call_compiled


@intrinsic
def call_c_0(typing_context, function):
    """Calls a C function of no arguments by address; returns its word."""
    def codegen(context, builder, sig, args):
        return builder.call(builder.inttoptr(args[0], ir.FunctionType(I64, []).as_pointer()), [])
    return types.int64(types.int64), codegen


@intrinsic
def call_c_1(typing_context, function, a):
    """Calls a C function of one word by address; returns its word."""
    def codegen(context, builder, sig, args):
        return builder.call(builder.inttoptr(args[0], ir.FunctionType(I64, [I64]).as_pointer()), [args[1]])
    return types.int64(types.int64, types.int64), codegen


@intrinsic
def call_c_4(typing_context, function, a, b, c, d):
    """Calls a C function of four words by address; returns its result, an int of 32 bits."""
    def codegen(context, builder, sig, args):
        found = builder.call(builder.inttoptr(args[0], ir.FunctionType(I32, [I64] * 4).as_pointer()), args[1:])
        return builder.sext(found, I64)
    return types.int64(*[types.int64] * 5), codegen


@intrinsic
def call_c_2(typing_context, function, a, b):
    """Calls a C function of two words by address; returns its word."""
    def codegen(context, builder, sig, args):
        return builder.call(builder.inttoptr(args[0], ir.FunctionType(I64, [I64, I64]).as_pointer()), args[1:])
    return types.int64(types.int64, types.int64, types.int64), codegen


@intrinsic
def call_c_3(typing_context, function, a, b, c):
    """Calls a C function of three words by address; returns its result, an int of 32 bits."""
    def codegen(context, builder, sig, args):
        found = builder.call(builder.inttoptr(args[0], ir.FunctionType(I32, [I64] * 3).as_pointer()), args[1:])
        return builder.sext(found, I64)
    return types.int64(*[types.int64] * 4), codegen


@intrinsic
def call_c_int_2_int(typing_context, function, a, b, c, d):
    """Calls a C function of an int, two words and an int by address; returns its word."""
    def codegen(context, builder, sig, args):
        kind = ir.FunctionType(I64, [I32, I64, I64, I32]).as_pointer()
        function, first, b, c, last = args
        return builder.call(builder.inttoptr(function, kind), [builder.trunc(first, I32), b, c, builder.trunc(last, I32)])
    return types.int64(*[types.int64] * 5), codegen
