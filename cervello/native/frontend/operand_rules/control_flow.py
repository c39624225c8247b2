"""Branches and loops, by their control markers."""

from __future__ import annotations

from cervello.native.frontend.control_flow import LOOP_BEGIN
from cervello.native.frontend.operand_rules.table import Operands, operands_of
from cervello.native.graph.dtypes import I64


@operands_of(LOOP_BEGIN)
def _loop(o: Operands) -> None:
    if not o.given(0):
        return
    o.has_one(0, "a trip count")
    dtype = o.value(0).dtype
    if dtype is not None and dtype != I64:
        o.fail("a trip count of type int64", dtype)
