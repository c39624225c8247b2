"""Sliding windows: the geometry that convolutions and poolings share.

Source: ONNX Conv, MaxPool, AveragePool (auto_pad, dilations, ceil_mode), opset 22.
"""

from __future__ import annotations

from dataclasses import dataclass

from cervello.errors import GraphError
from cervello.native.dims import Affine
from cervello.native.graph import Node
from cervello.native.ops.shapes import Result, Unknown, dtype_of, rule, shape_of
from cervello.native.values import Value


@dataclass(frozen=True, slots=True)
class Window:
    """One geometry per spatial axis: input size, output size, kernel, stride, dilation, pad before."""

    sizes: tuple[int, ...]
    outputs: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]


def window(node: Node, x: Value, kernel: tuple[int, ...] | None = None) -> Window:
    """The geometry of a node over an input [N, C, spatial…]."""
    shape = shape_of(x)
    spatial = shape[2:]
    if not spatial or any(isinstance(d, Affine) for d in shape[1:]):
        raise Unknown("spatial sizes")
    sizes = tuple(int(d) for d in spatial)  # type: ignore[arg-type]
    rank = len(sizes)
    kernel = tuple(node.attributes.get("kernel_shape") or kernel or ())
    if len(kernel) != rank:
        raise GraphError(f"node {node}: expected a kernel of rank {rank}, got {kernel}")
    strides = tuple(node.attributes.get("strides") or (1,) * rank)
    dilations = tuple(node.attributes.get("dilations") or (1,) * rank)
    pads = tuple(node.attributes.get("pads") or (0,) * (2 * rank))
    if not len(strides) == len(dilations) == len(pads) // 2 == rank or min(*kernel, *strides, *dilations) < 1:
        raise GraphError(f"node {node}: expected kernel, strides and dilations of at least 1 on {rank} axes, got {kernel}, {strides}, "
                         f"{dilations} and pads {pads}")
    auto = node.attributes.get("auto_pad", "NOTSET")
    before, outputs = [], []
    for i, size in enumerate(sizes):
        reach = dilations[i] * (kernel[i] - 1) + 1
        if auto in ("SAME_UPPER", "SAME_LOWER"):
            out = -(-size // strides[i])
            total = max(0, (out - 1) * strides[i] + reach - size)
            first = total // 2 if auto == "SAME_UPPER" else total - total // 2
        else:
            first, last = (0, 0) if auto == "VALID" else (pads[i], pads[rank + i])
            room = size + first + last - reach
            if node.attributes.get("ceil_mode", 0):
                out = -(-room // strides[i]) + 1
                if (out - 1) * strides[i] >= size + first:  # a window that starts in the padding behind is dropped
                    out -= 1
            else:
                out = room // strides[i] + 1
        if out < 1:
            raise GraphError(f"node {node}: expected an input that holds the kernel {kernel}, got size {size} on axis {i + 2}")
        before.append(first)
        outputs.append(out)
    return Window(sizes, tuple(outputs), kernel, strides, dilations, tuple(before))


@rule("Conv")
def _conv(node: Node, x: Value, w: Value, b: Value | None = None) -> Result:
    weights = shape_of(w)
    if any(isinstance(d, Affine) for d in weights):
        raise Unknown("weights")
    geometry = window(node, x, weights[2:])  # type: ignore[arg-type]
    return [((shape_of(x)[0], weights[0], *geometry.outputs), dtype_of(x))]


@rule("MaxPool", "AveragePool")
def _pool(node: Node, x: Value) -> Result:
    if len([o for o in node.outputs if o]) > 1:
        raise Unknown("indices output")
    return [((*shape_of(x)[:2], *window(node, x).outputs), dtype_of(x))]


@rule("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(node: Node, x: Value) -> Result:
    shape = shape_of(x)
    return [((*shape[:2], *(1,) * (len(shape) - 2)), dtype_of(x))]
