"""How many equally weighted units a weighted sample is worth."""

from __future__ import annotations

from typing import Any

import numpy as np

from cervello.errors import InputError


def effective_sample_size(log_weights: Any) -> Any:
    """(Σ w)² / Σ w² over the first axis, in log space, so weights of any size are fine.

    Args:
      log_weights: [n, …], natural logarithms; −∞ is a weight of 0.
    Returns:
      […] float64 between 0 and n, 0 where there is no weight; a float for [n].
    Raises:
      InputError: NaN or +∞.
    Source: A. Kong, "A note on importance sampling using standardized weights", 1992.
    """
    logs = np.asarray(log_weights, np.float64)
    if logs.ndim < 1 or np.isnan(logs).any() or np.isposinf(logs).any():
        raise InputError(f"statistics, log_weights: expected [n, …] numbers or −∞, got {logs.shape} with NaN or +∞, or no axis")
    if not len(logs):
        found = np.zeros(logs.shape[1:])
    else:
        top = logs.max(0)
        weights = np.exp(logs - np.where(np.isfinite(top), top, 0.0))
        squares = (weights**2).sum(0)
        found = weights.sum(0)**2 / np.where(squares > 0, squares, 1.0)
    return float(found) if logs.ndim == 1 else found
