"""Numbers at the limits of a float64: rewards of any scale, and ratios that none holds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import offline_logs as logs
import pytest

import cervello
from cervello import evaluation, heads
from cervello.recording import Episode

HEAD = heads.Categorical("logits")


def policy() -> cervello.Policy:
    return cervello.load(logs.logits_policy(logs.behaviour_weights(scale=0.6), np.zeros(3)))


def magic(scale: float) -> evaluation.Estimate:
    episodes = [replace(e, rewards=e.rewards.astype(np.float64) * scale) for e in logs.walks(40, truncated=True)]
    return evaluation.evaluate(episodes, {"a": policy()}, head=HEAD, estimators="magic", gamma=0.9,
                               q=lambda obs, a: scale * (0.5 * obs[:, 0] - 0.2 * a))["a"]["magic"]


@pytest.mark.parametrize("scale", [1e-250, 1e-160, 1e160, 1e250])
def test_the_mixture_of_lengths_scales_with_rewards_whose_squares_are_no_numbers(scale: float) -> None:
    one, found = magic(1.0), magic(scale)
    assert found.value == pytest.approx(scale * one.value, rel=1e-6)
    assert found.interval == pytest.approx(tuple(scale * bound for bound in one.interval), rel=1e-6)


@pytest.mark.parametrize("name", ["is", "pdis", "wis", "cwpdis", "dr", "wdr", "magic", "mis"])
def test_returns_that_are_no_numbers_leave_no_estimate(name: str) -> None:
    episodes = [replace(e, rewards=np.full(len(e), 1.7e308)) for e in logs.walks(20)]
    episodes += [replace(e, rewards=-e.rewards) for e in episodes[::3]]
    found = evaluation.evaluate(episodes, {"a": policy()}, head=HEAD, estimators=name, q=lambda obs, a: 0.0 * obs[:, 0])["a"][name]
    assert (found.verdict, found.value, found.interval) == ("unsupported", None, None)


@pytest.mark.parametrize("features", ["one-hot", "numbers"])
@pytest.mark.parametrize("last", [False, True])
def test_a_ratio_that_no_float64_holds_leaves_no_visits(features: str, last: bool) -> None:
    """The behaviour took one action of four with a probability of 5e-324."""
    episodes = []
    for i in range(30):
        obs = np.eye(3, dtype=np.float32)[[0, 1, 2]] if features == "one-hot" else np.random.default_rng(i).normal(size=(3, 3))
        logp = np.log([0.5, 0.5])
        if i == 7:
            logp[int(last)] = -745.0
        episodes.append(Episode(i, obs.astype(np.float32), np.array([i % 2, i % 3]), np.ones(2), np.array([False, True]), np.zeros(2, bool),
                                log_prob=logp))
    found = evaluation.evaluate(episodes, {"a": policy()}, head=HEAD, estimators=["mis", "is"], gamma=0.9)["a"]
    assert [(found[name].verdict, found[name].value) for name in ("mis", "is")] == [("unsupported", None)] * 2
