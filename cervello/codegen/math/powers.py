"""x to the y on sixteen float32 lanes. The guarantees are in `functions`.

The logarithm has a relative error of about 2^-32, because |y log|x|| is up to 104 and its absolute error is the relative error of the
result. It is the sum of two floats: log(m) = 2 atanh(q), q = (m - 1) / (m + 1).

Source: special values as in IEEE 754-2019, 9.2.1 (pow); sums and products of two floats: Dekker, A floating-point
technique for extending the available precision, Numerische Mathematik 18 (1971).
"""

from __future__ import annotations

from cervello.codegen.compiler import inline
from cervello.codegen.literals import constant, polynomial
from cervello.codegen.math.exponentials import (
    EXPONENT_BITS,
    INFINITY,
    LN2_HIGH,
    LN2_LOW,
    LOG2_E,
    MAGIC_BIAS,
    NAN,
    SIGN_BIT,
    SMALLEST_NORMAL,
    clamp,
    exp_polynomial,
    ldexp,
    reduce_by_ln2,
)
from cervello.codegen.simd import as_float, as_int, fabs, fma, invert, round_zero, select, splat_int, to_float

SQRT_HALF_BITS = 0x3F3504F3

# (atanh(q) / q - 1) / q^2 in q^2, |q| <= 3 - 2 sqrt 2, degree 3: atanh to 2^-35.2.
_atanh_tail = polynomial(0.3333333134651184, 0.20000486075878143, 0.14249394834041595, 0.12139521539211273)


@inline
def _log_pair(a):
    """log(a), 0 < a < inf, as the sum of two floats, to about 2^-32."""
    denormal = a < constant(SMALLEST_NORMAL)
    bits = as_int(select(denormal, a * constant(2.0**23), a))
    exponent = (bits - splat_int(SQRT_HALF_BITS)) & splat_int(EXPONENT_BITS)
    n = fma(to_float(exponent), constant(2.0**-23), select(denormal, constant(-23.0), constant(0.0)))
    m = as_float(bits - exponent)
    m_plus_1, m_minus_1 = m + constant(1.0), m - constant(1.0)
    inverse = constant(1.0) / m_plus_1
    q = inverse * m_minus_1
    # The error of q, from the remainder m - 1 - q (m + 1). Its terms q and q m are subtracted separately: m_plus_1 may be rounded.
    q_low = inverse * fma(q, constant(0.0) - m_minus_1, fma(q, constant(-2.0), m_minus_1))
    square = q * q
    square_low = fma(q, q_low + q_low, fma(q, q, constant(0.0) - square))
    cube = square * q
    cube_low = fma(square, q_low, fma(square_low, q, fma(square, q, constant(0.0) - cube)))
    tail = _atanh_tail(square)
    tail = fma(cube, tail, fma(cube_low, tail, q_low))
    # n ln 2 + 2 (q + tail), the largest terms first.
    twice = q + q
    total = fma(n, constant(LN2_HIGH), twice)
    rest = twice - fma(n, constant(-LN2_HIGH), total)
    rest = fma(n, constant(LN2_LOW), fma(tail, constant(2.0), rest))
    hi = total + rest
    return hi, (total - hi) + rest


@inline
def _positive_power(a, y):
    """a^y for 0 <= a <= inf; the caller handles 1^inf and inf^0."""
    hi, lo = _log_pair(a)
    hi = select(a == constant(0.0), constant(-INFINITY), select(a == constant(INFINITY), a, hi))
    product = hi * y
    product_low = fma(lo, y, fma(hi, y, constant(0.0) - product))
    product_low = select(fabs(product) < constant(120.0), product_low, constant(0.0))
    clamped = clamp(product, constant(-110.0), constant(89.0))
    shifted = fma(clamped, constant(LOG2_E), constant(MAGIC_BIAS))
    r = reduce_by_ln2(clamped, shifted - constant(MAGIC_BIAS)) + product_low
    return ldexp(exp_polynomial(r), shifted)


@inline
def power(x, y):
    """x^y, within 2 ulp (1.55 in 60 million random pairs); x^2 is x * x; special values as in C's pow."""
    a, y_magnitude = fabs(x), fabs(y)
    half = y * constant(0.5)
    is_integer = round_zero(y) == y
    is_odd = is_integer & (round_zero(half) != half)
    result = select(y == constant(2.0), x * x, _positive_power(a, y))
    result = select((a == constant(1.0)) & (y_magnitude == constant(INFINITY)), constant(1.0), result)
    negated = as_float(as_int(result) ^ (as_int(x) & splat_int(SIGN_BIT)))
    result = select(is_odd, negated, result)
    not_nan = (a >= constant(0.0)) & (y_magnitude >= constant(0.0))
    finite_negative = (x < constant(0.0)) & (x > constant(-INFINITY))
    result = select(not_nan & invert(finite_negative & invert(is_integer)), result, constant(NAN))
    return select((y == constant(0.0)) | (x == constant(1.0)), constant(1.0), result)
