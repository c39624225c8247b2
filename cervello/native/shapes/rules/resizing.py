"""Result shapes of Resize: which axes change, and by how much.

Source: ONNX operator specification, Resize-19; Upsample-9.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cervello.native.graph.dims import Affine, Shape, depends_on_rows
from cervello.native.graph.dtypes import Array
from cervello.native.graph.graph import Node
from cervello.native.graph.values import Value
from cervello.native.shapes.rules.basic import Result, Unknown, axis_of, data_of, dtype_of, rule, shape_of


def _given(value: Value | None) -> Array | None:
    data = data_of(value)
    return None if data is None or data.size == 0 else np.asarray(data)


def plan_axes(node: Node, shape: Shape, scales: Array | None, sizes: Array | None) -> list[tuple[int, int, float]]:
    """(axis, new size, scale) of every axis that is resized.

    Raises:
      Unknown: the batch axis is resized.
    """
    rank = len(shape)
    given = [axis_of(node, int(a), rank) for a in node.attributes.get("axes", ())] or list(range(rank))
    found = []
    policy = node.attributes.get("keep_aspect_ratio_policy", "stretch")
    if sizes is not None and policy != "stretch":
        old_sizes = [shape[axis] for axis in given]
        if depends_on_rows(old_sizes):
            raise Unknown("a batch that is resized")
        olds = [int(size) for size in old_sizes]  # type: ignore[arg-type]
        ratios = [int(size) / old for old, size in zip(olds, sizes, strict=True)]
        scale = min(ratios) if policy == "not_larger" else max(ratios)
        return [(axis, math.floor(scale * old + 0.5), scale) for axis, old in zip(given, olds, strict=True)]
    for i, axis in enumerate(given):
        old = shape[axis]
        if isinstance(old, Affine):
            if (scales is not None and scales[i] == 1) or (sizes is not None and sizes[i] == old):
                continue
            raise Unknown("a batch that is resized")
        scale = float(scales[i]) if scales is not None else int(sizes[i]) / old  # type: ignore[index]
        found.append((axis, math.floor(old * scale) if scales is not None else int(sizes[i]), scale))  # type: ignore[index]
    return found


@rule("Resize", "Upsample")
def _resize_shape(node: Node, x: Value, *operands_given: Value | None) -> Result:
    scales, sizes, _ = operands(node, operands_given)
    shape = list(shape_of(x))
    for axis, size, _ in plan_axes(node, tuple(shape), scales, sizes):
        shape[axis] = size
    return [(tuple(shape), dtype_of(x))]


def operands(node: Node, operands_given: Any) -> tuple[Array | None, Array | None, Array | None]:
    """Scales, sizes, region of interest."""
    if node.op == "Upsample" or node.opset < 11:
        return _given(operands_given[0]), None, None
    roi, scales, sizes = (*operands_given, None, None, None)[:3]
    return _given(scales), _given(sizes), _given(roi)
