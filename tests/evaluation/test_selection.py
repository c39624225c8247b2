"""Choosing among policies: intervals for all at once, the best, differences, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import offline_logs as logs
import pytest
from scipy import stats

import cervello
from cervello import evaluation, heads
from cervello.errors import InputError

HEAD = heads.Categorical("logits")


def file(path: Path, scale: float, bias: Any = 0.0) -> Path:
    path.write_bytes(logs.logits_policy(logs.behaviour_weights(scale=scale), np.zeros(3) + bias))
    return path


def values(episodes: Any, scale: float, bias: Any = 0.0) -> np.ndarray:
    """Per-decision values of each episode."""
    w, found = logs.behaviour_weights(scale=scale), []
    for e in episodes:
        mine = logs.log_softmax(e.observations[:-1] @ w + bias)[np.arange(len(e)), e.actions]
        found.append((np.exp(np.cumsum(mine - e.log_prob)) * e.rewards).sum())
    return np.array(found)


BIASES = {"plain": 0.0, "ones": np.array([0.0, 0.4, 0.0]), "wild": np.array([-3.0, 3.0, -3.0])}


def three(folder: Path) -> dict[str, Path]:
    return {name: file(folder / f"{name}.onnx", 0.3, bias) for name, bias in BIASES.items()}


def test_the_best_has_the_highest_lower_end_of_intervals_at_a_level_for_all_and_not_the_highest_point(tmp_path: Path) -> None:
    episodes = logs.walks(200, seed=1)
    report = evaluation.evaluate(episodes, three(tmp_path), head=HEAD, estimators=["pdis"], interval="student-t")
    ends = {}
    for name, bias in BIASES.items():
        own = values(episodes, 0.3, bias)
        half = stats.t.ppf(1 - 0.05 / 3 / 2, 199) * own.std(ddof=1) / np.sqrt(200)
        ends[name] = (own.mean() - half, own.mean() + half)
        assert report.simultaneous()[name] == pytest.approx(ends[name], rel=1e-4)
    best = report.best
    assert best.name == max(ends, key=lambda name: ends[name][0])
    assert report.ranking()[0][0] == "wild" != best.name
    assert best.interval == pytest.approx(ends[best.name], rel=1e-4)
    assert (best.path, best.value, best.estimator) == (str(tmp_path / f"{best.name}.onnx"), report[best.name]["pdis"].value, "pdis")
    policy = cervello.load(tmp_path / "plain.onnx")
    policy.replace(best.path)
    assert policy.version == 2


def test_differences_are_those_of_episode_by_episode(tmp_path: Path) -> None:
    episodes = logs.walks(200, seed=1)
    report = evaluation.evaluate(episodes, three(tmp_path), head=HEAD, estimators=["wis", "pdis"], interval="student-t")
    found = report.difference("ones", "plain", "pdis")
    gaps = values(episodes, 0.3, BIASES["ones"]) - values(episodes, 0.3)
    half = stats.t.ppf(0.975, 199) * gaps.std(ddof=1) / np.sqrt(200)
    assert found.value == pytest.approx(gaps.mean(), rel=1e-4)
    assert found.interval == pytest.approx((gaps.mean() - half, gaps.mean() + half), rel=1e-4)
    assert half < 0.7 * stats.t.ppf(0.975, 199) * values(episodes, 0.3).std(ddof=1) / np.sqrt(200)  # pairing narrows it
    back = report.difference("plain", "ones", "pdis")
    assert (back.value, back.interval) == (-found.value, pytest.approx((-found.interval[1], -found.interval[0])))
    assert found.verdict == max((report[name]["pdis"].verdict for name in ("ones", "plain")), key=["reliable", "weak"].index)
    assert report.difference("ones", "plain").estimator == "wis"


def test_what_the_data_do_not_support_is_not_swapped_in_and_neither_compared_nor_ranked(tmp_path: Path) -> None:
    episodes = logs.walks(30)
    policies = {"near": file(tmp_path / "near.onnx", 0.3), "far": file(tmp_path / "far.onnx", 60.0)}
    report = evaluation.evaluate(episodes, policies, head=HEAD, estimators=["wis"])
    assert report["far"].verdict == report.verdict == "unsupported"
    assert report["far"].diagnostics.ess[-1] > 0  # there is a number, which nobody should see
    for call in (lambda: report.difference("far", "near"), lambda: report.difference("near", "far"), lambda: report.regret_at(1)):
        with pytest.raises(InputError, match=r"report, policy 'far': expected a value by 'wis' that the data support, got none: .*"):
            call()
    assert report.ranking() == [("near", report["near"]["wis"].value)]
    assert report.best.name == "near"
    alone = evaluation.evaluate(episodes, {"far": policies["far"]}, head=HEAD, estimators=["wis"])
    policy = cervello.load(policies["near"])
    with pytest.raises(InputError, match=r"report, best: expected a policy whose value the data support, got none by 'wis'; far: .*"):
        policy.replace(alone.best.path)
    assert policy.version == 1
