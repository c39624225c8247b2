"""Compiled loops of `mis` beside their definition in numpy, and whatever the number of threads."""

from __future__ import annotations

import numpy as np
import pytest

from cervello.evaluation.estimators import kernel_visits
from cervello.evaluation.estimators.kernel_visits import Kernels, fit_kernels, in_order
from cervello.evaluation.estimators.mis import Flow


def test_exponentials_are_within_two_units_of_the_last_place() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([-(10.0 ** rng.uniform(-18, 2.85, 40_000)), [0.0, -0.0, -5e-324, -1e-300, -707.99, -708.0, -1e300, -np.inf]])
    found = x.copy()
    kernel_visits._function("exponentials")(found.ctypes.data, found.size)
    expected = np.exp(x)
    normal = x >= -708
    assert (np.abs(found - expected)[normal] <= 2 * np.spacing(expected[normal])).all()
    assert (found[~normal] == 0).all()
    alone = x[4:8].copy()  # any four numbers give the bits that they give among others
    kernel_visits._function("exponentials")(alone.ctypes.data, 4)
    np.testing.assert_array_equal(alone, found[4:8])


def test_what_is_not_a_number_stays_so() -> None:
    x = np.array([0x7FF8000000000000, 0x7FF8000000000FFF, 0x7FF0000000000001, -(1 << 51)], np.int64).view(np.float64)
    found = x.copy()
    kernel_visits._function("exponentials")(found.ctypes.data, 4)
    assert np.isnan(found).all()


def test_kernels_of_states_far_from_0_keep_their_precision() -> None:
    rng = np.random.default_rng(2)
    near, centres = rng.normal(size=(50, 3)), rng.normal(size=(9, 3))
    found, expected = np.empty((52, 12)), np.empty((52, 12))
    Kernels(centres + 1e6).fill(near + 1e6, found)
    Kernels(centres).fill(near, expected)
    np.testing.assert_allclose(found[:50], expected[:50], rtol=0, atol=1e-8)


@pytest.mark.parametrize(("n_rows", "F", "K", "d"), [(2, 1, 1, 1), (3, 4, 2, 2), (128, 11, 1, 3), (257, 12, 3, 4), (700, 100, 5, 4)])
def test_the_flow_is_that_of_its_definition(n_rows: int, F: int, K: int, d: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(n_rows)
    states, centres = rng.normal(size=(n_rows, d)), rng.normal(size=(F, d))
    discount, start, onward = rng.random(n_rows), (rng.random(n_rows) < 0.3) * 1.0, rng.random((K, n_rows))
    discount[-1] = onward[:, -1] = 0.0
    flow = Flow(discount, start, onward)
    gaps = ((centres[:, None] - centres) ** 2).sum(2)[np.triu_indices(F, 1)]
    width = np.median(gaps) if F > 1 else 1.0
    phi = np.exp(-((states[:, None] - centres) ** 2).sum(2) / (2 * width))
    expected = []
    for own in onward:
        flowing = (discount[:, None] * phi).T @ phi - phi[1:].T @ (own[:-1, None] * phi[:-1]) + 1e-3 * start.sum() * np.eye(F)
        rest = phi.T @ (start - discount) + phi[1:].T @ own[:-1]
        expected.append(np.concatenate([flowing, rest[:, None]], 1))
    monkeypatch.setattr(kernel_visits, "_CHUNK", 256)
    kernels = Kernels(centres)
    found = sum(kernel_visits._flow_sums(kernels, states, flow, first) for first in range(0, n_rows, 256))
    for own, its in zip(expected, found, strict=True):
        its[:, :F] += 1e-3 * start.sum() * np.eye(F)
        np.testing.assert_allclose(its, own, rtol=1e-12, atol=1e-12 * n_rows)
    ratios = fit_kernels(lambda: iter([(states, flow)]), centres, 1)(states)
    solved = [1 + phi @ np.linalg.solve(its[:, :F], its[:, F]) for its in found]
    np.testing.assert_allclose(ratios, solved, rtol=1e-9, atol=1e-9)


def test_ratios_do_not_depend_on_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_visits, "_CHUNK", 100)
    rng = np.random.default_rng(1)
    states = rng.normal(size=(1050, 3))
    flow = Flow(rng.random(1050), (np.arange(1050) % 50 == 0) * 1.0, rng.random((2, 1050)))
    one = fit_kernels(lambda: iter([(states, flow)] * 2), states[::30], 1)(states)
    for threads in (2, 3):
        np.testing.assert_array_equal(fit_kernels(lambda: iter([(states, flow)] * 2), states[::30], threads)(states), one)


def test_results_come_in_the_order_of_the_jobs_and_few_wait() -> None:
    import time
    from concurrent.futures import ThreadPoolExecutor
    from functools import partial

    started = []

    def job(i: int) -> int:
        started.append(i)
        time.sleep(0.002 * (i % 3 == 0))
        return i

    with ThreadPoolExecutor(2) as pool:
        for expected, found in enumerate(in_order(pool, (partial(job, i) for i in range(20)), 2)):
            assert found == expected
            assert max(started) <= found + 5
