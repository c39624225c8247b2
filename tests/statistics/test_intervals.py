"""Student-t and concentration bounds against their definitions and scipy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from cervello import statistics
from cervello.errors import ConfigurationError, InputError

VALUES = np.random.default_rng(0).uniform(-1, 2, 40)


def test_student_t_is_scipys() -> None:
    found = statistics.student_t(VALUES, level=0.9)
    expected = stats.ttest_1samp(VALUES, 0).confidence_interval(0.9)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_student_t_around_an_estimate_has_the_width_of_its_influence_values() -> None:
    low, high = statistics.student_t(VALUES - VALUES.mean(), center=7.0) or (0, 0)
    expected = statistics.student_t(VALUES) or (0, 0)
    assert high - low == pytest.approx(expected[1] - expected[0])
    assert (high + low) / 2 == pytest.approx(7)


def test_student_t_of_huge_values_is_finite() -> None:
    assert np.isfinite(statistics.student_t([1e300, -1e300, 5e299])).all()
    assert statistics.student_t([1e308] * 5) == (1e308, 1e308)
    low, high = statistics.student_t(np.resize([1.0e307, 1.1e307], 20)) or (0, 0)  # their sum is more than a float64 holds
    assert 1.0e307 < low < 1.05e307 < high < 1.1e307


def test_hoeffding_narrows_with_the_root_of_n() -> None:
    for n in (10, 1000):
        low, high = statistics.hoeffding(np.resize(VALUES, n), -1, 2) or (0, 0)
        assert (high - low) / 2 == pytest.approx(3 * np.sqrt(np.log(2 / 0.05) / (2 * n)))


def test_empirical_bernstein_is_theorem_4_at_half_delta_a_side() -> None:
    low, high = statistics.empirical_bernstein(VALUES, -1, 2, level=0.9) or (0, 0)
    term = np.log(2 / 0.05)
    assert (high - low) / 2 == pytest.approx(np.sqrt(2 * VALUES.var(ddof=1) * term / 40) + 7 * 3 * term / (3 * 39))
    assert (high + low) / 2 == pytest.approx(VALUES.mean())


def test_few_values_have_no_interval_and_equal_ones_have_the_point() -> None:
    assert statistics.student_t([1, 2]) is statistics.hoeffding([1, 2], 0, 3) is statistics.empirical_bernstein([1, 2], 0, 3) is None
    assert statistics.student_t([0.1] * 5) == (pytest.approx(0.1), pytest.approx(0.1))


@pytest.mark.parametrize(("call", "message"), [
    (lambda: statistics.hoeffding([1, 5, 2], 0, 3), "expected numbers between 0 and 3, got 5.0 at 1"),
    (lambda: statistics.hoeffding([1, 1, 1], 3, 0), "expected finite low < high, got 3 and 0"),
    (lambda: statistics.empirical_bernstein([1, 1, 1], 0, np.inf), "expected finite low < high"),
    (lambda: statistics.hoeffding([1, 1, 1], "0", None), "expected finite low < high, got '0' and None"),
    (lambda: statistics.student_t([1, np.inf, 1]), "expected finite numbers, got inf at 1"),
])
def test_what_breaks_the_conditions_is_refused(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
    with pytest.raises(ConfigurationError, match="level"):
        statistics.student_t([1, 2, 3], level=0)


@pytest.mark.parametrize("level", ["0.9", None, float("nan"), True])
def test_a_level_that_is_no_number_is_refused(level: Any) -> None:
    with pytest.raises(ConfigurationError, match="statistics, level: expected a number between 0 and 1, got "):
        statistics.student_t([1, 2, 3], level=level)
