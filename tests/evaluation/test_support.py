"""Actions of probability 0, also where a mask is a large negative logit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import offline_logs as logs
import pytest

import cervello
from cervello import evaluation, heads
from cervello.errors import InputError
from cervello.recording import Episode

HEAD = heads.Categorical("logits")
ESTIMATORS = ("is", "pdis", "wis", "cwpdis")


def masked(bias: float) -> cervello.Policy:
    """Never takes action 0."""
    return cervello.load(logs.logits_policy(logs.behaviour_weights(), np.array([bias, 0.0, 0.0])))


@pytest.mark.parametrize("bias", [-1e4, -1e8, float(np.finfo(np.float32).min)])
def test_actions_masked_by_large_negative_logits_are_never_taken(bias: float) -> None:
    episodes = logs.walks(60)
    found = evaluation.evaluate(episodes, {"a": masked(bias)}, head=HEAD, estimators=ESTIMATORS)["a"].diagnostics
    assert found.unsupported_actions == sum(int((e.actions == 0).sum()) for e in episodes) > 0
    never = [replace(e, actions=np.zeros_like(e.actions)) for e in episodes]
    report = evaluation.evaluate(never, {"a": masked(bias)}, head=HEAD, estimators=ESTIMATORS)["a"]
    assert {report[name].verdict for name in ESTIMATORS} == {"unsupported"}
    assert report.diagnostics.last_step_with_weight == 0


def test_actions_that_the_behaviour_masks_by_large_negative_logits_are_support_violations() -> None:
    episodes = []
    for e in logs.walks(40):
        logits = np.where(np.arange(3) == 2, -1e9, np.zeros((len(e) + 1, 3)))
        episodes.append(replace(e, actions=e.actions % 2, log_prob=np.full(len(e), np.log(0.5)), infos={"behavior_logits": logits}))
    found = evaluation.evaluate(episodes, {"a": masked(0.0)}, head=HEAD)["a"].diagnostics
    assert found.support_violations == sum(map(len, episodes))


def test_an_action_that_was_taken_has_no_masked_propensity() -> None:
    episodes = logs.walks(5)
    wrong = [*episodes[:2], replace(episodes[2], log_prob=episodes[2].log_prob - 1e8), *episodes[3:]]
    with pytest.raises(InputError, match=r"episode 2, step 0, behavior_logp: expected a probability above 0"):
        evaluation.evaluate(wrong, {"a": masked(0.0)}, head=HEAD)
    with pytest.raises(InputError, match=r"episode \d, step \d, behavior: expected a probability above 0"):
        evaluation.evaluate(episodes, {"a": masked(0.0)}, head=HEAD, behavior=masked(-1e8))


def test_many_choices_of_small_probability_are_not_taken_for_impossible() -> None:
    K, logit = 300, 6.0  # ln P of all is about −1,800
    policy = cervello.load(logs.logits_policy(np.zeros((1, 2 * K)), np.tile([0.0, logit], K)))
    logp = -K * np.log1p(np.exp(logit))
    episodes = [Episode(i, np.zeros((2, 1), np.float32), np.zeros((1, K), np.int64), np.ones(1), np.array([True]), np.array([False]),
                        log_prob=np.array([logp])) for i in range(30)]
    found = evaluation.evaluate(episodes, {"a": policy}, head=heads.MultiDiscrete("logits", [2] * K), estimators="is")["a"]
    assert found["is"].value == pytest.approx(1.0, rel=0.01)
    assert found.diagnostics.unsupported_actions == 0
