"""Candidates with `spaces`, which know their game: its masks, and a server's rows of its parts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import offline_logs as logs
import pytest
from gymnasium import spaces

import cervello
from cervello import evaluation, heads


@pytest.mark.parametrize("place", ["infos", "observations", "both"])
@pytest.mark.parametrize("horizon", [None, 2])
def test_masks_of_the_game_are_those_of_a_candidate_that_knows_it(tmp_path: Path, place: str, horizon: int | None) -> None:
    """Where a mask allows nothing it counts as none, as where the game is played."""
    file = logs.logits_policy(logs.behaviour_weights(scale=0.6), np.zeros(3))
    (tmp_path / "a.onnx").write_bytes(file)
    box, rng = spaces.Box(-np.inf, np.inf, (3,), np.float32), np.random.default_rng(5)
    game = box if place == "infos" else spaces.Dict({"obs": box, "action_mask": spaces.Box(0, 1, (3,), np.int8)})
    plain, masked = [], []
    for e in logs.walks(20):
        mask = rng.integers(0, 2, (len(e) + 1, 3)).astype(np.int8)
        mask[np.arange(len(e)), e.actions] = 1
        mask[-1] = 0
        plain.append(replace(e, infos={"allowed": np.where(mask.any(1, keepdims=True), mask, 1)}))
        part = mask if place == "observations" else mask | np.array([0, 0, 1], np.int8)
        seen = e.observations if place == "infos" else {"obs": e.observations, "action_mask": part}
        masked.append(replace(e, observations=seen, infos={} if place == "observations" else {"action_mask": mask}))
    expected = evaluation.evaluate(plain, {"a": cervello.load(file)}, head=heads.Categorical("logits", mask="allowed"), horizon=horizon)
    knows = cervello.load(tmp_path / "a.onnx", wrappers="auto", spaces=(game, spaces.Discrete(3)))
    report = evaluation.evaluate(masked, {"a": knows}, horizon=horizon)
    assert report["a"]["pdis"].value == pytest.approx(expected["a"]["pdis"].value, rel=1e-12)
    assert report["a"].diagnostics.mean_weight == pytest.approx(expected["a"].diagnostics.mean_weight, rel=1e-12)


def test_masks_of_several_choices_may_be_rows_of_one_mask_or_a_tuple_of_masks(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    (tmp_path / "a.onnx").write_bytes(logs.logits_policy(rng.normal(size=(3, 4)).astype(np.float32), np.zeros(4)))
    box = spaces.Box(-np.inf, np.inf, (3,), np.float32)
    knows = cervello.load(tmp_path / "a.onnx", wrappers="auto", spaces=(box, spaces.MultiDiscrete([2, 2])))
    steps = [(e, rng.integers(0, 2, (len(e), 2)), rng.integers(0, 2, (len(e) + 1, 2, 2)).astype(np.int8)) for e in logs.walks(20)]
    values = []
    for form in (lambda mask: mask.reshape(-1, 4), lambda mask: mask, lambda mask: (mask[:, 0], mask[:, 1])):
        episodes = []
        for e, actions, mask in steps:
            mask[np.arange(len(e))[:, None], [0, 1], actions] = 1
            episodes.append(replace(e, actions=actions, infos={"action_mask": form(mask)}))
        values.append(evaluation.evaluate(episodes, {"a": knows})["a"]["pdis"].value)
    assert values[0] == values[1] == values[2]


@pytest.mark.parametrize("head", [None, heads.Categorical("logits")], ids=["no mask in the log", "no mask"])
def test_a_servers_rows_of_an_input_with_the_name_of_the_games_part_are_taken_as_they_are(tmp_path: Path, head: Any) -> None:
    (tmp_path / "a.onnx").write_bytes(logs.logits_policy(logs.behaviour_weights(scale=0.6), np.zeros(3)))
    game = spaces.Dict({"obs": spaces.Discrete(3)}), spaces.Discrete(3)
    knows = cervello.load(tmp_path / "a.onnx", wrappers="auto", spaces=game)
    values = []
    for see in (np.asarray, lambda state: np.eye(3, dtype=np.float32)[state]):
        episodes = [replace(e, observations={"obs": see(np.arange(len(e) + 1) % 3)}) for e in logs.walks(20)]
        values.append(evaluation.evaluate(episodes, {"a": knows}, head=head)["a"]["pdis"].value)
    assert values[0] == values[1]
