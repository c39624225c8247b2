"""Resize: mode nearest gathers elements; other modes multiply each axis by a weight matrix, one axis after another.

Source: ONNX operator specification, Resize-19: coordinate transformations, cubic coefficients, antialiasing, elements outside.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cervello.native.graph.dims import product
from cervello.native.graph.dtypes import F32, Array
from cervello.native.graph.graph import Node
from cervello.native.graph.tensors import Tensor
from cervello.native.lowering.lowering import Lowering
from cervello.native.lowering.registry import NoKernelError, lowers
from cervello.native.lowering.rules.linear import emit_gemm
from cervello.native.lowering.rules.movement import gather_along
from cervello.native.lowering.rules.reductions import with_axis_last
from cervello.native.shapes.rules.basic import axis_of
from cervello.native.shapes.rules.resizing import operands, plan_axes


def coordinates(node: Node, old: int, new: int, scale: float, region: tuple[float, float]) -> Array:
    """The coordinate of each new element on the old axis, [new] float64."""
    mode = node.attributes.get("coordinate_transformation_mode", "half_pixel") if node.opset >= 11 and node.op == "Resize" else "asymmetric"
    at = np.arange(new, dtype=np.float64)
    if mode == "asymmetric":
        return at / scale
    if mode == "align_corners":
        width = scale * old
        return np.zeros(new) if new == 1 else at * (old - 1) / (width - 1)
    if mode == "tf_crop_and_resize":
        first, last = region
        if new == 1:
            return np.full(1, (first + last) * (old - 1) / 2)
        return first * (old - 1) + at * (last - first) * (old - 1) / (new - 1)
    if mode == "pytorch_half_pixel":
        return np.full(1, -0.5) if new == 1 else (at + 0.5) / scale - 0.5
    if mode == "half_pixel_symmetric":
        adjustment = new / (scale * old)
        return old / 2 * (1 - adjustment) + (at + 0.5) / scale - 0.5
    if mode == "half_pixel":
        return (at + 0.5) / scale - 0.5
    raise NoKernelError(f"coordinate_transformation_mode {mode!r}")


def nearest(node: Node, where: Array, old: int) -> Array:
    """The index of the old element for each new one, [new] int64."""
    mode = node.attributes.get("nearest_mode", "round_prefer_floor") if node.opset >= 11 and node.op == "Resize" else "floor"
    functions: dict[str, Any] = {"round_prefer_floor": lambda x: np.ceil(x - 0.5), "round_prefer_ceil": lambda x: np.floor(x + 0.5),
                                 "floor": np.floor, "ceil": np.ceil}
    return np.asarray(np.clip(functions[mode](where), 0, old - 1), np.int64)


def weights(node: Node, where: Array, old: int, scale: float) -> Array:
    """The weight of each old element in each new one, [old, new] float64."""
    cubic = node.attributes.get("mode", "nearest") == "cubic"
    stretch = min(scale, 1.0) if node.attributes.get("antialias", 0) else 1.0
    reach = (2 if cubic else 1) / stretch
    a = node.attributes.get("cubic_coeff_a", -0.75)
    found = np.zeros((old, where.size))
    for new, x in enumerate(where):
        places = np.arange(math.floor(x - reach) + 1, math.ceil(x + reach))
        if places.size == 0:
            places = np.array([math.floor(x)])
        distance = np.abs(places - x) * stretch
        if cubic:
            near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
            far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
            tap_weights = np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
        else:
            tap_weights = np.maximum(1 - distance, 0.0)
        if node.attributes.get("exclude_outside", 0):
            tap_weights = np.where((places >= 0) & (places < old), tap_weights, 0.0)
        if stretch < 1 or node.attributes.get("exclude_outside", 0):
            tap_weights = tap_weights / tap_weights.sum()
        np.add.at(found[:, new], np.clip(places, 0, old - 1), tap_weights)
    return found


@lowers("Resize", "Upsample")
def _resize(lowering: Lowering, node: Node) -> None:
    source, name = lowering.tensor(node.inputs[0]), node.outputs[0]
    values = [lowering.values[i] if i else None for i in node.inputs[1:]]
    scales, sizes, roi = operands(node, values)
    mode = node.attributes.get("mode", "nearest")
    crops = node.attributes.get("coordinate_transformation_mode") == "tf_crop_and_resize"
    if mode not in ("nearest", "linear", "cubic") or (mode != "nearest" and source.dtype != F32) or (crops and mode == "nearest"):
        raise NoKernelError(f"mode {mode!r} of {source.dtype}")
    rank = len(source.shape)
    given = [axis_of(node, int(a), rank) for a in node.attributes.get("axes", ())] or list(range(rank))
    found, outside = source, []
    for axis, new, scale in plan_axes(node, source.shape, scales, sizes):
        old = int(found.shape[axis])  # type: ignore[arg-type]
        region = (0.0, 1.0)
        if crops and roi is not None:
            region = float(roi[given.index(axis)]), float(roi[len(given) + given.index(axis)])
        if new == old and (scale == 1 and not (crops and region != (0.0, 1.0))):
            continue
        where = coordinates(node, old, new, scale, region)
        if mode == "nearest":
            found = gather_along(lowering, found, axis, nearest(node, where, old))
            continue
        matrix = weights(node, where, old, scale)
        if crops:
            outside_columns = (where < 0) | (where > old - 1)
            matrix[:, outside_columns] = 0
            outside.append((axis, outside_columns))
        found = _resample_axis(lowering, found, axis, matrix.astype(F32))
    if outside and any(outside_columns.any() for _, outside_columns in outside) and node.attributes.get("extrapolation_value", 0.0):
        raise NoKernelError("an extrapolation value that is not 0")
    lowering.alias(name, found)


def _resample_axis(lowering: Lowering, source: Tensor, axis: int, matrix: Array) -> Tensor:
    """The axis multiplied by a matrix [old, new]."""
    ready, back = with_axis_last(lowering, source, axis)
    flat = lowering.contiguous(ready)
    rows = product(flat.shape[:-1])
    target = lowering.scratch((*flat.shape[:-1], matrix.shape[1]), F32)
    views = [tensor.dense_view((rows, width)) for tensor, width in ((flat, matrix.shape[0]), (target, matrix.shape[1]))]
    emit_gemm(lowering, views[0], matrix, None, views[1], None, rows)
    return target.transposed(back)
