"""Compile-time constants in all lanes, and polynomials with constant coefficients."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from cervello.codegen.simd import f32x16
from cervello.codegen.simd_ir import F32, F32X16, LANES, llvm_function, splat_value


@intrinsic
def constant(typing_context, x):
    """The float32 nearest to a float literal, in all lanes; compiles faster than `splat(np.float32(x))`."""
    def codegen(context, builder, sig, args):
        return splat_value(builder, builder.fptrunc(args[0], F32), F32X16)
    return f32x16(types.float64), codegen


def polynomial(*coefficients: float) -> Any:
    """A function of sixteen float32 x: Σ coefficients[k] · x^k, by Horner's rule with fma.

    It is one intrinsic, because numba compiles a call per coefficient several times as slowly.
    """
    *lower, leading = (ir.Constant(F32X16, [float(np.float32(value))] * LANES) for value in coefficients)

    @intrinsic
    def function(typing_context, x):
        def codegen(context, builder, sig, args):
            result, multiply_add = leading, llvm_function(builder, "llvm.fma.v16f32", F32X16, [F32X16] * 3)
            for coefficient in reversed(lower):
                result = builder.call(multiply_add, [result, args[0], coefficient])
            return result
        return f32x16(f32x16), codegen

    return function
