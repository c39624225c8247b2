"""Moments, distributions and independence, on fixed seeds: nothing here can fail by chance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cervello.noise import Streams, definition, derive_keys

AGENTS, WIDTH = 2000, 640


def table(numbers: Any, streams: Any = 0, episodes: Any = 0, steps: Any = 0, seed: int = 7) -> Streams:
    n = len(numbers)
    keys = np.zeros((n, 2), np.uint64)
    derive_keys(numbers, np.broadcast_to(streams, n), np.broadcast_to(episodes, n), seed, np.arange(n), keys)
    return Streams(keys, np.ascontiguousarray(np.broadcast_to(steps, n), np.int64))


def sample(streams: Streams, kind: str, width: int = WIDTH, site: int = 1) -> Any:
    out = np.full((len(streams.keys), width), np.nan, np.float32)
    getattr(streams, kind)(out, np.arange(len(out)), site)
    return out.astype(np.float64)


@pytest.fixture(scope="module")
def normals() -> Any:
    return sample(table(np.arange(AGENTS)), "fill_normal")


@pytest.fixture(scope="module")
def fast_normals() -> Any:
    return sample(table(np.arange(AGENTS)), "fill_fast_normal")


@pytest.fixture(scope="module")
def uniforms() -> Any:
    return sample(table(np.arange(AGENTS)), "fill_uniform")


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

    from cervello.compiled.lanes import as_int, load, store
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
    odds = np.ones(1)
    for _ in range(16):
        odds = np.convolve(odds, np.full(256, 1 / 256))
    x = (np.arange(len(odds)) - 16 * 127.5) * definition.FAST_SCALE
    assert abs((odds * x**2).sum() - 1.0) < 1e-9
    assert abs((odds * x**4).sum() - 3.0 + 0.075) < 1e-4
    assert 6.90 < x[-1] < 6.91


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


@pytest.mark.parametrize("neighbour", ["agents", "streams", "episodes", "steps", "sites", "seeds", "elements"])
def test_neighbours_are_uncorrelated(kind: str, neighbour: str) -> None:
    n, width = 300, 256
    here = np.arange(n)
    if neighbour == "sites":
        a, b = (sample(table(here), kind, width, site) for site in (1, 2))
    elif neighbour == "seeds":
        a, b = (sample(table(here, seed=seed), kind, width) for seed in (1, 2))
    elif neighbour == "elements":
        drawn = sample(table(here), kind, width + 1)
        a, b = drawn[:, :-1], drawn[:, 1:]
    else:
        fixed = np.full(n, 5)
        drawn = sample({
            "agents": table(here), "streams": table(fixed, streams=here), "episodes": table(fixed, episodes=here),
            "steps": table(fixed, steps=here)}[neighbour], kind, width)
        a, b = drawn[:-1], drawn[1:]
    assert within_deviations(np.corrcoef(a.ravel(), b.ravel())[0, 1], 0.0, 1.0, a.size)
    centred_a, centred_b = (a - a.mean()) ** 2, (b - b.mean()) ** 2
    if not (kind == "fill_fast_normal" and neighbour == "elements"):  # there the definition promises no more
        assert within_deviations(np.corrcoef(centred_a.ravel(), centred_b.ravel())[0, 1], 0.0, 1.0, a.size)


def test_a_thousand_streams_share_no_draw() -> None:
    """96 numbers of 24 bits each: equal rows would mean equal keys."""
    drawn = sample(table(np.arange(1000) % 10, np.arange(1000) // 10 % 10, np.arange(1000) // 100), "fill_uniform", 96)
    assert len(np.unique(drawn, axis=0)) == 1000
    assert len(np.unique(drawn)) > drawn.size * 0.99
