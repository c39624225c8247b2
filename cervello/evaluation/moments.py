"""Estimates as functions of sums over units: the point, its resamples and its influence values come from one place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from cervello.spec import Array
from cervello.statistics.resampling import resamples_of

_JACKKNIFE_ROWS = 256  # units left out at a time
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
    _replicates: dict[tuple[int, int], Array] = field(default_factory=dict, init=False, repr=False)

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
        return self._of_sums(counts_of(places, self.n) @ self.columns)

    def replicates(self, resamples: int, seed: int) -> Array:
        """[resamples] estimates of the resamples of a seed; kept for intervals of other levels."""
        resample([self], resamples, seed)
        return self._replicates[resamples, seed]

    def without(self) -> Array:
        """[U] estimates without each unit in turn, from the sums before it and the sums behind it: nothing is subtracted."""
        n, rows = self.n, _JACKKNIFE_ROWS
        blocks = [self.columns[start:start + rows] for start in range(0, n, rows)]
        totals = np.stack([block.sum(0) for block in blocks])
        none = np.zeros((1, totals.shape[1]))
        before = np.concatenate([none, np.cumsum(totals, 0)[:-1]])
        behind = np.concatenate([np.cumsum(totals[::-1], 0)[::-1][1:], none])
        found = []
        for block, first, last in zip(blocks, before, behind, strict=True):
            ahead = np.concatenate([none, np.cumsum(block, 0)[:-1]])
            rest = np.concatenate([np.cumsum(block[::-1], 0)[::-1][1:], none])
            found.append(self._of_sums(first + ahead + rest + last))
        return np.concatenate(found)

    def _of_sums(self, sums: Array) -> Array:
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            found = self.combine(sums)
        point = self.value
        if point is None:
            return found
        return np.where(np.abs(found - point) <= _SAME * max(abs(point), 1e-300), point, found)


def counts_of(places: Array, n: int) -> Array:
    """[B, n] float64, how often each unit is among rows of places, [B, m]."""
    rows = len(places)
    flat = (np.arange(rows)[:, None] * n + places).ravel()
    return np.bincount(flat, minlength=rows * n).reshape(rows, n).astype(np.float64)


def resample(some: Sequence[Moments], resamples: int, seed: int) -> None:
    """Computes the replicates of estimates over the same units: each resample is drawn and counted once for all of them."""
    missing = [each for each in some if (resamples, seed) not in each._replicates]
    if not missing:
        return
    n = missing[0].n
    found: list[list[Array]] = [[] for _ in missing]
    for places in resamples_of(n, resamples, seed):
        counts = counts_of(places, n)
        for each, its in zip(missing, found, strict=True):
            its.append(each._of_sums(counts @ each.columns))
    for each, its in zip(missing, found, strict=True):
        each._replicates[resamples, seed] = np.concatenate(its)


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
