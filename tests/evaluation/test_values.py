"""Value functions: the default regressor, and regressors of a user's own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import offline_logs as logs
import onnx.parser

import cervello
from cervello import evaluation, heads
from cervello.evaluation.values import LinearQ

HEAD = heads.Categorical("logits")


class Remembering:
    """A regressor that goes on from its last fit: the mean of everything it was ever given."""

    def __init__(self) -> None:
        self.given: list[np.ndarray] = []

    def fit(self, X: np.ndarray, y: np.ndarray) -> None:
        self.given.append(y)

    def predict(self, X: np.ndarray) -> np.ndarray:
        return np.full(len(X), np.concatenate(self.given).mean())


class Forgetting(Remembering):
    def fit(self, X: np.ndarray, y: np.ndarray) -> None:
        self.given = [y]


def test_tables_are_exact_with_more_pairs_than_rows() -> None:
    rng = np.random.default_rng(0)
    states, actions = rng.integers(0, 30, 400), rng.integers(0, 3, 400)
    table = rng.normal(size=(30, 3))
    X = np.concatenate([np.eye(30)[states], np.eye(3)[actions]], 1)
    assert X.shape[1] * (X.shape[1] + 1) // 2 > len(X)
    y = table[states, actions]
    np.testing.assert_allclose(LinearQ().fit(X, y).predict(X), y, atol=1e-5)


def test_a_fit_follows_what_its_array_holds_now() -> None:
    rng = np.random.default_rng(1)
    X, model = rng.normal(size=(50, 2)), LinearQ()
    model.fit(X, X[:, 0])
    X[:] = rng.normal(size=(50, 2))
    np.testing.assert_allclose(model.fit(X, X[:, 1]).predict(X), X[:, 1], atol=1e-6)


def test_every_round_is_fitted_anew_whatever_a_regressor_remembers() -> None:
    episodes, target = logs.walks(40, scale=0.3), cervello.load(logs.logits_policy(logs.behaviour_weights(scale=0.1), np.zeros(3)))
    found: list[Any] = [evaluation.evaluate(episodes, {"a": target}, head=HEAD, gamma=0.9,
                                            estimators=["fqe"], q=q)["a"]["fqe"].value for q in (Remembering(), Forgetting())]
    assert found[0] == found[1]


def test_a_function_of_values_is_asked_once_for_all_candidates() -> None:
    episodes = logs.walks(40, truncated=True)
    policies = {str(k): cervello.load(logs.logits_policy(logs.behaviour_weights(scale=0.1 * k), np.zeros(3))) for k in range(4)}
    asked: list[np.ndarray] = []
    room = np.zeros(10_000)  # one array for all answers

    def q(observations: Any, actions: np.ndarray) -> np.ndarray:
        asked.append(actions)
        room[:len(actions)] = observations[:, 0] - 0.3 * actions
        return room[:len(actions)]

    both = {"head": HEAD, "gamma": 0.9, "estimators": ["dm", "dr", "wdr"]}
    together = evaluation.evaluate(episodes, policies, q=q, **both)
    n_steps = sum(map(len, episodes))
    assert sorted(map(len, asked)) == [n_steps] + [n_steps + 40] * 3  # the logged actions, and each of three everywhere
    for name, each in policies.items():
        alone = evaluation.evaluate(episodes, {name: each}, q=lambda observations, actions: observations[:, 0] - 0.3 * actions, **both)
        assert alone[name]["dr"].value == together[name]["dr"].value
        assert alone[name]["wdr"].interval == together[name]["wdr"].interval
def test_what_stands_in_place_of_an_observation_that_is_missing_is_not_read() -> None:
    target = cervello.load(logs.logits_policy(logs.behaviour_weights(scale=0.1), np.zeros(3)))
    found = []
    for value in (np.nan, 1e30, 0.0):
        episodes = [replace(e, final_obs_missing=True, observations=np.append(e.observations[:-1], np.full((1, 3), value, np.float32), 0))
                    for e in logs.walks(40)]
        report = evaluation.evaluate(episodes, {"a": target}, head=HEAD, gamma=0.9, estimators=["fqe", "dr", "mis"])
        assert report["a"].fit["converged"]
        found.append(report.to_json())
    assert found[0] == found[1] == found[2]


def test_logits_that_do_not_depend_on_observations_are_those_of_every_step() -> None:
    episodes = logs.walks(40, truncated=True)
    constant = cervello.load(logs.logits_policy(np.zeros_like(logs.behaviour_weights(scale=0.1)), np.array([0.5, 0.0, 0.0])))
    from_constant = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["" : 21]>
        same (float[N, 3] obs) => (float[1, 3] logits) <float[1, 3] c = {0.5, 0, 0}> { logits = Identity(c) }""")
    options: dict[str, Any] = {"head": HEAD, "gamma": 0.9, "estimators": ["pdis", "dr", "agreement"],
                               "q": lambda observations, actions: 0.1 * observations[:, 0] - 0.3 * actions}
    expected = evaluation.evaluate(episodes, {"a": constant}, **options)["a"]
    found = evaluation.evaluate(episodes, {"a": cervello.load(from_constant)}, **options)["a"]
    assert [found[name].value for name in options["estimators"]] == [expected[name].value for name in options["estimators"]]
    assert repr(found.diagnostics) == repr(expected.diagnostics)
