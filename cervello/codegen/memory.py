"""Scalar loads, stores and calls at addresses, for kernels.

Addresses are int64, in bytes; indices count elements of the type in the function's name.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from cervello.codegen.compiler import inline
from cervello.codegen.intrinsics import operation

I8, I16, I32, I64, F32, F64 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType(), ir.DoubleType()


def _element(builder: Any, kind: Any, address: Any, index: Any) -> Any:
    return builder.gep(builder.inttoptr(address, kind.as_pointer()), [index], inbounds=True)


def _accessors(kind: Any, numba_type: Any, align: int) -> tuple[Any, Any]:
    """Functions that read and write an element of a type."""
    @operation(numba_type, types.int64, types.int64)
    def read(builder, address, index):
        return builder.load(_element(builder, kind, address, index), align=align)

    @operation(types.void, types.int64, types.int64, numba_type)
    def write(builder, address, index, value):
        builder.store(value, _element(builder, kind, address, index), align=align)

    return read, write


(read_f32, write_f32), (read_f64, write_f64) = _accessors(F32, types.float32, 4), _accessors(F64, types.float64, 8)
(read_i64, write_i64), (read_i32, write_i32) = _accessors(I64, types.int64, 8), _accessors(I32, types.int32, 4)
(read_u16, write_u16), (read_i16, _) = _accessors(I16, types.uint16, 2), _accessors(I16, types.int16, 2)
(read_u8, write_u8), (read_i8, write_i8) = _accessors(I8, types.uint8, 1), _accessors(I8, types.int8, 1)
word = read_i64  # one word of a step or of a run's context


@operation(types.float32, types.int64, types.int64)
def word_f32(builder, address, index):
    """The float32 whose bits are the low half of a word."""
    return builder.bitcast(builder.trunc(builder.load(_element(builder, I64, address, index), align=8), I32), F32)


@operation(types.void, *[types.int64] * 3)
def copy_bytes(builder, target, source, count):
    """memcpy of `count` bytes that do not overlap."""
    kind = I8.as_pointer()
    function = builder.module.declare_intrinsic("llvm.memcpy", [kind, kind, I64])
    builder.call(function, [builder.inttoptr(target, kind), builder.inttoptr(source, kind), count, ir.IntType(1)(0)])


@inline
def copy_row(target, source, row_bytes):
    """Copies a row; rows of 4 bytes are a special case, faster than `copy_bytes`."""
    if row_bytes == 4:
        write_i32(target, 0, read_i32(source, 0))
    else:
        copy_bytes(target, source, row_bytes)


@operation(types.void, types.int64)
def prefetch(builder, address):
    """Prefetches the cache line at an address, which may be invalid."""
    kind, flag = I8.as_pointer(), ir.IntType(32)
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(ir.VoidType(), [kind, flag, flag, flag]), "llvm.prefetch.p0")
    builder.call(function, [builder.inttoptr(address, kind), flag(0), flag(3), flag(1)])


def _make_compiled_call(n_words: int) -> Any:
    """A function (address, words …) that calls a compiled function with numba's calling convention."""
    @operation(types.int64, types.int64, *[types.int64] * n_words)
    def call(builder, function, *words):
        result, error = cgutils.alloca_once(builder, I64), cgutils.alloca_once(builder, I8.as_pointer())
        kind = ir.FunctionType(I32, [result.type, error.type, *[I64] * n_words])
        builder.call(builder.inttoptr(function, kind.as_pointer()), [result, error, *words])
        return builder.load(result)

    return call


call_kernel = _make_compiled_call(2)
"""Calls a compiled function of two words by address; returns its word."""
call_block = _make_compiled_call(4)
"""Calls a compiled block function (target, source, count, address of parameters) by address."""
call_block_2 = _make_compiled_call(5)
"""Calls a compiled block function (target, a, b, count, parameters) by address."""
call_block_3 = _make_compiled_call(6)
"""Calls a compiled block function (target, a, b, c, count, parameters) by address."""


def _make_c_call(result: Any, *words: Any) -> Any:
    """A function (address, words …) that calls a C function of integers; a narrow argument takes a word's low bits."""
    @operation(types.int64, types.int64, *[types.int64] * len(words))
    def call(builder, function, *given):
        pointer = builder.inttoptr(function, ir.FunctionType(result, words).as_pointer())
        arguments = [value if kind == I64 else builder.trunc(value, kind) for kind, value in zip(words, given, strict=True)]
        found = builder.call(pointer, arguments)
        return found if result == I64 else builder.sext(found, I64)

    return call


call_c_0, call_c_1, call_c_2 = _make_c_call(I64), _make_c_call(I64, I64), _make_c_call(I64, I64, I64)
"""Calls of a C function of 0 to 2 words by address; return its word."""
call_c_3, call_c_4 = _make_c_call(I32, *[I64] * 3), _make_c_call(I32, *[I64] * 4)
"""Calls of a C function of 3 or 4 words by address; return its result, an int of 32 bits."""
call_c_int_2_int = _make_c_call(I64, I32, I64, I64, I32)
"""Calls a C function of an int, two words and an int by address; returns its word."""
