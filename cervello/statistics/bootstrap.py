"""Bootstrap intervals of any statistic that is recomputed in each resample.

Sources: B. Efron, "Better bootstrap confidence intervals", JASA 82 (1987), for bca and percentile, with the details of
scipy.stats.bootstrap; R. Beran, "Prepivoting to reduce level error of confidence sets", Biometrika 74 (1987), for calibrated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from cervello.errors import ConfigurationError
from cervello.spec import Array
from cervello.statistics.arguments import FEWEST, Interval, check_level, check_resampling, finite_values, is_integer
from cervello.statistics.quantiles import normal_cdf, normal_quantile
from cervello.statistics.resampling import Statistic, evaluate, leave_one_out, replicates, resamples_of

Kind = Literal["bca", "percentile", "calibrated"]
RowStatistic = Callable[[Array], Array]  # [B, m] values ▸ [B]

_OUTER, _INNER = 500, 200  # resamples, and resamples of each, from which `calibrated` takes its levels


def bootstrap(statistic: Statistic, n: int, kind: Kind = "bca", *, level: float = 0.95, resamples: int = 1999, seed: int = 0,
              ) -> Interval | None:
    """A confidence interval of a statistic of n independent units: episodes, or matches where agents share one.

    Args:
      statistic: [B, m] int64, indices of units ▸ [B] float64, recomputed for each row (normalisers too). It is called with the resamples
        (m = n), with all units in order (B = 1), and for bca with each unit left out (m = n − 1), a bounded number of rows at a time.
      kind: `bca` corrects bias and skewness; `percentile` takes the quantiles of the resamples; `calibrated` takes the quantiles whose
        one-sided coverage, estimated by resampling resamples, equals the level: the best for few or skewed units, and the slowest.
      level: coverage. resamples: their number, drawn by `numpy.random.default_rng(seed).integers(0, n, (resamples, n))`.
    Returns:
      (low, high); equal numbers where all resamples give the same; None for fewer than 3 units, and where the statistic is not finite
      in a resample, as a weighted mean without weight. Never NaN.
    Raises:
      ConfigurationError: an option out of range. InputError: the statistic returns another shape.
    """
    level = check_level(level)
    check_resampling(resamples, seed)
    if not callable(statistic):
        raise ConfigurationError(f"statistics, statistic: expected a function of indices, got {statistic!r}")
    if not is_integer(n):
        raise ConfigurationError(f"statistics, n: expected a number of units, got {n!r}")
    if kind not in ("bca", "percentile", "calibrated"):
        raise ConfigurationError(f"statistics, kind: expected 'bca', 'percentile' or 'calibrated', got {kind!r}")
    if n < FEWEST:
        return None
    found = replicates(statistic, n, resamples, seed)
    point = float(evaluate(statistic, np.arange(n)[None])[0])

    def levels(tails: Array) -> Array:
        if kind == "bca":
            return bca_levels(found, point, leave_one_out(statistic, n), tails)
        return _calibrated_levels(statistic, n, point, tails, min(resamples, _OUTER), seed) if kind == "calibrated" else tails

    return interval_of(found, point, level, levels)


def interval_of(found: Array, point: float, level: float, levels: Callable[[Array], Array]) -> Interval | None:
    """Quantiles of replicates.

    Args:
      found: [resamples] the statistic of each. point: of the data.
      levels: [2] tails ▸ [2] levels of the quantiles to take; called only where the replicates differ.
    Returns:
      As `bootstrap`.
    """
    if not np.isfinite(point) or not np.isfinite(found).all():
        return None
    if found.min() == found.max():
        return point, point
    low, high = np.percentile(found, 100 * levels(np.array([(1 - level) / 2, 1 - (1 - level) / 2])))
    return float(low), float(high)


def bca_levels(found: Array, point: float, without: Array, tails: Array) -> Array:
    """Levels of quantiles, corrected for bias (z₀) and acceleration (a).

    Args:
      found: [resamples] the statistic of each. point: of the data. without: [n] without each unit in turn. tails: [2].
    """
    n = len(without)
    below = ((found < point).sum() + (found <= point).sum()) / (2 * len(found))
    bias = float(normal_quantile(np.clip(below, 0.5 / len(found), 1 - 0.5 / len(found))))
    if not np.isfinite(without).all():
        without = np.full(n, point)
    influence = without.mean() - without
    influence = (n - 1) * np.ldexp(influence, -int(np.frexp(np.abs(influence).max())[1]))  # squares must not overflow
    spread = (influence**2).sum() / n**2
    acceleration = (influence**3).sum() / n**3 / spread**1.5 / 6 if spread else 0.0
    lower = float(normal_quantile(tails[0]))
    shifted = bias + np.array([lower, -lower])
    slope = 1 - acceleration * shifted
    safe = np.where(slope > 0, slope, 1.0)
    return np.where(slope > 0, np.asarray(normal_cdf(bias + shifted / safe), np.float64), shifted > 0)


def _calibrated_levels(statistic: Statistic, n: int, point: float, tails: Array, outer: int, seed: int) -> Array:
    """Quantiles, over resamples, of the share of a resample's own resamples whose statistic is below the point."""
    rng = np.random.default_rng([seed, 1])
    shares = []
    for rows in resamples_of(n, outer, seed):
        for indices in rows:
            inner = evaluate(statistic, indices[rng.integers(0, n, (_INNER, n))])
            shares.append(((inner < point).sum() + (inner <= point).sum()) / (2 * _INNER))
    return np.asarray(np.quantile(shares, tails))


def _mean(rows: Array) -> Array:
    return rows.mean(-1)  # type: ignore[no-any-return]


def _of_values(values: Any, statistic: RowStatistic, kind: Kind, level: float, resamples: int, seed: int) -> Interval | None:
    array = finite_values(values)
    if not callable(statistic):
        raise ConfigurationError(f"statistics, statistic: expected a function of rows of values, got {statistic!r}")
    return bootstrap(lambda indices: statistic(array[indices]), len(array), kind, level=level, resamples=resamples, seed=seed)


def bca(values: Any, statistic: RowStatistic = _mean, *, level: float = 0.95, resamples: int = 1999, seed: int = 0) -> Interval | None:
    """The bias-corrected and accelerated bootstrap interval, equal to scipy.stats.bootstrap on the same resamples.

    Args:
      values: [n], one per episode.
      statistic: [B, m] values ▸ [B]; the mean by default.
      level, resamples, seed: as in `bootstrap`.
    Returns:
      (low, high), or None; see `bootstrap`.
    Raises:
      InputError: values that are not finite. ConfigurationError: an option that is out of range.
    """
    return _of_values(values, statistic, "bca", level, resamples, seed)


def percentile(values: Any, statistic: RowStatistic = _mean, *, level: float = 0.95, resamples: int = 1999, seed: int = 0,
               ) -> Interval | None:
    """The percentile bootstrap interval, equal to scipy.stats.bootstrap on the same resamples.

    Args:
      values, statistic, level, resamples, seed: as in `bca`.
    """
    return _of_values(values, statistic, "percentile", level, resamples, seed)


def calibrated(values: Any, statistic: RowStatistic = _mean, *, level: float = 0.95, resamples: int = 1999, seed: int = 0,
               ) -> Interval | None:
    """The percentile bootstrap interval with levels calibrated by resampling resamples.

    Args:
      values, statistic, level, resamples, seed: as in `bca`.
    """
    return _of_values(values, statistic, "calibrated", level, resamples, seed)
