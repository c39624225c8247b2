"""Blocks that convert between element types. Floats saturate when they become integers and NaN becomes 0, on every CPU alike."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from cervello.compiled.memory import read_f32, read_f64, read_i32, read_i64, read_u8, write_f32, write_f64, write_i32, write_i64, write_u8


def _saturating(bits, numba_type):
    @intrinsic
    def convert(typing_context, x):
        def codegen(context, builder, sig, args):
            integer, real = ir.IntType(bits), args[0].type
            name = f"llvm.fptosi.sat.i{bits}.{'f32' if isinstance(real, ir.FloatType) else 'f64'}"
            kind = ir.FunctionType(integer, [real])
            return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)
        return numba_type(x), codegen

    return convert


_to_i64, _to_i32 = _saturating(64, types.int64), _saturating(32, types.int32)


def f32_to_i64(target, source, count, parameters):
    for i in range(count):
        write_i64(target, i, _to_i64(read_f32(source, i)))
    return 0


def f32_to_i32(target, source, count, parameters):
    for i in range(count):
        write_i32(target, i, _to_i32(read_f32(source, i)))
    return 0


def f32_to_bool(target, source, count, parameters):
    for i in range(count):
        write_u8(target, i, 1 if read_f32(source, i) != np.float32(0) else 0)  # NaN is true
    return 0


def f32_to_f64(target, source, count, parameters):
    for i in range(count):
        write_f64(target, i, np.float64(read_f32(source, i)))
    return 0


def f64_to_f32(target, source, count, parameters):
    for i in range(count):
        write_f32(target, i, np.float32(read_f64(source, i)))
    return 0


def i64_to_f32(target, source, count, parameters):
    for i in range(count):
        write_f32(target, i, np.float32(read_i64(source, i)))
    return 0


def i32_to_f32(target, source, count, parameters):
    for i in range(count):
        write_f32(target, i, np.float32(read_i32(source, i)))
    return 0


def i64_to_i32(target, source, count, parameters):
    for i in range(count):
        write_i32(target, i, np.int32(read_i64(source, i)))
    return 0


def i32_to_i64(target, source, count, parameters):
    for i in range(count):
        write_i64(target, i, np.int64(read_i32(source, i)))
    return 0


def bool_to_f32(target, source, count, parameters):
    for i in range(count):
        write_f32(target, i, np.float32(1.0) if read_u8(source, i) != 0 else np.float32(0.0))
    return 0


def bool_to_i64(target, source, count, parameters):
    for i in range(count):
        write_i64(target, i, 1 if read_u8(source, i) != 0 else 0)
    return 0


def i64_to_bool(target, source, count, parameters):
    for i in range(count):
        write_u8(target, i, 1 if read_i64(source, i) != 0 else 0)
    return 0


def u8_to_f32(target, source, count, parameters):
    for i in range(count):
        write_f32(target, i, np.float32(read_u8(source, i)))
    return 0
