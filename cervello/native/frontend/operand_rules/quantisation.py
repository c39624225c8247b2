"""Scales and zero points: one for a tensor, or one for each place along an axis."""

from __future__ import annotations

from cervello.native.frontend.operand_rules.table import Operands, operands_of, product_or_none
from cervello.native.frontend.operand_rules.windows import convolution
from cervello.native.graph.dims import Dim, written


def _one_or_list(o: Operands, index: int, name: str, length: Dim) -> None:
    """Checks that an operand, where given, is one number or a list of a length."""
    found = o.shape_or_none(index)
    if found is not None and product_or_none(found) != 1 and found != (length,):
        o.fail(f"one number or {length} as {name}", written(found))


@operands_of("QuantizeLinear", "DequantizeLinear")
def _linear(o: Operands) -> None:
    shape, scale = o.shape(0), o.shape(1)
    block = o.at_least("block_size", 0, 0)
    zeros = o.shape_or_none(2)
    if zeros not in (None, scale) and not (product_or_none(scale) == 1 and zeros in ((), (1,))):
        o.fail(f"zero points of shape {written(scale)}", written(zeros))
    if product_or_none(scale) == 1 and not block:
        return
    axis = o.axis(len(shape), 1)
    if block:
        if len(scale) != len(shape) or any(have != size for i, (have, size) in enumerate(zip(scale, shape, strict=True)) if i != axis):
            o.fail(f"scales of shape {written(shape)} but for axis {axis}", written(scale))
    elif scale != (shape[axis],):
        o.fail(f"one scale, or {shape[axis]} along axis {axis}", written(scale))


def _of_product(o: Operands, index: int, name: str, of: int, axis: int) -> None:
    """Checks a scale or a zero point of a matrix: one number, a list along an axis, or [..., M, 1] or [..., 1, N] that broadcasts."""
    found = o.shape_or_none(index)
    if found is None or product_or_none(found) == 1:
        return
    shape = o.shape(of)
    if len(shape) < 2:
        o.fail(f"one number as {name}", written(found))
    other = -1 if axis == -2 else -2
    whole = tuple(1 if i == len(shape) + other else size for i, size in enumerate(shape))
    broadcasts = len(found) == len(whole) and all(have in (1, size) for have, size in zip(found, whole, strict=True))
    if found != (shape[axis],) and not broadcasts:
        o.fail(f"{name} of shape {written((shape[axis],))} or {written(whole)}", written(found))


def _matrices(o: Operands, a: int, b: int) -> None:
    o.rank(a, "the left operand", 1)
    o.rank(b, "the right operand", 1)
    left, right = o.shape(a)[-1], o.shape(b)[-2 if len(o.shape(b)) > 1 else 0]
    if left != right:
        o.fail("equal inner sizes", f"{written(o.shape(a))} and {written(o.shape(b))}")


@operands_of("MatMulInteger")
def _matmul_integer(o: Operands) -> None:
    _matrices(o, 0, 1)
    _of_product(o, 2, "a_zero_point", 0, -2)
    _of_product(o, 3, "b_zero_point", 1, -1)


@operands_of("QLinearMatMul")
def _qlinear_matmul(o: Operands) -> None:
    _matrices(o, 0, 3)
    for index, name in ((1, "a_scale"), (2, "a_zero_point"), (6, "y_scale"), (7, "y_zero_point")):
        _of_product(o, index, name, 0, -2)
    for index, name in ((4, "b_scale"), (5, "b_zero_point")):
        _of_product(o, index, name, 3, -1)


@operands_of("ConvInteger")
def _conv_integer(o: Operands) -> None:
    convolution(o, bias_at=4)  # it has none
    o.has_one(2, "x_zero_point")
    _one_or_list(o, 3, "w_zero_point", o.shape(1)[0])


@operands_of("QLinearConv")
def _qlinear_conv(o: Operands) -> None:
    convolution(o, 3, 8)
    for index, name in ((1, "x_scale"), (2, "x_zero_point"), (6, "y_scale"), (7, "y_zero_point")):
        o.has_one(index, name)
    for index, name in ((4, "w_scale"), (5, "w_zero_point")):
        _one_or_list(o, index, name, o.shape(3)[0])
