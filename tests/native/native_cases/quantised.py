"""Quantised graphs: QuantizeLinear and DequantizeLinear, integer products and convolutions, dynamic quantisation."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from native_graphs import Chain, one, rows, weights

from native_cases.case import Case

U8, I8, U16, I16, I32 = (np.dtype(name) for name in ("uint8", "int8", "uint16", "int16", "int32"))


def integers(dtype: Any, *shape: int, seed: int = 0) -> Any:
    """Numbers over the whole range of a type."""
    info = np.iinfo(dtype)
    return np.random.default_rng([seed, *shape]).integers(info.min, info.max + 1, shape).astype(dtype)


def _scales(count: int) -> Any:
    return np.abs(weights(count)) * np.float32(0.05) + np.float32(0.01)


def _there_and_back(dtype: Any, by_column: bool, width: int) -> Any:
    """Quantised, moved, and float32 again."""
    c = Chain(opset=21, x=rows(3, width))
    scale = _scales(width) if by_column else np.float32(0.03)
    zero = integers(dtype, *np.shape(scale))
    q = c.add("QuantizeLinear", "x", scale, zero, axis=2)
    return c.model(q, c.add("DequantizeLinear", q, scale, zero, axis=-1))


def _middle(width: int) -> Any:
    """Channels in the middle, in the opset that brought them."""
    c = Chain(opset=13, x=rows(4, width), q=rows(4, width, dtype=I8))
    scale, zero = _scales(4), integers(I8, 4)
    return c.model(c.add("QuantizeLinear", "x", scale, zero, axis=1), c.add("DequantizeLinear", "q", scale, zero))


def _qdq(width: int) -> Any:
    """A layer as onnxruntime's quantiser writes it."""
    c = Chain(opset=13, x=rows(width))

    def layer(x: str, k: int, n: int, seed: int) -> Any:
        back = c.add("DequantizeLinear", c.add("QuantizeLinear", x, np.float32(0.02), np.uint8(120)), np.float32(0.02), np.uint8(120))
        w = c.add("DequantizeLinear", integers(I8, k, n, seed=seed), _scales(n), np.zeros(n, np.int8), axis=1)
        bias = c.add("DequantizeLinear", integers(I8, n, seed=seed).astype(np.int32), np.float32(0.001))
        return c.add("Gemm", back, w, bias)

    return c.model(layer(c.add("Relu", layer("x", width, 9, 0)), 9, 5, 1))


def _bias(width: int) -> Any:
    return one("DequantizeLinear", rows(width, dtype=I32), np.float32(0.37), opset=13)


def _dynamic(width: int) -> Any:
    """A layer as onnxruntime's dynamic quantisation writes it."""
    c = Chain(x=rows(2, width))
    q, scale, zero = c.add("DynamicQuantizeLinear", "x", outputs=3)
    sums = c.add("MatMulInteger", q, integers(I8, width, 7), zero, np.int8(3))
    return c.model(q, c.add("Mul", c.add("Cast", sums, to=1), c.add("Mul", scale, np.float32(0.01))))


def _matmul_integer(k: int, a: Any, b: Any, width: int) -> Any:
    k = k or width
    return one("MatMulInteger", rows(k, dtype=a), integers(b, k, width), a.type(5), integers(b, width, seed=1))


def _computed(width: int) -> Any:
    """Two computed operands, more terms than float32 holds the sum of."""
    return one("MatMulInteger", rows(2, 300, dtype=U8), rows(300, width, dtype=U8), np.uint8(0), np.uint8(255))


def _qlinear_matmul(k: int, a: Any, b: Any, width: int) -> Any:
    k = k or width
    return one("QLinearMatMul", rows(k, dtype=a), np.float32(0.02), a.type(7), integers(b, k, width), _scales(width),
               integers(b, width, seed=1), np.float32(0.05 * k), a.type(11))


def _qlinear_twice(width: int) -> Any:
    """What lies between the products is read by the second alone."""
    c = Chain(x=rows(width, dtype=U8))
    h = c.add("QLinearMatMul", "x", np.float32(0.02), np.uint8(7), integers(U8, width, 9), np.float32(0.01), np.uint8(128),
              np.float32(0.01 * width), np.uint8(99))
    return c.model(c.add("MatMulInteger", h, integers(U8, 9, 3), np.uint8(99), np.uint8(128)))


def _conv_integer(width: int) -> Any:
    c = Chain(x=rows(3, 5, width, dtype=U8))
    return c.model(c.add("ConvInteger", "x", integers(I8, 4, 3, 3, 3), np.uint8(9), np.int8(-2), pads=[1, 2, 0, 1], strides=[2, 1]))


def _qlinear_conv(channels: int, groups: int, bias: bool, width: int) -> Any:
    extra = [integers(I32, 4, seed=2)] if bias else []
    filters = integers(I8, 4, channels // groups, 3, 3)
    return one("QLinearConv", rows(channels, 4, width, dtype=U8), np.float32(0.02), np.uint8(100), filters, _scales(4),
               np.zeros(4, np.int8), np.float32(0.3 * channels), np.uint8(3), *extra, pads=[1, 1, 1, 1], group=groups)


def _max_pool(width: int) -> Any:
    return one("MaxPool", rows(2, 4, width + 1, dtype=I8), kernel_shape=[2, 2])


_ANY = {"integers": (0, 100), "foreign": False}  # onnxruntime saturates sums of two products of uint8 and int8 on CPUs without VNNI
CASES = [
    *(Case(f"quantised-{dtype}{'-by-column' if by_column else ''}", partial(_there_and_back, dtype, by_column))
      for dtype in (U8, I8, U16, I16) for by_column in (False, True)),
    Case("quantised-in-the-middle", _middle, integers=(-128, 128)), Case("QDQ", _qdq, foreign=False),
    Case("DequantizeLinear-int32", _bias, integers=(-2**31, 2**31)), Case("DynamicQuantizeLinear", _dynamic, foreign=False),
    Case("MatMulInteger", partial(_matmul_integer, 0, U8, U8), integers=(0, 256)),
    Case("MatMulInteger-long", partial(_matmul_integer, 700, U8, U8), integers=(0, 256)),
    Case("MatMulInteger-signed", partial(_matmul_integer, 21, I8, I8), integers=(-128, 128), foreign=False),
    Case("MatMulInteger-computed", _computed, integers=(0, 256), foreign=False),
    Case("QLinearMatMul", partial(_qlinear_matmul, 0, U8, U8), integers=(0, 256)),
    Case("QLinearMatMul-long", partial(_qlinear_matmul, 700, U8, U8), integers=(0, 256)),
    Case("QLinearMatMul-signed", partial(_qlinear_matmul, 21, I8, I8), integers=(-128, 128)),
    Case("QLinearMatMul-twice", _qlinear_twice, integers=(0, 256)),
    Case("ConvInteger", _conv_integer, **_ANY), Case("QLinearConv", partial(_qlinear_conv, 3, 1, False), **_ANY),
    Case("QLinearConv-bias", partial(_qlinear_conv, 3, 1, True), **_ANY),
    Case("QLinearConv-deep", partial(_qlinear_conv, 80, 1, True), **_ANY),
    Case("QLinearConv-groups", partial(_qlinear_conv, 4, 4, False), **_ANY),
    Case("MaxPool-int8", _max_pool, integers=(-128, 128))]
