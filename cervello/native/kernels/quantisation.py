"""Blocks between float32 and quantised integers of a type T; each of three operands may be broadcast, as in `binary`.

    quantize_T    saturate(round(a / b) + c): float32 a, scale b, zero point c
    requantize_T  saturate(round(a * b) + c): float32 a, factor b, zero point c
    dequantize_T  (a - c) * b: integers a, scale b, zero point c
    snap_T, resnap_T  what quantize_T or requantize_T gives, less c; times b where `times_scale` is 1. float32.

Rounding is half to even. The bounds are applied before the zero point is added, where every number is exact in float32. NaN gives the
least number of the type, as onnxruntime has it. Source: ONNX operator specification, QuantizeLinear-25, DequantizeLinear-25,
DynamicQuantizeLinear-11.
"""

from __future__ import annotations

import numpy as np

from cervello.codegen import integer_lanes as ints
from cervello.codegen.compiler import inline
from cervello.codegen.memory import read_f32, read_i8, read_i16, read_i32, read_u8, read_u16
from cervello.codegen.records import view
from cervello.codegen.simd import (
    load,
    load_masked,
    rotate_1,
    rotate_2,
    rotate_4,
    rotate_8,
    round_even,
    select,
    splat,
    splat_int,
    store,
    store_first,
    to_float,
    to_int,
)
from cervello.native.kernels.parameters import BROADCAST, SNAP

_F = np.float32
_Broadcast, _Snap = view(BROADCAST), view(SNAP)
_LOADS = {"u8": (ints.load_u8, ints.load_u8_first), "i8": (ints.load_i8, ints.load_i8_first),
          "u16": (ints.load_u16, ints.load_u16_first), "i16": (ints.load_i16, ints.load_i16_first),
          "i32": (ints.load_i32, ints.load_i32_first)}
_STORES = {1: (ints.store_8, ints.store_8_first), 2: (ints.store_16, ints.store_16_first)}
_BOUNDS = {"u8": (0, 255), "i8": (-128, 127), "u16": (0, 65535), "i16": (-32768, 32767)}
_BYTES = {"u8": 1, "i8": 1, "u16": 2, "i16": 2, "i32": 4}


def _scalar(read):
    @inline
    def scalar(address):
        return np.int64(read(address, 0))

    return scalar


_SCALARS = {"u8": _scalar(read_u8), "i8": _scalar(read_i8), "u16": _scalar(read_u16), "i16": _scalar(read_i16),
            "i32": _scalar(read_i32)}


@inline
def _divided(x, scale):
    return x / scale


@inline
def _multiplied(x, factor):
    return x * factor


@inline
def _floats(address, i, broadcast_mask, n):
    """Lanes from element i on; one element in all lanes if the operand is broadcast."""
    if broadcast_mask != 0:
        return splat(read_f32(address, 0))
    return load(address + i * 4) if n >= 16 else load_masked(address + i * 4, n)


def _integers(kind):
    whole, first = _LOADS[kind]
    item, scalar = _BYTES[kind], _SCALARS[kind]

    @inline
    def read(address, i, broadcast_mask, n):
        if broadcast_mask != 0:
            return splat_int(scalar(address))
        return whole(address + i * item) if n >= 16 else first(address + i * item, n)

    return read


def _rounded_by(kind, scaled):
    """A device function: sixteen quantised numbers less their zero points z, as floats."""
    least, most = _F(_BOUNDS[kind][0]), _F(_BOUNDS[kind][1])

    @inline
    def rounded(x, scale, z):
        shift = to_float(z)
        low, high = splat(least) - shift, splat(most) - shift
        r = round_even(scaled(x, scale))
        r = select(r > low, r, low)
        return select(r < high, r, high)

    return rounded


def _to_integers(kind, scaled):
    """A block from float32 to a type."""
    zeros, rounded = _integers(kind), _rounded_by(kind, scaled)
    item = _BYTES[kind]
    store_whole, store_some = _STORES[item]

    def block(target, a, b, c, count, parameters):
        broadcast_mask = _Broadcast(parameters).mask
        i = 0
        while i < count:
            n = count - i
            z = zeros(c, i, broadcast_mask & 4, n)
            result = to_int(rounded(_floats(a, i, broadcast_mask & 1, n), _floats(b, i, broadcast_mask & 2, n), z)) + z
            if n >= 16:
                store_whole(target + i * item, result)
            else:
                store_some(target + i * item, result, n)
            i += 16
        return 0

    return block


def _to_grid(kind, scaled):
    """A block from float32 to the numbers that integers of a type stand for, or to these less their zero points."""
    zeros, rounded = _integers(kind), _rounded_by(kind, scaled)

    def block(target, a, b, c, count, parameters):
        broadcast_mask, times = _Snap(parameters).mask, _Snap(parameters).times_scale
        i = 0
        while i < count:
            n = count - i
            scale = _floats(b, i, broadcast_mask & 2, n)
            result = to_float(to_int(rounded(_floats(a, i, broadcast_mask & 1, n), scale, zeros(c, i, broadcast_mask & 4,
                                                                                                n))))  # 0, never -0
            if times != 0:
                result = result * scale
            if n >= 16:
                store(target + i * 4, result)
            else:
                store_first(target + i * 4, result, n)
            i += 16
        return 0

    return block


def _to_floats(kind):
    """A block from a type to float32."""
    read = _integers(kind)

    def block(target, a, b, c, count, parameters):
        broadcast_mask = _Broadcast(parameters).mask
        i = 0
        while i < count:
            n = count - i
            result = to_float(read(a, i, broadcast_mask & 1, n) - read(c, i, broadcast_mask & 4, n)) * _floats(b, i, broadcast_mask & 2, n)
            if n >= 16:
                store(target + i * 4, result)
            else:
                store_first(target + i * 4, result, n)
            i += 16
        return 0

    return block


quantize_u8, quantize_i8, quantize_u16, quantize_i16 = (_to_integers(kind, _divided) for kind in _BOUNDS)
requantize_u8, requantize_i8, requantize_u16, requantize_i16 = (_to_integers(kind, _multiplied) for kind in _BOUNDS)
dequantize_u8, dequantize_i8, dequantize_u16, dequantize_i16, dequantize_i32 = (_to_floats(kind) for kind in _BYTES)
snap_u8, snap_i8, snap_u16, snap_i16 = (_to_grid(kind, _divided) for kind in _BOUNDS)
resnap_u8, resnap_i8, resnap_u16, resnap_i16 = (_to_grid(kind, _multiplied) for kind in _BOUNDS)


_range_zero = _rounded_by("u8", _divided)


@inline
def _halved(low, high, odd, a, b, c):
    """The lesser, the greater, and NaN where either has it."""
    return select(a < low, a, low), select(b > high, b, high), select(c != c, c, odd)


@inline
def _range(source, count):
    """The largest number less the least of a row and 0, and 0 less the least, each in all lanes; NaN where the row has one."""
    low = high = odd = splat(_F(0.0))
    i = 0
    while i < count:
        n = count - i
        x = load(source + i * 4) if n >= 16 else load_masked(source + i * 4, n)  # lanes beyond the row hold 0, which belongs to the range
        low, high, odd = _halved(low, high, odd, x, x, x)
        i += 16
    low, high, odd = _halved(low, high, odd, rotate_8(low), rotate_8(high), rotate_8(odd))
    low, high, odd = _halved(low, high, odd, rotate_4(low), rotate_4(high), rotate_4(odd))
    low, high, odd = _halved(low, high, odd, rotate_2(low), rotate_2(high), rotate_2(odd))
    low, high, odd = _halved(low, high, odd, rotate_1(low), rotate_1(high), rotate_1(odd))
    return (high - low) + odd, splat(_F(0.0)) - low


@inline
def _range_scale(reach):
    return select(reach == splat(_F(0.0)), splat(_F(1.0)), reach / splat(_F(255.0)))


def range_scale(target, source, count, parameters):
    """A row's scale in dynamic quantisation; 1 for a row of zeros."""
    reach, _ = _range(source, count)
    store_first(target, _range_scale(reach), 1)
    return 0


def range_zero(target, source, count, parameters):
    """A row's uint8 zero point in dynamic quantisation."""
    reach, shift = _range(source, count)
    ints.store_8_first(target, to_int(_range_zero(shift, _range_scale(reach), splat_int(0))), 1)
    return 0
