"""Ops over rows: reductions, softmax, normalisations, arg max.

Operands are viewed as [outer, terms, inner] with at most one copy; inner = 1 uses row blocks, else column kernels. The choice depends on
static sizes only, so the order of a sum does not depend on N (law 1).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cervello.codegen.bits import float_word
from cervello.native.graph.dims import Affine, Dim, product
from cervello.native.graph.dtypes import F32, I32, I64
from cervello.native.graph.graph import Node
from cervello.native.graph.tensors import Address, Tensor, Weight, reshaped
from cervello.native.kernels.parameters import arrange
from cervello.native.kernels.schema import PREFIX
from cervello.native.kernels.sizes import SHORT_ROW, row_scratch
from cervello.native.lowering.loop_nests import collapse, fixed, padded
from cervello.native.lowering.lowering import Lowering
from cervello.native.lowering.registry import NoKernelError, lowers
from cervello.native.shapes.rules.basic import axis_of

_BLOCKS = {"ReduceSum": "sum_", "ReduceMean": "mean", "ReduceMax": "max_", "ReduceMin": "min_", "ReduceProd": "prod",
           "ReduceL1": "l1", "ReduceL2": "l2", "ReduceSumSquare": "sum_square", "ReduceLogSum": "log_sum",
           "ReduceLogSumExp": "log_sum_exp"}
_WHOLE_BLOCKS = {"ReduceSum": "sum", "ReduceMax": "max", "ReduceMin": "min", "ReduceProd": "prod", "ReduceL1": "l1",
                 "ReduceSumSquare": "sum_square"}
_WHOLE = {I64: "i64", I32: "i32"}


def emit_rows(lowering: Lowering, block: str, source: Tensor, target: Tensor, count: Dim, **parameters: Any) -> None:
    """Runs a row block over the last axis of `source` [rows…, count]; `target` [rows…, …] gets a row or an element for each.

    Args:
      parameters: of the block.
    """
    n = len(source.shape) - 1
    sizes, steps = collapse(source.shape[:n], [source.strides[:n], target.strides[:n]])
    sizes, (from_, to) = padded(sizes, steps, 3)
    words: dict[str, Any] = {"block": Address(PREFIX + block), "count": count, "sizes": sizes, "source_by": from_, "target_by": to,
                             "parameters": arrange(PREFIX + block, **parameters)}
    if block in ("normalize_last:softmax", "reduce_last:log_sum_exp") and not isinstance(count, Affine) and count <= SHORT_ROW:
        kernel = f"reduce_short:{block.partition(':')[2]}"
    elif block in ("reduce_last:sum_", "reduce_last:mean", "reduce_last:max_", "normalize_last:softmax", "normalize_last:layer_norm"):
        kernel = f"reduce_batched:{block.partition(':')[2]}"
    else:
        lowering.emit("maps:unary", (source,), (target,), **words)
        return
    scratch = row_scratch(count if not isinstance(count, Affine) else SHORT_ROW + 1)
    lowering.emit(kernel, (source,), (target,), (lowering.scratch((scratch,), F32),), **words)


def _axes(lowering: Lowering, node: Node, rank: int) -> list[int]:
    data = lowering.values[node.input(1)].data if node.input(1) else None
    if node.input(1) and data is None:
        raise NoKernelError("axes that are not constant")
    if data is None or data.size == 0:
        return [] if node.attributes.get("noop_with_empty_axes", 0) else list(range(rank))
    return sorted({axis_of(node, int(a), rank) for a in data.reshape(-1)})


@lowers(*_BLOCKS)
def _reduce(lowering: Lowering, node: Node) -> None:
    source, name = lowering.tensor(node.inputs[0]), node.outputs[0]
    whole = _WHOLE.get(source.dtype) if node.op in _WHOLE_BLOCKS else None
    if source.dtype != F32 and whole is None:
        raise NoKernelError(f"no kernel for {source.dtype}")
    axes = _axes(lowering, node, len(source.shape))
    if not source.shape and not node.attributes.get("noop_with_empty_axes", 0):
        source, axes = source.viewed(name, (1,), (source.itemsize,)), [0]  # |x| and x² change a scalar too
    if not axes:
        lowering.alias(name, source)
        return
    for axis in axes:
        fixed(source.shape[axis], "a reduction across the batch")
    if whole is None:
        emit_reduction(lowering, _BLOCKS[node.op], source, axes, lowering.output(name))
    else:  # sums of integers have the same bits in any order
        rows, result, terms = _as_rows(lowering, source, axes, lowering.output(name))
        emit_rows(lowering, f"integers:row_{_WHOLE_BLOCKS[node.op]}_{whole}", rows, result, terms)


def emit_reduction(lowering: Lowering, block: str, source: Tensor, axes: list[int], target: Tensor) -> None:
    """Reduces a tensor over axes into a contiguous target."""
    adjacent = axes == list(range(axes[0], axes[-1] + 1))
    inner = product(source.shape[axes[-1] + 1:])
    if adjacent and inner != 1 and block != "log_sum_exp":
        flat = lowering.contiguous(source)
        outer, terms = product(source.shape[:axes[0]]), product(source.shape[a] for a in axes)
        lowering.emit(f"reduce_inner:{block}", (flat,), (target,), outer=outer, terms=terms, inner=inner)
        return
    rows, result, terms = _as_rows(lowering, source, axes, target)
    emit_rows(lowering, f"reduce_last:{block}", rows, result, terms)


def _as_rows(lowering: Lowering, source: Tensor, axes: list[int], target: Tensor) -> tuple[Tensor, Tensor, Dim]:
    """The source as [rows…, terms] with adjacent terms, its contiguous target as [rows…, 1], and the number of terms."""
    kept = [i for i in range(len(source.shape)) if i not in axes]
    moved = source.transposed(kept + axes)
    rows_shape, terms = moved.shape[:len(kept)], product(moved.shape[len(kept):])
    flat_view = reshaped(moved, source.name, (*rows_shape, terms))
    if flat_view is None or (flat_view.strides[-1] != source.itemsize and terms != 1):
        flat_view = lowering.contiguous(moved).dense_view((*rows_shape, terms), source.name)
    return flat_view, target.dense_view((*rows_shape, 1)), terms


def with_axis_last(lowering: Lowering, source: Tensor, axis: int) -> tuple[Tensor, list[int]]:
    """The tensor with `axis` last and contiguous, and the order of axes that undoes the move."""
    rank = len(source.shape)
    order = [*(i for i in range(rank) if i != axis), axis]
    if axis < rank - 1:
        return lowering.materialised(source.transposed(order)), [order.index(i) for i in range(rank)]
    return (source if source.strides[axis] == source.itemsize or source.shape[axis] == 1 else lowering.contiguous(source)), order


def _row_map(lowering: Lowering, node: Node, block: str, axis: int, **parameters: Any) -> None:
    """Emits an op that maps each row along an axis to a row of the same length."""
    source, name = lowering.float_tensor(node.inputs[0]), node.outputs[0]
    count = fixed(source.shape[axis], "rows along the batch")
    ready, back = with_axis_last(lowering, source, axis)
    if axis == len(source.shape) - 1:
        target = lowering.output(name, contiguous=False, over=ready)
        if target.strides[-1] != 4 and count != 1:
            raise NoKernelError("a target with gaps")
        emit_rows(lowering, block, ready, target, count, **parameters)
        return
    result = lowering.scratch(ready.shape, ready.dtype)
    emit_rows(lowering, block, ready, result, count, **parameters)
    lowering.copy(result.transposed(back, name), lowering.output(name, contiguous=False))


@lowers("Softmax", "LogSoftmax")
def _softmax(lowering: Lowering, node: Node) -> None:
    block = "normalize_last:softmax" if node.op == "Softmax" else "normalize_last:log_softmax"
    source, name = lowering.float_tensor(node.inputs[0]), node.outputs[0]
    rank = len(source.shape)
    axis = axis_of(node, node.attributes["axis"], rank)
    if not node.attributes.get("flatten") or axis == rank - 1:
        _row_map(lowering, node, block, axis)
        return
    count = product(source.shape[axis:])  # older than opset 13: everything from the axis on is one row
    flat, target = lowering.contiguous(source), lowering.output(name)
    shape = (product(source.shape[:axis]), count)
    emit_rows(lowering, block, flat.dense_view(shape, name), target.dense_view(shape, name), count)


@lowers("ArgMax", "ArgMin")
def _arg(lowering: Lowering, node: Node) -> None:
    source, name = lowering.float_tensor(node.inputs[0]), node.outputs[0]
    axis = axis_of(node, node.attributes.get("axis", 0), len(source.shape))
    count = fixed(source.shape[axis], "rows along the batch")
    ready, _ = with_axis_last(lowering, source, axis)
    target = lowering.output(name, contiguous=False)
    strides = target.strides
    if node.attributes.get("keepdims", 1):
        strides = (*strides[:axis], *strides[axis + 1:])
    block = "reduce_last:arg_max" if node.op == "ArgMax" else "reduce_last:arg_min"
    emit_rows(lowering, block, ready, target.viewed(name, (*ready.shape[:-1], 1), (*strides, 8)), count,
              last=node.attributes.get("select_last_index", 0))


@lowers("LayerNormalization")
def _layer_normalization(lowering: Lowering, node: Node) -> None:
    if any(node.outputs[1:]):
        raise NoKernelError("the mean and the inverse deviation among its results")
    source, name = lowering.tensor(node.inputs[0]), node.outputs[0]
    axis = axis_of(node, node.attributes.get("axis", -1), len(source.shape))
    scale, bias = lowering.constant(node.inputs[1]), lowering.constant(node.input(2))
    if scale is None or (node.input(2) and bias is None) or source.dtype != F32:
        raise NoKernelError("scale or bias that are not constant float32")
    tail: Any = source.shape[axis:]
    count = product(tail)
    flat, target = lowering.contiguous(source, axis), lowering.output(name)
    shape = (*source.shape[:axis], count)
    view = reshaped(flat, name, shape)
    if view is None:
        raise NoKernelError("a layout with gaps")
    words: dict[str, Any] = {"epsilon": float_word(node.attributes.get("epsilon", 1e-5)), "bias": 0}
    for part, data in (("scale", scale), ("bias", bias)):
        if data is not None:
            words[part] = Weight(np.broadcast_to(np.asarray(data, F32), tail).reshape(-1).copy())
    emit_rows(lowering, "normalize_last:layer_norm", view, target.dense_view(shape, name), count, **words)


@lowers("CumSum")
def _cum_sum(lowering: Lowering, node: Node) -> None:
    axis = lowering.constant(node.inputs[1])
    if axis is None:
        raise NoKernelError("an axis that is not constant")
    place = axis_of(node, int(np.asarray(axis).reshape(())), len(lowering.shape(node.inputs[0])))
    _row_map(lowering, node, "reduce_last:cum_sum", place, exclusive=node.attributes.get("exclusive", 0),
             reverse=node.attributes.get("reverse", 0))


@lowers("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(lowering: Lowering, node: Node) -> None:
    source = lowering.float_tensor(node.inputs[0])
    if len(source.shape) == 2:  # an image without axes: its own mean and maximum
        lowering.alias(node.outputs[0], source)
        return
    block = "mean" if node.op == "GlobalAveragePool" else "max_"
    emit_reduction(lowering, block, source, list(range(2, len(source.shape))), lowering.output(node.outputs[0]))
