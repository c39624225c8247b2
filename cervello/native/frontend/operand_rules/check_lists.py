"""Rules that are lists of checks: ranks, operands of one element, an axis, choices and minima of attributes; and two short ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cervello.native.frontend.operand_rules.table import Operands, operands_of

_Check = Callable[[Operands], Any]


def _rank(index: int, name: str, least: int, most: int | None = None) -> _Check:
    return lambda o: o.rank(index, name, least, most)


def _one(index: int, name: str) -> _Check:
    return lambda o: o.has_one(index, name)


def _axis(default: int) -> _Check:
    return lambda o: o.axis(len(o.shape(0)), default)


def _choice(name: str, default: Any, *values: Any) -> _Check:
    return lambda o: o.choice(name, default, values)


_IMAGE, _DATA = _rank(0, "an image", 2), _rank(0, "data", 1)
_CHECKS: dict[str, tuple[_Check, ...]] = {  # in this order
    "BitShift": (_choice("direction", None, "LEFT", "RIGHT"),),
    "Clip": (_one(1, "the least value"), _one(2, "the largest value")),
    "Concat": (_rank(0, "operands", 1),),
    "EyeLike": (_rank(0, "a matrix", 2, 2),),
    "Gather": (_DATA, _axis(0)),
    "Gelu": (_choice("approximate", "none", "none", "tanh"),),
    "Gemm": (_rank(0, "a matrix", 2, 2), _rank(1, "a matrix", 2, 2)),
    "GlobalAveragePool": (_IMAGE,),
    "GlobalLpPool": (_IMAGE,),
    "GlobalMaxPool": (_IMAGE,),
    "LRN": (_IMAGE, lambda o: o.at_least("size", 1)),
    "LpNormalization": (_DATA, _axis(-1), _choice("p", 2, 1, 2)),
    "MatMul": (_rank(0, "a vector or matrices", 1), _rank(1, "a vector or matrices", 1)),
    "Mod": (_choice("fmod", 0, 0, 1),),
    "NonMaxSuppression": (_rank(0, "boxes", 3, 3), _rank(1, "scores", 3, 3), _one(2, "the most boxes of a class"),
                          _one(3, "the threshold of overlap"), _one(4, "the threshold of scores")),
    "PRelu": (lambda o: o.broadcasts(1, "slopes", o.shape(0)),),
    "TopK": (_DATA, _axis(-1), _one(1, "k")),
    "Trilu": (_rank(0, "matrices", 2), _one(1, "a diagonal")),
    "Unsqueeze": (_rank(1, "axes", 0, 1),)}


@operands_of(*_CHECKS)
def _run_checks(o: Operands) -> None:
    for check in _CHECKS[o.node.op]:
        check(o)


@operands_of("Celu")
def _celu(o: Operands) -> None:
    if o.attribute("alpha", 1.0) == 0:
        o.fail("an alpha other than 0", 0)


@operands_of("Det")
def _determinant(o: Operands) -> None:
    rank = o.rank(0, "matrices", 2)
    shape = o.shape(0)
    if shape[rank - 1] != shape[rank - 2]:
        o.fail("square matrices", shape)
