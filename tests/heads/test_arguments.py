"""What heads are given: whatever is no array of the right form is refused with an InputError, in every method."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from cervello.errors import ConfigurationError, InputError
from cervello.heads import Bernoulli, Beta, Categorical, Deterministic, EpsilonGreedy, Gaussian, Head, MultiDiscrete, TanhGaussian

COLUMNS = {"x": np.ones((3, 4), np.float32), "y": np.ones((3, 4), np.float32), "mask": np.ones((3, 4), np.bool_)}
HEADS: list[Head] = [Categorical("x", mask="mask"), MultiDiscrete("x", [2, 2], mask="mask"), Gaussian("x", "y"), Gaussian("x", 1.0),
                     TanhGaussian("x", log_std="y"), Bernoulli("x"), Beta("x", "y"), EpsilonGreedy("x", 0.1, mask="mask")]
RAGGED = [[1.0], [2.0, 3.0]]
NO_COLUMNS: list[Any] = [None, 5, "a", {}, RAGGED, np.zeros(()), object()]


def name_of(head: Any) -> str:
    return repr(head) if isinstance(head, Head) else str(type(head).__name__)


@pytest.mark.parametrize("value", NO_COLUMNS, ids=name_of)
@pytest.mark.parametrize("head", HEADS, ids=name_of)
def test_a_column_that_is_no_array_of_rows_is_refused_by_every_method(head: Head, value: Any) -> None:
    for name in (*head.tensors, *filter(None, [head.mask])):
        columns = {**COLUMNS, name: value}
        calls: list[Any] = [partial(head.act, rng=0), partial(head.sample, rng=0), head.mode,
                            partial(head.log_prob, action=np.zeros((3, 4)))]
        for call in [*calls, head.entropy] if "entropy" in head.supports else calls:
            with pytest.raises(InputError, match=r"^head "):
                call(columns)


@pytest.mark.parametrize("head", HEADS, ids=name_of)
def test_ragged_actions_and_flags_and_columns_without_names_are_refused(head: Head) -> None:
    with pytest.raises(InputError, match=r"action: expected an array, got a ragged sequence$"):
        head.log_prob(COLUMNS, RAGGED)
    with pytest.raises(InputError, match=r"deterministic: expected an array, got a ragged sequence$"):
        head.act(COLUMNS, deterministic=RAGGED, rng=0)  # type: ignore[arg-type]
    for columns in (None, 5, [COLUMNS["x"]], COLUMNS["x"]):
        with pytest.raises(InputError, match=r"expected columns of \['x'"):
            head.act(columns, rng=0)  # type: ignore[arg-type]


@pytest.mark.parametrize("head", [*HEADS, EpsilonGreedy("x", 1.0)], ids=name_of)
def test_flags_may_be_a_list(head: Head) -> None:
    flags = [True, False, True]
    listed, array = (head.act(COLUMNS, deterministic=given, rng=0) for given in (flags, np.array(flags)))  # type: ignore[arg-type]
    assert listed.keys() == array.keys()
    for name, column in array.items():
        np.testing.assert_array_equal(listed[name], column)


@pytest.mark.parametrize("head", [*HEADS, Deterministic("x")], ids=name_of)
def test_results_are_those_that_are_asked_for(head: Head) -> None:
    assert head.act(COLUMNS, rng=0, wanted=()) == {}
    asked = tuple(reversed(head.supports))
    assert tuple(head.act(COLUMNS, rng=0, wanted=asked)) == asked
    with pytest.raises(ConfigurationError, match=r"expected one of .*, got 'reward'"):
        head.act(COLUMNS, rng=0, wanted=("action", "reward"))
    for wanted in (5, object(), "action", np.zeros((2, 2))):
        with pytest.raises(ConfigurationError, match="wanted: expected a tuple of names, got "):
            head.act(COLUMNS, rng=0, wanted=wanted)  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [lambda: Categorical("x", mask="x"), lambda: MultiDiscrete("x", [2, 2], mask="x"),
                                  lambda: EpsilonGreedy("x", mask="x")])
def test_a_tensor_that_is_its_own_mask_is_refused(make: Any) -> None:
    with pytest.raises(ConfigurationError, match="expected a mask beside 'x', got the same tensor"):
        make()
