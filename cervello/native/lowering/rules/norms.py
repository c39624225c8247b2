"""Normalisations: of a batch by constants, over a picture's channels, their groups, or a row's square mean."""

from __future__ import annotations

import numpy as np

from cervello.codegen.bits import float_word
from cervello.native.graph.dims import Affine, product
from cervello.native.graph.graph import Node
from cervello.native.graph.tensors import Tensor, Weight, dense_strides, reshaped
from cervello.native.lowering.lowering import Lowering
from cervello.native.lowering.registry import NoKernelError, lowers
from cervello.native.lowering.rules.elementwise import emit_binary, joined_activation
from cervello.native.lowering.rules.reductions import _last_axis, emit_rows
from cervello.native.shapes.rules.basic import axis_of

F32 = np.dtype(np.float32)


def _float_source(lowering: Lowering, node: Node) -> Tensor:
    source = lowering.tensor(node.inputs[0])
    if source.dtype != F32:
        raise NoKernelError(f"no kernel for {source.dtype}")
    return source


def _apply(lowering: Lowering, kind: str, target: Tensor, name: str, shape: tuple[int, ...]) -> None:
    """target = target kind operand, the operand viewed in a shape that broadcasts."""
    operand = lowering.tensor(name)
    view = reshaped(operand, name, shape)
    if view is None:
        view = reshaped(lowering.contiguous(operand), name, shape)
        assert view is not None
    emit_binary(lowering, f"binary:{kind}", (target, view), target)


@lowers("InstanceNormalization", "GroupNormalization")
def _by_groups(lowering: Lowering, node: Node) -> None:
    """Each group of channels of a picture to mean 0 and deviation 1, then a scale and a shift per channel (before opset 21: per group)."""
    source = _float_source(lowering, node)
    if any(isinstance(size, Affine) for size in source.shape[1:]) or len(source.shape) < 2:
        raise NoKernelError("channels that depend on the batch")
    channels = int(source.shape[1])  # type: ignore[arg-type]
    groups = channels if node.op == "InstanceNormalization" else node.attributes["num_groups"]
    count = product(source.shape[1:]) // groups
    flat, target = lowering.contiguous(source), lowering.output(node.outputs[0])
    rows = (source.shape[0], groups, count)
    view, result = (tensor.viewed(tensor.name, rows, dense_strides(rows, 4)) for tensor in (flat, target))
    emit_rows(lowering, "reduce_last:layer_norm", view, result, count, scale=Weight(np.ones(count, F32)), bias=0,
              epsilon=float_word(node.attributes.get("epsilon", 1e-5)))
    per_group = node.op == "GroupNormalization" and lowering.shape(node.inputs[1]) == (groups,) and groups != channels
    split = (source.shape[0], groups, channels // groups, product(source.shape[2:])) if per_group else (
        source.shape[0], channels, product(source.shape[2:]))
    whole = target.viewed(target.name, split, dense_strides(split, 4))
    for kind, name in zip(("mul", "add"), node.inputs[1:3], strict=True):
        _apply(lowering, kind, whole, name, (groups, 1, 1) if per_group else (channels, 1))


@lowers("RMSNormalization")
def _rms(lowering: Lowering, node: Node) -> None:
    source = _float_source(lowering, node)
    axis = axis_of(node, node.attributes.get("axis", -1), len(source.shape))
    if any(isinstance(size, Affine) for size in source.shape[axis:]):
        raise NoKernelError("a normalisation across the batch")
    count = product(source.shape[axis:])
    flat, target = lowering.contiguous(source), lowering.output(node.outputs[0])
    shape = (*source.shape[:axis], count)
    view, result = (tensor.viewed(tensor.name, shape, dense_strides(shape, 4)) for tensor in (flat, target))
    emit_rows(lowering, "reduce_last:rms_norm", view, result, count, epsilon=float_word(node.attributes.get("epsilon", 1e-5)))
    scale = lowering.tensor(node.inputs[1])
    if scale.dtype != F32:
        raise NoKernelError(f"a scale of {scale.dtype}")
    emit_binary(lowering, "binary:mul", (target, scale), target)


@lowers("LpNormalization")
def _lp(lowering: Lowering, node: Node) -> None:
    source = _float_source(lowering, node)
    axis = axis_of(node, node.attributes.get("axis", -1), len(source.shape))
    if isinstance(source.shape[axis], Affine):
        raise NoKernelError("a normalisation across the batch")
    ready, order = _last_axis(lowering, source, axis)
    norms = lowering.scratch((*ready.shape[:-1], 1), F32)
    emit_rows(lowering, "reduce_last:l1" if node.attributes.get("p", 2) == 1 else "reduce_last:l2", ready, norms, ready.shape[-1])
    if order is not None:
        back = [order.index(i) for i in range(len(order))]
        norms = norms.viewed(norms.name, tuple(norms.shape[i] for i in back), tuple(norms.strides[i] for i in back))
    emit_binary(lowering, "binary:div_or_zero", (source, norms), lowering.output(node.outputs[0], contiguous=False))


@lowers("BatchNormalization")
def _batch_normalization(lowering: Lowering, node: Node) -> None:
    """y = x * scale + shift per channel, the two folded from four constants in float64."""
    if node.attributes.get("training_mode", 0):
        raise NoKernelError("training mode")
    operands = [lowering.constant(name) for name in node.inputs[1:5]]
    if any(o is None for o in operands):
        raise NoKernelError("statistics that are not constant")
    if lowering.dtype(node.inputs[0]) != F32:
        raise NoKernelError(f"no kernel for {lowering.dtype(node.inputs[0])}")
    scale, bias, mean, variance = (np.asarray(o, np.float64) for o in operands)
    factor = scale / np.sqrt(variance + node.attributes.get("epsilon", 1e-5))
    shift = (bias - mean * factor).astype(F32)
    source = lowering.tensor(node.inputs[0])
    shape = (-1,) + (1,) * (len(source.shape) - 2)
    name, act = joined_activation(lowering, node.outputs[0])
    target = lowering.output(name, contiguous=False)
    scale_tensor = lowering.stored(f"{name}/scale", factor.astype(F32).reshape(shape))
    emit_binary(lowering, "binary:mul", (source, scale_tensor), target)
    emit_binary(lowering, "binary:add", (target, lowering.stored(f"{name}/shift", shift.reshape(shape))), target, act=act)
