"""Elementwise ops, with every way of broadcasting."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from native_graphs import BOOL, I64, Chain, one, rows, weights
from onnx import TensorProto

from cervello.native.graph.op_table import UNARY_FLOATS
from cervello.native.lowering.rules.elementwise import BINARY
from native_cases.case import Case

F32 = np.dtype(np.float32)
_POSITIVE = frozenset({"Log", "Sqrt", "Reciprocal"})
_OPSETS = {"Mish": 18, "Gelu": 20, "Swish": 24}
_FOREIGN_UNKNOWN = frozenset({"Swish"})  # newer than the onnxruntime that tests may meet


def _unary(op: str, width: int, **attributes: Any) -> Any:
    return one(op, rows(width), opset=_OPSETS.get(op, 17), **attributes)


def _clip(width: int) -> Any:
    return one("Clip", rows(width), np.float32(-0.5), np.float32(0.7))


def _strided(width: int) -> Any:
    """A map over a window of a wider row, over a transposed one, and over one that is repeated."""
    c = Chain(x=rows(3, width + 2))
    cut = c.add("Slice", "x", np.array([1]), np.array([width + 1]), np.array([2]))
    turned = c.add("Transpose", cut, perm=[0, 2, 1])
    wide = c.add("Expand", c.add("Unsqueeze", cut, np.array([1])), np.array([1, 2, 1, 1]))
    return c.model(c.add("Tanh", cut), c.add("Exp", turned), c.add("Sigmoid", wide))


def _diamond(width: int) -> Any:
    """Two readers of one value, one of which could take its place."""
    c = Chain(x=rows(width))
    h = c.add("Tanh", "x")
    a, b = c.add("Relu", h), c.add("Neg", h)
    return c.model(c.add("Sub", c.add("Add", a, h), b), c.add("Mul", a, b))


_LIMITED = {"Clip": _clip}
CASES = [Case(op, _LIMITED.get(op) or partial(_unary, op), positive=op in _POSITIVE, foreign=op not in _FOREIGN_UNKNOWN)
         for op in UNARY_FLOATS]
CASES += [
    Case("Gelu-tanh", partial(_unary, "Gelu", approximate="tanh")),
    Case("LeakyRelu-alpha", partial(_unary, "LeakyRelu", alpha=0.3)), Case("Elu-alpha", partial(_unary, "Elu", alpha=0.4)),
    Case("Celu-alpha", partial(_unary, "Celu", alpha=0.4)), Case("HardSigmoid-alpha", partial(_unary, "HardSigmoid", alpha=0.4, beta=0.1)),
    Case("Clip-low", lambda w: one("Clip", rows(w), np.float32(-0.25))),
    Case("Clip-high", lambda w: one("Clip", rows(w), None, np.float32(0.25))),
    Case("Clip-opset-8", lambda w: one("Clip", rows(w), opset=8, min=-0.5, max=0.5)),
    Case("Identity", partial(_unary, "Identity")), Case("Dropout", partial(_unary, "Dropout")),
    Case("Not", lambda w: one("Not", rows(w, dtype=BOOL))), Case("strided", _strided), Case("diamond", _diamond)]

# name → operands at a width
_SHAPES: dict[str, Any] = {
    "same": lambda w: (rows(w), rows(w)),
    "row-right": lambda w: (rows(w), weights(w, seed=3)), "row-left": lambda w: (weights(w, seed=3), rows(w)),
    "scalar-right": lambda w: (rows(w), np.float32(0.75)), "scalar-left": lambda w: (np.float32(0.75), rows(w)),
    "column-right": lambda w: (rows(w), rows(1)), "column-left": lambda w: (rows(1), rows(w)),
    "middle": lambda w: (rows(2, w), rows(1, w)), "both": lambda w: (rows(2, 1), rows(1, w)),
    "small-right": lambda w: (rows(2, 3, w), weights(3, 1, seed=4)), "small-left": lambda w: (weights(2, 1, 1, seed=4), rows(2, 3, w))}
_COMPARISONS = frozenset({"Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal"})


def _binary(op: str, shape: str, width: int) -> Any:
    a, b = _SHAPES[shape](width)
    if op == "Pow":
        a = np.abs(a) if isinstance(a, (np.ndarray, np.floating)) else a
    return one(op, a, b)


def _typed(op: str, dtype: Any, second: str, width: int) -> Any:
    b = {"same": rows(width, dtype=dtype), "column": rows(1, dtype=dtype), "row": np.ones(width, dtype)}[second]
    return one(op, rows(width, dtype=dtype), b)


def _transposed(op: str, width: int) -> Any:
    c = Chain(x=rows(3, width), y=rows(width, 3))
    return c.model(c.add(op, "x", c.add("Transpose", "y", perm=[0, 2, 1])))


for _op in BINARY[F32]:
    for _shape in _SHAPES:
        if _op == "PRelu" and (_shape.endswith("left") or _shape == "both"):
            continue  # the slope broadcasts to x, not the other way round
        CASES.append(Case(f"{_op}-{_shape}", partial(_binary, _op, _shape), positive=_op in ("Pow", "Div"), tolerance=1e-5))
    CASES.append(Case(f"{_op}-transposed", partial(_transposed, _op), positive=_op in ("Pow", "Div"), tolerance=1e-5))
for _op in BINARY[I64]:
    CASES += [Case(f"{_op}-int64-{s}", partial(_typed, _op, I64, s), integers=(-1000, 1000)) for s in ("same", "column", "row")]
for _op in BINARY[BOOL]:
    CASES += [Case(f"{_op}-{s}", partial(_typed, _op, BOOL, s)) for s in ("same", "column", "row")]
CASES += [
    Case("Pow-square", lambda w: one("Pow", rows(w), np.float32(2))),
    Case("Max-three", lambda w: one("Max", rows(w), rows(1), weights(w))),
    Case("Min-three", lambda w: one("Min", rows(w), rows(w), rows(w))),
    Case("Max-one", lambda w: one("Max", rows(w))),
    Case("Add-itself", lambda w: _twice("Add", w)), Case("Sub-itself", lambda w: _twice("Sub", w))]


def _twice(op: str, width: int) -> Any:
    c = Chain(x=rows(width))
    h = c.add("Tanh", "x")
    return c.model(c.add(op, h, h))


CASES += [Case(f"Where-{name}", build) for name, build in {
    "same": lambda w: one("Where", rows(w, dtype=BOOL), rows(w), rows(w)),
    "column": lambda w: one("Where", rows(1, dtype=BOOL), rows(w), rows(w)),
    "scalars": lambda w: one("Where", rows(w, dtype=BOOL), np.float32(-1e8), np.float32(2)),
    "row": lambda w: one("Where", np.arange(w) % 2 == 0, rows(w), weights(w)),
    "mask": lambda w: one("Where", rows(2, w, dtype=BOOL), rows(1, w), np.float32(-1e9))}.items()]

_TYPES = {"bool": TensorProto.BOOL, "uint8": TensorProto.UINT8, "int8": TensorProto.INT8, "int32": TensorProto.INT32,
          "int64": TensorProto.INT64, "float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}
CASES += [Case(f"Cast-{source}-{target}", lambda w, s=source, k=kind: one("Cast", rows(w, dtype=s), to=k),
               integers=(0, 127) if "uint8" in (source, target) else (-3, 3), foreign=source[0] != "f" or target != "uint8")
          for source in _TYPES for target, kind in _TYPES.items()]  # below 0 ONNX leaves it open
CASES += [Case("IsNaN", lambda w: one("IsNaN", rows(w))),
          *(Case(f"IsInf-{below}{above}", lambda w, b=below, a=above: one("IsInf", rows(2, w), detect_negative=b, detect_positive=a))
            for below in (0, 1) for above in (0, 1))]
CASES += [Case(f"Clip-{dtype.name}", lambda w, d=dtype: one("Clip", rows(w, dtype=d), np.array(-4, d), np.array(5, d)), integers=(-9, 9))
          for dtype in (I64, np.dtype(np.int32))]
CASES += [Case("BatchNormalization", lambda w: one("BatchNormalization", rows(w), *_statistics(w)), tolerance=1e-5),
          Case("BatchNormalization-image", lambda w: one("BatchNormalization", rows(3, 2, w), *_statistics(3)), tolerance=1e-5)]


def _statistics(n: int) -> tuple[Any, ...]:
    return weights(n, seed=1), weights(n, seed=2), weights(n, seed=3), np.abs(weights(n, seed=4)) + np.float32(0.1)
