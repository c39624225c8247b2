"""Random ops."""

from __future__ import annotations

import onnx

from cervello.native.frontend.operand_rules.table import Operands, operands_of

_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)


@operands_of("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike")
def _draw(o: Operands) -> None:
    if o.attribute("dtype") is not None:
        o.choice("dtype", None, _FLOATS)
    shape = o.attribute("shape") or ()
    if min(shape, default=0) < 0:
        o.fail("sizes of at least 0", list(shape))


@operands_of("Multinomial")
def _multinomial(o: Operands) -> None:
    o.choice("dtype", onnx.TensorProto.INT32, (onnx.TensorProto.INT32, onnx.TensorProto.INT64))
    o.at_least("sample_size", 1, 1)
    o.rank(0, "unnormalised log-probabilities", 2, 2)
    if o.shape(0)[1] == 0:
        o.fail("at least one class", 0)
