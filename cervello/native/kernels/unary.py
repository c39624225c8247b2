"""Elementwise blocks of one operand: target[i] = f(source[i]) for i < count. `parameters`: address of their words.

Source: ONNX operator specification, opset 22.
"""

from __future__ import annotations

import numpy as np

from cervello.codegen import functions as f
from cervello.codegen import simd
from cervello.codegen.blocks import block_of
from cervello.codegen.compiler import inline
from cervello.codegen.literals import constant
from cervello.codegen.memory import read_f32, write_u8
from cervello.codegen.records import view
from cervello.codegen.simd import fabs, fma, invert, load_bools, round_down, round_even, round_up, select, splat, store_bools
from cervello.native.kernels.parameters import ALPHA, CLIP, HARD_SIGMOID, IS_INF, SELU

_F = np.float32
_Alpha, _Selu, _HardSigmoid, _Clip, _IsInf = view(ALPHA), view(SELU), view(HARD_SIGMOID), view(CLIP), view(IS_INF)


@inline
def _alpha(parameters):
    return splat(_Alpha(parameters).alpha)


def _plain(function):
    @inline
    def with_parameters(x, parameters):
        return function(x)

    return block_of(with_parameters)


tanh, sigmoid, exp, log = _plain(f.tanh), _plain(f.sigmoid), _plain(f.exp), _plain(f.log)
erf, softplus, sin, cos, mish = _plain(f.erf), _plain(f.softplus), _plain(f.sin), _plain(f.cos), _plain(f.mish)
tan, asin, acos, atan = _plain(f.tan), _plain(f.asin), _plain(f.acos), _plain(f.atan)
sinh, cosh, asinh, acosh, atanh = _plain(f.sinh), _plain(f.cosh), _plain(f.asinh), _plain(f.acosh), _plain(f.atanh)
sqrt, abs_, floor, ceil, round_ = _plain(simd.sqrt), _plain(fabs), _plain(round_down), _plain(round_up), _plain(round_even)


@inline
def _relu(x, p):  # NaN stays, because the comparison is false
    return select(x < constant(0.0), constant(0.0), x)


@inline
def _neg(x, p):
    return constant(-0.0) - x


@inline
def _reciprocal(x, p):
    return constant(1.0) / x


@inline
def _leaky_relu(x, p):
    return select(x < constant(0.0), _alpha(p) * x, x)


@inline
def _elu(x, p):
    return select(x < constant(0.0), _alpha(p) * f.expm1_nonpositive(x), x)


@inline
def _selu(x, p):
    return splat(_Selu(p).gamma) * select(x < constant(0.0), splat(_Selu(p).alpha) * f.expm1_nonpositive(x), x)


@inline
def _celu(x, p):
    return select(x > constant(0.0), x, _alpha(p) * f.expm1(x / _alpha(p)))


@inline
def _clip(x, p):
    low, high = splat(_Clip(p).low), splat(_Clip(p).high)
    x = select(x < low, low, x)
    return select(x > high, high, x)


@inline
def _hard_sigmoid(x, p):
    y = fma(x, splat(_HardSigmoid(p).alpha), splat(_HardSigmoid(p).beta))
    y = select(y < constant(0.0), constant(0.0), y)
    return select(y > constant(1.0), constant(1.0), y)


@inline
def _hard_swish(x, p):
    y = fma(x, constant(1.0 / 6.0), constant(0.5))
    y = select(y < constant(0.0), constant(0.0), y)
    return x * select(y > constant(1.0), constant(1.0), y)


@inline
def _softsign(x, p):
    return x / (constant(1.0) + fabs(x))


@inline
def _gelu(x, p):
    return constant(0.5) * x * (constant(1.0) + f.erf(x * constant(0.70710678118654752)))


@inline
def _gelu_tanh(x, p):
    # (1 + tanh(t)) / 2 = sigmoid(2t), which avoids the cancellation in 1 + tanh
    return x * f.sigmoid(constant(2.0 * 0.79788456080286536) * fma(constant(0.044715) * x * x, x, x))


@inline
def _swish(x, p):
    return x * f.sigmoid(_alpha(p) * x)


@inline
def _thresholded_relu(x, p):
    return select(x > _alpha(p), x, select(x != x, x, constant(0.0)))


@inline
def _sign(x, p):
    return select(x > constant(0.0), constant(1.0), select(x < constant(0.0), constant(-1.0), x))


relu, neg, reciprocal, leaky_relu, elu, selu = (block_of(g) for g in (_relu, _neg, _reciprocal, _leaky_relu, _elu, _selu))
celu, clip, hard_sigmoid, hard_swish = (block_of(g) for g in (_celu, _clip, _hard_sigmoid, _hard_swish))
softsign, gelu, gelu_tanh, swish = (block_of(g) for g in (_softsign, _gelu, _gelu_tanh, _swish))
thresholded_relu, sign = block_of(_thresholded_relu), block_of(_sign)


def not_(target, source, count, parameters):
    i = 0
    while i < count:
        n = min(count - i, 16)
        store_bools(target + i, invert(load_bools(source + i, n)), n)
        i += 16
    return 0


def is_nan(target, source, count, parameters):
    for i in range(count):
        x = read_f32(source, i)
        write_u8(target, i, 1 if x != x else 0)
    return 0


def is_inf(target, source, count, parameters):
    below, above = _IsInf(parameters).negative != 0, _IsInf(parameters).positive != 0
    for i in range(count):
        x = read_f32(source, i)
        write_u8(target, i, 1 if (below and x == -_F(np.inf)) or (above and x == _F(np.inf)) else 0)
    return 0
