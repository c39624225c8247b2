"""Ops that treat every element alone."""

from __future__ import annotations

from cervello.native.frontend.operand_rules.table import Operands, operands_of


@operands_of("Clip")
def _clip(o: Operands) -> None:
    o.has_one(1, "the least value")
    o.has_one(2, "the largest value")


@operands_of("PRelu")
def _p_relu(o: Operands) -> None:
    o.spreads(1, "slopes", o.shape(0))


@operands_of("Mod")
def _mod(o: Operands) -> None:
    o.choice("fmod", 0, (0, 1))


@operands_of("Gelu")
def _gelu(o: Operands) -> None:
    o.choice("approximate", "none", ("none", "tanh"))


@operands_of("BitShift")
def _bit_shift(o: Operands) -> None:
    o.choice("direction", None, ("LEFT", "RIGHT"))


@operands_of("Celu")
def _celu(o: Operands) -> None:
    if o.attribute("alpha", 1.0) == 0:
        o.fail("an alpha other than 0", 0)
