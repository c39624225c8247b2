"""Batch, instance, group, RMS and Lp normalisation."""

from __future__ import annotations

from math import prod

import numpy as np

from cervello.codegen.bits import float_word
from cervello.native.graph.dtypes import F32
from cervello.native.graph.graph import Node
from cervello.native.graph.tensors import Tensor, Weight, reshaped
from cervello.native.lowering.loop_nests import fixed
from cervello.native.lowering.lowering import Lowering
from cervello.native.lowering.registry import NoKernelError, lowers
from cervello.native.lowering.rules.elementwise import emit_binary, joined_activation
from cervello.native.lowering.rules.reductions import emit_rows, with_axis_last
from cervello.native.shapes.rules.basic import axis_of


def _apply(lowering: Lowering, kind: str, target: Tensor, name: str, shape: tuple[int, ...]) -> None:
    """target = target kind operand, the operand viewed in a shape that broadcasts."""
    operand = lowering.tensor(name)
    view = reshaped(operand, name, shape) or lowering.contiguous(operand).dense_view(shape, name)
    emit_binary(lowering, f"binary:{kind}", (target, view), target)


@lowers("InstanceNormalization", "GroupNormalization")
def _by_groups(lowering: Lowering, node: Node) -> None:
    """Normalises each group of channels to mean 0 and deviation 1, then applies scale and shift per channel (per group before opset 21)."""
    source = lowering.float_tensor(node.inputs[0])
    images, channels, *sizes = (source.shape[0], *(fixed(size, "channels that depend on the batch") for size in source.shape[1:]))
    area = prod(sizes)
    groups = channels if node.op == "InstanceNormalization" else node.attributes["num_groups"]
    count = channels * area // groups
    flat, target = lowering.contiguous(source), lowering.output(node.outputs[0])
    view, result = (tensor.dense_view((images, groups, count)) for tensor in (flat, target))
    emit_rows(lowering, "normalize_last:layer_norm", view, result, count, scale=Weight(np.ones(count, F32)), bias=0,
              epsilon=float_word(node.attributes.get("epsilon", 1e-5)))
    per_group = node.op == "GroupNormalization" and lowering.shape(node.inputs[1]) == (groups,) and groups != channels
    whole = target.dense_view((images, groups, channels // groups, area) if per_group else (images, channels, area))
    for kind, name in zip(("mul", "add"), node.inputs[1:3], strict=True):
        _apply(lowering, kind, whole, name, (groups, 1, 1) if per_group else (channels, 1))


@lowers("RMSNormalization")
def _rms(lowering: Lowering, node: Node) -> None:
    source = lowering.float_tensor(node.inputs[0])
    axis = axis_of(node, node.attributes.get("axis", -1), len(source.shape))
    count = prod(fixed(size, "a normalisation across the batch") for size in source.shape[axis:])
    flat, target = lowering.contiguous(source), lowering.output(node.outputs[0])
    view, result = (tensor.dense_view((*source.shape[:axis], count)) for tensor in (flat, target))
    emit_rows(lowering, "normalize_last:rms_norm", view, result, count, epsilon=float_word(node.attributes.get("epsilon", 1e-5)))
    scale = lowering.tensor(node.inputs[1])
    if scale.dtype != F32:
        raise NoKernelError(f"a scale of {scale.dtype}")
    emit_binary(lowering, "binary:mul", (target, scale), target)


@lowers("LpNormalization")
def _lp(lowering: Lowering, node: Node) -> None:
    source = lowering.float_tensor(node.inputs[0])
    axis = axis_of(node, node.attributes.get("axis", -1), len(source.shape))
    count = fixed(source.shape[axis], "a normalisation across the batch")
    ready, back = with_axis_last(lowering, source, axis)
    norms = lowering.scratch((*ready.shape[:-1], 1), F32)
    emit_rows(lowering, "reduce_last:l1" if node.attributes.get("p", 2) == 1 else "reduce_last:l2", ready, norms, count)
    target = lowering.output(node.outputs[0], contiguous=False)
    emit_binary(lowering, "binary:div_or_zero", (source, norms.transposed(back)), target)


@lowers("BatchNormalization")
def _batch_normalization(lowering: Lowering, node: Node) -> None:
    """y = x * scale + shift per channel, the two folded from four constants in float64."""
    if node.attributes.get("training_mode", 0):
        raise NoKernelError("training mode")
    operands = [lowering.constant(name) for name in node.inputs[1:5]]
    if any(o is None for o in operands):
        raise NoKernelError("statistics that are not constant")
    source = lowering.float_tensor(node.inputs[0])
    scale, bias, mean, variance = (np.asarray(o, np.float64) for o in operands)
    factor = scale / np.sqrt(variance + node.attributes.get("epsilon", 1e-5))
    shift = (bias - mean * factor).astype(F32)
    shape = (-1,) + (1,) * (len(source.shape) - 2)
    name, act = joined_activation(lowering, node.outputs[0])
    target = lowering.output(name, contiguous=False)
    scale_tensor = lowering.stored(f"{name}/scale", factor.astype(F32).reshape(shape))
    emit_binary(lowering, "binary:mul", (source, scale_tensor), target)
    emit_binary(lowering, "binary:add", (target, lowering.stored(f"{name}/shift", shift.reshape(shape))), target, act=act)
