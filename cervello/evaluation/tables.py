"""From scores of logged steps to `Table`s: one row per episode, or per match where all its agents play the candidate."""

from __future__ import annotations

from typing import Any

import numpy as np

from cervello.errors import ConfigurationError, InputError
from cervello.evaluation.scoring import Data, Scores
from cervello.evaluation.table import Table
from cervello.evaluation.values import Values
from cervello.spec import Array

AGENT, JOINT = "agent", "joint"


def build(data: Data, scores: Scores, gamma: float, weights: str) -> Table:
    """The table of a candidate. Without propensities its ratios are 1.

    Raises:
      ConfigurationError: `weights` is neither "agent" nor "joint". InputError: joint weights of episodes without a match.
    """
    ratios = scores.log_ratio or [np.zeros(len(each)) for each in data.rewards]
    truncated = np.array(data.truncated)
    if weights == AGENT:
        return Table.of(ratios, data.rewards, gamma, unit=units(data), truncated=truncated)
    if weights != JOINT:
        raise ConfigurationError(f"evaluation, weights: expected {AGENT!r} or {JOINT!r}, got {weights!r}")
    unit = units(data)
    if unit is None or any(match is None for match in data.match):
        i = next((i for i, match in enumerate(data.match) if match is None), 0)
        raise InputError(f"episode {i}, match: expected the match of each life for joint weights, got none; log match and agent, or take "
                         "weights='agent'")
    offsets = _offsets(data, unit)
    lengths = np.zeros(int(unit.max()) + 1, np.int64)
    np.maximum.at(lengths, unit, offsets + np.array([len(each) for each in data.rewards]))
    log_ratio, reward = (np.zeros((len(lengths), int(lengths.max()))) for _ in range(2))
    for i, (theirs, paid) in enumerate(zip(ratios, data.rewards, strict=True)):
        steps = slice(int(offsets[i]), int(offsets[i]) + len(paid))
        log_ratio[unit[i], steps] += theirs
        reward[unit[i], steps] += paid
    ends = np.zeros(len(lengths), np.bool_)
    np.logical_or.at(ends, unit, truncated)
    return Table(log_ratio, reward, lengths, gamma, truncated=ends)


def units(data: Data) -> Array | None:
    """[n] number of each episode's match, or None where every episode stands alone. Episodes without a match are their own."""
    numbers: dict[Any, int] = {}
    found = [numbers.setdefault(("episode", i) if match is None else ("match", match), len(numbers)) for i, match in enumerate(data.match)]
    return None if len(numbers) == data.n else np.array(found)


def _offsets(data: Data, unit: Array) -> Array:
    """[n] steps of the match before each life, where ticks say so; else 0."""
    if any(tick is None for tick in data.tick):
        return np.zeros(data.n, np.int64)
    ticks = np.array(data.tick, np.int64)
    first = np.full(int(unit.max()) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, unit, ticks)
    return np.asarray(ticks - first[unit])


def with_values(table: Table, data: Data, values: Values) -> Table:
    """The table with Q̂ and V̂; V̂ after the last step only where an episode is truncated.

    Raises:
      InputError: a truncated episode without its final observation.
    """
    n, L = table.reward.shape
    q, v = np.zeros((n, L)), np.zeros((n, L + 1))
    for i in range(n):
        T = len(data.rewards[i])
        q[i, :T], v[i, :T] = values.q[i], values.v[i][:T]
        if data.truncated[i]:
            v[i, T] = values.v[i][T]
    return table.with_values(q, v)


def check_final_observations(data: Data, estimator: str) -> None:
    """Raises InputError where a truncated episode lacks the observation that an estimator bootstraps from."""
    for i, (truncated, missing) in enumerate(zip(data.truncated, data.final_obs_missing, strict=True)):
        if truncated and missing:
            raise InputError(f"episode {i}, step {len(data.rewards[i])}, observations: expected the final observation of a truncated "
                             f"episode for {estimator!r}, got none; log it, cut with horizon=, or take 'is', 'pdis', 'wis' or 'cwpdis'")
