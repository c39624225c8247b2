"""Confidence intervals of estimates, from `cervello.statistics`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cervello.errors import ConfigurationError
from cervello.evaluation.moments import Moments, resample
from cervello.evaluation.registry import EVERY_KIND, INFOS, names_where
from cervello.evaluation.table import AnyTable, Table
from cervello.spec import Array
from cervello.statistics import bootstrap, empirical_bernstein, hoeffding, student_t
from cervello.statistics.arguments import FEWEST, Interval, check_level, check_resampling, is_number
from cervello.statistics.bootstrap import bca_levels, interval_of

KINDS = ("default", *EVERY_KIND)
CONCENTRATION = ("hoeffding", "empirical-bernstein")
_LARGE = 1000  # units, from which Student's t is the default


@dataclass(frozen=True)
class IntervalOptions:
    """How intervals are made.

    Attributes:
      kind: of `KINDS`; "default" is BCa below 1,000 units and Student's t from there.
      level, resamples, seed: as in `cervello.statistics`.
      reward_range: bounds of one step's reward. max_weight: bound of the products of ratios. For concentration bounds.
    """

    kind: str = "default"
    level: float = 0.95
    resamples: int = 1999
    seed: int = 0
    reward_range: tuple[float, float] | None = None
    max_weight: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigurationError(f"evaluation, interval: expected one of {list(KINDS)}, got {self.kind!r}")
        object.__setattr__(self, "level", check_level(self.level, "evaluation"))  # a number of numpy is no JSON
        check_resampling(self.resamples, self.seed, "evaluation")
        if self.reward_range is not None and not _is_range(self.reward_range):
            raise ConfigurationError(f"evaluation, reward_range: expected (low, high), got {self.reward_range!r}")
        if self.max_weight is not None and not (is_number(self.max_weight) and self.max_weight > 0):
            raise ConfigurationError(f"evaluation, max_weight: expected a positive number, got {self.max_weight!r}")
        if self.kind in CONCENTRATION:
            for name in ("reward_range", "max_weight"):
                if getattr(self, name) is None:
                    raise ConfigurationError(f"evaluation, interval={self.kind!r}: expected {name}=, got none; give the bounds that hold "
                                             "for every episode that could be logged, or take interval='bca'")
                if not np.isfinite(getattr(self, name)).all():
                    raise ConfigurationError(f"evaluation, interval={self.kind!r}: expected a finite {name}=, got "
                                             f"{getattr(self, name)!r}; give the bounds that hold, or take interval='bca'")


def _is_range(value: Any) -> bool:
    """Whether it is a pair (low, high) of real numbers, low ≤ high."""
    return isinstance(value, tuple | list | np.ndarray) and len(value) == 2 and all(map(is_number, value)) and bool(value[0] <= value[1])


def interval(moments: Moments, options: IntervalOptions, estimator: str, bounds: Interval | None = None,
             level: float | None = None) -> tuple[Interval | None, str]:
    """An interval and its kind; None where there is none.

    Args:
      bounds: of each unit's value, for concentration bounds; see `value_bounds`.
      level: in place of the options'.
    Raises:
      ConfigurationError: a concentration bound of an estimator that it does not hold for.
    """
    level = options.level if level is None else level
    kind = kind_of(moments, options)
    if moments.value is None:
        return None, kind
    if kind in CONCENTRATION:
        check_kind(kind, estimator)
        assert bounds is not None
        assert isinstance(moments.columns, np.ndarray)
        sums, lives = moments.columns.T
        if lives.min() != lives.max():  # the estimate is no mean over matches
            raise ConfigurationError(f"evaluation, interval={kind!r}: expected matches of one number of lives each, got {lives.min():.0f} "
                                     f"to {lives.max():.0f}; take interval='bca'")
        bound = hoeffding if kind == "hoeffding" else empirical_bernstein
        return bound(sums / lives, *bounds, level=level), kind
    if kind == "student-t":
        assert moments.influence is not None
        return student_t(moments.influence + moments.value, center=moments.value, level=level), kind
    if kind == "calibrated":
        return bootstrap(moments.statistic, moments.n, "calibrated", level=level, resamples=options.resamples, seed=options.seed), kind
    if moments.n < FEWEST:
        return None, kind
    found, point = moments.replicates(options.resamples, options.seed), moments.value

    def levels(tails: Array) -> Array:
        return bca_levels(found, point, moments.leave_one_out(), tails) if kind == "bca" else tails

    return interval_of(found, point, level, levels), kind


def check_kind(kind: str, estimator: str) -> None:
    """Raises ConfigurationError for a concentration bound of an estimator that it does not hold for."""
    if kind in CONCENTRATION and kind not in INFOS[estimator].intervals:
        raise ConfigurationError(f"evaluation, interval={kind!r}: expected estimators among "
                                 f"{names_where(lambda info: kind in info.intervals)}, got {estimator!r}; take interval='bca' for it")


def prepare(some: Sequence[Moments], options: IntervalOptions) -> None:
    """Resamples all estimates that `interval` will ask replicates of at once."""
    asked = [each for each in some if each.value is not None and each.n >= FEWEST and kind_of(each, options) in ("bca", "percentile")]
    resample(asked, options.resamples, options.seed)


def kind_of(moments: Moments, options: IntervalOptions) -> str:
    """The kind of interval that an estimate gets."""
    if options.kind == "default":
        return "bca" if moments.n < _LARGE or moments.influence is None else "student-t"
    return "bca" if options.kind == "student-t" and moments.influence is None else options.kind  # the report says which


def value_bounds(table: AnyTable, options: IntervalOptions, horizon: int | None) -> Interval:
    """Bounds of ρ G, and of the per-decision sum, that hold for every episode that could be logged.

    Raises:
      ConfigurationError: undiscounted episodes without a horizon have no bound; or the data break max_weight.
    """
    assert options.reward_range is not None
    assert options.max_weight is not None
    if table.gamma == 1 and horizon is None:
        raise ConfigurationError(f"evaluation, interval={options.kind!r}: expected gamma < 1 or horizon=, got neither: returns have "
                                 "no bound")
    largest, at, first = -np.inf, (0, 0), 0
    for block in table.blocks():
        i, t = np.unravel_index(int(np.argmax(block.log_weight)), block.log_weight.shape)
        if block.log_weight[i, t] > largest:
            largest, at = float(block.log_weight[i, t]), (first + int(i), int(t))
        first += len(block.log_weight)
    if largest > np.log(options.max_weight) + 1e-9:
        row = at[0] if isinstance(table, Table) else int(table.names[at[0]])
        raise ConfigurationError(f"episode {row}, step {at[1]}, weight: expected at most max_weight={options.max_weight}, got "
                                 f"{float(np.exp(largest)):.4g}; give a bound that holds")
    steps = 1 / (1 - table.gamma) if horizon is None else float((table.gamma ** np.arange(float(horizon))).sum())
    low, high = options.reward_range
    low, high = min(0.0, options.max_weight * low) * steps, max(0.0, options.max_weight * high) * steps
    return (low, high) if low < high else (low, 1.0)
