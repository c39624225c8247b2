"""Estimates as functions of sums over units: the point, its resamples and its influence values come from one place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce

import numpy as np

from cervello.evaluation.table import AnyTable, Table
from cervello.spec import Array
from cervello.statistics.resampling import resamples_of

_JACKKNIFE_ROWS = 256  # units left out at a time
_JACKKNIFE_CELLS = 1 << 21  # of them, in wide columns
_RESAMPLED_BYTES = 1 << 27  # of counts and of sums, in one pass over blocks
_SUMS_BYTES = 1 << 25  # of sums at a time, where all is in one block
_CAST_CELLS = 1 << 21  # of counts, as float64 at a time
_SAME = 1e-13  # resamples this close to the point, relatively, differ by the order of a sum only


class Columns:
    """[n, k] rows that do not fit in memory, made anew in every pass over their blocks."""

    def __init__(self, make: Callable[[], Iterator[Array]], n: int):
        self._make = make
        self._n = n

    def __len__(self) -> int:
        return self._n

    def __iter__(self) -> Iterator[Array]:
        return self._make()


def columns_of(table: AnyTable, rows: Callable[[Table], Array]) -> Array | Columns:
    """[U, k] of a function of a table's blocks: an array where there is only one."""
    return rows(table) if isinstance(table, Table) else Columns(lambda: (rows(block) for block in table.blocks()), table.n_units)


def blocks_of(columns: Array | Columns) -> Iterator[Array]:
    """[b, k] blocks of rows, one in memory at a time."""
    return iter((columns,)) if isinstance(columns, np.ndarray) else iter(columns)


def sum_of(columns: Array | Columns) -> Array:
    """[k] sums over rows; infinite where a float64 holds no more."""
    with np.errstate(over="ignore", invalid="ignore"):
        return reduce(np.add, (block.sum(0) for block in blocks_of(columns)))


def width_of(columns: Array | Columns) -> int:
    """k."""
    return int(next(blocks_of(columns)).shape[1])


def concat_columns(x: Array | Columns, y: Array | Columns) -> Array | Columns:
    """[U, k + l] rows of two estimates over the same units."""
    if isinstance(x, np.ndarray) and isinstance(y, np.ndarray):
        return np.concatenate([x, y], 1)
    return Columns(lambda: (np.concatenate(both, 1) for both in zip(blocks_of(x), blocks_of(y), strict=True)), len(x))


@dataclass(frozen=True, eq=False)
class Moments:
    """An estimator on its data.

    Attributes:
      columns: [U, k] float64, one row per unit; `Columns` where they are made in blocks.
      combine: [B, k] sums of rows ▸ [B] estimates; NaN where there is no weight.
      influence: [U] with mean 0: how far each unit moves the estimate, times U. None where only the bootstrap applies.
      unsupported: why there is no estimate, and what to do; None where there is one.
      n: U, the number of units.
      notes: what the report has to say about it.
    """

    columns: Array | Columns
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
        value = float(self.combine(sum_of(self.columns)[None])[0])
        return value if np.isfinite(value) else None

    @property
    def n(self) -> int:
        """Units."""
        return len(self.columns)

    def statistic(self, places: Array) -> Array:
        """[B] estimates of rows of places of units, [B, m]; normalisers are those of the resample."""
        return self._of_counts(counts_of(places, self.n))

    def replicates(self, resamples: int, seed: int) -> Array:
        """[resamples] estimates of the resamples of a seed; kept for intervals of other levels."""
        resample([self], resamples, seed)
        return self._replicates[resamples, seed]

    def leave_one_out(self) -> Array:
        """[U] estimates without each unit in turn, from the sums before it and the sums behind it: nothing is subtracted."""
        totals = np.stack([block.sum(0) for block in self._small_blocks()])
        none = np.zeros((1, totals.shape[1]))
        before = np.concatenate([none, np.cumsum(totals, 0)[:-1]])
        behind = np.concatenate([np.cumsum(totals[::-1], 0)[::-1][1:], none])
        found = []
        for block, first, last in zip(self._small_blocks(), before, behind, strict=True):
            ahead = np.concatenate([none, np.cumsum(block, 0)[:-1]])
            later = np.concatenate([np.cumsum(block[::-1], 0)[::-1][1:], none])
            found.append(self._of_sums(first + ahead + later + last))
        return np.concatenate(found)

    def _small_blocks(self) -> Iterator[Array]:
        for block in blocks_of(self.columns):
            rows = max(1, min(_JACKKNIFE_ROWS, _JACKKNIFE_CELLS // block.shape[1]))
            yield from (block[start:start + rows] for start in range(0, len(block), rows))

    def _of_counts(self, counts: Array) -> Array:
        """[B] estimates of resamples, [B, U] how often each unit is in each; so many at a time that their sums fit in memory."""
        most = _SUMS_BYTES if isinstance(self.columns, np.ndarray) else _RESAMPLED_BYTES
        rows = max(1, most // (8 * width_of(self.columns)))
        return np.concatenate([self._of_sums(_weighted(counts[start:start + rows], self.columns)) for start in range(0, len(counts), rows)])

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
    for made in (False, True):  # where rows are made in blocks, each chunk of resamples costs a pass over them
        chosen = [each for each in missing if isinstance(each.columns, Columns) == made]
        if not chosen:
            continue
        found: list[list[Array]] = [[] for _ in chosen]
        rows = 1 if not made else max(1, _RESAMPLED_BYTES // max(chosen[0].n, *(8 * width_of(each.columns) for each in chosen)))
        for counts in _counted(chosen[0].n, resamples, seed, rows):
            for each, its in zip(chosen, found, strict=True):
                its.append(each._of_counts(counts))
        for each, its in zip(chosen, found, strict=True):
            each._replicates[resamples, seed] = np.concatenate(its)


def _counted(n: int, resamples: int, seed: int, rows: int) -> Iterator[Array]:
    """[b, n] counts of all resamples, at least so many rows at a time as far as there are; small numbers, where there are many."""
    some: list[Array] = []
    for places in resamples_of(n, resamples, seed):
        counts = counts_of(places, n)
        if len(counts) >= rows:
            yield counts
            continue
        some.append(counts.astype(np.uint8 if counts.max() < 256 else np.uint32))
        if sum(map(len, some)) >= rows:
            yield np.concatenate(some)
            some = []
    if some:
        yield np.concatenate(some)


def _weighted(counts: Array, columns: Array | Columns) -> Array:
    """[B, k] sums of rows, each so many times."""
    if isinstance(columns, np.ndarray):
        return np.asarray(counts @ columns)
    found: Array | float = 0.0
    start = 0
    for block in columns:
        step = max(1, _CAST_CELLS // len(counts))
        for at in range(0, len(block), step):
            some = block[at:at + step]
            found = found + counts[:, start + at:start + at + len(some)].astype(np.float64, copy=False) @ some
        start += len(block)
    return np.asarray(found)


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
