"""Sliding windows: the geometry that convolutions and poolings share.

Source: ONNX Conv, MaxPool, AveragePool (auto_pad, dilations, ceil_mode), opset 22.
"""

from __future__ import annotations

from dataclasses import dataclass

from cervello.errors import GraphError
from cervello.native.graph.graph import Node


@dataclass(frozen=True, slots=True)
class Window:
    """One geometry per spatial axis: input size, output size, kernel, stride, dilation, pad before and behind."""

    sizes: tuple[int, ...]
    outputs: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]
    ends: tuple[int, ...]


def geometry(node: Node, sizes: tuple[int, ...], kernel: tuple[int, ...] | None = None) -> Window:
    """The windows of a node over an image of these sizes; `kernel` where the node does not give it."""
    rank = len(sizes)
    kernel = tuple(node.attributes.get("kernel_shape") or kernel or ())
    strides = tuple(node.attributes.get("strides") or (1,) * rank)
    dilations = tuple(node.attributes.get("dilations") or (1,) * rank)
    pads = tuple(node.attributes.get("pads") or (0,) * (2 * rank))
    auto = node.attributes.get("auto_pad", "NOTSET")
    before, behind, outputs = [], [], []
    for i, size in enumerate(sizes):
        reach = dilations[i] * (kernel[i] - 1) + 1
        if auto in ("SAME_UPPER", "SAME_LOWER"):
            out = -(-size // strides[i])
            total = max(0, (out - 1) * strides[i] + reach - size)
            first = total // 2 if auto == "SAME_UPPER" else total - total // 2
            last = total - first
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
        behind.append(last)
        outputs.append(out)
    return Window(sizes, tuple(outputs), kernel, strides, dilations, tuple(before), tuple(behind))
