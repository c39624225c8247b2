"""Our own exp, log, tanh and their relatives on sixteen float32 lanes: the same bits on every CPU and in every lane.

    exponentials    exp, exp_of_fall, expm1, expm1_of_fall, log, log1p, tanh, sigmoid, erf, softplus, mish
    hyperbolic      sinh, cosh, asinh, acosh, atanh
    trigonometry    sin, cos, tan
    inverse_trigonometry   asin, acos, atan
    powers          power

Promises for all of them. Only +, -, *, /, fma, integer operations and selects are used, each of which is defined to
the bit. "within N ulp" bounds the distance to the true result in units of the true result's last place, over all
float32; the tests read N from the docstrings. NaN gives NaN (which one is not defined), odd functions keep the sign of
-0, and denormals are neither read nor written as zero (exp_of_fall makes none).

Polynomials are minimax fits (weighted least squares iterated to equal ripple, in double precision against 30 digits)
whose coefficients were rounded to float32 one by one, lowest first, the others fitted again each time; "to 2^-k" is the
error of the rounded polynomial relative to the function it stands for.
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
