"""Blocks that convert between element types, named source_to_target.

Floats lose their fraction when they become integers, saturate, and NaN becomes 0, on every CPU alike. Integers keep their low bits. What
is not 0 is true, NaN too.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from cervello.codegen.compiler import inline
from cervello.codegen.memory import (
    read_f32,
    read_f64,
    read_i8,
    read_i32,
    read_i64,
    read_u8,
    write_f32,
    write_f64,
    write_i8,
    write_i32,
    write_i64,
    write_u8,
)


def _saturating(bits, numba_type, sign="s"):
    @intrinsic
    def convert(typing_context, x):
        def codegen(context, builder, sig, args):
            integer, real = ir.IntType(bits), args[0].type
            name = f"llvm.fpto{sign}i.sat.i{bits}.{'f32' if isinstance(real, ir.FloatType) else 'f64'}"
            kind = ir.FunctionType(integer, [real])
            return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)
        return numba_type(x), codegen

    return convert


@inline
def _true(x):
    return np.uint8(1) if x != 0 else np.uint8(0)


_READ = {"bool": read_u8, "u8": read_u8, "i8": read_i8, "i32": read_i32, "i64": read_i64, "f32": read_f32, "f64": read_f64}
_WRITE = {"bool": write_u8, "u8": write_u8, "i8": write_i8, "i32": write_i32, "i64": write_i64, "f32": write_f32, "f64": write_f64}
_PLAIN = {"bool": _true, "u8": np.uint8, "i8": np.int8, "i32": np.int32, "i64": np.int64, "f32": np.float32, "f64": np.float64}
_SATURATING = {"u8": _saturating(8, types.uint8, "u"), "i8": _saturating(8, types.int8), "i32": _saturating(32, types.int32),
               "i64": _saturating(64, types.int64)}


def _block(source_type, target_type):
    read, write = _READ[source_type], _WRITE[target_type]
    convert = _SATURATING[target_type] if source_type in ("f32", "f64") and target_type in _SATURATING else _PLAIN[target_type]
    if source_type == "bool":
        def block(target, source, count, parameters):
            for i in range(count):
                write(target, i, convert(_true(read(source, i))))  # any byte but 0 is true
            return 0
    else:
        def block(target, source, count, parameters):
            for i in range(count):
                write(target, i, convert(read(source, i)))
            return 0

    return block


globals().update({f"{a}_to_{b}": _block(a, b) for a in _READ for b in _WRITE if a != b})
