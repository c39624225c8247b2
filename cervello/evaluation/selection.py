"""Choosing among several policies, with the optimism of the best of K dealt with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cervello.errors import InputError
from cervello.evaluation.intervals import IntervalOptions, interval
from cervello.evaluation.moments import Moments, concat_columns, width_of
from cervello.statistics.arguments import Interval, is_integer


@dataclass(frozen=True)
class Difference:
    """V(x) − V(y), paired over the same episodes.

    Attributes:
      value: the difference. interval: (low, high), None for fewer than 3 units. kind: of the interval. estimator: which one.
      verdict: the worse of both policies'.
    """

    value: float
    interval: Interval | None
    kind: str
    estimator: str
    verdict: str


@dataclass(frozen=True)
class Best:
    """The chosen policy.

    Attributes:
      name, path: of the policy; path None for a Policy object. value: its estimate. interval: its simultaneous interval.
      estimator: which one. verdict: "reliable" or "weak".
    """

    name: str
    path: str | None
    value: float
    interval: Interval
    estimator: str
    verdict: str


@dataclass(frozen=True)
class Regret:
    """How much is lost when only the best k by the estimate are tried on.

    Attributes:
      value: mean over resamples of the best estimate less the best among the k that the resample ranks first.
      interval: quantiles of it.
    """

    value: float
    interval: Interval


def paired(x: Moments, y: Moments) -> Moments:
    """The moments of V(x) − V(y)."""
    k = width_of(x.columns)
    influence = None if x.influence is None or y.influence is None else x.influence - y.influence
    return Moments(concat_columns(x.columns, y.columns), lambda sums: np.asarray(x.combine(sums[:, :k]) - y.combine(sums[:, k:])),
                   influence)


def difference(x: Moments, y: Moments, options: IntervalOptions, estimator: str, verdict: str) -> Difference:
    """The difference of two estimates over the same episodes; concentration bounds give way to BCa.

    Raises:
      InputError: one of them is unsupported.
    """
    if x.value is None or y.value is None:
        raise InputError(f"evaluation, difference: expected two estimates, got an unsupported one by {estimator!r}; the report says "
                         "what to do")
    if options.kind in ("hoeffding", "empirical-bernstein"):
        options = IntervalOptions("bca", options.level, options.resamples, options.seed)
    found = paired(x, y)
    bounds, kind = interval(found, options, estimator)
    assert found.value is not None
    return Difference(found.value, bounds, kind, estimator, verdict)


def regret(moments: list[Moments], k: int, options: IntervalOptions) -> Regret:
    """Regret at k, by resampling which policies come first.

    Raises:
      InputError: k is not among 1 … K, or an estimate is unsupported.
    """
    if not is_integer(k) or not 1 <= k <= len(moments):
        raise InputError(f"evaluation, regret: expected 1 ≤ k ≤ {len(moments)}, got {k!r}")
    points = [each.value for each in moments]
    if any(point is None for point in points):
        raise InputError("evaluation, regret: expected estimates of all policies, got an unsupported one; leave it out")
    values = np.array(points, np.float64)
    again = np.stack([each.replicates(options.resamples, options.seed) for each in moments], 1)
    first = np.argsort(-np.where(np.isfinite(again), again, -np.inf), axis=1, kind="stable")[:, :k]
    losses = values.max() - values[first].max(1)
    low, high = np.percentile(losses, [50 * (1 - options.level), 100 - 50 * (1 - options.level)])
    return Regret(float(np.mean(losses)), (float(low), float(high)))
