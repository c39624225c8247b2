"""Elementary functions on sixteen float32 lanes, bitwise equal on every CPU and in every lane.

    exponentials    exp, exp_nonpositive, expm1, expm1_nonpositive, log, log1p, tanh, sigmoid, erf, softplus, mish
    hyperbolic      sinh, cosh, asinh, acosh, atanh
    trigonometry    sin, cos, tan
    inverse_trigonometry   asin, acos, atan
    powers          power

Guarantees of all functions. They use only +, -, *, /, fma, integer operations and selects, whose results are exactly defined.
"within N ulp" bounds the error in units in the last place of the exact result, over all float32; the tests read N from the docstrings.
NaN gives NaN (its payload is not defined). Odd functions keep the sign of -0. Denormal arguments and results are not flushed to zero;
exp_nonpositive has no denormal results.

Polynomials are minimax fits (weighted least squares iterated to equal ripple, in double precision against 30 digits). Their coefficients
were rounded to float32 one by one, lowest first, with the remaining ones fitted again each time. "to 2^-k" is the relative error of the
rounded polynomial.
"""

from cervello.codegen.math.exponentials import (
           erf,
           exp,
           exp_nonpositive,
           expm1,
           expm1_nonpositive,
           log,
           log1p,
           mish,
           sigmoid,
           softplus,
           tanh,
)
from cervello.codegen.math.hyperbolic import acosh, asinh, atanh, cosh, sinh
from cervello.codegen.math.inverse_trigonometry import acos, asin, atan
from cervello.codegen.math.powers import power
from cervello.codegen.math.trigonometry import cos, sin, tan

__all__ = ["acos", "acosh", "asin", "asinh", "atan", "atanh", "cos", "cosh", "erf", "exp", "exp_nonpositive", "expm1", "expm1_nonpositive",
           "log", "log1p", "mish", "power", "sigmoid", "sin", "sinh", "softplus", "tan", "tanh"]
