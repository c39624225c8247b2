"""Checks the arguments of the statistics."""

from __future__ import annotations

from numbers import Integral, Real
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


def is_real(value: Any) -> bool:
    """Whether it is a real number, numpy's included; NaN and truth values are none."""
    return isinstance(value, Real) and not isinstance(value, bool) and value == value


def is_integer(value: Any) -> bool:
    """Whether it is an integer, numpy's included; truth values are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_level(level: float) -> float:
    """Checks a confidence level.

    Raises:
      ConfigurationError: the level is not between 0 and 1.
    """
    if not is_real(level) or not 0 < level < 1:
        raise ConfigurationError(f"statistics, level: expected a number between 0 and 1, got {level!r}; 0.95 is usual")
    return level


def log_weights_of(given: Any, axes: str) -> Array:
    """[n, …] float64 logarithms of weights; −∞ is a weight of 0.

    Args:
      given: what a caller gives. axes: "[n]" or "[n, …]", for the message.
    Raises:
      InputError: not numbers, NaN or +∞ among them, or other axes.
    """
    array = np.asarray(given)
    fits = array.ndim == 1 if axes == "[n]" else array.ndim >= 1
    if not fits or (array.dtype.kind not in "fiub" and array.size):
        raise InputError(f"statistics, log_weights: expected {axes} numbers or −∞, got {array.shape} {array.dtype}")
    logs = array.astype(np.float64)
    if np.isnan(logs).any() or np.isposinf(logs).any():
        raise InputError(f"statistics, log_weights: expected {axes} numbers or −∞, got {array.shape} with NaN or +∞")
    return logs
