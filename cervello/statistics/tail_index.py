"""How heavy the tail of importance weights is: the shape k of the generalised Pareto distribution of the largest."""

from __future__ import annotations

from math import ceil, inf, isqrt, sqrt
from typing import Any

import numpy as np

from cervello.spec import Array
from cervello.statistics.arguments import log_weights_of

_FEWEST = 5  # excesses; fewer have no tail index
_LEAST = 1e-300


def pareto_tail_index(log_weights: Any) -> float:
    """The tail index k̂ of weights: moments of order ≥ 1/k do not exist. Below 0.5 the variance exists; above 0.7 estimates are useless.

    It is fitted to the M = ⌈min(n/5, 3√n)⌉ largest weights minus the next one. A weight that occurs m > 1 times becomes m values before,
    evenly spread in logarithm between the midpoints to its neighbours (the outermost weights have a mirrored neighbour): a bandit's few
    distinct weights are no spikes then.

    Args:
      log_weights: [n], natural logarithms; −∞ is a weight of 0.
    Returns:
      k̂; −∞ where all positive weights are equal; +∞ for fewer than 5 excesses above 1e-300 of the largest weight.
    Raises:
      InputError: not one axis, or NaN or +∞ among them.
    Source: J. Zhang, M. Stephens, "A new and efficient estimation method for the generalized Pareto distribution", Technometrics 51 (2009),
      with 30 + ⌊√M⌋ grid points and the weak prior (M k̂ + 5) / (M + 10) of A. Vehtari et al., "Pareto smoothed importance sampling" (2024).
    """
    logs = log_weights_of(log_weights, "[n]")
    n = len(logs)
    positive = np.sort(logs[logs > -inf])
    distinct = len(positive) and positive[0] != positive[-1]
    if len(positive) and not distinct:
        return -inf
    M = ceil(min(n / 5, 3 * sqrt(n)))
    if not distinct or M < _FEWEST:
        return inf
    spread = _spread(positive)
    weights = np.exp(spread - spread[-1])
    next_one = weights[-M - 1] if len(weights) > M else 0.0
    excesses = weights[-M:] - next_one
    excesses = excesses[excesses > _LEAST]  # of the largest weight; the reciprocal of what is less is no float64
    return _shape(excesses) if len(excesses) >= _FEWEST else inf


def _spread(positive: Array) -> Array:
    """Sorted logarithms without ties."""
    values, first, counts = np.unique(positive, return_index=True, return_counts=True)
    gaps = np.diff(values) / 2
    below, above = np.concatenate([gaps[:1], gaps]), np.concatenate([gaps, gaps[-1:]])
    within = np.arange(len(positive)) - np.repeat(first, counts)  # place among its equals
    share = (within + 0.5) / np.repeat(counts, counts)
    low, high = np.repeat(values - below, counts), np.repeat(values + above, counts)
    return np.where(np.repeat(counts, counts) > 1, low + share * (high - low), positive)


def _shape(excesses: Array) -> float:
    """The shape of a generalised Pareto distribution.

    Args:
      excesses: [M] positive, ascending.
    """
    M = len(excesses)
    points = 30 + isqrt(M)
    quartile = excesses[int(M / 4 + 0.5) - 1]
    grid = 1 / excesses[-1] + (1 - np.sqrt(points / (np.arange(1, points + 1) - 0.5))) / (3 * quartile)
    shapes = np.log1p(-grid[:, None] * excesses).mean(1)
    likelihoods = M * (np.log(-grid / shapes) - shapes - 1)
    posterior = np.exp(likelihoods - likelihoods.max())
    best = float((grid * posterior).sum() / posterior.sum())
    shape = float(np.log1p(-best * excesses).mean())
    return (M * shape + 5) / (M + 10)
