"""What statistics are given: whatever is no number, or no array of numbers, is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cervello import statistics
from cervello.errors import ConfigurationError, InputError

VALUES = np.linspace(0.1, 0.9, 12)
RESAMPLED: list[Callable[..., Any]] = [
    statistics.bca, statistics.percentile, statistics.calibrated,
    lambda values, **options: statistics.paired_difference(values, VALUES, **options),
    lambda values, **options: statistics.bootstrap(lambda indices: VALUES[indices].mean(1), 12, **options)]


@pytest.mark.parametrize("call", RESAMPLED)
@pytest.mark.parametrize(("name", "value"), [
    ("level", None), ("level", "0.9"), ("level", [0.9]), ("level", 1), ("level", np.nan), ("level", True), ("resamples", None),
    ("resamples", "9"), ("resamples", 0), ("resamples", 9.5), ("resamples", True), ("seed", None), ("seed", "a"), ("seed", -1),
    ("seed", [1, 2]), ("seed", 0.5)])
def test_an_option_that_is_no_number_in_its_range_is_refused(call: Callable[..., Any], name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"^statistics, {name}: expected "):
        call(VALUES, **{name: value})


@pytest.mark.parametrize("value", [[[1], [2, 3]], ["a", "b"], None, "a", object(), [1 + 2j, 3], [None, 1]], ids=repr)
@pytest.mark.parametrize("call", [
    statistics.bca, statistics.student_t, lambda values: statistics.hoeffding(values, 0, 1), statistics.interquartile_mean,
    statistics.effective_sample_size, statistics.pareto_tail_index, lambda values: statistics.probability_of_improvement(values, VALUES)])
def test_values_that_are_no_array_of_numbers_are_refused(call: Callable[[Any], Any], value: Any) -> None:
    with pytest.raises(InputError, match=r"^statistics, \w+: expected "):
        call(value)


@pytest.mark.parametrize(("call", "error"), [
    (lambda value: statistics.student_t(VALUES, center=value), ConfigurationError),
    (lambda value: statistics.student_t(VALUES, level=value), ConfigurationError),
    (lambda value: statistics.hoeffding(VALUES, 0, 1, level=value), ConfigurationError),
    (lambda value: statistics.hoeffding(VALUES, value, 1), InputError),
    (lambda value: statistics.empirical_bernstein(VALUES, 0, value), InputError),
    (lambda value: statistics.bca(VALUES, value), ConfigurationError),
    (lambda value: statistics.bootstrap(np.mean, value), ConfigurationError),
    (lambda value: statistics.bootstrap(value, 12), ConfigurationError)])
def test_other_arguments_of_another_kind_are_refused(call: Callable[[Any], Any], error: type[Exception]) -> None:
    for value in ("a", [], object(), np.zeros(3)):
        with pytest.raises(error, match=r"^statistics, \w+: expected "):
            call(value)
