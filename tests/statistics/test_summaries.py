"""Interquartile mean, probability of improvement, pairs and effective sample size against scipy and definitions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from cervello import statistics
from cervello.errors import InputError


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 101])
def test_the_interquartile_mean_is_scipys_trimmed_mean(n: int) -> None:
    values = np.random.default_rng(n).normal(size=(3, n))
    np.testing.assert_allclose(statistics.interquartile_mean(values), stats.trim_mean(values, 0.25, axis=1), rtol=1e-12)
    assert isinstance(statistics.interquartile_mean(values[0]), float)


def test_the_interquartile_mean_has_an_interval() -> None:
    values = np.random.default_rng(1).normal(size=50)
    low, high = statistics.bca(values, statistics.interquartile_mean) or (0, 0)
    assert low < statistics.interquartile_mean(values) < high


def test_the_probability_of_improvement_is_that_over_all_pairs_with_ties_one_half() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.integers(0, 5, 30), rng.integers(0, 6, 17)
    pairs = [(a > b) + (a == b) / 2 for a in x for b in y]
    assert statistics.probability_of_improvement(x, y) == pytest.approx(np.mean(pairs), abs=1e-15)
    assert statistics.probability_of_improvement(x, y) == pytest.approx(stats.mannwhitneyu(x, y).statistic / (30 * 17))
    assert statistics.probability_of_improvement(x, x) == 0.5


def test_pairs_are_compared_with_their_partners_only() -> None:
    x, y = np.array([1.0, 10.0, 100.0, 5.0]), np.array([0.0, 9.0, 101.0, 5.0])
    found = statistics.paired_difference(x, y)
    assert (found.mean, found.probability_of_improvement, found.n) == (0.25, 0.625, 4)
    assert found.interval == statistics.bca(x - y)
    assert statistics.paired_difference([1], [2]).interval is None
    with pytest.raises(InputError, match="expected pairs, got 2 and 1 values"):
        statistics.paired_difference([1, 2], [1])
    with pytest.raises(InputError, match="expected values of both, got 0 and 1"):
        statistics.probability_of_improvement([], [1])


def test_the_effective_sample_size_survives_any_scale() -> None:
    logs = np.random.default_rng(3).normal(size=(50, 4))
    weights = np.exp(logs)
    expected = weights.sum(0)**2 / (weights**2).sum(0)
    for shift in (0.0, -1e5, 1e5):
        np.testing.assert_allclose(statistics.effective_sample_size(logs + shift), expected, rtol=1e-9)
    assert statistics.effective_sample_size(np.full(9, -3.0)) == pytest.approx(9)
    assert statistics.effective_sample_size(np.full(9, -np.inf)) == 0
    assert statistics.effective_sample_size([]) == 0
    with pytest.raises(InputError, match="NaN"):
        statistics.effective_sample_size([0, np.nan])
    for wrong in (["a"], [1j]):
        with pytest.raises(InputError, match="statistics, log_weights: expected"):
            statistics.effective_sample_size(wrong)
        with pytest.raises(InputError, match="statistics, values: expected numbers"):
            statistics.interquartile_mean(wrong)
    with pytest.raises(InputError, match="at least one value"):
        statistics.interquartile_mean([])
