"""Checks the arguments of the statistics."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np

from cervello.errors import ConfigurationError, InputError
from cervello.spec import Array

FEWEST = 3  # values; fewer have no interval

Interval = tuple[float, float]


def as_numbers(values: Any, name: str) -> Array:
    """An array of float64.

    Raises:
      InputError: no numbers, or not in rows of one length.
    """
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise InputError(f"statistics, {name}: expected an array of numbers, got a ragged sequence") from error
    if array.dtype.kind not in "fiub" and array.size:
        raise InputError(f"statistics, {name}: expected numbers, got {array.shape} {array.dtype}")
    return array.astype(np.float64)


def finite_values(values: Any, name: str = "values") -> Array:
    """[n] float64.

    Raises:
      InputError: not one axis of finite numbers.
    """
    array = as_numbers(values, name)
    if array.ndim != 1:
        raise InputError(f"statistics, {name}: expected [n] numbers, got {array.shape}; give one number per episode")
    wrong = ~np.isfinite(array)
    if wrong.any():
        i = int(np.flatnonzero(wrong)[0])
        raise InputError(f"statistics, {name}: expected finite numbers, got {array[i]} at {i}; leave it out or mend it")
    return array


def log_weights_of(values: Any, axes: str) -> Array:
    """[n, …] float64 logarithms of weights; −∞ is a weight of 0.

    Args:
      axes: "[n]" or "[n, …]".
    Raises:
      InputError: no numbers, NaN or +∞ among them, or other axes.
    """
    logs = as_numbers(values, "log_weights")
    has_axes = logs.ndim == 1 if axes == "[n]" else logs.ndim >= 1
    if not has_axes or np.isnan(logs).any() or np.isposinf(logs).any():
        raise InputError(f"statistics, log_weights: expected {axes} numbers or −∞, got {logs.shape} with NaN or +∞, or other axes")
    return logs


def is_number(value: Any) -> bool:
    """Whether an argument is a real number, numpy's included; bools and NaN are none."""
    return isinstance(value, Real) and not isinstance(value, bool) and value == value


def is_integer(value: Any) -> bool:
    """Whether an argument is an integer, numpy's included; bools are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_resampling(resamples: Any, seed: Any, where: str = "statistics") -> None:
    """Checks the number of resamples, and their seed.

    Args:
      where: begins the messages.
    Raises:
      ConfigurationError: they are no integers from 1, or from 0.
    """
    for name, value, least, usual in (("resamples", resamples, 1, 1999), ("seed", seed, 0, 0)):
        if not is_integer(value) or value < least:
            raise ConfigurationError(f"{where}, {name}: expected an integer of at least {least}, got {value!r}; {usual} is usual")


def check_level(level: Any, where: str = "statistics") -> float:
    """A confidence level.

    Args:
      where: begins the message.
    Raises:
      ConfigurationError: the level is not between 0 and 1.
    """
    if not is_number(level) or not 0 < level < 1:
        raise ConfigurationError(f"{where}, level: expected a number between 0 and 1, got {level!r}; 0.95 is usual")
    return float(level)
