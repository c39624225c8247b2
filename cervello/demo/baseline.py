"""The random baseline, and the interval for comparing a policy with it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from cervello.demo.herd import FloatArray, IntArray
from cervello.demo.species import Species

# Two-sided 95% quantiles of Student's t for 1..30 degrees of freedom.
_T_95 = (
    *(12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281),
    *(2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860),
    *(2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423),
)
_Z_95 = 1.959964


class RandomPolicy:
    """Ignores observations: uniform in -1..1 for a continuous output, uniform logits (a uniform argmax) else.

    Args:
      species: whose output to imitate.
      seed: of its own random numbers.
    """

    def __init__(self, species: Species, seed: int = 0) -> None:
        self._species = species
        self._random = np.random.default_rng(seed)

    def begin_agents(self, ids: Sequence[int], /) -> None:
        """Does nothing: the baseline has no state."""

    def end_agents(self, ids: Sequence[int], /) -> None:
        """Does nothing: the baseline has no state."""

    def infer_batch(self, ids: IntArray, observations: Mapping[str, FloatArray], /) -> dict[str, FloatArray]:
        """Returns {output name: [N, ...] float32} for N ids."""
        shape = (len(ids), *self._species.output_shape)
        return {self._species.output_name: self._random.uniform(-1.0, 1.0, shape).astype(np.float32)}


def mean_with_interval(returns: Sequence[float]) -> tuple[float, float, float]:
    """Returns (mean, low, high): the mean and its two-sided 95% Student-t interval.

    The lives of one match share an arena and are not quite independent; play several seeds where that matters.

    Args:
      returns: at least one number; with a single one the interval is infinite.
    Raises:
      ValueError: returns is empty.
    """
    values = np.asarray(returns, np.float64)
    if not values.size:
        raise ValueError("returns: expected at least one number, got none; play more ticks")
    mean = float(values.mean())
    if values.size == 1:
        return mean, -math.inf, math.inf
    half = t_quantile_95(values.size - 1) * float(values.std(ddof=1)) / math.sqrt(values.size)
    return mean, mean - half, mean + half


def t_quantile_95(degrees: int) -> float:
    """Returns the two-sided 95% quantile of Student's t with `degrees` >= 1 degrees of freedom.

    Source: Abramowitz and Stegun 26.7.5 (expansion about the normal quantile) beyond the table's 30 degrees.
    """
    if degrees <= len(_T_95):
        return _T_95[degrees - 1]
    z = _Z_95
    return z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
