"""Exponentials, logarithms and functions derived from them, on sixteen float32 lanes. The guarantees are in `functions`.

An argument is reduced to x = n ln 2 + r, |r| <= ln 2 / 2; a polynomial gives e^r, and 2^n is built from its bits. tanh is a quotient of
two polynomials without a reduction.

Source: argument reductions as in Muller et al., Handbook of Floating-Point Arithmetic, 2nd ed., chapters 10 and 11.
"""

from __future__ import annotations

from cervello.codegen import cache
from cervello.codegen.compiler import inline
from cervello.codegen.literals import constant, polynomial
from cervello.codegen.simd import as_float, as_int, fabs, fma, scalef, select, shift_right_signed, splat_int, to_float

# 1.5 * 2^23: the sum x + MAGIC_BIAS holds round(x) in its low bits, and (x + MAGIC_BIAS) - MAGIC_BIAS is round(x).
MAGIC_BIAS = 12582912.0
LOG2_E = 1.4426950408889634
LN2_HIGH, LN2_LOW = 0.693147182464599609375, -1.904654299957768e-09  # their sum is ln 2; n * LN2_HIGH cancels exactly
ONE_BITS, EXPONENT_BITS, SIGN_BIT = 0x3F800000, 0xFF800000, 0x80000000
TWO_THIRDS_BITS, FOUR_BITS = 0x3F2AAAAB, 0x40800000
SMALLEST_NORMAL, INFINITY, NAN = 1.1754943508222875e-38, float("inf"), float("nan")

# e^r, |r| <= ln 2 / 2, degree 6, to 2^-28.0.
_EXP_TERMS = (1.0, 1.0, 0.5, 0.16666534543037415, 0.04166724532842636, 0.008367440663278103, 0.00138631381560117)
exp_polynomial = polynomial(*_EXP_TERMS)
_exp_negated_scaled = polynomial(*(term * (-1.0) ** i * 2.0**-32 for i, term in enumerate(_EXP_TERMS)))  # 2^-32 e^-r
# (e^r - 1 - r) / r^2, |r| <= ln 2 / 2, degree 4: e^r - 1 to 2^-26.1.
_expm1_tail = polynomial(0.5, 0.1666654795408249, 0.04166682809591293, 0.008366111665964127, 0.0013900425983592868)
# (log(1 + f) - f) / f^2, |f| <= 1/3, degree 8: the logarithm to 2^-27.7.
_log_tail = polynomial(
    -0.5, 0.3333321511745453, -0.2499980628490448, 0.2001042664051056, -0.16680197417736053, 0.14005732536315918,
    -0.12187445908784866, 0.1398460865020752, -0.12880222499370575)
# tanh(x) = x p(x²) / q(x²), |x| <= 9.02, degree 4 each: to 2^-25.3.
_tanh_numerator = polynomial(1.0, 0.1338270902633667, 0.0034974520094692707, 2.0634624888771214e-05, 1.3380908825411097e-08)
_tanh_denominator = polynomial(1.0, 0.46716031432151794, 0.025884419679641724, 0.0003288458101451397, 7.789211053932377e-07)
# -log(1 - erf(x)) / x - 1, 0 <= x <= 3.95, degree 8: erf to 2^-27.8.
_erf_exponent = polynomial(
    0.12837916612625122, 0.6366195678710938, 0.10277630388736725, -0.019147822633385658, -0.00016950469580478966,
    0.0016756776185946703, -0.0006373647483997047, 0.00011886185529874638, -9.388038961333223e-06)


@inline
def clamp(x, low, high):
    """x limited to [low, high]; NaN stays NaN."""
    x = select(x < low, low, x)
    return select(x > high, high, x)


@inline
def exp2i(n):
    """2^n as float32 for int32 n; only the low nine bits of n are used, -126 <= n <= 127."""
    return as_float((n << splat_int(23)) + splat_int(ONE_BITS))


@inline
def _ldexp_two_factors(value, shifted):
    n = as_int(shifted)
    half = shift_right_signed(n, splat_int(1))
    return value * exp2i(half) * exp2i(n - half)


@inline
def _ldexp_scalef(value, shifted):
    return scalef(value, shifted - constant(MAGIC_BIAS))


@inline
def _ldexp_one_factor(value, shifted):
    return value * exp2i(as_int(shifted))


# ldexp(value, n + MAGIC_BIAS) = value * 2^n, rounded at most once, for -252 <= n <= 254. ldexp_normal requires 2^n and the result to be
# normal. The AVX-512 instruction and the multiplications give the same bits.
ldexp, ldexp_normal = (_ldexp_scalef,) * 2 if "+avx512f" in cache.cpu()[1] else (_ldexp_two_factors, _ldexp_one_factor)


@inline
def copysign(magnitude, x):
    """A magnitude >= 0 with the sign of x."""
    return as_float(as_int(magnitude) | (as_int(x) & splat_int(SIGN_BIT)))


@inline
def reduce_by_ln2(x, n):
    """x - n ln 2, by Cody and Waite's reduction; the first fma is exact."""
    return fma(n, constant(-LN2_LOW), fma(n, constant(-LN2_HIGH), x))


@inline
def exp(x):
    """e^x, within 1 ulp."""
    clamped = clamp(x, constant(-104.0), constant(89.0))
    shifted = fma(clamped, constant(LOG2_E), constant(MAGIC_BIAS))
    return ldexp(exp_polynomial(reduce_by_ln2(clamped, shifted - constant(MAGIC_BIAS))), shifted)


@inline
def exp_nonpositive(x):
    """e^x for x <= 0, within 1 ulp; 0 below -80, so that softmax multiplies no denormals. A sum that contains a 1 is not affected."""
    shifted = fma(x, constant(LOG2_E), constant(MAGIC_BIAS))
    r = reduce_by_ln2(x, shifted - constant(MAGIC_BIAS))
    return select(x < constant(-80.0), constant(0.0), ldexp_normal(exp_polynomial(r), shifted))


@inline
def expm1(x):
    """e^x - 1, within 1.6 ulp."""
    clamped = clamp(x, constant(-30.0), constant(89.0))
    shifted = fma(clamped, constant(LOG2_E), constant(MAGIC_BIAS))
    r = reduce_by_ln2(clamped, shifted - constant(MAGIC_BIAS))
    half = exp2i(as_int(shifted) - splat_int(1))  # 2^n itself can overflow
    total = fma(fma(r * r, _expm1_tail(r), r), half, half - constant(0.5))
    return select(fabs(x) < constant(2.0**-25), x, total + total)


@inline
def expm1_nonpositive(x):
    """e^x - 1 for x <= 0, within 1.6 ulp; +0 at -0.

    LN2_HIGH alone is a sufficient approximation of ln 2: the error is n e^x LN2_LOW, and e^x is small where n is large.
    """
    clamped = select(x < constant(-30.0), constant(-30.0), x)
    shifted = fma(clamped, constant(LOG2_E), constant(MAGIC_BIAS))
    r = fma(shifted - constant(MAGIC_BIAS), constant(-LN2_HIGH), clamped)
    power_of_two = exp2i(as_int(shifted))
    return fma(fma(r * r, _expm1_tail(r), r), power_of_two, power_of_two - constant(1.0))


@inline
def tanh(x):
    """tanh(x) = x p(x²) / q(x²), within 5.3 ulp, never beyond ±1."""
    x = clamp(x, constant(-9.02), constant(9.02))  # beyond them the result is ±1
    square = x * x
    return clamp(x * _tanh_numerator(square) / _tanh_denominator(square), constant(-1.0), constant(1.0))


@inline
def sigmoid(x):
    """1 / (1 + e^-x), within 2.5 ulp. Numerator and denominator are scaled by 2^-32, because e^-x overflows where the result is nonzero."""
    clamped = clamp(x, constant(-104.0), constant(104.0))
    shifted = fma(clamped, constant(-LOG2_E), constant(MAGIC_BIAS))
    n = shifted - constant(MAGIC_BIAS)
    r = fma(n, constant(LN2_LOW), fma(n, constant(LN2_HIGH), clamped))
    scale = constant(2.0**-32)
    return scale / (ldexp(_exp_negated_scaled(r), shifted) + scale)


@inline
def erf(x):
    """The error function: 1 - e^-v, where a polynomial gives v = -log(1 - erf|x|); within 2 ulp, never beyond ±1."""
    a = fabs(x)
    a = select(a > constant(3.95), constant(3.95), a)
    v = fma(a, _erf_exponent(a), a)
    return copysign(fabs(expm1_nonpositive(constant(0.0) - v)), x)


@inline
def _log_reduced(f, exponent):
    """log(1 + f) + exponent ln 2 for |f| <= 1/3; the exponent is an integer times 2^23."""
    return fma(exponent, constant(LN2_HIGH * 2.0**-23), fma(f * f, _log_tail(f), f))


@inline
def log(x):
    """The natural logarithm of x, within 1 ulp; -inf at ±0, NaN below."""
    denormal = x < constant(SMALLEST_NORMAL)
    bits = as_int(select(denormal, x * constant(2.0**23), x))
    exponent = (bits - splat_int(TWO_THIRDS_BITS)) & splat_int(EXPONENT_BITS)
    exponent_offset = select(denormal, constant(-23.0 * 2.0**23), constant(0.0))
    result = _log_reduced(as_float(bits - exponent) - constant(1.0), to_float(exponent) + exponent_offset)
    result = select(x > constant(0.0), result, select(x == constant(0.0), constant(-INFINITY), constant(NAN)))
    return select(x == constant(INFINITY), x, result)


@inline
def _log1p_finite(x):
    """log(1 + x) for finite x > -1; +0 at -0."""
    exponent = (as_int(x + constant(1.0)) - splat_int(TWO_THIRDS_BITS)) & splat_int(EXPONENT_BITS)
    four = as_float(splat_int(FOUR_BITS) - exponent)  # 4 / 2^exponent: without the 4 it could be denormal
    return _log_reduced(as_float(as_int(x) - exponent) + fma(four, constant(0.25), constant(-1.0)), to_float(exponent))


@inline
def log1p(x):
    """log(1 + x), within 1.6 ulp; -inf at -1, NaN below."""
    outside = select(x == constant(-1.0), constant(-INFINITY), constant(NAN))
    result = select(x > constant(-1.0), _log1p_finite(x), outside)
    return select((x == constant(INFINITY)) | (x == constant(0.0)), x, result)


@inline
def softplus(x):
    """log(1 + e^x) = max(x, 0) + log1p(e^-|x|), within 2.1 ulp."""
    positive = select(x < constant(0.0), constant(0.0), x)  # keeps NaN, which the logarithm may lose
    return positive + _log1p_finite(exp(constant(0.0) - fabs(x)))


@inline
def mish(x):
    """x tanh(softplus(x)), within 3 ulp; -0 at -inf, the limit.

    With e = e^x and w = e (e + 2), it is x (1 - 2 / (w + 2)) for x > 0, else x e (1 - e (e + 1) / (w + 2)), which avoids cancellation.
    The factor e = p 2^n is applied in two steps, p then 2^n, because e may be denormal where x e is not.
    """
    clamped = clamp(x, constant(-150.0), constant(11.0))
    shifted = fma(clamped, constant(LOG2_E), constant(MAGIC_BIAS))
    p = exp_polynomial(reduce_by_ln2(clamped, shifted - constant(MAGIC_BIAS)))
    e = ldexp(p, shifted)
    positive = x > constant(0.0)
    ratio = select(positive, constant(-2.0), constant(0.0) - fma(e, e, e)) / fma(e, e + constant(2.0), constant(2.0))
    base = select(positive, clamped, clamped * p)
    result = fma(base, ratio, base)
    return select((x > constant(10.0)) | (x == constant(0.0)), x, select(positive, result, ldexp(result, shifted)))
