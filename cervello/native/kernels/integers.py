"""Blocks on int64, int32 and bool elements. Operands may be broadcast, as in `binary`.

Sums and products wrap around. Division truncates towards zero; division by zero gives 0. Source: ONNX operator specification, opset 22.
"""

from __future__ import annotations

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
def _add(a, b):
    return a + b


@inline
def _sub(a, b):
    return a - b


@inline
def _mul(a, b):
    return a * b


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


@inline
def _max(a, b):
    return a if a > b else b


@inline
def _min(a, b):
    return a if a < b else b


add_i64, add_i32 = _binary(_add)
sub_i64, sub_i32 = _binary(_sub)
mul_i64, mul_i32 = _binary(_mul)
div_i64, div_i32 = _binary(_div)
mod_i64, mod_i32 = _binary(_mod)
fmod_i64, fmod_i32 = _binary(_fmod)
max_i64, max_i32 = _binary(_max)
min_i64, min_i32 = _binary(_min)


@inline
def _less(a, b):
    return 1 if a < b else 0


@inline
def _less_equal(a, b):
    return 1 if a <= b else 0


@inline
def _greater(a, b):
    return 1 if a > b else 0


@inline
def _greater_equal(a, b):
    return 1 if a >= b else 0


@inline
def _equal(a, b):
    return 1 if a == b else 0


less_i64, less_i32 = _comparison(_less)
less_equal_i64, less_equal_i32 = _comparison(_less_equal)
greater_i64, greater_i32 = _comparison(_greater)
greater_equal_i64, greater_equal_i32 = _comparison(_greater_equal)
equal_i64, equal_i32 = _comparison(_equal)


equal_bool = logic(_equal)


@inline
def _neg(a):
    return 0 - a


@inline
def _abs(a):
    return 0 - a if a < 0 else a


@inline
def _sign(a):
    return (1 if a > 0 else 0) - (1 if a < 0 else 0)


@inline
def _relu(a):
    return a if a > 0 else 0


neg_i64, neg_i32 = _unary(_neg)
abs_i64, abs_i32 = _unary(_abs)
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


def _row_reduction(start, function):
    """Blocks for int64 and int32 that reduce a row to one element, starting from `start` of the type, one term at a time."""
    def of(read, write, first):
        def block(target, source, count, parameters):
            total = np.int64(first)
            for i in range(count):
                total = function(total, np.int64(read(source, i)))
            write(target, 0, total)
            return 0

        return block

    return of(read_i64, write_i64, start(np.int64)), of(read_i32, _write_truncated, start(np.int32))


@inline
def _add_abs(a, x):
    return a + _abs(x)


@inline
def _add_square(a, x):
    return a + x * x


def _zero(kind):
    return 0


def _one(kind):
    return 1


def _min_value(kind):
    return int(np.iinfo(kind).min)


def _max_value(kind):
    return int(np.iinfo(kind).max)


row_sum_i64, row_sum_i32 = _row_reduction(_zero, _add)
row_prod_i64, row_prod_i32 = _row_reduction(_one, _mul)
row_max_i64, row_max_i32 = _row_reduction(_min_value, _max)
row_min_i64, row_min_i32 = _row_reduction(_max_value, _min)
row_l1_i64, row_l1_i32 = _row_reduction(_zero, _add_abs)
row_sum_square_i64, row_sum_square_i32 = _row_reduction(_zero, _add_square)


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
