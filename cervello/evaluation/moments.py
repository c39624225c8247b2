"""Estimates as functions of sums over units: the point, its resamples and its influence values come from one place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cervello.spec import Array

_SAME = 1e-13  # resamples this close to the point, relatively, differ by the order of a sum only


@dataclass(frozen=True, eq=False)
class Moments:
    """An estimator on its data.

    Attributes:
      columns: [U, k] float64, one row per unit.
      combine: [B, k] sums of rows ▸ [B] estimates; NaN where there is no weight.
      influence: [U] with mean 0: how far each unit moves the estimate, times U. None where only the bootstrap applies.
      unsupported: why there is no estimate, and what to do; None where there is one.
      n_resampled: U.
      notes: what the report has to say about it.
    """

    columns: Array
    combine: Callable[[Array], Array]
    influence: Array | None = None
    unsupported: str | None = None
    notes: tuple[str, ...] = ()

    @cached_property
    def value(self) -> float | None:
        """The estimate; None where it is unsupported or no finite number."""
        if self.unsupported is not None:
            return None
        value = float(self.combine(self.columns.sum(0)[None])[0])
        return value if np.isfinite(value) else None

    @property
    def n(self) -> int:
        """Units."""
        return len(self.columns)

    def statistic(self, places: Array) -> Array:
        """[B] estimates of rows of places of units, [B, m]; normalisers are those of the resample."""
        point = self.value
        rows = len(places)
        flat = (np.arange(rows)[:, None] * self.n + places).ravel()
        counts = np.bincount(flat, minlength=rows * self.n).reshape(rows, self.n).astype(np.float64)
        found = self.combine(counts @ self.columns)
        if point is None:
            return found
        scale = max(abs(point), 1e-300)
        return np.where(np.abs(found - point) <= _SAME * scale, point, found)


def mean_of(values: Array, counts: Array, notes: tuple[str, ...] = ()) -> Moments:
    """The mean over episodes of sums over units.

    Args:
      values: [U] sums over each unit's episodes. counts: [U] how many (or, for a mean over steps, how many steps).
    """
    columns = np.stack([values, counts], 1)
    with np.errstate(all="ignore"):
        point = columns[:, 0].sum() / columns[:, 1].sum()
        influence = (values - point * counts) / counts.mean()
    if not np.isfinite(influence).all():
        return Moments(columns, ratio, None, "weights are larger than a float64 holds; shorten the horizon", notes)
    return Moments(columns, ratio, influence, None, notes)


def ratio(sums: Array) -> Array:
    """[B] of [B, 2]: the first over the second."""
    return divided(sums[:, 0], sums[:, 1])


def divided(a: Array, b: Array) -> Array:
    """a / b, NaN without weight."""
    with np.errstate(all="ignore"):
        return np.asarray(np.where(b > 0, a / np.where(b > 0, b, 1.0), np.nan))


def step_weights(log_weight: Array) -> Array:
    """[n, L] weights, each step's divided by its largest, so that none overflows; 0 for all where a step has none."""
    top = log_weight.max(0)
    return np.asarray(np.exp(log_weight - np.where(np.isfinite(top), top, 0.0)))
