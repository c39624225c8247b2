"""Sine and cosine of an angle in units of 2**-32 turns: integers wrap where angles do, so no range reduction is needed."""

from __future__ import annotations

import math
from typing import Any

from cervello.codegen.compiler import inline
from cervello.codegen.literals import constant, polynomial
from cervello.codegen.simd import as_float, as_int, fma, select, shift_right_signed, splat_int, to_float

_RADIANS = 2.0 * math.pi / 2.0**32
# Minimax on [-pi/4, pi/4], in the square: (sine / x - 1) / x**2 and (cosine - 1 + x**2 / 2) / x**4.
# Source: Cephes 2.8, sinf and cosf.
_sine_tail = polynomial(-1.6666654611e-1, 8.3321608736e-3, -1.9515295891e-4)
_cosine_tail = polynomial(4.166664568298827e-2, -1.388731625493765e-3, 2.443315711809948e-5)


@inline
def sine_cosine_of_turn(angle: Any) -> Any:
    """Sine and cosine, f32x16 each, of i32x16 that count 2**-32 turns; within 3 ulp."""
    quarter = (angle + splat_int(1 << 29)) >> splat_int(30)  # the nearest multiple of a quarter turn
    remainder = shift_right_signed(angle << splat_int(2), splat_int(2))  # from -1/8 to 1/8 turn, after the quarter is subtracted
    x = to_float(remainder) * constant(_RADIANS)
    z = x * x
    odd = fma(_sine_tail(z) * z, x, x)
    even = fma(_cosine_tail(z), z * z, fma(constant(-0.5), z, constant(1.0)))
    swapped = (quarter & splat_int(1)) == splat_int(1)
    sine, cosine = select(swapped, even, odd), select(swapped, odd, even)
    sine_sign = (quarter & splat_int(2)) << splat_int(30)
    cosine_sign = ((quarter + splat_int(1)) & splat_int(2)) << splat_int(30)
    return as_float(as_int(sine) ^ sine_sign), as_float(as_int(cosine) ^ cosine_sign)
