"""Intervals that are valid for every distribution on a known range and every number of values."""

from __future__ import annotations

from math import inf, log, sqrt
from typing import Any

import numpy as np

from cervello.errors import InputError
from cervello.spec import Array
from cervello.statistics.arguments import FEWEST, Interval, check_level, finite_values, is_number


def _in_range(values: Any, low: float, high: float) -> tuple[Array, float]:
    """Values within [low, high], and the length of that range."""
    if not (is_number(low) and is_number(high) and -inf < low < high < inf):
        raise InputError(f"statistics, range: expected finite low < high, got {low!r} and {high!r}; give the bounds of what is averaged")
    array = finite_values(values)
    rounding = 1e-9 * (high - low)
    wrong = (array < low - rounding) | (array > high + rounding)
    if wrong.any():
        i = int(np.flatnonzero(wrong)[0])
        raise InputError(f"statistics, values: expected numbers between {low} and {high}, got {array[i]} at {i}; give bounds "
                         "that contain all values")
    return array, float(high) - float(low)


def hoeffding(values: Any, low: float, high: float, *, level: float = 0.95) -> Interval | None:
    """mean ∓ R √(ln(2/δ) / 2n), with R = high − low and δ = 1 − level.

    Args:
      values: [n] independent numbers between low and high.
    Returns:
      (low, high); None for fewer than 3 values.
    Raises:
      InputError: values outside the range, or no range. ConfigurationError: a level that is out of range.
    Source: W. Hoeffding, "Probability inequalities for sums of bounded random variables", JASA 58 (1963), theorem 2.
    """
    delta = 1 - check_level(level)
    array, R = _in_range(values, low, high)
    n = len(array)
    if n < FEWEST:
        return None
    half = R * sqrt(log(2 / delta) / (2 * n))
    mean = float(array.mean())
    return mean - half, mean + half


def empirical_bernstein(values: Any, low: float, high: float, *, level: float = 0.95) -> Interval | None:
    """mean ∓ (√(2 V ln(4/δ) / n) + 7 R ln(4/δ) / (3 (n − 1))), with V the sample variance: δ/2 a side, δ = 1 − level.

    Args:
      values, low, high, level: as in `hoeffding`, with its results and errors.
    Source: A. Maurer, M. Pontil, "Empirical Bernstein bounds and sample variance penalization", COLT 2009, theorem 4.
    """
    delta = 1 - check_level(level)
    array, R = _in_range(values, low, high)
    n = len(array)
    if n < FEWEST:
        return None
    term = log(4 / delta)
    half = sqrt(2 * float(array.var(ddof=1)) * term / n) + 7 * R * term / (3 * (n - 1))
    mean = float(array.mean())
    return mean - half, mean + half
