"""Bounds that hold for every distribution: their formulas on episodes of different lengths, and where they hold for nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import offline_logs as logs
import pytest

import cervello
from cervello import evaluation, heads
from cervello.errors import ConfigurationError

W = logs.behaviour_weights(scale=0.5)
BOUNDED: dict[str, Any] = {"head": heads.Categorical("logits"), "estimators": ["is", "pdis"], "gamma": 0.9, "max_weight": 8.0}


def policy() -> cervello.Policy:
    return cervello.load(logs.logits_policy(W, np.zeros(3)))


def values(horizon: int, shift: float) -> dict[str, np.ndarray]:
    found: dict[str, list[float]] = {"is": [], "pdis": []}
    for e in logs.walks(80):
        T = min(len(e), horizon)
        ratio = logs.log_softmax(e.observations[:T] @ W)[np.arange(T), e.actions[:T]] - e.log_prob[:T]
        paid = 0.9 ** np.arange(T) * (e.rewards[:T] + shift)
        found["is"].append(np.exp(ratio.sum()) * paid.sum())
        found["pdis"].append((np.exp(np.cumsum(ratio)) * paid).sum())
    return {name: np.array(each) for name, each in found.items()}


@pytest.mark.parametrize(("horizon", "low", "shift"), [(4, -5.0, 0.0), (None, -5.0, 0.0), (4, 0.5, 5.0)])
@pytest.mark.parametrize("level", [0.95, 0.8])
def test_bounds_are_those_of_hoeffding_and_of_maurer_and_pontil(horizon: int | None, low: float, shift: float, level: float) -> None:
    episodes = [replace(e, rewards=e.rewards + shift) for e in logs.walks(80)]
    n, delta = 80, 1 - level
    steps = 1 / (1 - 0.9) if horizon is None else 1 + 0.9 + 0.81 + 0.729
    largest, least = 8.0 * 11.0 * steps, min(0.0, 8.0 * low * steps)
    R = largest - least
    for name, own in values(horizon or 99, shift).items():
        found = {kind: evaluation.evaluate(episodes, {"a": policy()}, interval=kind, level=level, horizon=horizon,
                                           reward_range=(low, 11.0), **BOUNDED)["a"][name]
                 for kind in ("hoeffding", "empirical-bernstein")}
        half = R * np.sqrt(np.log(2 / delta) / (2 * n))
        assert found["hoeffding"].interval == pytest.approx((own.mean() - half, own.mean() + half), rel=1e-4)
        half = np.sqrt(2 * own.var(ddof=1) * np.log(4 / delta) / n) + 7 * R * np.log(4 / delta) / (3 * (n - 1))
        assert found["empirical-bernstein"].interval == pytest.approx((own.mean() - half, own.mean() + half), rel=1e-4)
        assert found["hoeffding"].kind == "hoeffding"


@pytest.mark.parametrize("kind", ["hoeffding", "empirical-bernstein"])
def test_bounds_are_refused_where_they_would_be_of_another_quantity(kind: str) -> None:
    episodes = logs.walks(30)
    options: dict[str, Any] = {**BOUNDED, "interval": kind, "reward_range": (-5.0, 11.0)}
    pairs = [replace(e, match=i // 2, agent=i % 2) for i, e in enumerate(episodes)]
    found = evaluation.evaluate(pairs, {"a": policy()}, **options)["a"]["is"]
    low, high = found.interval
    assert (low + high) / 2 == pytest.approx(found.value)
    uneven = [replace(e, match=i // 2 if i > 3 else 0, agent=i) for i, e in enumerate(episodes)]  # 4 lives in the first match
    with pytest.raises(ConfigurationError, match=rf"interval='{kind}': expected matches of one number of lives each, got 2 to 4; take .*"):
        evaluation.evaluate(uneven, {"a": policy()}, **options)
    with pytest.raises(ConfigurationError, match=rf"interval='{kind}': expected weights='agent', got 'joint': .*; take interval='bca'"):
        evaluation.evaluate(pairs, {"a": policy()}, weights="joint", **options)
