"""Student's t interval of a mean, or of an estimate with known influence values."""

from __future__ import annotations

from typing import Any

import numpy as np

from cervello.errors import ConfigurationError
from cervello.statistics.arguments import FEWEST, Interval, check_level, finite_values, is_number
from cervello.statistics.quantiles import student_t_quantile


def student_t(values: Any, *, center: float | None = None, level: float = 0.95) -> Interval | None:
    """center ∓ t(n − 1) s / √n, with s the standard deviation of the values (n − 1).

    Args:
      values: [n], one per episode: the estimate is their mean, or they are its influence values (linearisation, Hampel 1974).
      center: the estimate; None for the mean of the values.
      level: coverage.
    Returns:
      (low, high); None for fewer than 3 values.
    Raises:
      InputError: values that are not finite. ConfigurationError: a level that is out of range.
    Source: Student, "The probable error of a mean", Biometrika 6 (1908).
    """
    level = check_level(level)
    if center is not None and not is_number(center):
        raise ConfigurationError(f"statistics, center: expected a number or None, got {center!r}")
    array = finite_values(values)
    n = len(array)
    if n < FEWEST:
        return None
    if array.min() == array.max():
        point = float(array[0] if center is None else center)
        return point, point
    scale = float(np.abs(array).max())  # sums and squares must not overflow
    with np.errstate(over="ignore"):
        mean = float(array.mean())
    point = float(center) if center is not None else mean if np.isfinite(mean) else scale * float((array / scale).mean())
    half = student_t_quantile(n - 1, 1 - (1 - level) / 2) * scale * float((array / scale).std(ddof=1)) / n**0.5
    return point - half, point + half
