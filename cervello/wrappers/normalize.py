"""Observations in units of their standard deviation."""

from __future__ import annotations

import copy
import os
from typing import Any

import numpy as np

from cervello.errors import FormatError, WrapperError
from cervello.spec import Array, PolicySpec, View, Wrapper
from cervello.wrappers.base import Passive, check_name, take_input, with_input
from cervello.wrappers.clip import clipped
from cervello.wrappers.vecnormalize import read_statistics


class Normalize(Passive):
    """Normalises an input: (x - mean) / √(var + epsilon), within ±clip. The caller gives x.

    Means are float64. Float64 observations are subtracted in float64, and the difference is rounded to float32 once. If float32
    represents all means exactly, the difference to a float32 observation is taken in float32, which gives the same bits. The rest is
    float32 arithmetic, element by element, so that a row has the same bits in every batch. A custom wrapper, `FrameStack` or
    `Image` further out still gets float32 observations.

    Args:
      key: the input.
      mean, var: numbers or rows.
      clip: bound of the result; None for none.
      epsilon: keeps the root above zero.
    Raises:
      WrapperError: invalid numbers, or a variance with epsilon that is not positive; at `attach`, what does not fit there.
    """

    reads_inputs = True

    def __init__(self, key: str, mean: Any, var: Any, clip: float | None = 10.0, epsilon: float = 1e-8):
        self.key = check_name("Normalize", "input", key)
        try:
            self.mean, self.var = np.array(mean, np.float64), np.array(var, np.float64)
            total = self.var + float(epsilon)
            bound = np.inf if clip is None else float(clip)
        except (TypeError, ValueError) as error:
            raise WrapperError(f"Normalize({key!r}): expected mean, var, clip and epsilon as numbers, got others") from error
        if not np.isfinite(self.mean).all() or not np.isfinite(total).all() or not (total > 0).all() or not (self.var >= 0).all():
            raise WrapperError(f"Normalize({key!r}): expected finite means and variances from 0, with var + epsilon > 0, got mean "
                               f"{self.mean.tolist()}, var {self.var.tolist()}, epsilon {epsilon!r}")
        if not bound > 0:
            raise WrapperError(f"Normalize({key!r}): expected a positive clip or None, got {clip!r}")
        self.clip, self.epsilon = clip, float(epsilon)
        self._centre: Array = np.zeros(0)
        self._scale: Array = np.zeros(0)
        self._low: Array | None = None
        self._high: Array | None = None

    @classmethod
    def from_vecnormalize(cls, path: str | os.PathLike[str], key: str, observation: str | None = None) -> Normalize:
        """Reads statistics that Stable-Baselines3's `VecNormalize.save` wrote. Nothing in the file is run or imported, so untrusted files
        are safe.

        Args:
          path: the .pkl file.
          key: the policy's input.
          observation: entry of a Dict observation; None for the one named like the input.
        Raises:
          MissingFileError: no such file. FormatError: no such statistics in it, or an object in it that does not belong there.
        """
        found = read_statistics(path, key if observation is None else observation)
        try:
            return cls(key, found.mean, found.var, found.clip, found.epsilon)
        except WrapperError as error:
            raise FormatError(f"statistics {os.fspath(path)!r}: {error}") from error

    def __repr__(self) -> str:
        return f"Normalize({self.key!r}, …)"

    def attach(self, spec: PolicySpec) -> tuple[Wrapper, PolicySpec]:
        found = take_input(spec, self, self.key)
        if found.dtype != np.float32 or found.batch_axis != 0:
            raise WrapperError(f"wrapper {self!r}: expected a float32 input with the batch on axis 0, got {found}")
        try:
            mean, var = (np.broadcast_to(each, found.shape) for each in (self.mean, self.var))
        except ValueError as error:
            raise WrapperError(f"wrapper {self!r}: expected statistics that fit {found}, got mean {self.mean.shape}, var {self.var.shape}"
                               ) from error
        bound = copy.copy(self)
        with np.errstate(over="ignore", under="ignore"):
            centre = mean.astype(np.float32)
            bound._centre = centre if (centre == mean).all() else np.ascontiguousarray(mean)
            bound._scale = (1.0 / np.sqrt(var + self.epsilon)).astype(np.float32)
        if self.clip is not None:
            bound._low, bound._high = np.array(-self.clip, np.float32), np.array(self.clip, np.float32)
        return bound, with_input(spec, self.key, keeps_float64=True)

    def inward(self, view: View) -> None:
        with np.errstate(all="ignore"):
            scaled = (view.inputs[self.key] - self._centre).astype(np.float32, copy=False) * self._scale
        view.inputs[self.key] = clipped(scaled, self._low, self._high)
