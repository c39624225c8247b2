"""The tail index: against a plain rendering of the paper, on distributions whose index is known, with ties, and where there is none."""

from __future__ import annotations

from math import exp, inf, log, log1p, sqrt

import numpy as np
import pytest
from scipy import stats

from cervello import statistics
from cervello.errors import InputError


def paper(excesses: list[float]) -> float:
    """Zhang & Stephens 2009, term by term, with the prior."""
    x, M = sorted(excesses), len(excesses)
    points = 30 + int(sqrt(M))
    grid = [1 / x[-1] + (1 - sqrt(points / (j - 0.5))) / (3 * x[int(M / 4 + 0.5) - 1]) for j in range(1, points + 1)]

    def shape(b: float) -> float:
        return sum(log1p(-b * each) for each in x) / M

    profile = [M * (log(-b / shape(b)) - shape(b) - 1) for b in grid]
    weights = [1 / sum(exp(other - each) for other in profile) for each in profile]
    k = shape(sum(b * w for b, w in zip(grid, weights, strict=True)))
    return (M * k + 5) / (M + 10)


@pytest.mark.parametrize(("n", "seed"), [(25, 0), (100, 1), (1000, 2)])
def test_it_is_the_papers_on_the_excesses_of_the_largest(n: int, seed: int) -> None:
    weights = np.sort(np.random.default_rng(seed).lognormal(sigma=1.5, size=n))
    M = int(np.ceil(min(n / 5, 3 * sqrt(n))))
    expected = paper((weights[-M:] - weights[-M - 1]).tolist())
    for scale in (0, 500, -500):
        assert statistics.pareto_tail_index(np.log(weights) + scale) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("k", [0.1, 0.3, 0.5, 0.7, 1.0])
def test_it_finds_the_index_of_a_pareto_tail(k: float) -> None:
    found = [statistics.pareto_tail_index(np.log1p(stats.genpareto.rvs(k, size=20_000, random_state=seed))) for seed in range(5)]
    assert np.mean(found) == pytest.approx(k, abs=0.1)


def test_bounded_weights_have_a_light_tail() -> None:
    assert statistics.pareto_tail_index(np.log(np.random.default_rng(0).uniform(0.5, 1.5, 2000))) < 0


def test_ties_become_even_steps_between_the_midpoints_to_their_neighbours() -> None:
    logs = np.repeat([0.0, 1.0, 3.0], [20, 6, 4])
    spread = np.concatenate([-0.5 + (np.arange(20) + 0.5) / 20, 0.5 + 1.5 * (np.arange(6) + 0.5) / 6, 2 + 2 * (np.arange(4) + 0.5) / 4])
    weights = np.exp(spread)
    expected = paper((weights[-6:] - weights[-7]).tolist())
    assert statistics.pareto_tail_index(np.random.default_rng(0).permutation(logs)) == pytest.approx(expected)


@pytest.mark.parametrize(("logs", "expected"), [
    (np.zeros(100), -inf), (np.array([2.0] * 50 + [-inf] * 50), -inf), (np.array([3.0] + [-inf] * 9), -inf),
    (np.full(10, -inf), inf), (np.zeros(0), inf), (np.arange(20.0), inf), (np.array([0.0, 1, 2, 3] + [-inf] * 96), inf)])
def test_where_nothing_can_be_fitted_it_says_which_way(logs: np.ndarray, expected: float) -> None:
    assert statistics.pareto_tail_index(logs) == expected


def test_it_takes_logarithms_only() -> None:
    for wrong in ([0, np.nan], [0, inf], [[0, 1]], ["a", "b"], [1j, 2]):
        with pytest.raises(InputError, match="log_weights"):
            statistics.pareto_tail_index(wrong)


def test_excesses_that_are_nothing_beside_the_largest_weight_show_no_tail() -> None:
    logs = np.random.default_rng(0).normal(size=40)
    logs[3] = 744.0
    assert statistics.pareto_tail_index(logs) == inf
