"""Moments and distributions, on fixed seeds: nothing here can fail by chance. `test_independence` and `test_series` go on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from noise_samples import FAST_VALUES, draws, fast_odds

AGENTS, WIDTH = 2000, 640


@pytest.fixture(scope="module")
def normals() -> Any:
    return draws("normal", WIDTH, agent=np.arange(AGENTS))


@pytest.fixture(scope="module")
def fast_normals() -> Any:
    return draws("fast_normal", WIDTH, agent=np.arange(AGENTS))


@pytest.fixture(scope="module")
def uniforms() -> Any:
    return draws("uniform", WIDTH, agent=np.arange(AGENTS))


def moments(x: Any) -> tuple[float, float, float, float]:
    x = x.ravel()
    centred = x - x.mean()
    variance = (centred**2).mean()
    return x.mean(), variance, (centred**3).mean() / variance**1.5, (centred**4).mean() / variance**2 - 3.0


def within_deviations(value: float, expected: float, variance_of_one: float, n: int, limit: float = 4.0) -> bool:
    return bool(abs(value - expected) < limit * np.sqrt(variance_of_one / n))


def test_normals_have_the_moments_of_the_normal_distribution(normals: Any) -> None:
    mean, variance, skew, excess = moments(normals)
    n = normals.size
    assert within_deviations(mean, 0.0, 1.0, n)
    assert within_deviations(variance, 1.0, 2.0, n)
    assert within_deviations(skew, 0.0, 6.0, n)
    assert within_deviations(excess, 0.0, 24.0, n)


def test_normals_are_normal_by_kolmogorov_and_smirnov(normals: Any) -> None:
    stats = pytest.importorskip("scipy.stats")
    assert stats.kstest(normals.ravel(), "norm").pvalue > 0.01
    for element in (0, 1, 2, 3, 63, 64):
        assert stats.kstest(normals[:, element], "norm").pvalue > 0.001


def test_tails_of_normals_are_as_heavy_as_they_should_be(normals: Any) -> None:
    stats = pytest.importorskip("scipy.stats")
    for limit in (2.0, 3.0, 4.0):
        expected = 2 * stats.norm.sf(limit) * normals.size
        assert abs((np.abs(normals) > limit).sum() - expected) < 4 * np.sqrt(expected)


def test_the_farthest_normal_is_finite_and_beyond_six_deviations() -> None:
    """The extreme words cannot be drawn on purpose, so the arithmetic is asked for them."""
    import numba

    from cervello.codegen.simd import as_int, load, store
    from cervello.noise import draws

    pair = draws.normal_pair

    @numba.njit
    def run(source, target):  # type: ignore[no-untyped-def]
        cosine, sine = pair(as_int(load(source)), as_int(load(source + 64)))
        store(target, cosine)
        store(target + 64, sine)

    words, out = np.zeros((2, 16), np.uint32), np.full((2, 16), np.nan, np.float32)
    words[0] = [0, 1, 2, 2**32 - 1, 2**31, 2**31 - 1, 2**32 - 256, 2**24, *range(8)]
    for angle in (0, 2**30, 2**31, 3 * 2**30, 2**29, 2**29 - 1, 2**32 - 1, 2**32 - 2**29):
        words[1] = angle
        run(words.ctypes.data, out.ctypes.data)
        assert np.isfinite(out).all()
        truth = [definition_pair(int(w), angle) for w in words[0]]
        np.testing.assert_allclose(out.T, truth, rtol=1e-6, atol=1e-6)
        assert 6.65 < np.hypot(*out[:, 0]) < 6.67
        assert np.hypot(*out[:, 3]) == 0.0


def definition_pair(for_radius: int, for_angle: int) -> tuple[float, float]:
    share = float(np.float32(float(np.float32(for_radius >> 1)) * 2.0**-31 + 2.0**-32))
    radius = np.sqrt(-2.0 * np.log(share))
    return radius * np.cos(2 * np.pi * for_angle / 2**32), radius * np.sin(2 * np.pi * for_angle / 2**32)


def test_fast_normals_have_the_promised_moments(fast_normals: Any) -> None:
    mean, variance, skew, excess = moments(fast_normals)
    n = fast_normals.size
    assert within_deviations(mean, 0.0, 1.0, n)
    assert within_deviations(variance, 1.0, 2.0, n)
    assert within_deviations(skew, 0.0, 6.0, n)
    assert within_deviations(excess, -0.075, 24.0, n)
    assert np.abs(fast_normals).max() < 6.91


def test_fast_normals_of_one_draw_are_uncorrelated_and_their_squares_nearly(fast_normals: Any) -> None:
    four = fast_normals.reshape(-1, 4)
    n = len(four)
    for i, j in ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)):
        assert within_deviations(np.corrcoef(four[:, i], four[:, j])[0, 1], 0.0, 1.0, n)
        assert within_deviations(np.corrcoef(four[:, i] ** 2, four[:, j] ** 2)[0, 1], -0.039, 1.0, n)


def test_fast_normals_of_the_definition_have_exact_moments() -> None:
    """A sum of 16 independent uniform bytes: computed by convolution, not by sampling."""
    x, odds = FAST_VALUES, fast_odds()
    assert abs((odds * x**2).sum() - 1.0) < 1e-9
    assert abs((odds * x**3).sum()) < 1e-9
    assert abs((odds * x**4).sum() - 3.0 + 0.075) < 1e-4
    assert 6.90 < x[-1] < 6.91
    assert np.diff(x).max() < 0.0034


def p_of_fast_normals(drawn: Any) -> float:
    """p of Kolmogorov and Smirnov against the exact distribution; compared between its steps only, so p is rather too large."""
    middles = FAST_VALUES[:-1] + np.diff(FAST_VALUES) / 2
    seen = np.searchsorted(np.sort(drawn.ravel()), middles) / drawn.size
    distance = np.abs(seen - np.cumsum(fast_odds())[:-1]).max()
    return float(pytest.importorskip("scipy.stats").kstwobign.sf(distance * np.sqrt(drawn.size)))


def test_fast_normals_have_exactly_their_distribution_by_kolmogorov_and_smirnov(fast_normals: Any) -> None:
    assert p_of_fast_normals(fast_normals) > 0.01
    for element in (0, 1, 2, 3, 63, 64):
        assert p_of_fast_normals(fast_normals[:, element]) > 0.001


def test_a_fast_normal_is_below_a_limit_as_often_as_a_normal_within_a_four_hundredth() -> None:
    """For every limit, by the exact distribution, not by sampling."""
    truth = pytest.importorskip("scipy.stats").norm.cdf(FAST_VALUES)
    assert np.abs(np.cumsum(fast_odds()) - truth).max() < 0.0025
    assert np.abs(np.cumsum(fast_odds()) - fast_odds() - truth).max() < 0.0025


def test_moments_and_distances_tell_normals_from_fast_normals_and_from_wider_ones(normals: Any, fast_normals: Any) -> None:
    """Had one fill the other's numbers, or were they two percent too wide, the tests above would fail."""
    stats = pytest.importorskip("scipy.stats")
    assert not within_deviations(moments(fast_normals)[3], 0.0, 24.0, fast_normals.size)
    assert not within_deviations(moments(normals)[3], -0.075, 24.0, normals.size)
    assert stats.kstest(fast_normals.ravel(), "norm").pvalue < 0.01
    assert p_of_fast_normals(normals) < 0.01
    assert stats.kstest(1.02 * normals.ravel(), "norm").pvalue < 1e-6
    assert p_of_fast_normals(1.02 * fast_normals) < 1e-6


def test_uniforms_are_uniform(uniforms: Any) -> None:
    mean, variance, skew, excess = moments(uniforms)
    n = uniforms.size
    assert within_deviations(mean, 0.5, 1 / 12, n)
    assert within_deviations(variance, 1 / 12, 1 / 180, n)
    assert within_deviations(skew, 0.0, 6.0, n)
    assert within_deviations(excess, -1.2, 24.0, n)
    assert uniforms.min() >= 0.0
    assert uniforms.max() < 1.0
    assert (uniforms * 2**24 % 1 == 0).all()
    assert (np.abs(np.bincount((uniforms.ravel() * 256).astype(int)) - n / 256) < 5 * np.sqrt(n / 256)).all()


def test_uniforms_are_uniform_by_kolmogorov_and_smirnov(uniforms: Any) -> None:
    stats = pytest.importorskip("scipy.stats")
    assert stats.kstest(uniforms.ravel(), "uniform").pvalue > 0.01
