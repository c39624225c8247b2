"""The numbers of scope-rl 0.2.1 and obp 0.5.7 on fixed data, which scripts/reference_estimates.py asked them for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from cervello.evaluation import estimators
from cervello.evaluation.table import Table
from cervello.statistics import hoeffding, student_t

DATA = Path(__file__).parents[2] / "data" / "references"
ESTIMATORS = {"is": estimators.importance_sampling, "pdis": estimators.pdis, "wis": estimators.wis, "cwpdis": estimators.cwpdis,
              "dm": estimators.dm, "dr": estimators.dr, "wdr": estimators.wdr}


def reference(name: str, T: int, gamma: float) -> tuple[Table, dict[str, Any]]:
    """The table of the data, episodes of T steps, and the library's numbers."""
    data = np.load(DATA / f"{name}.npz")
    taken = np.arange(len(data["action"])), data["action"]
    ratio = np.log(data["target"][taken]) - np.log(data["propensity"])
    v = (data["target"] * data["q"]).sum(1).reshape(-1, T)
    table = Table(ratio.reshape(-1, T), data["reward"].reshape(-1, T), np.full(len(v), T), gamma, q=data["q"][taken].reshape(-1, T),
                  v=np.concatenate([v, np.zeros((len(v), 1))], 1))
    return table, json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_points_are_those_of_scope_rl(estimator: str) -> None:
    table, numbers = reference("scope_rl", 4, 0.9)
    assert ESTIMATORS[estimator](table).value == pytest.approx(numbers[estimator], rel=1e-9)  # it adds 1e-10 to its normalisers


@pytest.mark.parametrize("estimator", ["is", "wis", "dm", "dr", "wdr"])
def test_points_are_those_of_obp(estimator: str) -> None:
    table, numbers = reference("obp", 1, 1.0)
    assert ESTIMATORS[estimator](table).value == pytest.approx(numbers[estimator], rel=1e-12)


def test_the_wrong_intervals_of_scope_rl_are_not_repeated() -> None:
    table, numbers = reference("scope_rl", 4, 0.9)
    found = estimators.pdis(table)
    values = found.columns[:, 0] / found.columns[:, 1]
    n = len(values)
    low, high = numbers["pdis, hoeffding"]
    assert (high - low) / 2 == pytest.approx(values.max() * np.sqrt(np.log(2 / 0.05) / 2 * n))  # a misplaced bracket
    right = hoeffding(values, float(values.min()), float(values.max()))
    assert right[1] - right[0] == pytest.approx((high - low) / n * (1 - values.min() / values.max()))
    low, high = numbers["pdis, student-t"]
    deviation = values.std(ddof=1) / np.sqrt(n)
    assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.95, n - 1) * deviation)  # one-sided: it covers 90%
    right = student_t(values)
    assert (right[1] - right[0]) / 2 == pytest.approx(stats.t.ppf(0.975, n - 1) * deviation)
