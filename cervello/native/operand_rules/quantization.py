"""Ops that round to integers: the scale they divide by. Source: ONNX operator specification, opset 25."""

from __future__ import annotations

import numpy as np

from cervello.native.operand_rules.table import Operands, operands_of

_SCALE = {"QuantizeLinear": 1, "QLinearMatMul": 6, "QLinearConv": 6}  # of the result


@operands_of(*_SCALE)
def _divides(o: Operands) -> None:
    scale = _SCALE[o.node.op]
    if o.known(scale) and not np.all(o.data(scale)):
        o.fail("scales other than 0", "a scale of 0")
