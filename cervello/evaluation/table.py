"""Logged episodes of one candidate as a table, whole or in blocks: what the estimators take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import Any

import numpy as np

from cervello.errors import InputError
from cervello.spec import Array


@dataclass(frozen=True, eq=False)
class Table:
    """n episodes of at most L steps, padded at the end. Immutable.

    Attributes:
      log_ratio: [n, L] float64, ln π(a|s) − ln b(a|s) of each step; −∞ where π never takes the action; 0 after an episode's end.
      reward: [n, L] float64, 0 after the end.
      length: [n] int64, steps of each episode.
      gamma: discount; γ⁰ multiplies the first reward.
      unit: [n] int64, number of each episode's resampling unit (the cluster of a cluster bootstrap), 0 … U − 1, each at least once: a match
        with all its agents. None: each episode is a unit.
      truncated: [n] bool, episodes that go on after their last step, so that what follows is bootstrapped with V̂. None for none.
      q: [n, L] Q̂(sₜ, aₜ), 0 after the end. v: [n, L + 1] V̂(sₜ), of the state after the last step too where truncated, else 0 from
        the end on. None without a value function.
    """

    log_ratio: Array
    reward: Array
    length: Array
    gamma: float = 1.0
    unit: Array | None = None
    truncated: Array | None = None
    q: Array | None = None
    v: Array | None = None

    def __post_init__(self) -> None:
        shape = self.log_ratio.shape
        if len(shape) != 2 or not shape[0] or not shape[1] or self.reward.shape != shape or self.length.shape != shape[:1]:
            raise InputError(f"evaluation, table: expected [n, L] ratios and rewards and [n] lengths, got {shape}, {self.reward.shape}, "
                             f"{self.length.shape}")
        if not self.log_ratio.max() < np.inf or not np.isfinite(self.reward).all():  # the largest of numbers with a NaN is NaN
            raise InputError("evaluation, table: expected finite rewards and ratios, got NaN or ∞; check the propensities")

    @classmethod
    def of(cls, log_ratios: Any, rewards: Any, gamma: float = 1.0, **fields: Any) -> Table:
        """A table of lists with an array per episode.

        Args:
          log_ratios, rewards: [T] each, per episode; lengths may differ.
          gamma: discount, 0 ≤ gamma ≤ 1.
          fields: of `Table`, by name.
        """
        length = np.array([len(each) for each in rewards], np.int64)
        L = int(length.max())
        for name, width in (("q", L), ("v", L + 1)):
            if fields.get(name) is not None:
                fields[name] = padded(fields[name], width)
        return cls(padded(log_ratios, L), padded(rewards, L), length, gamma, **fields)

    @property
    def n(self) -> int:
        """Episodes."""
        return len(self.length)

    @property
    def n_units(self) -> int:
        """Units of resampling."""
        return self.n if self.unit is None else int(self.unit.max()) + 1

    @property
    def n_steps(self) -> int:
        """L, steps of the longest episode."""
        return int(self.reward.shape[1])

    @cached_property
    def step_ratio(self) -> Array:
        """[steps] the ratio of each logged step; infinite where a float64 holds no more."""
        with np.errstate(over="ignore"):
            return np.exp(self.log_ratio[self.alive])

    @cached_property
    def log_weight(self) -> Array:
        """[n, L] products of ratios up to each step, in logarithm; an ended episode keeps its last one."""
        return np.cumsum(self.log_ratio, 1)

    @cached_property
    def weight(self) -> Array:
        """[n, L] products of ratios up to each step; infinite where a float64 holds no more."""
        with np.errstate(over="ignore"):
            return np.exp(self.log_weight)

    @cached_property
    def top(self) -> Array:
        """[L] largest weight up to each step, in logarithm."""
        return np.asarray(self.log_weight.max(0))

    def step_weight(self, top: Array) -> Array:
        """[n, L] weights, each step's divided by its largest, so that none overflows; 0 for all where a step has none.

        Args:
          top: [L] logarithms of the largest weights, of all blocks: from `largest_log_weight`.
        """
        return self._own_step_weight if top is self.top else below(self.log_weight, top)

    @cached_property
    def _own_step_weight(self) -> Array:
        return below(self.log_weight, self.top)

    @cached_property
    def discount(self) -> Array:
        """[L + 1] γᵗ."""
        return np.asarray(self.gamma ** np.arange(self.n_steps + 1.0))

    @cached_property
    def alive(self) -> Array:
        """[n, L] bool, steps that were logged."""
        return np.arange(self.n_steps) < self.length[:, None]

    @cached_property
    def total(self) -> Array:
        """[n] discounted returns; infinite where a float64 holds no more."""
        with np.errstate(over="ignore"):
            return np.asarray((self.reward * self.discount[:-1]).sum(1))

    def by_unit(self, rows: Array) -> Array:
        """[U, …] sums over the episodes of each unit, of `rows` [n, …], one for each episode."""
        if self.unit is None:
            return rows
        sums = np.zeros((self.n_units, *rows.shape[1:]))
        np.add.at(sums, self.unit, rows)
        return sums

    @cached_property
    def counts(self) -> Array:
        """[U] float64, episodes of each unit."""
        return self.by_unit(np.ones(self.n))

    @cached_property
    def unit_log_weight(self) -> Array:
        """[U, L] logarithm of the mean weight of each unit's episodes."""
        if self.unit is None:
            return self.log_weight
        top = np.full((self.n_units, self.n_steps), -np.inf)
        np.maximum.at(top, self.unit, self.log_weight)
        safe = np.where(np.isfinite(top), top, 0.0)
        with np.errstate(divide="ignore"):
            return np.asarray(safe + np.log(self.by_unit(np.exp(self.log_weight - safe[self.unit])) / self.counts[:, None]))

    def unit_step_weight(self, top: Array) -> Array:
        """[U, L] as `step_weight`, of the mean weight of each unit's episodes.

        Args:
          top: [L] logarithms of the largest of them, of all blocks: from `largest_unit_log_weight`.
        """
        return self.step_weight(top) if self.unit is None else below(self.unit_log_weight, top)

    @cached_property
    def unit_top(self) -> Array:
        """[L] largest mean weight of a unit's episodes up to each step, in logarithm."""
        return self.top if self.unit is None else np.asarray(self.unit_log_weight.max(0))

    def with_ratios(self, log_ratio: Array) -> Table:
        """The same with other ratios."""
        return replace(self, log_ratio=log_ratio)

    def blocks(self) -> Iterator[Table]:
        """Itself, as the only one."""
        yield self


@dataclass(frozen=True, eq=False)
class BlockedTable:
    """A table that does not fit in memory: blocks of whole units, made anew in every pass. Estimators take it as they take a `Table`.

    Attributes:
      make: gives the blocks, in order. Each is a `Table` of n_steps steps, whose units count from 0.
      n, n_units, n_steps: of all blocks together. gamma: as in `Table`.
      names: [rows] numbers of the data set's episodes (or matches) in the order of the blocks.
    """

    make: Callable[[], Iterator[Table]]
    n: int
    n_units: int
    n_steps: int
    gamma: float
    names: Array

    def blocks(self) -> Iterator[Table]:
        """The blocks, one in memory at a time."""
        return self.make()

    @cached_property
    def discount(self) -> Array:
        """[L + 1] γᵗ."""
        return np.asarray(self.gamma ** np.arange(self.n_steps + 1.0))


AnyTable = Table | BlockedTable


def per_unit(table: AnyTable, values: Callable[[Table], Array]) -> Array:
    """[U, …] of all blocks, of a function of one."""
    return np.concatenate([_owned(values(block)) for block in table.blocks()])


def _owned(rows: Array) -> Array:
    """A copy of a view, which would keep its whole block in memory."""
    return rows if rows.base is None else rows.copy()


def largest_log_weight(table: AnyTable) -> Array:
    """[L] largest weight up to each step, in logarithm."""
    return reduce(np.maximum, (block.top for block in table.blocks()))


def below(log_weight: Array, top: Array) -> Array:
    """[n, L] weights over the largest of each step, or over 1 where a step has none.

    Args:
      top: [L] logarithms of the largest weights.
    """
    found: Array = log_weight - np.where(np.isfinite(top), top, 0.0)
    np.exp(found, out=found)
    return found


def padded(rows: Any, width: int) -> Array:
    """[n, width] float64 of arrays of at most that length, with zeros behind."""
    found = np.zeros((len(rows), width))
    for i, row in enumerate(rows):
        found[i, :len(row)] = row
    return found


def largest_unit_log_weight(table: AnyTable) -> Array:
    """[L] largest mean weight of a unit's episodes up to each step, in logarithm."""
    return reduce(np.maximum, (block.unit_top for block in table.blocks()))
