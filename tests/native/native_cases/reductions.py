"""Reductions over last, middle and several axes; softmax, normalisations, arg max, pooling over everything."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from native_graphs import Chain, one, rows, weights

from native_cases.case import Case

OPS = ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum",
       "ReduceLogSumExp")
_SHAPES: dict[str, Any] = {
    "last": lambda w: ((w,), [1]), "middle": lambda w: ((3, w), [1]), "middle-long": lambda w: ((w, 5), [1]),
    "both": lambda w: ((3, w), [1, 2]), "apart": lambda w: ((3, 2, w), [1, 3])}


def _reduce(op: str, shape: str, keep: int, width: int) -> Any:
    sizes, axes = _SHAPES[shape](width)
    return one(op, rows(*sizes), np.array(axes), opset=18, keepdims=keep)


CASES = [Case(f"{op}-{shape}", partial(_reduce, op, shape, 1 if shape != "middle-long" else 0), positive=op == "ReduceLogSum",
              tolerance=1e-5) for op in OPS for shape in _SHAPES]


def _whole(op: str, shape: str, dtype: Any, width: int) -> Any:
    sizes, axes = _SHAPES[shape](width)
    return one(op, rows(*sizes, dtype=dtype), np.array(axes), opset=18, keepdims=0)


CASES += [Case(f"{op}-{np.dtype(dtype).name}-{shape}", partial(_whole, op, shape, dtype),
               integers=(-1, 2) if op == "ReduceProd" else (-9, 9))
          for op in ("ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceSumSquare")
          for dtype, shape in ((np.int64, "last"), (np.int64, "middle"), (np.int64, "apart"), (np.int32, "last"))]


def _negative_axis(width: int) -> Any:
    return one("ReduceMean", rows(2, width), opset=13, axes=[-1], keepdims=0)


def _transposed(width: int) -> Any:
    c = Chain(x=rows(width, 3))
    turned = c.add("Transpose", "x", perm=[0, 2, 1])
    return c.model(c.add("ReduceSum", turned, np.array([2])), c.add("Softmax", turned, axis=-1), c.add("ArgMax", turned, axis=2))


def _hand_made_norm(width: int) -> Any:
    """LayerNormalization as exporters spell it."""
    c = Chain(x=rows(width))
    center = c.add("Sub", "x", c.add("ReduceMean", "x", axes=[-1]))
    spread = c.add("Sqrt", c.add("Add", c.add("ReduceMean", c.add("Pow", center, np.float32(2)), axes=[-1]), np.float32(1e-5)))
    return c.model(c.add("Add", c.add("Mul", c.add("Div", center, spread), weights(width)), weights(width, seed=1)))


def _norm(width: int, bias: bool = True, **attributes: Any) -> Any:
    return one("LayerNormalization", rows(width), weights(width), *([weights(width, seed=1)] if bias else []), **attributes)


CASES += [Case(name, build, tolerance=1e-5) for name, build in {
    "ReduceMean-attribute": _negative_axis, "reductions-transposed": _transposed, "norm-by-hand": _hand_made_norm,
    "LayerNormalization": _norm, "LayerNormalization-no-bias": lambda w: _norm(w, False, epsilon=0.1),
    "LayerNormalization-two-axes": lambda w: one("LayerNormalization", rows(2, 3, w), weights(3, w), weights(3, w, seed=1), axis=2),
    "GlobalAveragePool": lambda w: one("GlobalAveragePool", rows(3, 2, w)),
    "GlobalMaxPool": lambda w: one("GlobalMaxPool", rows(3, w)),
    **{f"{op}-{name}": partial(lambda op, shape, axis, opset, w: one(op, rows(*shape(w)), opset=opset, axis=axis), op, shape, axis, opset)
       for op in ("Softmax", "LogSoftmax")
       for name, shape, axis, opset in (
           ("last", lambda w: (w,), -1, 13), ("old-flat", lambda w: (3, w), 1, 11), ("old-last", lambda w: (3, w), 2, 11),
           ("middle", lambda w: (w, 3), 1, 13), ("heads", lambda w: (2, 3, w), -1, 17))}}.items()]
CASES += [Case(name, build) for name, build in {
    "ArgMax": lambda w: one("ArgMax", rows(w), axis=1), "ArgMin": lambda w: one("ArgMin", rows(w), axis=-1, keepdims=0),
    "ArgMax-middle": lambda w: one("ArgMax", rows(w, 3), axis=1), "ArgMax-dropped": lambda w: one("ArgMax", rows(w, 3), axis=1, keepdims=0),
    "ArgMax-last-index": lambda w: one("ArgMax", rows(2, w), axis=2, select_last_index=1),
    "CumSum": lambda w: one("CumSum", rows(w), np.array(1)),
    "CumSum-back": lambda w: one("CumSum", rows(w, 3), np.array(1), exclusive=1, reverse=1)}.items()]
