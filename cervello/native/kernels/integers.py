"""Blocks on int64, int32 and bool elements. Operands may be broadcast, as in `binary`.

Sums and products wrap around. Division truncates towards zero; division by zero gives 0. Source: ONNX operator specification, opset 22.
"""

from __future__ import annotations

import operator

import numpy as np

from cervello.codegen.compiler import inline
from cervello.codegen.memory import copy_bytes, read_i32, read_i64, read_u8, write_i32, write_i64, write_u8
from cervello.codegen.records import view
from cervello.native.kernels.binary import logic
from cervello.native.kernels.parameters import BROADCAST, CLIP_INTEGERS, WHERE

_Broadcast, _Where, _Clip = view(BROADCAST), view(WHERE), view(CLIP_INTEGERS)


@inline
def _write_truncated(target, i, x):
    """Writes the low 32 bits of an int64 as int32."""
    write_i32(target, i, np.int32(x))


def _make_binary(function, read, write, kind):
    """A block of two operands of one type, computed in int64 and written as `kind`."""
    def block(target, a, b, count, parameters):
        broadcast_mask = _Broadcast(parameters).mask
        for i in range(count):
            x, y = np.int64(read(a, 0 if broadcast_mask & 1 else i)), np.int64(read(b, 0 if broadcast_mask & 2 else i))
            write(target, i, kind(function(x, y)))
        return 0

    return block


def _binary(function):
    """Blocks for int64 and int32."""
    return _make_binary(function, read_i64, write_i64, np.int64), _make_binary(function, read_i32, write_i32, np.int32)


def _comparison(function):
    """Blocks for int64 and int32 with bool results."""
    return _make_binary(function, read_i64, write_u8, np.uint8), _make_binary(function, read_i32, write_u8, np.uint8)


def _unary(function):
    """Blocks of one operand for int64 and int32."""
    def of(read, write, kind):
        def block(target, source, count, parameters):
            for i in range(count):
                write(target, i, kind(function(np.int64(read(source, i)))))
            return 0

        return block

    return of(read_i64, write_i64, np.int64), of(read_i32, write_i32, np.int32)


@inline
def _div(a, b):
    if b == 0:
        return 0
    if b == -1:  # the smallest int64 wraps around
        return 0 - a
    quotient = a // b
    if quotient < 0 and quotient * b != a:
        quotient += 1
    return quotient


@inline
def _mod(a, b):  # takes the sign of the divisor
    return 0 if b == 0 or b == -1 else a % b


@inline
def _fmod(a, b):  # takes the sign of the dividend
    return 0 if b == 0 or b == -1 else a - _div(a, b) * b


add_i64, add_i32 = _binary(operator.add)
sub_i64, sub_i32 = _binary(operator.sub)
mul_i64, mul_i32 = _binary(operator.mul)
div_i64, div_i32 = _binary(_div)
mod_i64, mod_i32 = _binary(_mod)
fmod_i64, fmod_i32 = _binary(_fmod)
max_i64, max_i32 = _binary(max)
min_i64, min_i32 = _binary(min)
less_i64, less_i32 = _comparison(operator.lt)
less_equal_i64, less_equal_i32 = _comparison(operator.le)
greater_i64, greater_i32 = _comparison(operator.gt)
greater_equal_i64, greater_equal_i32 = _comparison(operator.ge)
equal_i64, equal_i32 = _comparison(operator.eq)
equal_bool = logic(operator.eq)


@inline
def _sign(a):
    return (1 if a > 0 else 0) - (1 if a < 0 else 0)


@inline
def _relu(a):
    return a if a > 0 else 0


neg_i64, neg_i32 = _unary(operator.neg)
abs_i64, abs_i32 = _unary(abs)
sign_i64, sign_i32 = _unary(_sign)
relu_i64, relu_i32 = _unary(_relu)


def _make_clip(read, write):
    """A block that limits elements to [low, high]."""
    def block(target, source, count, parameters):
        low, high = _Clip(parameters).low, _Clip(parameters).high
        for i in range(count):
            write(target, i, min(max(np.int64(read(source, i)), low), high))
        return 0

    return block


clip_i64, clip_i32 = _make_clip(read_i64, write_i64), _make_clip(read_i32, _write_truncated)


def _row_reduction(starts, function):
    """Blocks for int64 and int32 that reduce a row to one element, one term at a time, each from its start."""
    def of(read, write, start):
        def block(target, source, count, parameters):
            total = np.int64(start)
            for i in range(count):
                total = function(total, np.int64(read(source, i)))
            write(target, 0, total)
            return 0

        return block

    return of(read_i64, write_i64, starts[0]), of(read_i32, _write_truncated, starts[1])


@inline
def _add_absolute(a, x):
    return a + abs(x)


@inline
def _add_square(a, x):
    return a + x * x


_LEAST, _MOST = ([int(getattr(np.iinfo(kind), end)) for kind in (np.int64, np.int32)] for end in ("min", "max"))
row_sum_i64, row_sum_i32 = _row_reduction((0, 0), operator.add)
row_prod_i64, row_prod_i32 = _row_reduction((1, 1), operator.mul)
row_max_i64, row_max_i32 = _row_reduction(_LEAST, max)
row_min_i64, row_min_i32 = _row_reduction(_MOST, min)
row_l1_i64, row_l1_i32 = _row_reduction((0, 0), _add_absolute)
row_sum_square_i64, row_sum_square_i32 = _row_reduction((0, 0), _add_square)


def where(target, condition, a, b, count, parameters):
    """a where the bool condition is true, else b; elements of any size."""
    broadcast_mask, n_bytes = _Where(parameters).mask, _Where(parameters).itemsize
    for i in range(count):
        x, y = a + (0 if broadcast_mask & 2 else i * n_bytes), b + (0 if broadcast_mask & 4 else i * n_bytes)
        source = x if read_u8(condition, 0 if broadcast_mask & 1 else i) != 0 else y
        if n_bytes == 8:
            write_i64(target, i, read_i64(source, 0))
        elif n_bytes == 4:
            write_i32(target, i, read_i32(source, 0))
        else:
            copy_bytes(target + i * n_bytes, source, n_bytes)
    return 0
