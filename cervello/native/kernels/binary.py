"""Elementwise blocks of two and three operands, each of which may be broadcast; see `parameters.BROADCAST`.

Elements are computed independently, so results do not depend on the position of a row. Source: ONNX operator specification, opset 22.
"""

from __future__ import annotations

import operator

import numpy as np

from cervello.codegen import functions as f
from cervello.codegen.compiler import inline
from cervello.codegen.memory import read_f32, read_u8, write_u8
from cervello.codegen.records import view
from cervello.codegen.simd import load, load_bools, load_masked, select, splat, splat_int, store, store_bools, store_masked
from cervello.native.kernels import lane_trees
from cervello.native.kernels.parameters import BROADCAST

_F = np.float32
_Broadcast = view(BROADCAST)


def _block(function):
    """A float32 block from an inline function of two vectors."""
    def block(target, a, b, count, parameters):
        broadcast_mask = _Broadcast(parameters).mask
        i = 0
        if broadcast_mask == 0:
            while i + 16 <= count:
                store(target + i * 4, function(load(a + i * 4), load(b + i * 4)))
                i += 16
            if i < count:
                n = count - i
                store_masked(target + i * 4, function(load_masked(a + i * 4, n), load_masked(b + i * 4, n)), n)
        elif broadcast_mask == 2:
            fixed = splat(read_f32(b, 0))
            while i + 16 <= count:
                store(target + i * 4, function(load(a + i * 4), fixed))
                i += 16
            if i < count:
                store_masked(target + i * 4, function(load_masked(a + i * 4, count - i), fixed), count - i)
        else:
            fixed = splat(read_f32(a, 0))
            while i + 16 <= count:
                store(target + i * 4, function(fixed, load(b + i * 4)))
                i += 16
            if i < count:
                store_masked(target + i * 4, function(fixed, load_masked(b + i * 4, count - i)), count - i)
        return 0

    return block


def _comparison(function):
    """A block of two float32 operands with a bool result."""
    def block(target, a, b, count, parameters):
        broadcast_mask = _Broadcast(parameters).mask
        i = 0
        while i < count:
            n = min(count - i, 16)
            x = splat(read_f32(a, 0)) if broadcast_mask & 1 else load_masked(a + i * 4, n)
            y = splat(read_f32(b, 0)) if broadcast_mask & 2 else load_masked(b + i * 4, n)
            store_bools(target + i, function(x, y), n)
            i += 16
        return 0

    return block


def logic(function):
    """A block of two bool operands."""
    def block(target, a, b, count, parameters):
        broadcast_mask = _Broadcast(parameters).mask
        for i in range(count):
            x = read_u8(a, 0 if broadcast_mask & 1 else i) != 0
            y = read_u8(b, 0 if broadcast_mask & 2 else i) != 0
            write_u8(target, i, function(x, y))
        return 0

    return block


@inline
def _div_or_zero(a, b):
    return select(b == splat(_F(0.0)), splat(_F(0.0)), a / b)


@inline
def _prelu(a, b):
    return select(a < splat(_F(0.0)), a * b, a)


add, sub, mul, div = (_block(g) for g in (operator.add, operator.sub, operator.mul, operator.truediv))
max_, min_, pow_ = _block(lane_trees.maximum), _block(lane_trees.minimum), _block(f.power)
prelu, div_or_zero = _block(_prelu), _block(_div_or_zero)
less, less_equal, equal = _comparison(operator.lt), _comparison(operator.le), _comparison(operator.eq)
greater, greater_equal = _comparison(operator.gt), _comparison(operator.ge)
and_, or_, xor = logic(operator.and_), logic(operator.or_), logic(operator.xor)


def where(target, condition, a, b, count, parameters):
    """float32 a where the bool condition holds, else b."""
    broadcast_mask = _Broadcast(parameters).mask
    i = 0
    while i < count:
        n = min(count - i, 16)
        c = splat_int(np.int64(read_u8(condition, 0))) > splat_int(0) if broadcast_mask & 1 else load_bools(condition + i, n)
        x = splat(read_f32(a, 0)) if broadcast_mask & 2 else load_masked(a + i * 4, n)
        y = splat(read_f32(b, 0)) if broadcast_mask & 4 else load_masked(b + i * 4, n)
        store_masked(target + i * 4, select(c, x, y), n)
        i += 16
    return 0
