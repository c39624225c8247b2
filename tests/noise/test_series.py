"""What one agent draws step after step has no memory and no period, on fixed seeds; two bad sources have both."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from noise_samples import KINDS, counted, draws, hardly_mixed

stats = pytest.importorskip("scipy.stats")

STEPS, LAGS = 1 << 15, 1024
STARTS = (0, (1 << 32) - STEPS // 2)  # the second series passes the step where the low word is full
BAD = [counted, hardly_mixed]
READINGS = {"values": lambda x: x, "sizes": lambda x: np.abs(x - x.mean()), "ranks": stats.rankdata}


def series(source: Any, kind: str, start: int = 0, agent: Any = 5) -> Any:
    """[4, steps]: the first four elements that one agent draws at every step."""
    return source(kind, 4, agent=agent, step=start + np.arange(STEPS)).T


def by_lags(x: Any) -> tuple[float, float]:
    """The largest autocorrelation of lags 1 to LAGS in standard deviations, and p of all together (Ljung and Box 1978)."""
    x = x - x.mean()
    power = np.abs(np.fft.rfft(x, 2 * len(x))) ** 2
    correlation = np.fft.irfft(power)[: LAGS + 1] / (x @ x)
    pairs = len(x) - np.arange(1, LAGS + 1)
    squares = (len(x) + 2) * len(x) * correlation[1:] ** 2 / pairs
    return float(np.sqrt(squares.max())), float(stats.chi2.sf(squares.sum(), LAGS))


def by_frequencies(x: Any) -> tuple[float, float]:
    """p of the highest peak of the periodogram (Fisher 1929) and of its sum from low to high (Bartlett 1955)."""
    power = np.abs(np.fft.rfft(x - x.mean())[1:-1]) ** 2
    n, share = len(power), power / power.sum()
    distance = np.abs(np.cumsum(share)[:-1] - np.arange(1, n) / n).max()
    return float(-np.expm1(n * np.log1p(-((1 - share.max()) ** (n - 1))))), float(stats.kstwo.sf(distance, n - 1))


def by_runs(x: Any) -> tuple[float, float]:
    """Runs beside the median (Wald and Wolfowitz 1940) and runs up or down (Levene 1952), in standard deviations."""
    n, above = len(x), x > np.median(x)
    high, low = above.sum(), (~above).sum()
    mean = 2 * high * low / n + 1
    sides = (np.count_nonzero(np.diff(above)) + 1 - mean) / np.sqrt((mean - 1) * (mean - 2) / (n - 1))
    rises = np.diff(x)
    rises = rises[rises != 0] > 0  # equal neighbours, rare, go on as before
    turns = np.count_nonzero(np.diff(rises)) + 1
    n = len(rises) + 1
    return float(abs(sides)), float(abs(turns - (2 * n - 1) / 3) / np.sqrt((16 * n - 29) / 90))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("reading", READINGS)
def test_no_step_remembers_an_earlier_one(kind: str, start: int, reading: str) -> None:
    for x in series(draws, kind, start):
        largest, together = by_lags(READINGS[reading](x))
        assert largest < 5.0
        assert 0.001 < together < 0.999


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("reading", READINGS)
def test_no_frequency_stands_out(kind: str, start: int, reading: str) -> None:
    for x in series(draws, kind, start):
        highest, together = by_frequencies(READINGS[reading](x))
        assert highest > 0.001
        assert together > 0.001


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("start", STARTS)
def test_runs_are_as_many_as_chance_makes(kind: str, start: int) -> None:
    for agent in (0, 5, 2**63 + 9):
        for x in series(draws, kind, start, np.array([agent], np.uint64)):
            assert max(by_runs(x)) < 4.0


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_element_of_one_step_and_the_first_of_the_next_are_uncorrelated(kind: str) -> None:
    """A counter that ran on from step to step instead of starting anew would show here first."""
    drawn = draws(kind, 65, step=np.arange(STEPS))
    for element in (0, 3, 63, 64):
        for reading in READINGS.values():
            a, b = reading(drawn[:-1, element]), reading(drawn[1:, 0])
            assert abs(np.corrcoef(a, b)[0, 1]) * np.sqrt(len(a)) < 4.0


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("kind", ["normal", "uniform"])
@pytest.mark.parametrize("start", STARTS)
def test_bad_sources_have_memory_periods_and_wrong_runs(bad: Any, kind: str, start: int) -> None:
    x = series(bad, kind, start)[0]
    largest, together = by_lags(x)
    assert largest > 10.0
    assert together < 1e-9
    assert min(by_frequencies(x)) < 1e-9
    assert max(by_runs(x)) > 6.0


def test_sizes_see_what_values_hide() -> None:
    """Pairs of equal size and any signs: uncorrelated values, no period, as many changes of side as chance makes."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal(STEPS)
    x[1::2] = rng.choice([-1.0, 1.0], STEPS // 2) * np.abs(x[::2])
    assert by_lags(x)[0] < 5.0
    assert min(by_frequencies(x)) > 0.001
    assert by_runs(x)[0] < 4.0
    assert by_lags(np.abs(x))[0] > 10.0
