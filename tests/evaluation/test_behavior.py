"""Propensities of continuous actions that nobody logged, and of agents that share a match."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import offline_logs as logs
import pytest

import cervello
from cervello import evaluation, heads
from cervello.errors import ConfigurationError, InputError
from cervello.evaluation.logged import checked
from cervello.recording import Episode

W = np.array([[0.8], [-0.4]])
SPREAD = 0.5


def gaussian(n: int = 60, spread: float = SPREAD) -> list[Episode]:
    """Actions around obs · W."""
    rng = np.random.default_rng(0)
    found = []
    for i in range(n):
        T = int(rng.integers(2, 6))
        obs = rng.normal(size=(T + 1, 2)).astype(np.float32)
        a = (obs[:-1] @ W + spread * rng.normal(size=(T, 1))).astype(np.float64)
        found.append(Episode(i, obs, a, rng.normal(size=T), np.arange(T) == T - 1, np.zeros(T, bool)))
    return found


class LeastSquares:
    """A regressor in as much as fit_behavior needs."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> None:
        self.w = np.linalg.lstsq(X, y, rcond=None)[0]

    def predict(self, X: np.ndarray) -> np.ndarray:
        return X @ self.w


class Density:
    """A conditional density."""

    def fit(self, X: np.ndarray, A: np.ndarray) -> None:
        self.n = len(A)

    def log_density(self, X: np.ndarray, A: np.ndarray) -> np.ndarray:
        return np.full(len(A), -float(self.n))


def truth(e: Episode) -> np.ndarray:
    z = (e.actions - e.observations[:-1].astype(np.float64) @ W)[:, 0] / SPREAD
    return -0.5 * z**2 - np.log(SPREAD) - 0.5 * np.log(2 * np.pi)


def test_a_regressor_gives_gaussian_densities_fitted_without_the_episode() -> None:
    episodes = gaussian()
    behavior = evaluation.fit_behavior(episodes, LeastSquares(), folds=5)
    errors = np.concatenate([behavior.log_prob(checked(e, i)) - truth(e) for i, e in enumerate(episodes)])
    assert np.abs(errors).mean() < 0.1
    others = [e for i, e in enumerate(episodes) if i % 5 != 2]
    X, y = np.concatenate([e.observations[:-1] for e in others]).astype(np.float64), np.concatenate([e.actions for e in others])[:, 0]
    w = np.linalg.lstsq(X, y, rcond=None)[0]
    deviation = (y - X @ w).std()
    z = (episodes[2].actions[:, 0] - episodes[2].observations[:-1].astype(np.float64) @ w) / deviation
    assert behavior.log_prob(checked(episodes[2], 2)) == pytest.approx(-0.5 * z**2 - np.log(deviation) - 0.5 * np.log(2 * np.pi))
    file = cervello.load(logs.logits_policy(W, np.zeros(1), "mean"))
    report = evaluation.evaluate(episodes, {"a": file}, head=heads.Gaussian("mean", std=SPREAD), behavior=behavior, estimators=["wis"])
    assert report["a"]["wis"].value == pytest.approx(np.mean([e.rewards.sum() for e in episodes]), abs=0.4)
    assert report["a"]["wis"].verdict == "weak"


def test_a_density_of_ones_own_is_asked_as_it_is() -> None:
    episodes = gaussian(10)
    behavior = evaluation.fit_behavior(episodes, Density(), folds=2)
    even = sum(len(e) for e in episodes[::2])
    assert behavior.log_prob(checked(episodes[1], 1)).tolist() == [-even] * len(episodes[1])


def test_agents_of_a_match_are_in_one_fold() -> None:
    episodes = [replace(e, match=i // 2, agent=i % 2) for i, e in enumerate(gaussian(12))]
    behavior = evaluation.fit_behavior(episodes, Density(), folds=2)
    odd_matches = sum(len(e) for e in episodes if e.match % 2)
    for i in (0, 1, 4, 5):
        assert behavior.log_prob(checked(episodes[i], i))[0] == -odd_matches


@pytest.mark.parametrize(("option", "value"), [("folds", 2.5), ("folds", "5"), ("folds", True), ("folds", 1), ("floor", "x"), ("floor", 0),
                                                ("floor", 1), ("floor", float("nan"))])
def test_folds_and_floor_are_numbers(option: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"fit_behavior, {option}: expected .*, got "):
        evaluation.fit_behavior([], object(), **{option: value})


def test_a_behaviour_without_noise_has_no_density() -> None:
    with pytest.raises(InputError, match=r"fit_behavior, actions: expected actions that vary.*deterministic.*log with exploration"):
        evaluation.fit_behavior([replace(e, actions=np.ones_like(e.actions)) for e in gaussian(10)], Constant())
    with pytest.raises(ConfigurationError, match=r"predict\(\) or log_density\(\)"):
        evaluation.fit_behavior(gaussian(10), NoPrediction())


class Constant:
    """A regressor that predicts the mean exactly."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> None:
        self.mean = y.mean()

    def predict(self, X: np.ndarray) -> np.ndarray:
        return np.full(len(X), self.mean)


class NoPrediction:
    """Fits and says nothing."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> None:
        """Nothing."""
