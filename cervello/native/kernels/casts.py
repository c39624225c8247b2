"""Blocks that convert between element types, named source_to_target.

Float to integer truncates and saturates, and NaN gives 0, on every CPU. Integer to integer keeps the low bits. Every nonzero number is
true, and so is NaN. 16-bit floats are cast only from and to float32, which represents them exactly. A cast from float32 rounds to nearest,
ties to even. Integers are rounded to float32 first.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from cervello.codegen.compiler import inline
from cervello.codegen.intrinsics import operation
from cervello.codegen.memory import (
    read_f32,
    read_f64,
    read_i8,
    read_i32,
    read_i64,
    read_u8,
    read_u16,
    write_f32,
    write_f64,
    write_i8,
    write_i32,
    write_i64,
    write_u8,
    write_u16,
)


def _saturating(source, target):
    """Float to integer, by numba's types."""
    @operation(target, source)
    def convert(builder, x):
        sign, bits = "s" if target.signed else "u", target.bitwidth
        kind = ir.FunctionType(ir.IntType(bits), [x.type])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.fpto{sign}i.sat.i{bits}.f{source.bitwidth}"), [x])

    return convert


@inline
def _is_true(x):
    return np.uint8(1) if x != 0 else np.uint8(0)


_READ = {"bool": read_u8, "u8": read_u8, "i8": read_i8, "i32": read_i32, "i64": read_i64, "f32": read_f32, "f64": read_f64}
_WRITE = {"bool": write_u8, "u8": write_u8, "i8": write_i8, "i32": write_i32, "i64": write_i64, "f32": write_f32, "f64": write_f64}
_CONVERT = {"bool": _is_true, "u8": np.uint8, "i8": np.int8, "i32": np.int32, "i64": np.int64, "f32": np.float32, "f64": np.float64}
_FLOATS = {"f32": types.float32, "f64": types.float64}
_INTEGERS = {"u8": types.uint8, "i8": types.int8, "i32": types.int32, "i64": types.int64}


def _block(source_type, target_type):
    read, write = _READ[source_type], _WRITE[target_type]
    convert = _CONVERT[target_type]
    if source_type in _FLOATS and target_type in _INTEGERS:
        convert = _saturating(_FLOATS[source_type], _INTEGERS[target_type])
    if source_type == "bool":
        def block(target, source, count, parameters):
            for i in range(count):
                write(target, i, convert(_is_true(read(source, i))))  # any nonzero byte is true
            return 0
    else:
        def block(target, source, count, parameters):
            for i in range(count):
                write(target, i, convert(read(source, i)))
            return 0

    return block


globals().update({f"{a}_to_{b}": _block(a, b) for a in _READ for b in _WRITE if a != b})


def _reinterpreting(source, target, result):
    """A bitcast from one numba type to another."""
    @operation(target, source)
    def convert(builder, x):
        return builder.bitcast(x, result)

    return convert


_bits, _float = _reinterpreting(types.float32, types.int32, ir.IntType(32)), _reinterpreting(types.int32, types.float32, ir.FloatType())
# Bits of float32: the difference of the exponent biases of float32 and float16, then 2**16, 2**-14, 1/2 and infinity.
_EXPONENT_DIFFERENCE, _TOO_LARGE, _SMALL, _HALF, _INFINITE = 0x38000000, 0x47800000, 0x38800000, 0x3F000000, 0x7F800000


def f32_to_f16(target, source, count, parameters):
    for i in range(count):
        bits = np.int64(_bits(read_f32(source, i)))
        size = bits & 0x7FFFFFFF
        subnormal = np.int64(_bits(_float(np.int32(size)) + np.float32(0.5))) - _HALF  # the addition rounds at float16's smallest subnormal
        normal = (size - _EXPONENT_DIFFERENCE + 0xFFF + ((size >> 13) & 1)) >> 13
        large = 0x7E00 if size > _INFINITE else 0x7C00
        found = large if size >= _TOO_LARGE else subnormal if size < _SMALL else normal
        write_u16(target, i, np.uint16(((bits >> 16) & 0x8000) | found))
    return 0


def f16_to_f32(target, source, count, parameters):
    for i in range(count):
        half = np.int64(read_u16(source, i))
        size = (half & 0x7FFF) << 13
        exponent = size & 0x0F800000
        subnormal = np.int64(_bits(_float(np.int32(size + _SMALL)) - _float(np.int32(_SMALL))))
        normal = size + (2 * _EXPONENT_DIFFERENCE if exponent == 0x0F800000 else _EXPONENT_DIFFERENCE)
        found = subnormal if exponent == 0 else normal
        write_f32(target, i, _float(np.int32(found | ((half & 0x8000) << 16))))
    return 0


def f32_to_bf16(target, source, count, parameters):
    for i in range(count):
        bits = np.int64(_bits(read_f32(source, i)))
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        found = (bits >> 16) | 0x40 if bits & 0x7FFFFFFF > _INFINITE else rounded
        write_u16(target, i, np.uint16(found & 0xFFFF))
    return 0


def bf16_to_f32(target, source, count, parameters):
    for i in range(count):
        write_f32(target, i, _float(np.int32(np.int64(read_u16(source, i)) << 16)))
    return 0
