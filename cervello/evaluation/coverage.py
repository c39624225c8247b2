"""The coverage study: named families of weights of which the truth is known, and how often intervals hold it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cervello.evaluation.diagnostics import RELIABLE, diagnose, judge
from cervello.evaluation.estimators import importance_sampling
from cervello.evaluation.intervals import IntervalOptions, interval, value_bounds
from cervello.evaluation.table import Table

Draw = Callable[[int, np.random.Generator], Table]


def _bandit(n: int, rng: np.random.Generator) -> Table:
    """Four actions, logged evenly; the target moves a little. Rewards are 0 or 1. Weights deviate by 0.45."""
    pi, pays = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.7, 0.5, 0.4, 0.2])
    a = rng.integers(0, 4, n)
    return Table(np.log(pi / 0.25)[a][:, None], (rng.random(n) < pays[a]).astype(np.float64)[:, None], np.ones(n, np.int64))


def _steps(n: int, rng: np.random.Generator) -> Table:
    """Five steps of two actions, logged evenly; the target prefers the one that pays. Weights deviate by 0.46."""
    a = rng.integers(0, 2, (n, 5))
    return Table(np.log(2 * np.array([0.4, 0.6]))[a], 0.2 * (rng.random((n, 5)) < 0.3 + 0.4 * a), np.full(n, 5))


def _gaussian(n: int, rng: np.random.Generator) -> Table:
    """One continuous action; the target is shifted by 0.4 deviations. Rewards within 0 and 1. Weights deviate by 0.42."""
    x = rng.normal(size=(n, 1))
    return Table(0.4 * x - 0.08, 1 / (1 + np.exp(-x)), np.ones(n, np.int64))


def _loop(n: int, rng: np.random.Generator) -> Table:
    """Sutton & Barto, example 5.5: infinite variance."""
    lengths = rng.geometric(0.55, n)  # a step goes on with ½ · 0.9
    pays = rng.random(n) < 0.05 / 0.55
    L = int(lengths.max())
    ratio, reward = np.zeros((n, L)), np.zeros((n, L))
    ratio[np.arange(L) < lengths[:, None]] = np.log(2.0)
    ratio[np.arange(n)[~pays], lengths[~pays] - 1] = -np.inf
    reward[np.arange(n)[pays], lengths[pays] - 1] = 1.0
    return Table(ratio, reward, lengths)


def _wide(spread: float) -> Draw:
    def draw(n: int, rng: np.random.Generator) -> Table:
        x = rng.normal(size=(n, 1))
        return Table(0.5 * x**2 * (1 - 1 / spread**2) - np.log(spread), x, np.ones(n, np.int64))

    return draw


def _shifted_mean() -> float:
    """E[1 / (1 + exp(−(x + 0.4)))], by quadrature."""
    x = np.linspace(-10, 10, 200_001)
    return float((np.exp(-0.5 * x**2) / np.sqrt(2 * np.pi) / (1 + np.exp(-x - 0.4))).sum() * (x[1] - x[0]))


FAMILIES: dict[str, tuple[Draw, float, float, int]] = {  # draws, truth, largest weight, steps
    "bandit": (_bandit, 0.4 * 0.7 + 0.3 * 0.5 + 0.2 * 0.4 + 0.1 * 0.2, 1.6, 1),
    "five steps": (_steps, 0.3 + 0.4 * 0.6, 1.2**5, 5),
    "shifted Gaussian": (_gaussian, _shifted_mean(), float(np.exp(0.4 * 6 - 0.08)), 1),  # x stays below 6 in any study
}
HEAVY: dict[str, Draw] = {"loop of example 5.5": _loop, "Gaussian, twice as wide": _wide(2.0), "Gaussian, three times as wide": _wide(3.0)}


def coverage(kind: str, family: str, n: int, runs: int, seed: int = 0) -> float:
    """The share of runs whose 95% interval of ordinary importance sampling holds the truth."""
    draw, truth, largest, steps = FAMILIES[family]
    options = IntervalOptions(kind, reward_range=(0.0, 1.0 if steps == 1 else 0.2), max_weight=largest, resamples=999)
    rng = np.random.default_rng([seed, n])
    hits = 0
    for _ in range(runs):
        table = draw(n, rng)
        bounds = value_bounds(table, options, steps) if kind in ("hoeffding", "empirical-bernstein") else None
        found, _ = interval(importance_sampling(table), options, "is", bounds)
        hits += found is not None and found[0] <= truth <= found[1]
    return hits / runs


def said_reliable(family: str, n: int, runs: int, seed: int = 0) -> float:
    """The share of runs of a heavy-tailed family that are called reliable."""
    rng = np.random.default_rng([seed, n])
    return sum(judge(diagnose(HEAVY[family](n, rng))).name == RELIABLE for _ in range(runs)) / runs
