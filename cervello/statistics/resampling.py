"""Resamples with replacement, and statistics of them, in chunks of bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from cervello.errors import ConfigurationError, InputError
from cervello.spec import Array
from cervello.statistics.samples import is_integer

Statistic = Callable[[Array], Array]  # [B, m] int64 indices in the data ▸ [B] float64

_CHUNK = 1 << 19  # indices at a time


def resamples_of(n: int, resamples: int, seed: int) -> Iterator[Array]:
    """The rows of `numpy.random.default_rng(seed).integers(0, n, (resamples, n))`, in chunks: [b, n] int64."""
    if not is_integer(resamples) or resamples < 1:
        raise ConfigurationError(f"statistics, resamples: expected at least 1, got {resamples!r}; 1999 is usual")
    if not is_integer(seed) or seed < 0:
        raise ConfigurationError(f"statistics, seed: expected an integer from 0, got {seed!r}; 0 is usual")
    rng = np.random.default_rng(seed)
    rows = max(1, _CHUNK // n)
    for start in range(0, resamples, rows):
        yield rng.integers(0, n, (min(rows, resamples - start), n))


def evaluate(statistic: Statistic, indices: Array) -> Array:
    """The statistic of rows of indices, [B, m] ▸ [B] float64.

    Raises:
      InputError: it does not return one number per row.
    """
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # what is not finite is dealt with by the callers
        found = np.asarray(statistic(indices), np.float64)
    if found.shape != (len(indices),):
        raise InputError(f"statistics, statistic: expected ({len(indices)},) for indices of {indices.shape}, got {found.shape}; "
                         "reduce the last axis only")
    return found


def replicates(statistic: Statistic, n: int, resamples: int, seed: int) -> Array:
    """The statistic of each resample, [resamples] float64."""
    return np.concatenate([evaluate(statistic, indices) for indices in resamples_of(n, resamples, seed)])


def leave_one_out(statistic: Statistic, n: int) -> Array:
    """The statistic without each value in turn, [n] float64: the jackknife."""
    rows = max(1, _CHUNK // n)
    found = []
    for start in range(0, n, rows):
        left_out = np.arange(start, min(start + rows, n))[:, None]
        indices = np.broadcast_to(np.arange(n - 1), (len(left_out), n - 1))
        found.append(evaluate(statistic, indices + (indices >= left_out)))
    return np.concatenate(found)
