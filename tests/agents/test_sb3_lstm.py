"""A recurrent policy as Stable-Baselines3 trains it: its states are (layers, N, hidden), so the batch lies on their axis 1.

Made by scripts/export_sb3_lstm.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cervello
from cervello.wrappers import EpisodeStart, Recurrent

POLICY = Path(__file__).resolve().parents[1] / "data" / "sb3_lstm.onnx"
STATES = {"hidden": "next_hidden", "cell": "next_cell"}


def _given(n_rows: int) -> dict[str, Any]:
    chance = np.random.default_rng(n_rows)
    states = {name: chance.standard_normal((1, n_rows, 32)).astype(np.float32) for name in STATES}
    return {"obs": chance.standard_normal((n_rows, 2)).astype(np.float32), **states,
            "episode_starts": (chance.random(n_rows) < 0.3).astype(np.float32)}


def test_the_batch_is_found_on_axis_1_and_everything_is_planned() -> None:
    model = cervello.Model.load(POLICY, strict=True)
    assert model.batched
    assert {name: spec.batch_axis for name, spec in model.inputs.items()} == {"obs": 0, "hidden": 1, "cell": 1, "episode_starts": 0}
    assert {name: spec.batch_axis for name, spec in model.outputs.items()} == {"probabilities": 0, "next_hidden": 1, "next_cell": 1}


@pytest.mark.parametrize("n_rows", [1, 2, 7, 64])
def test_rows_are_those_of_onnxruntime(n_rows: int) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: nothing to compare with")
    session = runtime.InferenceSession(str(POLICY), providers=["CPUExecutionProvider"])
    given = _given(n_rows)
    found = cervello.Model.load(POLICY).run(given)
    for port, expected in zip(session.get_outputs(), session.run(None, given), strict=True):
        np.testing.assert_allclose(found[port.name], expected, rtol=1e-4, atol=1e-6)


def test_agents_keep_their_states_apart() -> None:
    """Agents that begin at different ticks decide as if each were alone with its states in an array."""
    policy = cervello.load(POLICY, wrappers=[Recurrent(STATES), EpisodeStart("episode_starts")])
    model, chance = policy.model, np.random.default_rng(0)
    states = {agent: {name: np.zeros((1, 1, 32), np.float32) for name in STATES} for agent in range(5)}
    decided: set[int] = set()
    for tick in range(8):
        if tick < 5:
            policy.begin_agent(tick)
        seen = {agent: chance.standard_normal(2).astype(np.float32) for agent in range(min(tick + 1, 5)) if (agent + tick) % 3}
        actions = policy.infer({agent: {"obs": obs} for agent, obs in seen.items()})
        for agent, obs in seen.items():
            begins = np.array([agent not in decided], np.float32)
            alone = model.run({"obs": obs[None], **states[agent], "episode_starts": begins})
            np.testing.assert_array_equal(actions[agent]["probabilities"], alone["probabilities"][0])
            states[agent] = {name: alone[result] for name, result in STATES.items()}
            decided.add(agent)
