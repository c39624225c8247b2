"""Bootstrap intervals: scipy's on the same resamples, weighted estimators recomputed in each, coverage, and what has no interval."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cervello import statistics
from cervello.errors import ConfigurationError, InputError
from cervello.statistics import resampling


class Replayed(np.random.Generator):
    """Hands scipy the resamples that the convention names, however it asks for them."""

    def __init__(self, n: int, resamples: int, seed: int):
        super().__init__(np.random.PCG64(0))
        self._table = np.random.default_rng(seed).integers(0, n, (resamples, n))

    def integers(self, low: Any, high: Any = None, size: Any = None, **_: Any) -> Any:
        taken, self._table = self._table[:size[0]], self._table[size[0]:]
        assert taken.shape == tuple(size)
        return taken


def scipys(values: Any, statistic: Any, method: str, resamples: int, seed: int, level: float) -> tuple[float, float]:
    found = stats.bootstrap((values,), statistic, n_resamples=resamples, method=method, confidence_level=level, vectorized=True, axis=-1,
                            rng=Replayed(len(values), resamples, seed)).confidence_interval
    return float(found.low), float(found.high)


@pytest.mark.parametrize("method", ["BCa", "percentile"])
@pytest.mark.parametrize("statistic", [np.mean, np.std], ids=["mean", "std"])
@pytest.mark.parametrize(("n", "seed", "level"), [(3, 0, 0.95), (10, 0, 0.9), (57, 5, 0.95), (400, 0, 0.99)])
def test_intervals_are_those_of_scipy_on_the_same_resamples(method: str, statistic: Any, n: int, seed: int, level: float) -> None:
    values = np.random.default_rng(n).lognormal(size=n)
    ours = statistics.bca if method == "BCa" else statistics.percentile
    found = ours(values, lambda rows: statistic(rows, axis=-1), level=level, resamples=1999, seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a standard deviation of 0 in a resample of 3
        expected = scipys(values, statistic, method, 1999, seed, level)
    np.testing.assert_allclose(found, expected, rtol=1e-13)


@pytest.mark.parametrize("n", [3, 100, 1001, 70_000])
def test_resamples_in_chunks_are_the_rows_of_one_call(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.random.default_rng(9).integers(0, n, (37, n))
    for chunk in (1, 5 * n + 1, resampling._CHUNK):
        monkeypatch.setattr(resampling, "_CHUNK", chunk)
        assert (np.concatenate(list(resampling.resamples_of(n, 37, 9))) == whole).all()


def test_the_statistic_never_sees_more_than_a_chunk() -> None:
    n, seen = 20_000, []

    def mean(places: Any) -> Any:
        seen.append(places.size)
        return places.mean(-1)

    statistics.bootstrap(mean, n, "percentile", resamples=200)
    assert max(seen) <= resampling._CHUNK
    assert sum(seen) == 201 * n


def test_a_weighted_mean_is_normalised_in_each_resample() -> None:
    rng = np.random.default_rng(3)
    weights, returns = rng.lognormal(size=40), rng.normal(size=40)
    found = statistics.bootstrap(lambda at: (weights[at] * returns[at]).sum(-1) / weights[at].sum(-1), 40, "percentile")
    at = np.random.default_rng(0).integers(0, 40, (1999, 40))
    each = [np.average(returns[row], weights=weights[row]) for row in at]
    np.testing.assert_allclose(found, np.percentile(each, [2.5, 97.5]), rtol=1e-12)


def test_a_unit_left_out_is_left_out_of_its_own_statistic_alone() -> None:
    values = np.arange(7.0)
    found = resampling.leave_one_out(lambda at: values[at].sum(-1), 7)
    assert found.tolist() == [21 - value for value in values]


@pytest.mark.parametrize("kind", ["bca", "percentile", "calibrated"])
def test_equal_values_give_the_point_and_few_give_none(kind: str) -> None:
    interval = getattr(statistics, kind)
    assert interval([0.1] * 30) == (np.mean([0.1] * 30),) * 2
    assert interval([500.0] * 100) == (500.0, 500.0)
    assert interval([1.0, 2.0]) is None
    assert interval([]) is None
    assert interval([1.0, 1.0, 1.0]) == (1.0, 1.0)


def test_no_weight_in_a_resample_is_no_interval() -> None:
    weights = np.array([0.0] * 9 + [1.0])
    assert statistics.bootstrap(lambda at: weights[at].sum(-1) / weights[at].sum(-1), 10) is None


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([-1e300, -1.0, -0.0, 1e-310, 0.5, 1.0, 3.0, 1e20]), min_size=3, max_size=12))
def test_intervals_are_never_nan_and_hold_together(values: list[float]) -> None:
    for kind in ("bca", "percentile"):
        found = getattr(statistics, kind)(values, resamples=99)
        assert found is not None
        assert min(values) <= found[0] <= found[1] <= max(values)


def coverage(interval: Any, draw: Any, truth: float, runs: int) -> float:
    hits = 0
    for run in range(runs):
        low, high = interval(draw(np.random.default_rng([7, run])))
        hits += low <= truth <= high
    return hits / runs


@pytest.mark.parametrize(("interval", "low", "high"), [
    (lambda x: statistics.bca(x, resamples=499), 0.92, 0.98), (statistics.student_t, 0.92, 0.98),
    (lambda x: statistics.hoeffding(x, 0, 1), 0.99, 1), (lambda x: statistics.empirical_bernstein(x, 0, 1), 0.99, 1)],
    ids=["bca", "student_t", "hoeffding", "empirical_bernstein"])
def test_intervals_cover_the_mean_of_light_tails_as_often_as_they_say(interval: Any, low: float, high: float) -> None:
    found = coverage(interval, lambda rng: rng.beta(2, 3, 100), 0.4, 500)  # standard error of the share: 0.01
    assert low <= found <= high


def test_calibration_covers_skewed_weights_more_often_than_the_percentile() -> None:
    def draw(rng: Any) -> Any:
        return rng.lognormal(-0.5, 1.0, 20)

    def plain(x: Any) -> Any:
        return statistics.percentile(x, resamples=199)

    def calibrated(x: Any) -> Any:
        return statistics.calibrated(x, resamples=199)

    found = coverage(calibrated, draw, 1.0, 120)
    assert found > coverage(plain, draw, 1.0, 120) + 0.02
    assert found < 1


def test_calibrated_intervals_are_the_same_each_time() -> None:
    values = np.random.default_rng(0).exponential(size=15)
    assert statistics.calibrated(values, seed=4) == statistics.calibrated(values, seed=4)
    assert statistics.calibrated(values, seed=4) != statistics.calibrated(values, seed=5)


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: statistics.bca([1, float("nan"), 2]), InputError, "values: expected finite numbers, got nan at 1"),
    (lambda: statistics.bca([[1, 2, 3]]), InputError, r"expected \[n\] numbers, got \(1, 3\)"),
    (lambda: statistics.bca(["a", "b", "c"]), InputError, r"values: expected numbers, got \(3,\) <U1"),
    (lambda: statistics.bca([1, 2, 3], level=1), ConfigurationError, "level: expected a number between 0 and 1, got 1"),
    (lambda: statistics.bca([1, 2, 3], resamples=0), ConfigurationError, "resamples: expected an integer of at least 1, got 0"),
    (lambda: statistics.bca([1, 2, 3], resamples=1.5), ConfigurationError, "resamples: expected an integer of at least 1, got 1.5"),  # type: ignore[arg-type]
    (lambda: statistics.bca([1, 2, 3], seed=-1), ConfigurationError, "seed: expected an integer of at least 0, got -1"),
    (lambda: statistics.calibrated([1, 2, 3], seed="x"), ConfigurationError, "seed: expected an integer of at least 0, got 'x'"),  # type: ignore[arg-type]
    (lambda: statistics.bca([1, 2, 3], np.mean), InputError, r"expected \(1999,\) for indices of \(1999, 3\), got \(\)"),
    (lambda: statistics.bootstrap(np.mean, 3, "basic"), ConfigurationError, "kind: expected 'bca'"),  # type: ignore[arg-type]
])
def test_what_cannot_be_is_refused(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_importing_the_room_imports_no_scipy() -> None:
    script = ("import sys, cervello.statistics, cervello.recording; heavy = {'scipy', 'gymnasium', 'minari', 'h5py'}; "
              "print(sorted(heavy & set(sys.modules)))")
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip() == "[]"
