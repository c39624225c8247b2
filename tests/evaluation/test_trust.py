"""What misled users of other libraries, and is not repeated here. More of it is in test_evaluate.py, test_data.py and estimators/."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import offline_logs as logs
import pytest

import cervello
from cervello import evaluation, heads
from cervello.errors import InputError
from cervello.evaluation.diagnostics import diagnose, judge
from cervello.evaluation.table import Table
from cervello.recording import Episode

HEAD = heads.Categorical("logits")


def policy(scale: float = 0.3) -> cervello.Policy:
    return cervello.load(logs.logits_policy(logs.behaviour_weights(scale=scale), np.zeros(3)))


def squashed(action: float, **more: Any) -> list[Episode]:
    """Episodes of one step with a squashed action."""
    return [Episode(i, np.zeros((2, 2), np.float32), np.array([[action]], np.float32), np.ones(1), np.array([True]), np.array([False]),
                    log_prob=np.array([-0.5]), **more) for i in range(20)]


def test_squashed_actions_at_the_edge_need_what_was_drawn_before_squashing() -> None:
    file = cervello.load(logs.logits_policy(np.zeros((2, 1)), np.array([0.0]), "mean"))
    options: dict[str, Any] = {"head": heads.TanhGaussian("mean", std=1.0), "estimators": ["wis", "is"]}
    report = evaluation.evaluate(squashed(1.0, pre_tanh=np.array([[2.0]], np.float32)), {"a": file}, **options)
    density = -0.5 * 2.0**2 - 0.5 * np.log(2 * np.pi) - np.log1p(-np.tanh(2.0) ** 2)
    assert report["a"]["is"].value == pytest.approx(np.exp(density + 0.5), rel=1e-4)
    with pytest.raises(InputError, match=r"episode 0, step 0: expected a log-probability of policy 'a', got .*log pre_tanh"):
        evaluation.evaluate(squashed(1.0), {"a": file}, **options)
    with pytest.raises(InputError, match=r"episode 0, step 0, behavior: expected a probability above 0.*pre_tanh"):
        evaluation.evaluate(squashed(1.0), {"a": file}, behavior=file, **options)


def test_products_over_a_thousand_steps_are_finite_and_have_a_verdict() -> None:
    rng = np.random.default_rng(0)
    w, T = logs.behaviour_weights(), 1100
    episodes = []
    for i in range(30):
        obs = rng.normal(size=(T + 1, 3)).astype(np.float32)
        logp = logs.log_softmax(obs[:-1].astype(np.float64) @ w)
        a = (rng.random((T, 1)) > np.exp(logp).cumsum(1)).sum(1).clip(0, 2)
        episodes.append(Episode(i, obs, a, np.ones(T), np.arange(T) == T - 1, np.zeros(T, bool), log_prob=logp[np.arange(T), a]))
    report = evaluation.evaluate(episodes, {"near": policy(0.31), "far": policy(2.0)}, head=HEAD, estimators=["wis", "cwpdis", "pdis"])
    for each in report.values():
        assert np.isfinite(each.diagnostics.ess).all()
        for estimate in each.values():
            assert estimate.value is None or np.isfinite(estimate.value)
            assert estimate.verdict in ("reliable", "weak", "unsupported")
    assert report["near"]["wis"].value == pytest.approx(T, rel=1e-12)
    assert report["far"].verdict == "unsupported"
    assert "shorten the horizon" in report["far"]["wis"].reason


def test_a_heavy_tail_decides_though_the_effective_sample_size_looks_fine() -> None:
    rng = np.random.default_rng(2)
    n = 2000
    weight = rng.pareto(1.6, n) + 0.2
    weight /= weight.mean()
    found = diagnose(Table(np.log(weight)[:, None], np.ones((n, 1)), np.ones(n, np.int64)))
    assert found.ess[-1] > 100
    assert found.mean_weight[-1] == pytest.approx(1)
    verdict = judge(found)
    assert verdict.name == "weak"
    assert verdict.reason.startswith("weights have heavy tails")


def test_an_episode_that_says_nothing_of_its_end_is_one_that_goes_on() -> None:
    episodes = [replace(e, terminations=np.zeros(len(e), bool)) for e in logs.walks(20)]
    said = [replace(e, truncations=np.arange(len(e)) == len(e) - 1) for e in episodes]
    options: dict[str, Any] = {"head": HEAD, "estimators": ["dr", "wdr"], "q": lambda obs, a: np.full(len(a), 7.0), "gamma": 0.9}
    silent = evaluation.evaluate(episodes, {"a": policy()}, **options)
    assert silent["a"]["dr"].value == evaluation.evaluate(said, {"a": policy()}, **options)["a"]["dr"].value
    assert silent["a"]["dr"].value != evaluation.evaluate(logs.walks(20), {"a": policy()}, **options)["a"]["dr"].value


def test_datasets_with_as_many_observations_as_actions_are_refused_where_the_last_one_is_needed() -> None:
    def short(e: Episode) -> Any:
        return SimpleNamespace(id=0, observations=e.observations[:-1], actions=e.actions, rewards=e.rewards, terminations=e.terminations,
                               truncations=e.truncations, infos={"behavior_logp": np.concatenate([[np.nan], e.log_prob])})

    episodes = [short(e) for e in logs.walks(10, truncated=True)]
    with pytest.raises(InputError, match=r"episode 0, step \d, observations: expected the final observation of a truncated .*'fqe'.*hor"):
        evaluation.evaluate(episodes, {"a": policy()}, head=HEAD, estimators=["fqe"], gamma=0.9)
    ended = [short(e) for e in logs.walks(10)]
    assert evaluation.evaluate(ended, {"a": policy()}, head=HEAD, estimators=["fqe"], gamma=0.9)["a"]["fqe"].value is not None


class Memory:
    """A regressor that says 100 of observations it was fitted on, else 0."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> None:
        self.seen = {row.tobytes() for row in X[:, :3]}

    def predict(self, X: np.ndarray) -> np.ndarray:
        return np.array([100.0 * (row.tobytes() in self.seen) for row in X[:, :3]])


def test_no_episodes_values_are_from_a_fit_that_saw_it() -> None:
    report = evaluation.evaluate(logs.walks(23), {"a": policy()}, head=HEAD, estimators=["dm"], q=Memory(), gamma=0.0)
    assert report["a"]["dm"].value == 0.0
    assert report["a"].fit["converged"]


class Once:
    """A data set that counts how often it is read."""

    def __init__(self, episodes: list[Episode]):
        self.episodes, self.n_read = episodes, 0

    def __iter__(self) -> Iterator[Episode]:
        for episode in self.episodes:
            self.n_read += 1
            yield episode


def test_data_are_read_once_for_all_candidates() -> None:
    data = Once(logs.walks(40))
    candidates = {str(scale): policy(scale) for scale in (0.2, 0.3, 0.4, 0.5)}
    together = evaluation.evaluate(data, candidates, head=HEAD, estimators=["pdis", "wis", "dr", "agreement"], gamma=0.9)
    assert data.n_read == 40
    for name, each in candidates.items():
        alone = evaluation.evaluate(data.episodes, {name: each}, head=HEAD, estimators=["pdis", "wis", "dr", "agreement"], gamma=0.9)
        for key in alone[name]:
            assert together[name][key].value == alone[name][key].value


def gaussian_episodes() -> list[Episode]:
    rng = np.random.default_rng(0)
    found = []
    for i in range(40):
        T = int(rng.integers(1, 5))
        obs = rng.normal(size=(T + 1, 2)).astype(np.float32)
        a = rng.normal(size=(T, 1)).astype(np.float32)
        found.append(Episode(i, obs, a, rng.normal(size=T), np.arange(T) == T - 1, np.zeros(T, bool),
                             log_prob=(-0.5 * a.astype(np.float64) ** 2 - 0.5 * np.log(2 * np.pi))[:, 0]))
    return found


def test_no_estimate_is_without_an_interval() -> None:
    names = [name for name in evaluation.ESTIMATORS if name != "kis"]
    discrete = evaluation.evaluate(logs.walks(60), {"a": policy(0.4)}, head=HEAD, estimators=names, gamma=0.9)
    file = cervello.load(logs.logits_policy(np.full((2, 1), 0.1), np.zeros(1), "mean"))
    continuous = evaluation.evaluate(gaussian_episodes(), {"a": file}, head=heads.Gaussian("mean", std=1.0), gamma=0.9,
                                     estimators=evaluation.ESTIMATORS)
    for report in (discrete, continuous):
        assert len(report["a"]) == len(report.estimators)
        for name, estimate in report["a"].items():
            assert estimate.value is not None, name
            assert estimate.interval is not None, name
            low, high = estimate.interval
            assert low <= estimate.value <= high, name
            assert low < high, name
        shown = [line for line in str(report).splitlines() if line.startswith("a  ")]
        assert len(shown) == len(report.estimators)
        assert all("…" in line for line in shown)


def test_the_report_has_one_verdict_which_is_the_worst() -> None:
    same, never = policy(), cervello.load(logs.logits_policy(np.zeros((3, 3)), [-np.inf, -np.inf, 0.0]))
    report = evaluation.evaluate(logs.walks(60), {"same": same, "never": never}, head=HEAD, estimators=["wis", "agreement"],
                                 gamma=0.9)
    assert {name: [estimate.verdict for estimate in each.values()] for name, each in report.items()} == {
        "same": ["weak", "reliable"], "never": ["unsupported", "reliable"]}
    assert (report["same"].verdict, report["never"].verdict, report.verdict) == ("weak", "unsupported", "unsupported")
    assert str(report).startswith("unsupported")
