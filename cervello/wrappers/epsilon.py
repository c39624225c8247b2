"""Noise inputs."""

from __future__ import annotations

import copy
import math
import zlib
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np

from cervello.codegen import linker
from cervello.codegen.bits import float64_word
from cervello.errors import WrapperError
from cervello.noise import Constant, FastNormal, Generator, Normal
from cervello.spec import FusedOp, PolicySpec, View, Wrapper
from cervello.wrappers.base import Passive, check_name, take_input, without

_KERNELS: dict[type, str] = {Normal: "cervello.noise.kernels:fill_normal", FastNormal: "cervello.noise.kernels:fill_fast_normal"}
_OWN = frozenset({Normal, FastNormal, Constant})
_NAMED = {"normal": Normal(), "fast": FastNormal(), "zeros": Constant(0.0)}


class Epsilon(Passive):
    """Fills a noise input, which the caller no longer gives. Deterministic rows get zeros.

    Args:
      key: the input.
      generator: "normal", "fast", "zeros", or an object of `cervello.noise.Generator`.
      scale: factor for every number.
    Raises:
      WrapperError: an unknown generator, a scale that is no finite number; at `attach`, what does not fit there.
    """

    def __init__(self, key: str = "epsilon", generator: str | Generator = "normal", scale: float = 1.0):
        found = _NAMED.get(generator) if isinstance(generator, str) else generator
        if not isinstance(found, Generator) or isinstance(found, type | np.ndarray):  # an array has a `fill` of its own
            raise WrapperError(f"Epsilon({key!r}): expected a generator among {sorted(_NAMED)} or an object with `fill`, got {generator!r}")
        finite = isinstance(scale, Real) and not isinstance(scale, bool) and math.isfinite(scale)
        if not finite:
            raise WrapperError(f"Epsilon({key!r}): expected a finite number as scale, got {scale!r}")
        self.key = check_name("Epsilon", "input", key)
        self.generator, self.scale = found, float(scale)
        # The site depends on the name alone, so that the order of wrappers does not change the noise; graph nodes have small numbers.
        self._site = zlib.crc32(key.encode()) | 0x80000000
        self._width = 0
        self._shape: tuple[int, ...] = ()

    def __repr__(self) -> str:
        return f"Epsilon({self.key!r})" if self.scale == 1.0 else f"Epsilon({self.key!r}, scale={self.scale})"

    def attach(self, spec: PolicySpec) -> tuple[Wrapper, PolicySpec]:
        found = take_input(spec, self, self.key)
        if found.dtype != np.float32 or found.batch_axis != 0:
            raise WrapperError(f"wrapper {self!r}: expected a float32 input with the batch on axis 0, got {found}")
        bound = copy.copy(self)
        bound._shape = found.shape
        bound._width = found.size
        return bound, without(spec, [self.key])

    def fused_ops(self) -> Sequence[FusedOp] | None:
        kernel = _KERNELS.get(type(self.generator))
        if kernel is None:
            return None
        scale = float64_word(self.scale)
        return [FusedOp("noise", self.key, (linker.address(kernel), self._site, scale, self._width))]

    def inward(self, view: View) -> None:
        own = type(self.generator) in _OWN
        column: Any = (np.empty if own else np.zeros)((view.n_rows, self._width), np.float32)  # a custom generator may skip elements
        self.generator.fill(column, view.slots, view.agents.streams, self._site, self.scale, view.deterministic)
        if not own and view.deterministic is not None:
            column[view.deterministic] = 0.0
        view.inputs[self.key] = column if len(self._shape) == 1 else column.reshape(view.n_rows, *self._shape)
