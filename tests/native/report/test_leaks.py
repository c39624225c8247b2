"""The leak check: what keeps memory is found, what does not is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from native_graphs import policy

from cervello.native import Model
from cervello.native.report import leaks
from cervello.native.report.leaks import Growth, growth

CALLS = 200


def test_a_call_that_keeps_arrays_is_found() -> None:
    kept: list[Any] = []
    found = growth(lambda: kept.append(np.zeros(100, np.float32)), CALLS)
    assert found.array_bytes == CALLS * 400
    assert found.leaks


def test_a_call_that_keeps_objects_is_found() -> None:
    kept: list[Any] = []
    found = growth(lambda: kept.append(object()), CALLS)
    assert found.array_bytes == 0
    assert found.blocks >= CALLS * 0.9
    assert found.leaks


def test_memory_outside_of_python_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    resident = iter(range(0, 1 << 40, 5 << 20))
    monkeypatch.setattr(leaks, "resident_bytes", lambda: next(resident))
    found = growth(lambda: None, CALLS)
    assert found.resident_bytes == 5 << 20
    assert found.leaks


def test_growth_that_does_not_repeat_is_no_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    resident = iter([0, 50 << 20, 50 << 20, 50 << 20])
    monkeypatch.setattr(leaks, "resident_bytes", lambda: next(resident))
    assert growth(lambda: None, CALLS).resident_bytes == 0


def test_a_system_that_does_not_tell_is_no_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "resident_bytes", lambda: None)
    found = growth(lambda: None, CALLS)
    assert found.resident_bytes is None
    assert not found.leaks


def test_running_a_model_leaks_nothing() -> None:
    model = Model.load(policy())
    obs = np.zeros((8, 4), np.float32)
    found = growth(lambda: model.run({"obs": obs}), 1000)
    assert (found.array_bytes, found.leaks) == (0, False)


@pytest.mark.parametrize("grown", [(1 << 20, 0, 0), (0, 1000, None), (0, 0, 1 << 24)])
def test_any_of_the_three_is_enough(grown: tuple[int, int, int | None]) -> None:
    assert Growth(1000, *grown).leaks


def test_growth_is_told_per_1000_calls() -> None:
    assert Growth(200, 0, 3, None).per_1000_calls(3) == 15


def test_memory_is_traced_no_longer_than_it_was() -> None:
    import tracemalloc

    growth(lambda: None, 10)
    assert not tracemalloc.is_tracing()
    tracemalloc.start()
    try:
        growth(lambda: None, 10)
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()
