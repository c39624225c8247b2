"""Convolutions, poolings and resized images."""

from __future__ import annotations

import math

from cervello.native.frontend.operand_rules.table import Operands, operands_of
from cervello.native.graph.dims import Affine, parts, written

_AUTO = ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")
_COORDINATES = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize",
                "tf_half_pixel_for_nn")


def _frame(o: Operands, n: int) -> None:
    """Checks the attributes of windows over n spatial axes."""
    o.choice("auto_pad", "NOTSET", _AUTO)
    o.each("kernel_shape", n, 1)
    o.each("strides", n, 1)
    o.each("dilations", n, 1)
    o.each("pads", 2 * n, 0)


@operands_of("Conv", "ConvTranspose")
def _conv(o: Operands) -> None:
    rank = convolution(o)
    if o.node.op == "ConvTranspose":
        _transposed(o, rank - 2)


def convolution(o: Operands, filters_at: int = 1, bias_at: int = 2) -> int:
    """Checks an image (operand 0), filters and a bias; returns the image's rank."""
    rank = o.rank(0, "an image", 3)
    o.rank(filters_at, "filters", rank, rank)
    _frame(o, rank - 2)
    x, w, groups = o.shape(0), o.shape(filters_at), o.at_least("group", 1, 1)
    kernel = o.attribute("kernel_shape")
    if kernel and tuple(kernel) != tuple(w[2:]):
        o.fail(f"kernel_shape {written(w[2:])}, as the filters have it", list(kernel))
    if any(parts(size)[0] < 1 for size in w[2:] if not isinstance(size, Affine)):
        o.fail("filters of at least one element", written(w))
    transposed = o.node.op == "ConvTranspose"
    channels, filters = (w[0], w[1] * groups) if transposed else (w[1] * groups, w[0])
    divided = channels if transposed else filters
    if x[1] != channels:
        o.fail(f"an image of {channels} channels", written(x))
    if not isinstance(divided, Affine) and divided % groups:
        o.fail(f"channels that {groups} groups share evenly", divided)
    o.has_shape(bias_at, "a bias", (filters,))
    return rank


def _transposed(o: Operands, n: int) -> None:
    """Checks the attributes that only ConvTranspose has."""
    extra = o.each("output_padding", n, 0)
    strides, dilations = o.attribute("strides") or (1,) * n, o.attribute("dilations") or (1,) * n
    if extra is not None and any(e >= max(s, d) for e, s, d in zip(extra, strides, dilations, strict=True)):
        o.fail("output_padding below the stride or the dilation", list(extra))
    wanted = o.attribute("output_shape")
    if wanted and (len(wanted) not in (n, n + 2) or min(wanted) < 0):
        o.fail(f"{n} sizes of at least 0 as output_shape", list(wanted))


@operands_of("MaxPool", "AveragePool", "LpPool")
def _pool(o: Operands) -> None:
    n = o.rank(0, "an image", 3) - 2
    _frame(o, n)
    kernel = o.attribute("kernel_shape") or ()
    if len(kernel) != n:
        o.fail(f"a kernel_shape of rank {n}", list(kernel))
    pads, dilations = o.attribute("pads") or (0,) * 2 * n, o.attribute("dilations") or (1,) * n
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True)]
    if o.attribute("auto_pad", "NOTSET") == "NOTSET" and any(pad >= most for pad, most in zip(pads, reach * 2, strict=True)):
        o.fail(f"pads below the kernel's {reach}", list(pads))


@operands_of("CenterCropPad")
def _center_crop_pad(o: Operands) -> None:
    rank, axes = o.rank(0, "an image", 1), o.attribute("axes")
    o.is_list(1, "sizes", rank if axes is None else len(o.axes(axes, rank)))


@operands_of("Upsample", "Resize")
def _resize(o: Operands) -> None:
    rank = o.rank(0, "an image", 1)
    old = o.node.op == "Upsample" or o.node.opset < 11
    o.choice("mode", "nearest", ("nearest", "linear", "cubic", "bilinear") if old else ("nearest", "linear", "cubic"))
    if not old:
        o.choice("coordinate_transformation_mode", "half_pixel", _COORDINATES)
        o.choice("nearest_mode", "round_prefer_floor", ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"))
        o.choice("keep_aspect_ratio_policy", "stretch", ("stretch", "not_larger", "not_smaller"))
    axes = o.axes(o.attribute("axes") or range(rank), rank)
    scales, sizes = (1, None) if old else (2, 3)
    given = [index for index in (scales, sizes) if index is not None and o.given(index) and o.shape(index) != (0,)]
    if len(given) != 1:
        o.fail("scales or sizes", "both" if given else "neither")
    o.is_list(given[0], "scales" if given[0] == scales else "sizes", len(axes))
    if o.attribute("coordinate_transformation_mode") == "tf_crop_and_resize":
        if not o.given(1):
            o.fail("a region of interest, since tf_crop_and_resize takes one", "none")
        o.is_list(1, "a region of interest", 2 * len(axes))
    for axis, number in zip(axes, o.data(given[0]).tolist(), strict=True):
        size = o.shape(0)[axis]
        if given[0] == scales and not (number > 0 and math.isfinite(number)):
            o.fail("scales above 0", o.data(scales).tolist())
        if given[0] != scales and number < 1:
            o.fail("sizes of at least 1", o.data(given[0]).tolist())
        if not isinstance(size, Affine) and size == 0 and (given[0] != scales or number != 1):
            o.fail(f"elements to resize on axis {axis}", written(o.shape(0)))
