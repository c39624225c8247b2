"""The effective sample size: the number of equally weighted units that a weighted sample is worth."""

from __future__ import annotations

from typing import Any

import numpy as np

from cervello.spec import Array
from cervello.statistics.arguments import log_weights_of


def effective_sample_size(log_weights: Any) -> Any:
    """(Σ w)² / Σ w² over the first axis, in log space, without overflow.

    Args:
      log_weights: [n, …], natural logarithms; −∞ is a weight of 0.
    Returns:
      […] float64 between 0 and n, 0 where there is no weight; a float for [n].
    Raises:
      InputError: no numbers, NaN or +∞.
    Source: A. Kong, "A note on importance sampling using standardized weights", 1992.
    """
    logs = log_weights_of(log_weights, "[n, …]")
    if not len(logs):
        found = np.zeros(logs.shape[1:])
    else:
        sums = WeightSums(logs.max(0))
        sums.add(logs)
        found = sums.effective
    return float(found) if logs.ndim == 1 else found


class WeightSums:
    """Σ w and Σ w² over blocks of units. Mutable: `add` adds a block."""

    def __init__(self, top: Any):
        """top: […] logarithms of the largest weights of all blocks."""
        self._safe = np.where(np.isfinite(top), top, 0.0)
        self._sum, self._squares = np.zeros(self._safe.shape), np.zeros(self._safe.shape)

    def add(self, log_weights: Array) -> None:
        """log_weights: [n, …], natural logarithms, none above the largest."""
        self.add_weights(np.exp(log_weights - self._safe))

    def add_weights(self, weights: Array) -> None:
        """weights: [n, …], over the largest of all blocks."""
        self._sum += weights.sum(0)
        self._squares += (weights**2).sum(0)

    @property
    def effective(self) -> Array:
        """[…] effective sample sizes."""
        return np.asarray(self._sum**2 / np.where(self._squares > 0, self._squares, 1.0))
