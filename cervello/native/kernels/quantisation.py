"""Quantisation blocks between float32 and integers of a type T; each of the three operands may be broadcast, as in `binary`.

    quantize_T    saturate(round(a / b) + c): float32 a, scale b, zero point c
    requantize_T  saturate(round(a * b) + c): float32 a, factor b, zero point c
    dequantize_T  (a - c) * b: integers a, scale b, zero point c
    fake_quantize_T, fake_requantize_T: float32: the integer of quantize_T or requantize_T, minus c, times b if `times_scale` is 1

Rounding is half to even. Values are clamped before the zero point is added, where all numbers are exact in float32. NaN gives the minimum
of the type, as in onnxruntime. Source: ONNX operator specification, QuantizeLinear-25, DequantizeLinear-25,
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
    store_masked,
    to_float,
    to_int,
)
from cervello.native.kernels.parameters import BROADCAST, FAKE_QUANTIZE

_F = np.float32
_Broadcast, _FakeQuantize = view(BROADCAST), view(FAKE_QUANTIZE)
_LOADS = {"u8": (ints.load_u8, ints.load_u8_masked), "i8": (ints.load_i8, ints.load_i8_masked),
          "u16": (ints.load_u16, ints.load_u16_masked), "i16": (ints.load_i16, ints.load_i16_masked),
          "i32": (ints.load_i32, ints.load_i32_masked)}
_STORES = {1: (ints.store_8, ints.store_8_masked), 2: (ints.store_16, ints.store_16_masked)}
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
def _div(x, scale):
    return x / scale


@inline
def _mul(x, factor):
    return x * factor


@inline
def _floats(address, i, broadcast_mask, n):
    """Loads n lanes from element i on; if the operand is broadcast, its element in all lanes."""
    if broadcast_mask != 0:
        return splat(read_f32(address, 0))
    return load(address + i * 4) if n >= 16 else load_masked(address + i * 4, n)


def _integers(kind):
    load_ints, load_ints_masked = _LOADS[kind]
    item, scalar = _BYTES[kind], _SCALARS[kind]

    @inline
    def read(address, i, broadcast_mask, n):
        if broadcast_mask != 0:
            return splat_int(scalar(address))
        return load_ints(address + i * item) if n >= 16 else load_ints_masked(address + i * item, n)

    return read


def _make_round_and_clamp(kind, scaled):
    """An inline function: sixteen quantised numbers minus their zero points z, as float32."""
    least, most = _F(_BOUNDS[kind][0]), _F(_BOUNDS[kind][1])

    @inline
    def rounded(x, scale, z):
        shift = to_float(z)
        low, high = splat(least) - shift, splat(most) - shift
        r = round_even(scaled(x, scale))
        r = select(r > low, r, low)
        return select(r < high, r, high)

    return rounded


def _make_quantize(kind, scaled):
    """A block quantize_T or requantize_T."""
    zeros, rounded = _integers(kind), _make_round_and_clamp(kind, scaled)
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


def _make_fake_quantize(kind, scaled):
    """A block fake_quantize_T or fake_requantize_T."""
    zeros, rounded = _integers(kind), _make_round_and_clamp(kind, scaled)

    def block(target, a, b, c, count, parameters):
        broadcast_mask, times = _FakeQuantize(parameters).mask, _FakeQuantize(parameters).times_scale
        i = 0
        while i < count:
            n = count - i
            scale = _floats(b, i, broadcast_mask & 2, n)
            z = zeros(c, i, broadcast_mask & 4, n)
            result = to_float(to_int(rounded(_floats(a, i, broadcast_mask & 1, n), scale, z)))  # through int32, so that -0 becomes 0
            if times != 0:
                result = result * scale
            if n >= 16:
                store(target + i * 4, result)
            else:
                store_masked(target + i * 4, result, n)
            i += 16
        return 0

    return block


def _make_dequantize(kind):
    """A block dequantize_T."""
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
                store_masked(target + i * 4, result, n)
            i += 16
        return 0

    return block


quantize_u8, quantize_i8, quantize_u16, quantize_i16 = (_make_quantize(kind, _div) for kind in _BOUNDS)
requantize_u8, requantize_i8, requantize_u16, requantize_i16 = (_make_quantize(kind, _mul) for kind in _BOUNDS)
dequantize_u8, dequantize_i8, dequantize_u16, dequantize_i16, dequantize_i32 = (_make_dequantize(kind) for kind in _BYTES)
fake_quantize_u8, fake_quantize_i8, fake_quantize_u16, fake_quantize_i16 = (_make_fake_quantize(kind, _div) for kind in _BOUNDS)
fake_requantize_u8, fake_requantize_i8, fake_requantize_u16, fake_requantize_i16 = (_make_fake_quantize(kind, _mul) for kind in _BOUNDS)


_round_zero_point = _make_round_and_clamp("u8", _div)


@inline
def _combine_ranges(low, high, nan, a, b, c):
    """Minimum, maximum, and NaN if a NaN was seen, of two partial ranges."""
    return select(a < low, a, low), select(b > high, b, high), select(c != c, c, nan)


@inline
def _range(source, count):
    """(max(row, 0) - min(row, 0), -min(row, 0)), each in all lanes; the first is NaN if the row has a NaN."""
    low = high = nan = splat(_F(0.0))
    i = 0
    while i < count:
        n = count - i
        x = load(source + i * 4) if n >= 16 else load_masked(source + i * 4, n)  # masked lanes are 0, which the range includes
        low, high, nan = _combine_ranges(low, high, nan, x, x, x)
        i += 16
    low, high, nan = _combine_ranges(low, high, nan, rotate_8(low), rotate_8(high), rotate_8(nan))
    low, high, nan = _combine_ranges(low, high, nan, rotate_4(low), rotate_4(high), rotate_4(nan))
    low, high, nan = _combine_ranges(low, high, nan, rotate_2(low), rotate_2(high), rotate_2(nan))
    low, high, nan = _combine_ranges(low, high, nan, rotate_1(low), rotate_1(high), rotate_1(nan))
    return (high - low) + nan, splat(_F(0.0)) - low


@inline
def _dynamic_scale(width):
    return select(width == splat(_F(0.0)), splat(_F(1.0)), width / splat(_F(255.0)))


def dynamic_scale(target, source, count, parameters):
    """The scale of a row in dynamic quantisation; 1 for a row of zeros."""
    width, _ = _range(source, count)
    store_masked(target, _dynamic_scale(width), 1)
    return 0


def dynamic_zero_point(target, source, count, parameters):
    """The uint8 zero point of a row in dynamic quantisation."""
    width, shift = _range(source, count)
    ints.store_8_masked(target, to_int(_round_zero_point(shift, _dynamic_scale(width), splat_int(0))), 1)
    return 0
