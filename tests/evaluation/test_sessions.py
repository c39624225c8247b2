"""Matches of a log that several writers recorded, one after the other: each counts them from the start."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import offline_logs as logs
import pytest

import cervello
from cervello import evaluation, heads, recording
from cervello.recording import Episode

HEAD = heads.Categorical("logits")


def pairs(n: int, seed: int) -> list[Episode]:
    """Matches 0 … n − 1 of two agents."""
    from dataclasses import replace

    return [replace(e, match=i // 2, agent=i % 2) for i, e in enumerate(logs.walks(2 * n, seed=seed))]


def write(path: Path, episodes: list[Episode], **options: object) -> None:
    with recording.Writer(path, **options) as writer:  # type: ignore[arg-type]
        for e in episodes:
            handle = writer.begin(observation=e.observations[:1], match=e.match, agent=e.agent)
            for t in range(len(e)):
                writer.step(handle, e.observations[t + 1:t + 2], e.actions[t:t + 1], e.rewards[t:t + 1], terminated=e.terminations[t:t + 1],
                            log_prob=e.log_prob[t:t + 1])


def candidate() -> cervello.Policy:
    return cervello.load(logs.logits_policy(logs.behaviour_weights(scale=0.4), np.zeros(3)))


@pytest.mark.parametrize("weights", ["agent", "joint"])
def test_matches_of_different_sessions_are_different_matches(weights: str, tmp_path: Path) -> None:
    values = []
    for seed in (0, 1):
        write(tmp_path / "both.log", pairs(20, seed))
        alone = evaluation.evaluate(pairs(20, seed), {"a": candidate()}, head=HEAD, weights=weights, estimators="pdis")["a"]
        values.append(alone["pdis"].moments.value)
    found = evaluation.evaluate(tmp_path / "both.log", {"a": candidate()}, head=HEAD, weights=weights, estimators="pdis")
    assert found.n_units == found["a"].diagnostics.n == 40
    assert found["a"]["pdis"].moments.value == pytest.approx(np.mean(values), rel=1e-12)
    assert [each.session for each in recording.read(tmp_path / "both.log")] == [0] * 40 + [1] * 40


def test_a_minari_dataset_keeps_them_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("minari")
    from gymnasium import spaces

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    for seed in (0, 1):
        write(tmp_path / "both.log", pairs(5, seed), observation_space=spaces.Box(-9, 9, (3,), np.float32),
              action_space=spaces.Discrete(3))
    recording.to_minari(tmp_path / "both.log", "arena/both-v0")
    assert evaluation.evaluate("minari:arena/both-v0", {"a": candidate()}, head=HEAD).n_units == 10
    for ours, theirs in zip(recording.read(tmp_path / "both.log"), recording.read(minari="arena/both-v0"), strict=True):
        assert (ours.session, ours.match, ours.agent) == (theirs.session, theirs.match, theirs.agent)
