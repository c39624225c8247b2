"""Conv, MaxPool and AveragePool of one or two spatial dimensions."""

from __future__ import annotations

from typing import Any

import numpy as np

from cervello.native.graph.dtypes import F32, Array
from cervello.native.graph.graph import Node
from cervello.native.graph.tensors import Address, Space, Tensor, Weight
from cervello.native.kernels.sizes import FILTERS, PANEL, PIXELS
from cervello.native.lowering.lowering import Lowering
from cervello.native.lowering.registry import NoKernelError, lowers
from cervello.native.lowering.rules.convolution_taps import over_filters, over_pixels, rows_and_columns
from cervello.native.lowering.rules.elementwise import Activation, joined_activation
from cervello.native.lowering.rules.linear import packed
from cervello.native.lowering.rules.reductions import emit_reduction
from cervello.native.shapes.rules.windows import Window, window


def _planar(tensor: Tensor) -> tuple[Any, ...]:
    """Strides by batch, channel, row, column; a one-dimensional image is one row."""
    if len(tensor.shape) == 3:
        n, c, w = tensor.strides
        return n, c, 0, w
    if len(tensor.shape) == 4:
        return tensor.strides
    raise NoKernelError(f"{len(tensor.shape) - 2} spatial dimensions")


def _geometry(lowering: Lowering, node: Node, kernel: tuple[int, ...] | None = None) -> Window:
    found = window(node, lowering.values[node.inputs[0]], kernel)
    if len(found.sizes) > 2:
        raise NoKernelError(f"{len(found.sizes)} spatial dimensions")
    return found


@lowers("Conv")
def _conv(lowering: Lowering, node: Node) -> None:
    source = lowering.tensor(node.inputs[0])
    w = lowering.constant(node.inputs[1])
    b = lowering.constant(node.input(2))
    if source.dtype != F32 or w is None or (node.input(2) and b is None):
        raise NoKernelError("weights that are not constant float32")
    found = _geometry(lowering, node, tuple(w.shape[2:]))
    groups = node.attributes.get("group", 1)
    name, act = joined_activation(lowering, node.outputs[0])
    target = lowering.output(name, contiguous=False)
    _emit(lowering, source, target, w.astype(F32), np.zeros(w.shape[0], F32) if b is None else b.astype(F32), groups, found, act)


def _emit(lowering: Lowering, source: Tensor, target: Tensor, w: Array, bias: Array, groups: int, found: Window,
          act: Activation | None) -> None:
    """Emits the cheaper of two kernels. Both give the same bits: sums run over channels, rows and columns of the window in this order."""
    filters = w.shape[0] // groups
    k = int(np.prod(w.shape[1:]))
    # Prefetch only inputs of the model: results of earlier steps are in the cache, and interleaved rows would be prefetched many times.
    (height, width), (xc, xh, xw) = rows_and_columns(found.sizes, 1), _planar(source)[1:]
    prefetches = int(source.buffer.space is Space.INPUT and (height == 1 or xh >= width * xw) and (groups == 1 or xc >= xw))
    block, parameters = act or (None, [])
    pixels_plan = over_pixels(found, w.shape[1], _planar(source))
    filters_plan = over_filters(found, w.shape[1], _planar(source), groups)
    out_height, out_width = rows_and_columns(found.outputs, 1)
    (sh, sw), (ph, pw) = rows_and_columns(found.strides, 1), rows_and_columns(found.pads, 0)
    common = {"images": source.shape[0], "groups": groups, "channels": w.shape[1], "filters": filters, "k": k, "height": height,
              "width": width, "out_height": out_height, "out_width": out_width, "ph": ph, "pw": pw, "x_by": _planar(source),
              "y_by": _planar(target), "prefetches": prefetches, "activation": Address(block) if block else 0, "parameters": parameters}
    if pixels_plan.cycles(filters, k) <= filters_plan.cycles(filters, k):
        yh, yw = _planar(target)[2:]
        direct = yw == 4 and (out_height == 1 or (pixels_plan.columns == out_width and yh == out_width * 4))
        results = lowering.scratch((FILTERS * -(-pixels_plan.pixels // 16) * 16,), F32)
        copied = results if pixels_plan.in_place else lowering.scratch((pixels_plan.copied,), F32)
        lowering.emit(
            "convolution:by_pixels", (source,), (target,), (copied, results),
            weights=Weight(_in_blocks(w.reshape(groups, filters, k)), "filters"),
            bias=Weight(_padded(bias.reshape(groups, filters), FILTERS)), offsets=Weight(pixels_plan.offsets), rows=pixels_plan.rows,
            columns=pixels_plan.columns, sh=sh, sw=sw, in_place=int(pixels_plan.in_place), direct=int(direct), **common)
        return
    panels = np.concatenate([packed(w[g * filters:(g + 1) * filters].reshape(filters, k).T) for g in range(groups)])
    results, addresses = lowering.scratch((PIXELS * -(-filters // PANEL) * PANEL,), F32), lowering.scratch((PIXELS,), np.int64)
    copied = results if filters_plan.in_place else lowering.scratch((filters_plan.copied,), F32)
    lowering.emit(
        "convolution:by_filters", (source,), (target,), (copied, results, addresses), weights=Weight(panels, "filters"),
        bias=Weight(_padded(bias.reshape(groups, filters), PANEL)), offsets=Weight(filters_plan.offsets), rows=filters_plan.rows,
        columns=filters_plan.columns, down=filters_plan.down, right=filters_plan.right, in_place=int(filters_plan.in_place),
        by_pixel=int(filters_plan.by_pixel),
        **common)


def _in_blocks(w: Array) -> Array:
    """[groups, filters, K] as blocks [., K, FILTERS]."""
    groups, filters, k = w.shape
    blocks = -(-filters // FILTERS)
    full = np.zeros((groups, blocks * FILTERS, k), F32)
    full[:, :filters] = w
    return np.ascontiguousarray(full.reshape(groups * blocks, FILTERS, k).transpose(0, 2, 1))


def _padded(bias: Array, width: int) -> Array:
    full = np.zeros((bias.shape[0], -(-bias.shape[1] // width) * width), F32)
    full[:, :bias.shape[1]] = bias
    return full


@lowers("MaxPool", "AveragePool")
def _pool(lowering: Lowering, node: Node) -> None:
    source = lowering.float_tensor(node.inputs[0])
    found = _geometry(lowering, node)
    if node.op == "AveragePool" and node.attributes.get("count_include_pad", 0) and node.attributes.get("ceil_mode", 0):
        raise NoKernelError("counted padding together with ceil_mode")
    whole = tuple(found.kernel) == tuple(found.sizes) and set(found.outputs) == {1} and not any(found.pads) and set(found.dilations) <= {1}
    if node.op == "MaxPool" and whole:
        emit_reduction(lowering, "max_", source, list(range(2, len(source.shape))), lowering.output(node.outputs[0]))
        return
    target = lowering.output(node.outputs[0], contiguous=False)
    row = lowering.scratch((rows_and_columns(found.sizes, 1)[1],), F32)
    (height, width), (out_height, out_width) = rows_and_columns(found.sizes, 1), rows_and_columns(found.outputs, 1)
    counted = {} if node.op == "MaxPool" else {"counts_padding": node.attributes.get("count_include_pad", 0)}
    lowering.emit(
        f"pooling:{'max' if node.op == 'MaxPool' else 'average'}_pool", (source,), (target,), (row,), images=source.shape[0],
        channels=source.shape[1], height=height, width=width, out_height=out_height, out_width=out_width,
        window=rows_and_columns(found.kernel, 1), strides=rows_and_columns(found.strides, 1),
        dilations=rows_and_columns(found.dilations, 1), pads=rows_and_columns(found.pads, 0), x_by=_planar(source), y_by=_planar(target),
        **counted)
