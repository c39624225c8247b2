"""The interquartile mean: robust as a median, and less noisy."""

from __future__ import annotations

from typing import Any

import numpy as np

from cervello.errors import InputError
from cervello.spec import Array


def interquartile_mean(values: Any) -> Any:
    """The mean of the middle half along the last axis: ⌊n/4⌋ values are left out at either end, as scipy.stats.trim_mean does.

    Args:
      values: […, n] numbers; rows of resamples too, so `bca(returns, interquartile_mean)` is an interval.
    Returns:
      […] float64, a float for [n].
    Raises:
      InputError: no values, or no numbers.
    Source: R. Agarwal et al., "Deep reinforcement learning at the edge of the statistical precipice", NeurIPS 2021.
    """
    given = np.asarray(values)
    if given.dtype.kind not in "fiub" and given.size:
        raise InputError(f"statistics, interquartile_mean: expected numbers, got {given.dtype}")
    array = given.astype(np.float64)
    n = array.shape[-1] if array.ndim else 0
    if not n:
        raise InputError(f"statistics, interquartile_mean: expected at least one value, got shape {array.shape}")
    cut = n // 4
    middle: Array = np.partition(array, sorted({cut, n - cut - 1}), axis=-1)[..., cut:n - cut].mean(-1)
    return float(middle) if array.ndim == 1 else middle
