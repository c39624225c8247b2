"""The numbers of obp 0.5.7 on its packaged data."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from cervello.evaluation import estimators
from cervello.evaluation.diagnostics import diagnose
from cervello.evaluation.table import Table

DATA = Path(__file__).parents[2] / "data" / "open_bandit"


def test_inverse_propensity_weights_give_the_published_numbers() -> None:
    with gzip.open(DATA / "log.csv.gz", "rt") as file:
        action, position, reward, propensity = np.loadtxt(file, delimiter=",", skiprows=1).T
    odds = np.loadtxt(DATA / "target.csv", delimiter=",")[action.astype(int), position.astype(int)]
    with np.errstate(divide="ignore"):
        table = Table((np.log(odds) - np.log(propensity))[:, None], reward[:, None], np.ones(len(reward), np.int64))
    value = estimators.importance_sampling(table).value
    assert value == pytest.approx(0.00455288, abs=1e-12)
    assert value / reward.mean() == pytest.approx(1.1981263158, abs=5e-11)  # what obp's README calls 1.198126: no value, a ratio
    assert estimators.wis(table).value == pytest.approx(0.0047758331, abs=5e-11)
    assert diagnose(table).ess[-1] == pytest.approx(1639.5, abs=0.05)
