"""Sine and cosine on sixteen float32 lanes, for every finite argument. The promises are in `functions`.

Both reduce |x| to r = |x| - k pi/2, |r| <= pi/4, and pick the sine or the cosine of r by the quadrant k. Up to 2^20 the
reduction subtracts k times three parts of pi/2. Beyond, x 2/pi modulo 4 is computed in integers from the digits of 2/pi
(Payne and Hanek); that takes longer than the rest, so it is skipped when no lane needs it.

Source: Payne and Hanek, Radian reduction for trigonometric functions, SIGNUM Newsletter 18 (1983); Muller et al.,
Handbook of Floating-Point Arithmetic, 2nd ed., section 11.1.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from cervello.codegen.compiler import inline
from cervello.codegen.literals import constant, polynomial
from cervello.codegen.math.exponentials import INFINITY, ROUNDER, SIGN_BIT
from cervello.codegen.simd import (
    I1,
    LANES,
    VI,
    VM,
    as_float,
    as_int,
    fabs,
    fma,
    i32x16,
    llvm_function,
    mask,
    mulhi,
    select,
    shift_right_signed,
    splat_int,
    to_float,
    to_int,
)

TWO_OVER_PI = 0.6366197723675814
PI_HALVES_1, PI_HALVES_2, PI_HALVES_3 = 1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15
FAR = 2.0**20
# Digits of 2/pi in words of 32 bits, after five zeros.
DIGITS = (0x0517CC1B, 0x727220A9, 0x4FE13ABE, 0x8FA9A6EE, 0x06DB14AC, 0xC9E21C82, 0x0FF28B1D)

# (sin r / r - 1) / r^2 in r^2, |r| <= pi/4, degree 2: the sine to 2^-27.8.
_sine_tail = polynomial(-0.16666653752326965, 0.008332106284797192, -0.00019507882825564593)
# (cos r - 1) / r^2 in r^2, |r| <= pi/4, degree 3: the cosine to 2^-32.1.
_cosine_tail = polynomial(-0.5, 0.041666653007268906, -0.0013887593522667885, 2.445857899147086e-05)


@intrinsic
def _any_lane(typing_context, m):
    """Whether the mask is true somewhere: to skip a rare path, never to choose a result."""
    def codegen(context, builder, sig, args):
        return builder.call(llvm_function(builder, "llvm.vector.reduce.or.v16i1", I1, [VM]), args)
    return types.boolean(mask), codegen


@inline
def _near(a):
    """Reduces 0 <= a <= 2^20.

    Returns:
      The quadrant in the two low bits of an integer; r as the sum of two floats.
    """
    shifted = fma(a, constant(TWO_OVER_PI), constant(ROUNDER))
    k = shifted - constant(ROUNDER)
    first = fma(k, constant(-PI_HALVES_1), a)  # exact: a multiple of 2^-24 below 1
    step = k * constant(-PI_HALVES_2)
    high = first + step
    moved = high - first
    lost = (first - (high - moved)) + (step - moved) + fma(k, constant(-PI_HALVES_2), constant(0.0) - step)
    return as_int(shifted), high, fma(k, constant(-PI_HALVES_3), lost)


def _digits(start: int) -> Any:
    """A function of a bit position, 0 to 127: the 32 digits of 2/pi from there on in the words from `start` on."""
    words = [ir.Constant(VI, [word] * LANES) for word in DIGITS[start : start + 5]]

    @intrinsic
    def digits(typing_context, position):
        def codegen(context, builder, sig, args):
            head, tail = words[:2]
            for k in (1, 2, 3):
                here = builder.icmp_signed(">=", args[0], ir.Constant(VI, [32 * k] * LANES))
                head, tail = builder.select(here, words[k], head), builder.select(here, words[k + 1], tail)
            shift = llvm_function(builder, "llvm.fshl.v16i32", VI, [VI] * 3)  # takes its count modulo 32
            return builder.call(shift, [head, tail, args[0]])
        return i32x16(i32x16), codegen

    return digits


_digits_0, _digits_1, _digits_2 = _digits(0), _digits(1), _digits(2)


@inline
def _far(a):
    """Reduces a > 2^20, as `_near` does.

    a is M 2^s with a 24-bit M. Digits of 2/pi worth a multiple of 4 after scaling by 2^s cannot matter, and 96 behind
    them leave an error of 2^-62 quadrants, where the closest any float32 comes to a multiple of pi/2 is about 2^-30.
    """
    bits = as_int(a)
    position = (bits >> splat_int(23)) - splat_int(147)
    m = (bits & splat_int(0x7FFFFF)) | splat_int(0x800000)
    w1, w2 = _digits_1(position), _digits_2(position)
    low, carried = m * w1, mulhi(m, w2)
    fraction = low + carried
    sign = splat_int(SIGN_BIT)
    overflow = select((fraction ^ sign) < (low ^ sign), splat_int(1), splat_int(0))
    turn = m * _digits_0(position) + mulhi(m, w1) + overflow  # two bits of quadrant, then 30 + 32 of fraction
    quadrant = (turn + splat_int(0x20000000)) >> splat_int(30)
    turn = turn - (quadrant << splat_int(30))
    negative = shift_right_signed(turn, splat_int(31))
    turn, fraction = turn ^ negative, fraction ^ negative
    upper = to_float(turn >> splat_int(5)) * constant(2.0**-25)
    rest = ((turn & splat_int(31)) << splat_int(26)) | (fraction >> splat_int(6))
    rest_float = to_float(rest)
    lower = rest_float * constant(2.0**-56)
    high = upper + lower
    low_part = fma(to_float(rest - to_int(rest_float)), constant(2.0**-56), lower - (high - upper))
    r = high * constant(PI_HALVES_1)
    r_low = fma(high, constant(PI_HALVES_1), constant(0.0) - r) + fma(
        high, constant(PI_HALVES_2), low_part * constant(PI_HALVES_1))
    flip = negative & splat_int(SIGN_BIT)
    return quadrant, as_float(as_int(r) ^ flip), as_float(as_int(r_low) ^ flip)


@inline
def _turned(a, quarters):
    """sin(a + quarters pi/2) for a >= 0, quarters 0 or 1; NaN for inf."""
    k, r, r_low = _near(a)
    far = (a > constant(FAR)) & (a < constant(INFINITY))
    if _any_lane(far):
        far_k, far_r, far_low = _far(a)
        k, r, r_low = select(far, far_k, k), select(far, far_r, r), select(far, far_low, r_low)
    k = k + splat_int(quarters)
    square = r * r
    sine = r + fma(square * r, _sine_tail(square), r_low)
    cosine = fma(r, fma(r, _cosine_tail(square), constant(0.0) - r_low), constant(1.0))
    chosen = select((k & splat_int(1)) == splat_int(1), cosine, sine)
    return as_int(chosen) ^ ((k & splat_int(2)) << splat_int(30))


@inline
def sin(x):
    """sin(x), within 1.2 ulp; NaN at ±inf."""
    return as_float(_turned(fabs(x), 0) ^ (as_int(x) & splat_int(SIGN_BIT)))


@inline
def cos(x):
    """cos(x), within 1.2 ulp; NaN at ±inf."""
    return as_float(_turned(fabs(x), 1))


@inline
def tan(x):
    """tan(x) = sin(x) / cos(x), within 3.5 ulp; NaN at ±inf."""
    return sin(x) / cos(x)
