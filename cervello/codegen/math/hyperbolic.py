"""Hyperbolic functions and their inverses on sixteen float32 lanes. The guarantees are in `functions`.

Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 4.5 and 4.6; Muller et al., Handbook of Floating-Point Arithmetic.
"""

from __future__ import annotations

from cervello.codegen.compiler import inline
from cervello.codegen.literals import constant
from cervello.codegen.math.exponentials import NAN, copysign, exp, expm1, log, log1p
from cervello.codegen.simd import fabs, fma, select, sqrt

LN_2 = 0.6931471805599453


@inline
def sinh(x):
    """sinh(x) = (d + d / (d + 1)) / 2 with d = e^|x| - 1, within 3 ulp."""
    a = fabs(x)
    d = expm1(a)
    small = constant(0.5) * (d + d / (d + constant(1.0)))
    half = exp(constant(0.5) * a)  # e^|x| may overflow
    large = constant(0.5) * half * half
    return copysign(select(a > constant(20.0), large, small), x)


@inline
def cosh(x):
    """cosh(x) = (e^|x| + e^-|x|) / 2, within 3 ulp."""
    a = fabs(x)
    e = exp(a)
    half = exp(constant(0.5) * a)
    return select(a > constant(20.0), constant(0.5) * half * half, constant(0.5) * e + constant(0.5) / e)


@inline
def asinh(x):
    """asinh(x) = log(1 + |x| + x^2 / (1 + sqrt(1 + x^2))), within 3 ulp."""
    a = fabs(x)
    small = log1p(a + a * a / (constant(1.0) + sqrt(fma(a, a, constant(1.0)))))
    return copysign(select(a > constant(1e9), log(a) + constant(LN_2), small), x)


@inline
def acosh(x):
    """acosh(x) = log(1 + t + sqrt(2 t + t^2)) with t = x - 1, within 3 ulp; NaN below 1."""
    t = x - constant(1.0)
    near = log1p(t + sqrt(fma(t, t, t + t)))
    return select(x < constant(1.0), constant(NAN), select(x > constant(1e9), log(x) + constant(LN_2), near))


@inline
def atanh(x):
    """atanh(x) = log((1 + |x|) / (1 - |x|)) / 2, within 3 ulp; NaN beyond ±1."""
    a = fabs(x)
    return copysign(constant(0.5) * log1p((a + a) / (constant(1.0) - a)), x)
