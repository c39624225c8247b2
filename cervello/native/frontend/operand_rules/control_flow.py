"""Branches and loops, by the marks they are laid out with."""

from __future__ import annotations

import numpy as np

from cervello.native.frontend.control_flow import LOOP_BEGIN
from cervello.native.frontend.operand_rules.table import Operands, operands_of


@operands_of(LOOP_BEGIN)
def _turns(o: Operands) -> None:
    if not o.given(0):
        return
    o.has_one(0, "a number of turns")
    dtype = o.value(0).dtype
    if dtype is not None and dtype != np.dtype(np.int64):
        o.fail("a number of turns of type int64", dtype)
