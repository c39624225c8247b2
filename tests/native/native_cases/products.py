"""Gemm and MatMul: with weights, bias and activation, and of two computed operands."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from native_graphs import Chain, one, rows, weights

from native_cases.case import Case


def _gemm(k: int, bias: bool, activation: str | None, width: int, **attributes: Any) -> Any:
    """k = 0 stands for `width` terms."""
    k = k or width
    c = Chain(x=rows(k))
    w = weights(width, k) if attributes.get("transB") else weights(k, width)
    y = c.add("Gemm", "x", w, *([weights(width, seed=1)] if bias else []), **attributes)
    return c.model(c.add(activation, y) if activation else y)


def _wide(width: int) -> Any:
    """More columns than four panels."""
    return one("Gemm", rows(width), weights(width, 163), weights(163, seed=1))


def _into_a_window(width: int) -> Any:
    """Products written side by side into one Concat, with an activation between the gaps."""
    c = Chain(x=rows(9))
    parts = [c.add("Tanh", c.dense("x", 9, width)), c.dense("x", 9, 3, 5), c.add("Relu", c.dense("x", 9, width, 7))]
    return c.model(c.add("Concat", *parts, axis=1))


def _turned(width: int) -> Any:
    """Rows that are not contiguous, and a transposed operand."""
    c = Chain(x=rows(width, 5), z=rows(12))
    turned = c.add("MatMul", c.add("Transpose", "x", perm=[0, 2, 1]), weights(width, 7))
    cut = c.add("Slice", "z", np.array([2]), np.array([11]), np.array([1]))
    return c.model(turned, c.add("Gemm", cut, weights(9, width)))


def _residual(width: int) -> Any:
    c = Chain(x=rows(width))
    h = c.add("Relu", c.dense("x", width, width))
    return c.model(c.add("Add", c.dense(h, width, width, 3), "x"))


def _added(width: int, **attributes: Any) -> Any:
    return one("Gemm", rows(5), weights(5, width), rows(width), **attributes)


def _attention(width: int) -> Any:
    c = Chain(q=rows(3, width), k=rows(4, width))
    scores = c.add("MatMul", "q", c.add("Transpose", "k", perm=[0, 2, 1]))
    return c.model(c.add("MatMul", c.add("Softmax", scores, axis=-1), "k"))


def _stacked(given: tuple[int, ...], stack: tuple[int, ...], width: int) -> Any:
    """Rows of the batch behind the sizes of a stack of matrices."""
    c = Chain(x=rows(*given, width))
    turned = c.add("Transpose", "x", perm=[*range(1, len(given) + 1), 0, len(given) + 1])
    product, depth = c.add("MatMul", turned, weights(*stack, width, 6)), len(stack)
    return c.model(c.add("Transpose", product, perm=[depth, *range(depth), depth + 1]))


CASES = [
    Case("Gemm", partial(_gemm, 0, True, None)), Case("Gemm-9-terms", partial(_gemm, 9, True, None)),
    Case("Gemm-40-terms", partial(_gemm, 40, True, None)), Case("Gemm-257-terms", partial(_gemm, 257, True, None)),
    Case("Gemm-no-bias", partial(_gemm, 33, False, None)), Case("Gemm-tanh", partial(_gemm, 17, True, "Tanh")),
    Case("Gemm-relu-no-bias", partial(_gemm, 5, False, "Relu")), Case("Gemm-softplus", partial(_gemm, 33, True, "Softplus")),
    Case("Gemm-transB", partial(_gemm, 13, True, None, transB=1)), Case("Gemm-scaled", partial(_gemm, 13, True, None, alpha=0.5, beta=2.0)),
    Case("Gemm-wide", _wide), Case("Gemm-into-windows", _into_a_window), Case("Gemm-residual", _residual), Case("Gemm-computed-c", _added),
    Case("Gemm-computed-c-scaled", partial(_added, alpha=0.3, beta=-1.75)),
    Case("MatMul", lambda w: one("MatMul", rows(w), weights(w, 19))),
    Case("MatMul-vector", lambda w: one("MatMul", rows(w), weights(w))),
    Case("MatMul-3d", lambda w: one("MatMul", rows(3, 11), weights(11, w))), Case("MatMul-turned", _turned),
    Case("MatMul-computed", lambda w: one("MatMul", rows(3, w), rows(w, 5))),
    Case("MatMul-computed-wide", lambda w: one("MatMul", rows(13, 9), rows(9, w))),
    Case("MatMul-computed-heads", lambda w: one("MatMul", rows(2, 3, w), rows(2, w, 4))),
    Case("MatMul-computed-broadcast", lambda w: one("MatMul", rows(2, 3, w), rows(1, w, 4))),
    Case("MatMul-constant-left", lambda w: one("MatMul", weights(3, w), rows(w, 4))),
    Case("MatMul-constant-batched", lambda w: one("MatMul", rows(2, 3, w), weights(2, w, 4))),
    Case("MatMul-stacked", partial(_stacked, (3,), (3,))), Case("MatMul-ensemble", partial(_stacked, (), (4,))),
    Case("MatMul-stacked-twice", partial(_stacked, (2, 1), (2, 3))),
    Case("MatMul-stacked-single-rows", lambda w: one("MatMul", rows(3, 1, w), weights(3, w, 5))),
    Case("attention", _attention, tolerance=1e-5)]
CASES = [case._replace(tolerance=1e-5) for case in CASES]
