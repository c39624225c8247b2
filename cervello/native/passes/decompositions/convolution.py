"""ConvTranspose: inserts zeros between the elements of the image, then convolves with the flipped filters.

Source: ONNX operator specification, ConvTranspose-22.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cervello.native.graph.dims import depends_on_rows
from cervello.native.graph.dtypes import F32
from cervello.native.passes.graph_builder import GraphBuilder, Results, decomposes


@decomposes("ConvTranspose")
def _conv_transpose(s: GraphBuilder) -> Results:
    shape, weights = s.shape(0), s.data(1)
    if weights is None or weights.dtype != F32 or depends_on_rows(shape[1:]) or len(shape) not in (3, 4, 5):
        return None
    channels, *sizes = (int(size) for size in shape[1:])  # type: ignore[arg-type]
    n, groups = len(sizes), s.attribute("group", 1)
    kernel = list(weights.shape[2:])
    strides, dilations, reach = _window_steps(s, kernel)
    extra, pads = _output_pads(s, sizes, strides, reach)
    name = s.input(0)
    if any(stride > 1 for stride in strides):
        name = _with_zeros_between(s, name, channels, sizes, strides)
    before = [r - 1 - p for r, p in zip(reach, pads[:n], strict=True)]
    after = [r - 1 - p + e for r, p, e in zip(reach, pads[n:], extra, strict=True)]
    if any(p < 0 for p in (*before, *after)):
        name = s.add("Pad", name, s.constant([0, 0, *before, 0, 0, *after]), mode="constant")
        before = after = [0] * n
    flipped = np.flip(weights.reshape(groups, -1, *weights.shape[1:]).swapaxes(1, 2), tuple(range(3, 3 + n)))
    filters = s.constant(flipped.reshape(-1, *flipped.shape[2:]), F32)
    return s.add("Conv", name, filters, *([s.input(2)] if s.input(2) else []), kernel_shape=tuple(kernel), strides=(1,) * n,
                 dilations=tuple(dilations), pads=(*before, *after), group=groups)


@decomposes("ConvTranspose")
def _without_output_shape(s: GraphBuilder) -> Results:
    """Replaces output_shape by pads for the fallback tier, because onnx's reference implementation cuts off the wrong end."""
    if s.attribute("output_shape") is None:
        return None
    sizes, kernel = ([size for size in s.shape(i)[2:] if isinstance(size, int)] for i in range(2))
    n = len(s.shape(0)) - 2
    if len(sizes) != n or len(kernel) != n:
        return None
    strides, dilations, reach = _window_steps(s, kernel)
    extra, pads = _output_pads(s, sizes, strides, reach)
    if min(pads) < 0:
        return None
    return s.add("ConvTranspose", *s.node.inputs, kernel_shape=tuple(kernel), strides=tuple(strides), dilations=tuple(dilations),
                 pads=tuple(pads), output_padding=tuple(extra), group=s.attribute("group", 1))


def _window_steps(s: GraphBuilder, kernel: list[int]) -> tuple[list[int], list[int], list[int]]:
    """Strides, dilations, and the extent of the dilated kernel on each axis."""
    strides, dilations = (list(s.attribute(name, (1,) * len(kernel))) for name in ("strides", "dilations"))
    return strides, dilations, [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]


def _output_pads(s: GraphBuilder, sizes: list[int], strides: list[int], reach: list[int]) -> tuple[list[int], list[int]]:
    """Output padding, and pads that are cut off: as given, or computed from the requested output size."""
    n = len(sizes)
    extra = list(s.attribute("output_padding", (0,) * n))
    wanted: Any = s.attribute("output_shape")
    auto = s.attribute("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER") and wanted is None:
        wanted = [size * stride for size, stride in zip(sizes, strides, strict=True)]
    if wanted is None:
        return extra, list(s.attribute("pads", (0,) * 2 * n)) if auto != "VALID" else [0] * 2 * n
    first, last = [], []
    for size, stride, r, e, w in zip(sizes, strides, reach, extra, list(wanted)[-n:], strict=True):
        total = stride * (size - 1) + e + r - w
        small = total // 2
        first.append(small if auto == "SAME_UPPER" else total - small)
        last.append(total - small if auto == "SAME_UPPER" else small)
    return extra, [*first, *last]


def _with_zeros_between(s: GraphBuilder, name: str, channels: int, sizes: list[int], strides: list[int]) -> str:
    """The image with stride - 1 zeros after every element, none after the last."""
    n = len(sizes)
    apart = [size for pair in zip(sizes, (1,) * n, strict=True) for size in pair]
    behind = [size for stride in strides for size in (0, stride - 1)]
    padded = s.add("Pad", s.reshape(name, 0, channels, *apart), s.constant([0] * (2 + 2 * n) + [0, 0, *behind]), mode="constant")
    joined = s.reshape(padded, 0, channels, *(size * stride for size, stride in zip(sizes, strides, strict=True)))
    ends = [(size - 1) * stride + 1 for size, stride in zip(sizes, strides, strict=True)]
    return s.add("Slice", joined, s.constant([0] * n), s.constant(ends), s.constant(list(range(2, 2 + n))))
