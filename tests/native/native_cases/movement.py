"""Ops that move elements: views, copies, gathers."""

from __future__ import annotations

from typing import Any

import numpy as np
from native_graphs import I64, Chain, one, rows, weights

from native_cases.case import Case

_END, _START = np.iinfo(np.int64).max, np.iinfo(np.int64).min


def _a(*numbers: int) -> Any:
    return np.array(numbers, np.int64)


def _again(width: int) -> Any:
    """Operands that occur several times, one after the other and not."""
    c = Chain(x=rows(2, width), z=rows(2, 1))
    h = c.add("Tanh", "x")
    return c.model(c.add("Concat", h, h, h, "z", "z", h, "z", axis=2))


def _concat(width: int) -> Any:
    c = Chain(x=rows(width), y=rows(2))
    inner = c.add("Concat", c.add("Tanh", "x"), "y", axis=1)
    return c.model(c.add("Concat", inner, "x", c.add("Relu", "y"), inner, axis=1), inner)


def _split(width: int) -> Any:
    c = Chain(x=rows(width + 3))
    a, b, d = c.add("Split", "x", _a(1, width, 2), outputs=3, axis=1)
    return c.model(a, c.add("Tanh", b), c.add("Concat", d, b, axis=1))


def _split_twice(width: int) -> Any:
    c = Chain(opset=11, x=rows(2, width))
    a, b = c.add("Split", c.add("Exp", "x"), outputs=2, axis=1, split=[1, 1])
    return c.model(a, c.add("Neg", b))


def _backwards(width: int) -> Any:
    c = Chain(x=rows(width, 3))
    back = c.add("Slice", "x", _a(-1, _END), _a(_START, _START), _a(1, 2), _a(-1, -2))
    return c.model(back, c.add("Tanh", back), c.add("Slice", back, _a(0), _a(_END), _a(-2), _a(2)))


def _cut_old(width: int) -> Any:
    return one("Slice", rows(width, 4), opset=9, starts=[0, 1], ends=[width, -1], axes=[1, 2])


def _empty_cut(width: int) -> Any:
    """A part of no columns, next to one that has some."""
    c = Chain(x=rows(width))
    return c.model(c.add("Concat", c.add("Slice", "x", _a(1), _a(1), _a(1)), c.add("Tanh", "x"), axis=1))


def _reshape(width: int) -> Any:
    c = Chain(x=rows(2, 3 * width))
    a = c.add("Reshape", "x", _a(0, 3, -1))
    b = c.add("Flatten", c.add("Tanh", a), axis=2)
    d = c.add("Squeeze", c.add("Unsqueeze", c.add("Transpose", a, perm=[0, 2, 1]), _a(1, 3)), _a(1, 3))
    return c.model(c.add("Reshape", b, _a(-1, 6 * width)), d, c.add("Reshape", d, _a(-1, 6 * width)))


def _shape_arithmetic(width: int) -> Any:
    """A reshape to a size computed from the batch, as exporters write it."""
    c = Chain(x=rows(2, width))
    n = c.add("Gather", c.add("Shape", "x"), np.array(0, np.int64), axis=0)
    target = c.add("Concat", c.add("Unsqueeze", n, _a(0)), _a(-1), axis=0)
    zeros = c.add("ConstantOfShape", c.add("Concat", c.add("Unsqueeze", n, _a(0)), _a(3), axis=0))
    return c.model(c.add("Concat", c.add("Reshape", c.add("Exp", "x"), target), zeros, axis=1))


CASES = [Case(name, build) for name, build in {
    "Concat-same": _again,
    "Concat": _concat, "Concat-middle": lambda w: one("Concat", rows(2, w), rows(3, w), weights(1, 1, w) if w < 0 else rows(1, w), axis=1),
    "Split": _split, "Split-opset-11": _split_twice, "Slice-negative-steps": _backwards, "Slice-opset-9": _cut_old,
    "Slice-empty": _empty_cut, "Slice-steps": lambda w: one("Slice", rows(w + 4, 3), _a(1), _a(_END), _a(1), _a(3)),
    "Transpose": lambda w: one("Transpose", rows(3, w), perm=[0, 2, 1]),
    "Transpose-4d": lambda w: one("Transpose", rows(2, 3, w), perm=[0, 3, 1, 2]),
    "Transpose-6d": lambda w: one("Transpose", rows(2, 3, 2, 2, w), perm=[0, 5, 4, 3, 2, 1]),
    "Expand": lambda w: one("Expand", rows(1, w), _a(1, 4, 1)), "Reshape": _reshape, "shape-arithmetic": _shape_arithmetic,
    "Pad": lambda w: one("Pad", rows(3, w), _a(0, 1, 2, 0, 0, 3), np.float32(1.5)),
    "Pad-negative": lambda w: one("Pad", rows(4, w), _a(0, -1, 1, 0, 1, 0)),
    "Pad-opset-8": lambda w: one("Pad", rows(w), opset=8, pads=[0, 1, 0, 2], value=0.25),
    "Gather-constant": lambda w: one("Gather", rows(w + 3), _a(2, 0, 1, -1), axis=1),
    "Gather-even": lambda w: one("Gather", rows(w + 3, 2), _a(0, 2), axis=1),
    "Gather-scalar": lambda w: one("Gather", rows(w + 1, 2), np.array(1, np.int64), axis=1),
    "Gather-backwards": lambda w: one("Gather", rows(3, w), _a(2, 1, 0), axis=1)}.items()]
CASES += [Case("Gather-table", lambda w: one("Gather", weights(7, w), rows(2, dtype=I64)), integers=(-7, 7)),
          Case("Gather-table-int32", lambda w: one("Gather", weights(7, w), rows(dtype=np.int32)), integers=(-7, 7))]
