"""Converts images from the caller's layout and type to the model's."""

from __future__ import annotations

import copy
import math
from numbers import Real

import numpy as np

from cervello.errors import WrapperError
from cervello.spec import PolicySpec, View, Wrapper
from cervello.wrappers.base import Passive, check_choice, check_name, take_input, with_input

_MOST_CHANNELS = 4


class Image(Passive):
    """Converts images to the model's float32 (C, H, W); the caller gives uint8, (H, W, C).

    Args:
      key: the input.
      scale: factor for every element.
      layout: "HWC"; or "CHW" for a caller whose images have the model's own order of axes, whichever that is.
    Raises:
      WrapperError: a scale that is no finite number, or an unknown layout; at `attach`, what does not fit there.
    """

    reads_inputs = True

    def __init__(self, key: str, scale: float = 1 / 255, layout: str = "HWC"):
        self.key = check_name("Image", "input", key)
        if not isinstance(scale, Real) or isinstance(scale, bool) or not math.isfinite(scale):
            raise WrapperError(f"Image({key!r}): expected a finite number as scale, got {scale!r}")
        check_choice(f"Image({key!r})", "layout", layout, ("HWC", "CHW"))
        self.scale: float = float(scale)
        self.layout: str = layout

    def __repr__(self) -> str:
        options = ("" if self.scale == 1 / 255 else f", scale={self.scale}") + ("" if self.layout == "HWC" else f", layout={self.layout!r}")
        return f"Image({self.key!r}{options})"

    def attach(self, spec: PolicySpec) -> tuple[Wrapper, PolicySpec]:
        found = take_input(spec, self, self.key)
        if found.dtype != np.float32 or found.batch_axis != 0 or len(found.shape) != 3:
            raise WrapperError(f"wrapper {self!r}: expected a float32 input (N, C, H, W), got {found}")
        if _is_channels_last(found.shape):
            raise WrapperError(f"wrapper {self!r}: expected a model whose pictures are (C, H, W), got {found}, whose channels seem to be "
                               "the last axis; give it pictures as they are, or export the model with channels in front")
        shape = (*found.shape[1:], found.shape[0]) if self.layout == "HWC" else found.shape
        return copy.copy(self), with_input(spec, self.key, shape=shape, dtype=np.dtype(np.uint8), default=None, keeps_float64=False)

    def inward(self, view: View) -> None:
        given = view.inputs[self.key]
        picture = np.moveaxis(given, 3, 1) if self.layout == "HWC" else given
        column = np.array(picture, np.float32, order="C")
        column *= np.float32(self.scale)
        view.inputs[self.key] = column


def _is_channels_last(shape: tuple[int, ...]) -> bool:
    """Whether a model's image has few entries on its last axis and many on the first."""
    return shape[-1] <= _MOST_CHANNELS < shape[0] and shape[0] == shape[1]
