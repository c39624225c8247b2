"""Compile-time constants in all lanes, and polynomials with constant coefficients."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from cervello.codegen.intrinsics import operation
from cervello.codegen.simd import f32x16
from cervello.codegen.simd_ir import F32, F32X16, LANES, llvm_function, splat_value


@operation(f32x16, types.float64)
def constant(builder, x):
    """The float32 nearest to a float literal, in all lanes; compiles faster than `splat(np.float32(x))`."""
    return splat_value(builder, builder.fptrunc(x, F32), F32X16)


def polynomial(*coefficients: float) -> Any:
    """A function of sixteen float32 x: Σ coefficients[k] · x^k, by Horner's rule with fma.

    It is one intrinsic, because numba compiles a call per coefficient several times as slowly.
    """
    *lower, leading = (ir.Constant(F32X16, [float(np.float32(value))] * LANES) for value in coefficients)

    @operation(f32x16, f32x16)
    def function(builder, x):
        result, multiply_add = leading, llvm_function(builder, "llvm.fma.v16f32", F32X16, [F32X16] * 3)
        for coefficient in reversed(lower):
            result = builder.call(multiply_add, [result, x, coefficient])
        return result

    return function
