"""Checks the arguments of the statistics."""

from __future__ import annotations

from typing import Any

import numpy as np

from cervello.errors import ConfigurationError, InputError
from cervello.spec import Array

FEWEST = 3  # values; fewer have no interval

Interval = tuple[float, float]


def sample(values: Any, name: str = "values") -> Array:
    """[n] float64.

    Raises:
      InputError: not one axis of finite numbers.
    """
    array = np.asarray(values)
    if array.ndim != 1 or (array.dtype.kind not in "fiub" and array.size):
        raise InputError(f"statistics, {name}: expected [n] numbers, got {array.shape} {array.dtype}; give one number per episode")
    array = array.astype(np.float64)
    wrong = ~np.isfinite(array)
    if wrong.any():
        i = int(np.flatnonzero(wrong)[0])
        raise InputError(f"statistics, {name}: expected finite numbers, got {array[i]} at {i}; leave it out or mend it")
    return array


def check_level(level: float) -> float:
    """Checks a confidence level.

    Raises:
      ConfigurationError: the level is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ConfigurationError(f"statistics, level: expected a number between 0 and 1, got {level!r}; 0.95 is usual")
    return level
