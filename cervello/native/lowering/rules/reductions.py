"""Ops over rows: reductions, softmax, normalisations, arg max.

Everything is brought to [outer, terms, inner] with at most one copy; inner = 1 goes to the row blocks, else to the column kernels.
Which of the two depends on static sizes alone, so the order of a sum never depends on N (law 1).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cervello.codegen.bits import float_word
from cervello.native.graph.dims import Affine, Dim, product
from cervello.native.graph.graph import Node
from cervello.native.graph.tensors import Address, Tensor, Weight, dense_strides, reshaped
from cervello.native.kernels.parameters import arrange
from cervello.native.kernels.sizes import SHORT_ROW, row_scratch
from cervello.native.lowering.loop_nests import collapse, padded
from cervello.native.lowering.lowering import Lowering
from cervello.native.lowering.registry import NoKernelError, lowers
from cervello.native.lowering.rules.elementwise import emit_binary, emit_map
from cervello.native.shapes.rules.basic import axis_of

_K = "cervello.native.kernels."
F32 = np.dtype(np.float32)
_BLOCKS = {"ReduceSum": "sum_", "ReduceMean": "mean", "ReduceMax": "max_", "ReduceMin": "min_", "ReduceProd": "prod",
           "ReduceL1": "l1", "ReduceL2": "l2", "ReduceSumSquare": "sum_square", "ReduceLogSum": "log_sum",
           "ReduceLogSumExp": "log_sum_exp"}
_WHOLE_BLOCKS = {"ReduceSum": "sum", "ReduceMax": "largest", "ReduceMin": "smallest", "ReduceProd": "prod", "ReduceL1": "l1",
                 "ReduceSumSquare": "sum_square"}
_WHOLE = {np.dtype(np.int64): "i64", np.dtype(np.int32): "i32"}


def emit_rows(lowering: Lowering, block: str, source: Tensor, target: Tensor, count: Dim, **parameters: Any) -> None:
    """Runs a row block over the last axis of `source` [rows…, count]; `target` [rows…, …] gets a row or an element for each.

    Args:
      parameters: of the block.
    """
    n = len(source.shape) - 1
    sizes, steps = collapse(source.shape[:n], [source.strides[:n], target.strides[:n]])
    sizes, (from_, to) = padded(sizes, steps, 3)
    words: dict[str, Any] = {"block": Address(_K + block), "count": count, "sizes": sizes, "source_by": from_, "target_by": to,
                             "more": arrange(_K + block, **parameters)}
    if block in ("reduce_last:softmax", "reduce_last:log_sum_exp") and not isinstance(count, Affine) and count <= SHORT_ROW:
        kernel = f"reduce_short:{block.partition(':')[2]}"
    elif block in ("reduce_last:sum_", "reduce_last:mean", "reduce_last:max_", "reduce_last:softmax", "reduce_last:layer_norm"):
        kernel = f"reduce_by_sixteen:{block.partition(':')[2]}"
    else:
        lowering.emit("maps:map1", (source,), (target,), **words)
        return
    scratch = row_scratch(count if not isinstance(count, Affine) else SHORT_ROW + 1)
    lowering.emit(kernel, (source,), (target,), (lowering.scratch((scratch,), F32),), **words)


def _axes(lowering: Lowering, node: Node, rank: int) -> list[int]:
    given = len(node.inputs) > 1 and node.inputs[1]
    data = lowering.value(node.inputs[1]).data if given else None
    if given and data is None:
        raise NoKernelError("axes that are not constant")
    if data is None or data.size == 0:
        return [] if node.attributes.get("noop_with_empty_axes", 0) else list(range(rank))
    return sorted({axis_of(node, int(a), rank) for a in data.reshape(-1)})


def _reduce(lowering: Lowering, node: Node) -> None:
    source, name = lowering.tensor(node.inputs[0]), node.outputs[0]
    whole = _WHOLE.get(source.dtype) if node.op in _WHOLE_BLOCKS else None
    if source.dtype != F32 and whole is None:
        raise NoKernelError(f"no kernel for {source.dtype}")
    axes = _axes(lowering, node, len(source.shape))
    if not source.shape and not node.attributes.get("noop_with_empty_axes", 0):
        source, axes = source.viewed(name, (1,), (source.itemsize,)), [0]  # |x|, x² and the like change even a scalar
    if not axes:
        lowering.alias(name, source.viewed(name, source.shape, source.strides))
        return
    if any(isinstance(source.shape[a], Affine) for a in axes):
        raise NoKernelError("a reduction across the batch")
    if whole is None:
        emit_reduction(lowering, _BLOCKS[node.op], source, axes, lowering.output(name))
    else:  # sums of integers have the same bits in any order
        rows, result, terms = _as_rows(lowering, source, axes, lowering.output(name))
        emit_rows(lowering, f"integers:row_{_WHOLE_BLOCKS[node.op]}_{whole}", rows, result, terms)


def emit_reduction(lowering: Lowering, block: str, source: Tensor, axes: list[int], target: Tensor) -> None:
    """Reduces a tensor over axes into a contiguous target."""
    terms = product(source.shape[a] for a in axes)
    adjacent = axes == list(range(axes[0], axes[-1] + 1))
    inner = product(source.shape[axes[-1] + 1:])
    if adjacent and inner != 1 and block != "log_sum_exp":
        flat = lowering.contiguous(source)
        outer = product(source.shape[:axes[0]])
        lowering.emit(f"reduce_inner:{block}", (flat,), (target,), outer=outer, terms=terms, inner=inner)
        return
    rows, result, terms = _as_rows(lowering, source, axes, target)
    emit_rows(lowering, f"reduce_last:{block}", rows, result, terms)


def _as_rows(lowering: Lowering, source: Tensor, axes: list[int], target: Tensor) -> tuple[Tensor, Tensor, Dim]:
    """What is reduced as [rows…, terms] with the terms side by side, its contiguous target as [rows…, 1], and the number of terms."""
    kept = [i for i in range(len(source.shape)) if i not in axes]
    order, terms, item = kept + axes, product(source.shape[a] for a in axes), source.itemsize
    moved = source.viewed(source.name, tuple(source.shape[i] for i in order), tuple(source.strides[i] for i in order))
    rows_shape = tuple(source.shape[i] for i in kept)
    flat_view = reshaped(moved, source.name, (*rows_shape, terms))
    if flat_view is None or (flat_view.strides[-1] != item and terms != 1):
        fresh = lowering.contiguous(moved)
        if not fresh.contiguous:
            fresh = moved
        flat_view = fresh.viewed(source.name, (*rows_shape, terms), dense_strides((*rows_shape, terms), item))
    return flat_view, target.viewed(target.name, (*rows_shape, 1), dense_strides((*rows_shape, 1), target.itemsize)), terms


for _op in _BLOCKS:
    lowers(_op)(_reduce)


def _last_axis(lowering: Lowering, source: Tensor, axis: int) -> tuple[Tensor, list[int] | None]:
    """The tensor with `axis` last and contiguous, and the order that was used (None when it was last already)."""
    last = len(source.shape) - 1
    if axis == last:
        return (source if source.strides[last] == source.itemsize or source.shape[last] == 1 else lowering.contiguous(source)), None
    order = [i for i in range(last + 1) if i != axis] + [axis]
    moved = source.viewed(source.name, tuple(source.shape[i] for i in order), tuple(source.strides[i] for i in order))
    fresh = lowering.scratch(moved.shape, moved.dtype)
    lowering.copy(moved, fresh)
    return fresh, order


def _row_map(lowering: Lowering, node: Node, block: str, axis: int, **parameters: Any) -> None:
    """An op that turns each row along an axis into a row of the same length."""
    source, name = lowering.tensor(node.inputs[0]), node.outputs[0]
    if source.dtype != F32:
        raise NoKernelError(f"no kernel for {source.dtype}")
    count = source.shape[axis]
    if isinstance(count, Affine):
        raise NoKernelError("rows along the batch")
    ready, order = _last_axis(lowering, source, axis)
    if order is None:
        target = lowering.output(name, contiguous=False, over=ready)
        if target.strides[-1] != 4 and count != 1:
            raise NoKernelError("a target with gaps")
        emit_rows(lowering, block, ready, target, count, **parameters)
        return
    result = lowering.scratch(ready.shape, ready.dtype)
    emit_rows(lowering, block, ready, result, count, **parameters)
    back = [order.index(i) for i in range(len(order))]
    target = lowering.output(name, contiguous=False)
    lowering.copy(result.viewed(name, tuple(result.shape[i] for i in back), tuple(result.strides[i] for i in back)), target)


def _softmax(lowering: Lowering, node: Node) -> None:
    block = "reduce_last:softmax" if node.op == "Softmax" else "reduce_last:log_softmax"
    source = lowering.tensor(node.inputs[0])
    if source.dtype != F32:
        raise NoKernelError(f"no kernel for {source.dtype}")
    rank = len(source.shape)
    axis = axis_of(node, node.attributes["axis"], rank)
    if not node.attributes.get("flatten") or axis == rank - 1:
        _row_map(lowering, node, block, axis)
        return
    name = node.outputs[0]  # older than opset 13: everything from the axis on is one row
    flat = lowering.contiguous(source)
    count = product(source.shape[axis:])
    target = lowering.output(name)
    shape = (product(source.shape[:axis]), count)
    view = flat.viewed(name, shape, dense_strides(shape, 4))
    emit_rows(lowering, block, view, target.viewed(name, shape, dense_strides(shape, 4)), count)


for _op in ("Softmax", "LogSoftmax"):
    lowers(_op)(_softmax)


@lowers("ArgMax", "ArgMin")
def _arg(lowering: Lowering, node: Node) -> None:
    source, name = lowering.tensor(node.inputs[0]), node.outputs[0]
    if source.dtype != F32:
        raise NoKernelError(f"no kernel for {source.dtype}")
    axis = axis_of(node, node.attributes.get("axis", 0), len(source.shape))
    count = source.shape[axis]
    if isinstance(count, Affine):
        raise NoKernelError("rows along the batch")
    ready, _ = _last_axis(lowering, source, axis)
    target = lowering.output(name, contiguous=False)
    shape = (*ready.shape[:-1], 1)
    if node.attributes.get("keepdims", 1):
        strides = (*(s for i, s in enumerate(target.strides) if i != axis), 8)
    else:
        strides = (*target.strides, 8)
    block = "reduce_last:arg_max" if node.op == "ArgMax" else "reduce_last:arg_min"
    emit_rows(lowering, block, ready, target.viewed(name, shape, strides), count,
              last=node.attributes.get("select_last_index", 0))


@lowers("LayerNormalization")
def _layer_normalization(lowering: Lowering, node: Node) -> None:
    if any(node.outputs[1:]):
        raise NoKernelError("the mean and the inverse deviation among its results")
    source, name = lowering.tensor(node.inputs[0]), node.outputs[0]
    axis = axis_of(node, node.attributes.get("axis", -1), len(source.shape))
    scale = lowering.constant(node.inputs[1])
    bias = lowering.constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else None
    if scale is None or (len(node.inputs) > 2 and node.inputs[2] and bias is None) or source.dtype != F32:
        raise NoKernelError("scale or bias that are not constant float32")
    count = product(source.shape[axis:])
    tail: Any = tuple(source.shape[axis:])
    flat = lowering.contiguous(source, axis)
    target = lowering.output(name)
    shape = (*source.shape[:axis], count)
    view = reshaped(flat, name, shape)
    if view is None:
        raise NoKernelError("a layout with gaps")
    words: dict[str, Any] = {"epsilon": float_word(node.attributes.get("epsilon", 1e-5)), "bias": 0}
    for part, data in (("scale", scale), ("bias", bias)):
        if data is not None:
            words[part] = Weight(np.broadcast_to(np.asarray(data, F32), tail).reshape(-1).copy())
    emit_rows(lowering, "reduce_last:layer_norm", view, target.viewed(name, shape, dense_strides(shape, 4)), count, **words)


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
    source = lowering.tensor(node.inputs[0])
    block = "mean" if node.op == "GlobalAveragePool" else "max_"
    if source.dtype != F32:
        raise NoKernelError(f"no kernel for {source.dtype}")
    emit_reduction(lowering, block, source, list(range(2, len(source.shape))), lowering.output(node.outputs[0]))


__all__ = ["emit_binary", "emit_map", "emit_reduction", "emit_rows"]
