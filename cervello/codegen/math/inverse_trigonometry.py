"""Inverse trigonometric functions on sixteen float32 lanes. The guarantees are in `functions`.

Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 4.4; Muller et al., Handbook of Floating-Point Arithmetic.
"""

from __future__ import annotations

from cervello.codegen.compiler import inline
from cervello.codegen.literals import constant, polynomial
from cervello.codegen.math.exponentials import NAN, copysign
from cervello.codegen.simd import fabs, fma, select, sqrt

HALF_PI, HALF_PI_LOW = 1.5707963705062866, -4.371139000186241e-08  # their sum is pi/2
QUARTER_PI, QUARTER_PI_LOW = 0.7853981852531433, -2.1855695000931205e-08
TAN_EIGHTH, TAN_THREE_EIGHTHS = 0.41421356237309503, 2.414213562373095  # of pi/8 and of 3 pi/8
# (atan t / t - 1) / t^2 in t^2, |t| <= tan(pi/8), degree 4: atan to 2^-30.5.
_atan_tail = polynomial(-0.33333316445350647, 0.1999853104352951, -0.14244471490383148, 0.1059984564781189, -0.06091860681772232)


@inline
def _atan_reduced(t):
    """atan(t) for |t| <= tan(pi/8)."""
    square = t * t
    return fma(square * t, _atan_tail(square), t)


@inline
def _atan_nonnegative(a):
    """atan(a) for a >= 0: pi/2 + atan(-1/a) above tan(3 pi/8), pi/4 + atan((a - 1) / (a + 1)) above tan(pi/8), else atan(a)."""
    is_large, is_middle = a > constant(TAN_THREE_EIGHTHS), a > constant(TAN_EIGHTH)
    negative_reciprocal = constant(-1.0) / a
    ratio = (a - constant(1.0)) / (a + constant(1.0))
    t = select(is_large, negative_reciprocal, select(is_middle, ratio, a))
    offset = select(is_large, constant(HALF_PI), select(is_middle, constant(QUARTER_PI), constant(0.0)))
    offset_low = select(is_large, constant(HALF_PI_LOW), select(is_middle, constant(QUARTER_PI_LOW), constant(0.0)))
    return offset + (_atan_reduced(t) + offset_low)


@inline
def atan(x):
    """atan(x), within 2.1 ulp."""
    return copysign(_atan_nonnegative(fabs(x)), x)


@inline
def asin(x):
    """asin(x) = 2 atan(x / (1 + sqrt(1 - x^2))), within 4 ulp; NaN beyond ±1."""
    a = fabs(x)
    inside = sqrt((constant(1.0) - a) * (constant(1.0) + a))
    y = constant(2.0) * _atan_nonnegative(a / (constant(1.0) + inside))
    y = select(a < constant(2.0**-13), a, y)  # asin(a) rounds to a; half of the smallest denormal would be 0
    return copysign(select(a > constant(1.0), constant(NAN), y), x)


@inline
def acos(x):
    """acos(x) = 2 atan(sqrt((1 - x) / (1 + x))), within 4 ulp; NaN beyond ±1."""
    y = constant(2.0) * _atan_nonnegative(sqrt((constant(1.0) - x) / (constant(1.0) + x)))
    return select(fabs(x) > constant(1.0), constant(NAN), y)
