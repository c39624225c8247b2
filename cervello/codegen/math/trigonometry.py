"""Sine and cosine on sixteen float32 lanes, for every finite argument. The guarantees are in `functions`.

Both reduce |x| to r = |x| - k pi/2, |r| <= pi/4; the quadrant k selects the sine or the cosine of r. Up to 2^20, k times three parts of
pi/2 is subtracted (Cody and Waite). Above, x 2/pi modulo 4 is computed in integers from the bits of 2/pi (Payne and Hanek). That takes
longer than all other steps and is skipped if no lane needs it.

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
from cervello.codegen.math.exponentials import INFINITY, MAGIC_BIAS, SIGN_BIT
from cervello.codegen.simd import (
    as_float,
    as_int,
    fabs,
    fma,
    i32x16,
    mask,
    mulhi,
    select,
    shift_right_signed,
    splat_int,
    to_float,
    to_int,
)
from cervello.codegen.simd_ir import I1, I1X16, I32X16, LANES, llvm_function

TWO_OVER_PI = 0.6366197723675814
HALF_PI_1, HALF_PI_2, HALF_PI_3 = 1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15
CODY_WAITE_MAX = 2.0**20
# The fraction of 2/pi in 32-bit words, after five zero bits.
TWO_OVER_PI_BITS = (0x0517CC1B, 0x727220A9, 0x4FE13ABE, 0x8FA9A6EE, 0x06DB14AC, 0xC9E21C82, 0x0FF28B1D)

# (sin r / r - 1) / r^2 in r^2, |r| <= pi/4, degree 2: the sine to 2^-27.8.
_sine_tail = polynomial(-0.16666653752326965, 0.008332106284797192, -0.00019507882825564593)
# (cos r - 1) / r^2 in r^2, |r| <= pi/4, degree 3: the cosine to 2^-32.1.
_cosine_tail = polynomial(-0.5, 0.041666653007268906, -0.0013887593522667885, 2.445857899147086e-05)


@intrinsic
def _any_lane(typing_context, m):
    """Whether the mask is true in any lane. Only for skipping a rare path: results must not depend on other lanes."""
    def codegen(context, builder, sig, args):
        return builder.call(llvm_function(builder, "llvm.vector.reduce.or.v16i1", I1, [I1X16]), args)
    return types.boolean(mask), codegen


@inline
def _reduce_cody_waite(a):
    """Reduces 0 <= a <= 2^20.

    Returns:
      The quadrant in the two low bits of an integer; r as the sum of two floats.
    """
    shifted = fma(a, constant(TWO_OVER_PI), constant(MAGIC_BIAS))
    k = shifted - constant(MAGIC_BIAS)
    first = fma(k, constant(-HALF_PI_1), a)  # exact: a multiple of 2^-24 below 1
    term = k * constant(-HALF_PI_2)
    high = first + term
    rounded = high - first
    error = (first - (high - rounded)) + (term - rounded) + fma(k, constant(-HALF_PI_2), constant(0.0) - term)
    return as_int(shifted), high, fma(k, constant(-HALF_PI_3), error)


def _make_bits_at(start: int) -> Any:
    """A function (bit position, 0 to 127) → the 32 bits of 2/pi from that position of word `start` on."""
    words = [ir.Constant(I32X16, [word] * LANES) for word in TWO_OVER_PI_BITS[start : start + 5]]

    @intrinsic
    def bits_at(typing_context, position):
        def codegen(context, builder, sig, args):
            head, tail = words[:2]
            for k in (1, 2, 3):
                here = builder.icmp_signed(">=", args[0], ir.Constant(I32X16, [32 * k] * LANES))
                head, tail = builder.select(here, words[k], head), builder.select(here, words[k + 1], tail)
            shift = llvm_function(builder, "llvm.fshl.v16i32", I32X16, [I32X16] * 3)  # takes its count modulo 32
            return builder.call(shift, [head, tail, args[0]])
        return i32x16(i32x16), codegen

    return bits_at


_bits_at_0, _bits_at_1, _bits_at_2 = _make_bits_at(0), _make_bits_at(1), _make_bits_at(2)


@inline
def _reduce_payne_hanek(a):
    """Reduces a > 2^20, as `_reduce_cody_waite` does.

    a is M 2^s with a 24-bit M. Bits of 2/pi whose product with a is a multiple of 4 do not change the result. The 96 bits after them leave
    an error of 2^-62 quadrants; no float32 is closer to a multiple of pi/2 than about 2^-30.
    """
    bits = as_int(a)
    position = (bits >> splat_int(23)) - splat_int(147)
    m = (bits & splat_int(0x7FFFFF)) | splat_int(0x800000)
    w1, w2 = _bits_at_1(position), _bits_at_2(position)
    low, carried = m * w1, mulhi(m, w2)
    fraction = low + carried
    sign = splat_int(SIGN_BIT)
    overflow = select((fraction ^ sign) < (low ^ sign), splat_int(1), splat_int(0))
    product = m * _bits_at_0(position) + mulhi(m, w1) + overflow  # two bits of quadrant, 30 bits of fraction; 32 more in `fraction`
    quadrant = (product + splat_int(0x20000000)) >> splat_int(30)
    product = product - (quadrant << splat_int(30))
    negative = shift_right_signed(product, splat_int(31))
    product, fraction = product ^ negative, fraction ^ negative
    upper = to_float(product >> splat_int(5)) * constant(2.0**-25)
    rest = ((product & splat_int(31)) << splat_int(26)) | (fraction >> splat_int(6))
    rest_float = to_float(rest)
    lower = rest_float * constant(2.0**-56)
    high = upper + lower
    low_part = fma(to_float(rest - to_int(rest_float)), constant(2.0**-56), lower - (high - upper))
    r = high * constant(HALF_PI_1)
    r_low = fma(high, constant(HALF_PI_1), constant(0.0) - r) + fma(
        high, constant(HALF_PI_2), low_part * constant(HALF_PI_1))
    flip = negative & splat_int(SIGN_BIT)
    return quadrant, as_float(as_int(r) ^ flip), as_float(as_int(r_low) ^ flip)


@inline
def _sin_bits(a, quadrants):
    """Bits of sin(a + quadrants pi/2) for a >= 0, quadrants 0 or 1; NaN for inf."""
    k, r, r_low = _reduce_cody_waite(a)
    is_large = (a > constant(CODY_WAITE_MAX)) & (a < constant(INFINITY))
    if _any_lane(is_large):
        large_k, large_r, large_r_low = _reduce_payne_hanek(a)
        k, r, r_low = select(is_large, large_k, k), select(is_large, large_r, r), select(is_large, large_r_low, r_low)
    k = k + splat_int(quadrants)
    square = r * r
    sine = r + fma(square * r, _sine_tail(square), r_low)
    cosine = fma(r, fma(r, _cosine_tail(square), constant(0.0) - r_low), constant(1.0))
    chosen = select((k & splat_int(1)) == splat_int(1), cosine, sine)
    return as_int(chosen) ^ ((k & splat_int(2)) << splat_int(30))


@inline
def sin(x):
    """sin(x), within 1.2 ulp; NaN at ±inf."""
    return as_float(_sin_bits(fabs(x), 0) ^ (as_int(x) & splat_int(SIGN_BIT)))


@inline
def cos(x):
    """cos(x), within 1.2 ulp; NaN at ±inf."""
    return as_float(_sin_bits(fabs(x), 1))


@inline
def tan(x):
    """tan(x) = sin(x) / cos(x), within 3.5 ulp; NaN at ±inf."""
    return sin(x) / cos(x)
