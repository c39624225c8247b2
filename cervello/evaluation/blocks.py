"""Splits scored data into blocks, and makes tables of them: one row per episode, or per match where all its agents play the candidate."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from cervello.errors import ConfigurationError, InputError
from cervello.evaluation.scored import Scored
from cervello.evaluation.table import AnyTable, BlockedTable, Table
from cervello.spec import Array

AGENT, JOINT = "agent", "joint"

_CELLS = 1 << 19  # of a block: rows times steps of the longest

Rows = Callable[[str | tuple[str, int]], Array]  # name of a column ▸ its rows of some episodes' steps


class Blocks:
    """How a data set is split into tables that fit in memory: whole units, so many rows that they and the longest episode's steps make half
    a million numbers. Within a unit, episodes are in the order of the data set.

    Attributes:
      n_steps: of the longest row.
    """

    def __init__(self, scored: Scored, gamma: float, weights: str):
        """weights: "agent" or "joint".

        Raises:
          ConfigurationError: `weights` is neither. InputError: joint weights of episodes without a match.
        """
        if weights not in (AGENT, JOINT):
            raise ConfigurationError(f"evaluation, weights: expected {AGENT!r} or {JOINT!r}, got {weights!r}")
        self._scored, self._gamma, self._joint = scored, gamma, weights == JOINT
        self._length, self._truncated, self._unit = scored.length, scored.truncated, scored.unit
        if self._joint:
            self._check_matches()
            if self._unit is None:
                self._unit = np.arange(scored.n)  # each match has one life
        self._starts = np.concatenate([[0], np.cumsum(self._length)])
        self._order = np.arange(scored.n) if self._unit is None else np.argsort(self._unit, kind="stable")
        self._by_ticks = False
        self.n_steps = int(self._length.max())
        if self._joint:
            assert self._unit is not None
            self._stops = self._split(max(1, _CELLS // int(np.bincount(self._unit, self._length).max())))
            if (most := self._most_ticks()) is not None:
                self.n_steps, self._by_ticks = most, True
        self._stops = self._split(max(1, _CELLS // self.n_steps))
        if len(self._stops) == 1:
            self._order = np.arange(scored.n)

    def table(self, k: int, log_ratio: Callable[[Rows], Array] | None = None) -> AnyTable:
        """Of a candidate, with a value function where there is one. Without propensities its ratios are 1.

        Args:
          log_ratio: makes [steps] other ratios of the columns of a block.
        """
        if len(self._stops) == 1:
            return self._table(k, self._order, log_ratio)
        scored = self._scored
        names = np.arange(scored.n_units) if self._joint else self._order
        return BlockedTable(lambda: (self._table(k, episodes, log_ratio) for episodes in self._episodes()), len(names), scored.n_units,
                            self.n_steps, self._gamma, names)

    def features(self) -> Iterator[tuple[Array, Array]]:
        """[rows, d] of the observations of each block, T + 1 of each episode; and places in the data set of its steps, [steps], which are
        counted as far as γᵗ is above 0."""
        counted = np.minimum(self._length, int((self._gamma ** np.arange(self.n_steps + 1.0) > 0).sum()))
        starts = np.cumsum(counted) - counted
        for some in self._episodes():
            yield self._read("features", some, 1), _ranges(starts[some], counted[some])

    def deviation(self, name: str) -> Array:
        """[d] standard deviations of a column's rows, over all steps."""
        N = int(self._starts[-1])
        mean = sum(self._read(name, some).astype(np.float64).sum(0) for some in self._episodes()) / N
        return np.asarray(np.sqrt(sum(((self._read(name, some) - mean)**2).sum(0) for some in self._episodes()) / N))

    def by_unit(self, values: Array) -> Array:
        """[U] sums over the episodes of each unit, of [n]."""
        return values if self._unit is None else np.bincount(self._unit, values, self._scored.n_units)

    # Blocks ---------------------------------------------------------------------------------------------------------------

    def _check_matches(self) -> None:
        matched = self._scored.matched
        if not matched.all():
            raise InputError(f"episode {int(np.argmin(matched))}, match: expected the match of each life for joint weights, got none; log "
                             "match and agent, or take weights='agent'")

    def _most_ticks(self) -> int | None:
        """Different ticks of the match that has most of them; None where some step has none."""
        most, unit = 0, self._unit
        assert unit is not None
        for some in self._episodes():
            ticks = self._read("tick", some)
            if (ticks < 0).any():
                return None
            most = max(most, int(_ranks(np.repeat(unit[some], self._length[some]), ticks).max()) + 1)
        return most

    def _split(self, rows: int) -> list[int]:
        """Where blocks stop, in the order."""
        n = len(self._order)
        if self._unit is None:
            return [*range(rows, n, rows), n]
        units = self._unit[self._order]
        ends = np.append(np.flatnonzero(np.diff(units)) + 1, n)  # of units
        if self._joint:
            return [*ends[rows - 1:-1:rows].tolist(), n]
        stops = [0]
        while stops[-1] < n:
            last = int(np.searchsorted(ends, stops[-1] + rows, "right")) - 1
            stops.append(int(ends[max(last, int(np.searchsorted(ends, stops[-1], "right")))]))
        return stops[1:]

    def _episodes(self) -> Iterator[Array]:
        for start, stop in zip([0, *self._stops], self._stops, strict=False):
            yield self._order[start:stop]

    def _read(self, name: str | tuple[str, int], episodes: Array, extra_rows: int = 0) -> Array:
        """The rows of some episodes, of a column with so many extra rows beside the steps in each episode."""
        starts = self._starts[episodes] + extra_rows * episodes
        counts = self._length[episodes] + extra_rows
        if (np.diff(episodes) == 1).all():
            return self._scored.column_store.read(name, int(starts[0]), int(starts[-1] + counts[-1]))
        return self._scored.column_store.take(name, _ranges(starts, counts))

    def _table(self, k: int, episodes: Array, log_ratio: Callable[[Rows], Array] | None) -> Table:
        store = self._scored.column_store
        length, truncated = self._length[episodes], self._truncated[episodes]
        unit = None if self._unit is None else self._unit[episodes]
        if unit is not None and len(self._stops) > 1:
            unit = unit - unit[0]
        reward = self._read("reward", episodes)
        if log_ratio is not None:
            ratio = log_ratio(lambda name: self._read(name, episodes))
        else:
            ratio = self._read(("ratio", k), episodes) if ("ratio", k) in store else np.zeros(len(reward))
        if self._joint:
            assert unit is not None
            return self._joined(ratio, reward, episodes, unit)
        alive = np.arange(self.n_steps) < length[:, None]
        q = v = None
        if ("q", k) in store:
            q = _filled(self._read(("q", k), episodes), alive)
            v = _filled(self._read(("v", k), episodes, 1).copy(), np.arange(self.n_steps + 1) <= length[:, None])
            v[np.flatnonzero(~truncated), length[~truncated]] = 0.0
        return Table(_filled(ratio, alive), _filled(reward, alive), length, self._gamma, unit, truncated, q, v)

    def _joined(self, ratio: Array, reward: Array, episodes: Array, unit: Array) -> Table:
        """Of matches: ratios multiply and rewards add over the agents, step by step. Steps of a match are the ticks at which some agent
        decided; without ticks all lives begin together."""
        n, length = int(unit.max()) + 1, self._length[episodes]
        match = np.repeat(unit, length)
        step = _ranks(match, self._read("tick", episodes)) if self._by_ticks else _ranges(np.zeros(len(length), np.int64), length)
        lengths, ends = np.zeros(n, np.int64), np.zeros(n, np.bool_)
        np.maximum.at(lengths, match, step + 1)
        np.logical_or.at(ends, unit, self._truncated[episodes])
        places = match * self.n_steps + step
        found = []
        for rows in (ratio, reward):
            sums = np.zeros(n * self.n_steps)
            np.add.at(sums, places, rows)
            found.append(sums.reshape(n, self.n_steps))
        return Table(found[0], found[1], lengths, self._gamma, truncated=ends)


def _ranges(starts: Array, counts: Array) -> Array:
    """start, start + 1, …, so many of each, one after the other."""
    return np.repeat(starts - np.cumsum(counts) + counts, counts) + np.arange(int(counts.sum()))


def _ranks(group: Array, values: Array) -> Array:
    """[N] place of each value among the different values of its group, from 0."""
    order = np.lexsort((values, group))
    begins = np.diff(group[order], prepend=-1) != 0
    count = np.cumsum(begins | (np.diff(values[order], prepend=-1) != 0))
    found = np.empty(len(values), np.int64)
    found[order] = count - np.maximum.accumulate(np.where(begins, count, 0))
    return found


def _filled(rows: Array, alive: Array) -> Array:
    """[n, L] the rows of steps where they are, 0 elsewhere. It may be the rows themselves."""
    if len(rows) == alive.size:
        return rows.reshape(alive.shape)
    found = np.zeros(alive.shape)
    found[alive] = rows
    return found
