"""Options of another type or out of range are refused by name, whatever the estimators."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import offline_logs as logs
import pytest

import cervello
from cervello import evaluation, heads
from cervello.errors import ConfigurationError, InputError

HEAD = heads.Categorical("logits")
WRONG: list[tuple[str, Any]] = [
    ("gamma", "x"), ("gamma", None), ("gamma", [0.9]), ("gamma", True), ("level", "x"), ("resamples", 1.5), ("resamples", True),
    ("reward_range", (0,)), ("reward_range", "ab"), ("reward_range", (np.nan, 1)), ("max_weight", -1), ("max_weight", np.nan),
    ("max_weight", "x"), ("kernel", "x"), ("bandwidth", 0), ("bandwidth", np.nan), ("bandwidth", np.inf), ("bandwidth", "x"),
    ("memory_bytes", 0), ("memory_bytes", "4GiB"), ("horizon", 0), ("horizon", 1.5),
    ("horizon", True), ("ray", 0), ("ray", True), ("seed", -1), ("progress", 5), ("estimators", None)]


def policy() -> cervello.Policy:
    return cervello.load(logs.logits_policy(logs.behaviour_weights(scale=0.4), np.zeros(3)))


def untouched() -> Iterator[Any]:
    raise AssertionError("the data were read")
    yield


@pytest.mark.parametrize(("name", "value"), WRONG, ids=str)
def test_options_are_refused_by_name_before_the_data_are_read(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"evaluation, {name}: expected .*, got "):
        evaluation.evaluate(untouched(), {"a": policy()}, head=HEAD, **{name: value})


@pytest.mark.parametrize("more", [{"max_weight": np.inf}, {"reward_range": (0, np.inf)}], ids=str)
def test_concentration_needs_finite_bounds(more: dict[str, Any]) -> None:
    options = {"interval": "hoeffding", "estimators": ["is"], "horizon": 2, "reward_range": (-9, 9), "max_weight": 9.0, **more}
    with pytest.raises(ConfigurationError, match=rf"expected a finite {next(iter(more))}="):
        evaluation.evaluate(untouched(), {"a": policy()}, head=HEAD, **options)


def test_numbers_of_numpy_are_numbers() -> None:
    options = {"gamma": np.float32(0.5), "level": np.float32(0.75), "horizon": np.int64(3), "resamples": np.int64(50),
               "max_weight": np.float32(1e6), "reward_range": np.array([-9.0, 9.0])}
    report = evaluation.evaluate(logs.walks(20), {"a": policy()}, head=HEAD, **options)
    plain = evaluation.evaluate(logs.walks(20), {"a": policy()}, head=HEAD, gamma=0.5, level=0.75, horizon=3, resamples=50)
    assert report.to_json() == plain.to_json()


@pytest.mark.parametrize("given", [[5], [b"a.onnx"], [None]], ids=str)
def test_policies_that_are_none_are_refused_by_name(given: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"expected a path or a cervello\.Policy, got "):
        evaluation.evaluate(untouched(), given, head=HEAD)


@pytest.mark.parametrize("k", [0, 3, 1.5, True, "1", None])
def test_regret_takes_a_number_of_policies(k: Any) -> None:
    report = evaluation.evaluate(logs.walks(40), {"a": policy(), "b": policy()}, head=HEAD, estimators="wis")
    assert report.regret_at(np.int64(2)).value == 0.0
    with pytest.raises(InputError, match="evaluation, regret: expected 1 ≤ k ≤ 2, got "):
        report.regret_at(k)
