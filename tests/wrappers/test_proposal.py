"""What `wrappers="auto"` chooses for real policies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cervello import Epsilon, Fill, Model, Policy, PolicySpec, Recurrent, Specs, TensorSpec
from cervello.wrappers import propose

EXPECTED = {
    "cervo_test": ["Epsilon('epsilon:0')"],
    "cervo_test_complex": ["Epsilon('epsilon')"],
    "cervo_test_recurrent": ["Epsilon('epsilon')", "Recurrent({'lstm_hidden_state.1': 'lstm_hidden_state', "
                                                   "'lstm_cell_state.1': 'lstm_cell_state'})"],
    "mlagents_Hallway": ["Fill('action_masks', 1.0)", "Recurrent({'recurrent_in': 'recurrent_out'})"],
    "mlagents_test_cnn_lstm": ["Fill('action_masks', 1.0)", "Recurrent({'recurrent_in': 'recurrent_out'})"],
    "mlagents_Match3_tf2onnx": ["Fill('action_masks:0', 1.0)"],
    "mlagents_3DBall": [],
    "overcooked_rllib_lstm": ["Fill('seq_lens', 1.0)", "Recurrent({'state_in_0': 'state_out_0', 'state_in_1': 'state_out_1'})"],
    "overcooked_rllib_cnn_lstm": ["Fill('seq_lens', 1.0)", "Recurrent({'state_in_0': 'state_out_0', 'state_in_1': 'state_out_1'})"],
    "az_gomoku15_skyzeroV3": [],
    "robot_go2_apg_ln": [],
    **{f"godot_{name}": ["Recurrent({'state_ins': 'state_outs'})"] for name in (
        "BallChase", "3DLander_multidiscrete", "ScoreTheGoal_sac", "MultiAgent_platform", "JumperHard_op15")},
}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_inputs_that_are_no_observation_get_wrappers(shared_models: Any, name: str) -> None:
    model = Model.load(shared_models.path(name))
    assert [repr(wrapper) for wrapper in propose(model.spec)] == EXPECTED[name]


def test_every_mask_state_length_and_noise_of_the_real_policies_is_taken_care_of(shared_models: Any, valid_model: str) -> None:
    policy = Policy(Model.load(shared_models.path(valid_model)), wrappers="auto")
    left = {name.split(":")[0] for name in policy.inputs}
    assert not left & {"action_masks", "epsilon", "seq_lens", "state_ins", "recurrent_in", "state_in_0", "state_in_1"}
    assert left, "no observation is left"


def spec(*inputs: tuple[str, tuple[int, ...], Any], outputs: tuple[tuple[str, tuple[int, ...]], ...] = ()) -> PolicySpec:
    return PolicySpec(Specs([TensorSpec(name, shape, np.dtype(kind)) for name, shape, kind in inputs]),
                      Specs([TensorSpec(name, shape, np.dtype(np.float32)) for name, shape in outputs]), {})


def test_a_name_alone_is_not_enough() -> None:
    assert propose(spec(("epsilon", (2,), np.int64), ("obs", (2,), np.float32))) == []
    assert propose(spec(("mask", (4,), np.float32))) == []  # the only input is the observation
    assert propose(spec(("seq_lens", (4,), np.float32), ("obs", (2,), np.float32))) == []
    assert propose(spec(("h_in", (4,), np.float32), outputs=(("h_out", (5,)),))) == []
    assert propose(spec(("step_size", (4,), np.float32), ("unmasked", (3,), np.float32))) == []


def test_kinds_of_values_follow_the_type() -> None:
    found = propose(spec(("obs", (2,), np.float32), ("action_mask", (4,), np.bool_), ("noise", (2,), np.float32),
                         ("h_in", (3,), np.float32), ("episode_starts", (), np.float32), outputs=(("h_out", (3,)),)))
    assert [type(each).__name__ for each in found] == ["Fill", "Epsilon", "EpisodeStart", "Recurrent"]
    assert isinstance(found[0], Fill)
    assert found[0].value is True
    assert isinstance(found[1], Epsilon)
    assert isinstance(found[3], Recurrent)
