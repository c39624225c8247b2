"""Each verdict, each reason for it, and where one gives way to the next."""

from __future__ import annotations

from dataclasses import replace
from math import inf, log10, nextafter, sqrt
from typing import Any

import numpy as np
import offline_logs as logs

import cervello
from cervello import evaluation, heads
from cervello.evaluation.diagnostics import Diagnostics, judge
from cervello.recording import Episode

HEAD = heads.Categorical("logits")
GOOD = Diagnostics(n=1000, ess=np.array([900.0, 20.0]), largest_share=0.01, pareto_k=-0.2, mean_weight=np.array([1.0, 1.0]),
                   mean_weight_error=2.58, support_violations=None, unsupported_actions=0, ties=0, deterministic=False,
                   last_step_with_weight=2, log_weight=np.zeros(1000))


def index_at_the_limit(n: int) -> float:
    """k̂ of which k̂ + 1.645 (1 + k̂) / √M is min(½, 1 − 1 / log₁₀ n)."""
    M = np.ceil(min(n / 5, 3 * sqrt(n)))
    return float((min(0.5, 1 - 1 / log10(n)) - 1.645 / sqrt(M)) / (1 + 1.645 / sqrt(M)))


def test_an_estimate_on_nearly_two_episodes_says_fewer_than_two() -> None:
    verdict = judge(replace(GOOD, ess=np.array([900.0, 1.99996])))
    assert verdict.name == "unsupported"
    assert verdict.reason.startswith("the estimate rests on fewer than 2 episodes; log more")


def test_at_the_limits_the_weights_are_reliable_and_just_beyond_each_of_them_weak() -> None:
    assert judge(GOOD).name == "reliable"
    beyond: dict[str, Any] = {"weights average": {"mean_weight_error": 2.59}, "the estimate rests on": {"ess": np.array([900.0, 19.99])}}
    for words, changes in beyond.items():
        verdict = judge(replace(GOOD, **changes))
        assert verdict.name == "weak"
        assert verdict.reason.startswith(words)
        assert "log more" in verdict.reason
    for n in (80, 100, 1000, 100_000):
        k = index_at_the_limit(n)
        assert judge(replace(GOOD, n=n, pareto_k=k - 1e-6)).name == "reliable"
        verdict = judge(replace(GOOD, n=n, pareto_k=k + 1e-6))
        assert verdict.name == "weak"
        assert verdict.reason.startswith("weights have heavy tails")
    # at −½ and below, the bound is 1.645 · ½ / √M above the index; six episodes: M = 2, the limit is −0.285
    assert judge(replace(GOOD, n=6, pareto_k=-0.86)).name == "weak"
    assert judge(replace(GOOD, n=6, pareto_k=-0.87)).name == "reliable"


def test_the_tail_comes_before_the_mean_and_the_effective_sample_size() -> None:
    bad = replace(GOOD, pareto_k=0.9, mean_weight_error=9.0, ess=np.array([900.0, 3.0]))
    assert judge(bad).reason.startswith("weights have heavy tails")
    assert judge(replace(bad, pareto_k=-0.5)).reason.startswith("weights average")


def test_weights_that_are_too_few_to_show_their_tail_are_weak_and_not_called_heavy() -> None:
    verdict = judge(replace(GOOD, n=10, pareto_k=inf))
    assert verdict.name == "weak"
    assert "heavy tails" not in verdict.reason
    assert verdict.reason.startswith("too few weights")
    assert "log more" in verdict.reason
    assert judge(replace(GOOD, pareto_k=-inf)).name == "reliable"  # all positive weights are equal


def test_no_weight_or_an_effective_sample_size_below_2_is_unsupported() -> None:
    assert judge(replace(GOOD, ess=np.array([900.0, 2.0]))).name == "weak"
    below = judge(replace(GOOD, ess=np.array([900.0, nextafter(2.0, 0.0)])))
    assert below.name == "unsupported"
    assert "log more, or shorten the horizon" in below.reason
    none = judge(replace(GOOD, ess=np.zeros(2), last_step_with_weight=1))
    assert none.name == "unsupported"
    assert "horizon=1 (--horizon 1 on the command line)" in none.reason
    assert "with more exploration" in judge(replace(GOOD, ess=np.zeros(2), last_step_with_weight=0)).reason


def policy(scale: float = 0.3) -> cervello.Policy:
    return cervello.load(logs.logits_policy(logs.behaviour_weights(scale=scale), np.zeros(3)))


def test_the_first_words_are_a_sentence_with_the_verdict_the_policy_the_reason_and_what_to_do() -> None:
    episodes = logs.walks(300)
    good = evaluation.evaluate(episodes, {"a": policy(), "b": policy(0.31)}, head=HEAD, estimators=["wis"])
    assert str(good).splitlines()[0] == good.headline == "reliable: the data support these values of all 2 policies"
    one = evaluation.evaluate(episodes, {"a": policy()}, head=HEAD, estimators=["wis"])
    assert one.headline.startswith("reliable: weights are well behaved: ")
    weak = evaluation.evaluate(episodes, {"a": policy(), "b": policy(1.0)}, head=HEAD, estimators=["wis"])
    assert weak.headline.startswith("weak: do not decide by these numbers alone (policy b: ")
    assert "log more" in weak.headline
    far = evaluation.evaluate(episodes[:30], {"a": policy(), "b": policy(1.0), "c": policy(60.0)}, head=HEAD, estimators=["wis"])
    assert far.headline.startswith("unsupported: the data cannot tell the value of policy c: ")
    assert "log more" in far.headline
    assert (far["c"]["wis"].value, far["c"]["wis"].interval) == (None, None)
    assert far["a"]["wis"].value is not None


def test_value_functions_alone_fitted_propensities_kernels_and_living_episodes_alone_are_weak_at_best() -> None:
    episodes = logs.walks(300)
    report = evaluation.evaluate(episodes, {"a": policy()}, head=HEAD, estimators=["pdis", "fqe", "dm", "cwpdis"], gamma=0.9,
                                 ragged="alive-only")
    assert {name: each.verdict for name, each in report["a"].items()} == {
        "pdis": "reliable", "fqe": "weak", "dm": "weak", "cwpdis": "weak"}
    assert "compare with 'dr' or 'wdr'" in report["a"]["dm"].reason
    assert "ragged='carry-forward'" in report["a"]["cwpdis"].reason
    behavior = evaluation.Behavior([np.asarray(e.log_prob, np.float64) for e in episodes], None, np.arange(3), 0, 5)
    fitted = evaluation.evaluate(episodes, {"a": policy()}, head=HEAD, estimators=["pdis"], behavior=behavior)["a"]["pdis"]
    assert fitted.verdict == "weak"
    assert fitted.reason.startswith("propensities are estimated")
    assert "log them" in fitted.reason


def far_actions(at: float, n: int = 100) -> Any:
    """Continuous actions logged around 0, and a policy that always takes another one."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=(n, 1))
    episodes = [Episode(i, np.zeros((2, 2), np.float32), a[i:i + 1], np.ones(1), np.array([True]), np.array([False]),
                        log_prob=-0.5 * a[i] ** 2 - 0.5 * np.log(2 * np.pi)) for i in range(n)]
    return episodes, {"a": cervello.load(logs.logits_policy(np.zeros((2, 1)), np.array([at]), "action"))}


def test_kernels_that_rest_on_fewer_than_two_episodes_are_unsupported() -> None:
    options: dict[str, Any] = {"head": heads.Deterministic("action"), "estimators": "kis"}
    episodes, policies = far_actions(0.3)
    assert evaluation.evaluate(episodes, policies, **options)["a"]["kis"].verdict == "weak"
    episodes, policies = far_actions(20.0)
    found = evaluation.evaluate(episodes, policies, **options)
    assert found["a"]["kis"].verdict == found.verdict == "unsupported"
    assert found["a"]["kis"].value is None
    assert "give another bandwidth=" in found["a"]["kis"].reason
