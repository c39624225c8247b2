"""Ops that demand no more than ranks of operands, single numbers and choices of attributes; and some with little more."""

from __future__ import annotations

from cervello.native.frontend.operand_rules.table import Operands, operands_of

_PICTURE, _MATRIX, _MATRICES = ("a picture", 2, None), ("a matrix", 2, 2), ("a vector or matrices", 1, None)
_RANKS: dict[str, list[tuple[str, int, int | None]]] = {  # by operand: what it is, its least and its most axes
    "Concat": [("operands", 1, None)], "EyeLike": [_MATRIX], "Gemm": [_MATRIX, _MATRIX], "GlobalAveragePool": [_PICTURE],
    "GlobalLpPool": [_PICTURE], "GlobalMaxPool": [_PICTURE], "MatMul": [_MATRICES, _MATRICES],
    "NonMaxSuppression": [("boxes", 3, 3), ("scores", 3, 3)], "Trilu": [("matrices", 2, None)]}
_SINGLE: dict[str, dict[int, str]] = {  # operands that are one number
    "Clip": {1: "the least value", 2: "the largest value"}, "Trilu": {1: "a diagonal"},
    "NonMaxSuppression": {2: "the most boxes of a class", 3: "the threshold of overlap", 4: "the threshold of scores"}}
_CHOICES = {  # attributes: the default and the values there are
    "BitShift": ("direction", None, ("LEFT", "RIGHT")), "Gelu": ("approximate", "none", ("none", "tanh")), "Mod": ("fmod", 0, (0, 1))}


@operands_of(*dict.fromkeys((*_RANKS, *_SINGLE, *_CHOICES)))
def _tabled(o: Operands) -> None:
    op = o.node.op
    for index, (name, least, most) in enumerate(_RANKS.get(op, ())):
        o.rank(index, name, least, most)
    for index, name in _SINGLE.get(op, {}).items():
        o.has_one(index, name)
    if op in _CHOICES:
        o.choice(*_CHOICES[op])


@operands_of("Unsqueeze")
def _unsqueeze(o: Operands) -> None:
    o.rank(1, "axes", 0, 1)


@operands_of("PRelu")
def _p_relu(o: Operands) -> None:
    o.broadcasts(1, "slopes", o.shape(0))


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
