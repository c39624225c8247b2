"""Replicates and jackknives of sums against the definitions, scipy, and one estimate at a time."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from cervello.evaluation.intervals import IntervalOptions, interval, prepare
from cervello.evaluation.moments import Columns, Moments, mean_of, ratio
from cervello.statistics import bootstrap
from cervello.statistics.resampling import leave_one_out


def estimates(n: int) -> list[Moments]:
    """A mean, a ratio with heavy tails, and one of which a single unit has nearly all the weight."""
    rng = np.random.default_rng(n)
    weights = np.exp(rng.normal(0, 2, n))
    alone = np.where(np.arange(n) == n // 2, 1e12, weights)
    values = rng.normal(size=n)
    return [mean_of(values, np.ones(n)), Moments(np.stack([weights * values, weights], 1), ratio),
            Moments(np.stack([alone * values, alone], 1), ratio)]


@pytest.mark.parametrize("n", [3, 40, 257, 700])
def test_estimates_without_each_unit_are_those_of_the_definition(n: int) -> None:
    for each in estimates(n):
        exact = np.array([each.combine(np.delete(each.columns, i, 0).sum(0)[None])[0] for i in range(n)])
        np.testing.assert_allclose(each.leave_one_out(), exact, rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(each.leave_one_out(), leave_one_out(each.statistic, n), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("kind", ["bca", "percentile"])
@pytest.mark.parametrize("n", [3, 40, 700])
def test_intervals_of_sums_are_those_of_the_bootstrap_and_of_scipy(kind: str, n: int) -> None:
    options = IntervalOptions(kind, resamples=499, seed=5)
    some = estimates(n)[:2]
    prepare(some, options)
    for each in some:
        found, _ = interval(each, options, "wis")
        assert found == pytest.approx(bootstrap(each.statistic, n, kind, resamples=499, seed=5), rel=1e-11)  # type: ignore[arg-type]
        if n > 3:
            expected = stats.bootstrap((each.columns[:, 0], each.columns[:, 1]), lambda a, b, axis: a.sum(axis) / b.sum(axis), paired=True,
                                       n_resamples=499, method={"bca": "BCa"}.get(kind, kind), axis=-1,
                                       random_state=np.random.default_rng(5)).confidence_interval
            assert found == pytest.approx(tuple(expected), rel=1e-9)


def test_estimates_resampled_together_are_bitwise_those_resampled_alone() -> None:
    together = estimates(700)
    options = IntervalOptions("bca", resamples=1100)
    prepare(together, options)
    for joint, alone in zip(together, estimates(700), strict=True):
        np.testing.assert_array_equal(joint.replicates(1100, 0), alone.replicates(1100, 0))
        assert interval(joint, options, "wis") == interval(alone, options, "wis")


def test_units_that_are_all_equal_give_the_point() -> None:
    each = Moments(np.full((700, 2), 0.1), ratio)
    assert interval(each, IntervalOptions("bca"), "wis")[0] == (each.value, each.value)
    np.testing.assert_array_equal(each.leave_one_out(), np.full(700, each.value))


@pytest.mark.parametrize("made", [False, True])
def test_sums_of_resamples_of_long_episodes_are_made_some_at_a_time(made: bool) -> None:
    rows = np.random.default_rng(0).normal(size=(6, 60_000))
    seen: list[int] = []

    def combine(sums: np.ndarray) -> np.ndarray:
        seen.append(sums.nbytes)
        return np.asarray(sums[:, 0] / 6)

    found = Moments(Columns(lambda: iter((rows[:4], rows[4:])), 6) if made else rows, combine)
    again = found.replicates(600, 3)
    places = np.random.default_rng(3).integers(0, 6, (600, 6))
    np.testing.assert_allclose(again, rows[places, 0].mean(1))
    np.testing.assert_array_equal(found.statistic(places), again)
    assert max(seen) <= (1 << 27 if made else 1 << 25)
    assert len(seen) >= 2 * (3 if made else 9)
