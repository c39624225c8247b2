"""What `wrappers="auto"` chooses for real policies."""

from __future__ import annotations

import re
from typing import Any

import gymnasium
import numpy as np
import pytest
import small_models

import cervello
from cervello import ConfigurationError, Epsilon, Fill, Model, Policy, PolicySpec, Recurrent, Sample, Specs, TensorSpec, load
from cervello.heads import Categorical
from cervello.inferers.testing import same_bits, sample_columns
from cervello.spaces import Spaces
from cervello.wrappers import suggest_wrappers

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
    assert [repr(wrapper) for wrapper in suggest_wrappers(model.spec)] == EXPECTED[name]


def test_every_mask_state_length_and_noise_of_the_real_policies_is_taken_care_of(shared_models: Any, valid_model: str) -> None:
    policy = Policy(Model.load(shared_models.path(valid_model)), wrappers="auto")
    left = {name.split(":")[0] for name in policy.inputs}
    assert not left & {"action_masks", "epsilon", "seq_lens", "state_ins", "recurrent_in", "state_in_0", "state_in_1"}
    assert left, "no observation is left"


def spec(*inputs: tuple[str, tuple[int, ...], Any], outputs: tuple[tuple[str, tuple[int, ...]], ...] = ()) -> PolicySpec:
    return PolicySpec(Specs([TensorSpec(name, shape, np.dtype(kind)) for name, shape, kind in inputs]),
                      Specs([TensorSpec(name, shape, np.dtype(np.float32)) for name, shape in outputs]), {})


def test_a_name_alone_is_not_enough() -> None:
    assert suggest_wrappers(spec(("epsilon", (2,), np.int64), ("obs", (2,), np.float32))) == []
    assert suggest_wrappers(spec(("mask", (4,), np.float32))) == []  # the only input is the observation
    assert suggest_wrappers(spec(("seq_lens", (4,), np.float32), ("obs", (2,), np.float32))) == []
    assert suggest_wrappers(spec(("h_in", (4,), np.float32), outputs=(("h_out", (5,)),))) == []
    assert suggest_wrappers(spec(("step_size", (4,), np.float32), ("unmasked", (3,), np.float32))) == []


@pytest.mark.parametrize(("into", "out"), [
    ("h_in", "h_out"), ("h", "h_out"), ("h0", "hn"), ("h_0", "h_n"), ("hidden", "new_hidden"), ("state", "next_state"),
    ("state", "state_next"), ("rnn_states", "new_rnn_states"), ("lstm_h", "lstm_h_out"), ("last_hidden", "hidden"), ("prev_h", "h")])
def test_usual_names_of_state_are_known(into: str, out: str) -> None:
    policy = spec(("obs", (8,), np.float32), (into, (8,), np.float32), outputs=(("action", (2,)), (out, (8,))))
    assert [repr(wrapper) for wrapper in suggest_wrappers(policy)] == [f"Recurrent({{{into!r}: {out!r}}})"]


def test_two_states_keep_their_own_outputs() -> None:
    policy = spec(("obs", (8,), np.float32), ("h0", (8,), np.float32), ("c0", (8,), np.float32),
                  outputs=(("cn", (8,)), ("hn", (8,)), ("action", (2,))))
    assert [repr(wrapper) for wrapper in suggest_wrappers(policy)] == ["Recurrent({'h0': 'hn', 'c0': 'cn'})"]


@pytest.mark.parametrize(("into", "out"), [
    ("policy_input", "policy_output"), ("in_0", "out_0"), ("data_in", "data_out"), ("state", "next_state"), ("x", "x")])
def test_an_only_input_is_the_observation(into: str, out: str) -> None:
    assert suggest_wrappers(spec((into, (4,), np.float32), outputs=((out, (4,)),))) == []


def test_what_a_model_predicts_of_its_observation_is_no_state() -> None:
    predicts = spec(("obs", (4,), np.float32), ("goal", (2,), np.float32), outputs=(("next_obs", (4,)), ("obs_out", (4,))))
    assert suggest_wrappers(predicts) == []
    remembered = spec(("obs", (4,), np.float32), ("last_action", (2,), np.float32), outputs=(("action", (2,)),))
    assert [repr(wrapper) for wrapper in suggest_wrappers(remembered)] == ["PreviousAction('last_action', 'action')"]


def test_kinds_of_values_follow_the_type() -> None:
    found = suggest_wrappers(spec(("obs", (2,), np.float32), ("action_mask", (4,), np.bool_), ("noise", (2,), np.float32),
                         ("h_in", (3,), np.float32), ("episode_starts", (), np.float32), outputs=(("h_out", (3,)),)))
    assert [type(each).__name__ for each in found] == ["Fill", "Epsilon", "EpisodeStart", "Recurrent"]
    assert isinstance(found[0], Fill)
    assert found[0].value is True
    assert isinstance(found[1], Epsilon)
    assert isinstance(found[3], Recurrent)


def test_logits_are_sampled_where_nothing_else_is_an_action() -> None:
    logits = ("logits", (7,))
    for outputs in ((logits,), (logits, ("value", ())), (("action_logits", (7,)),), (("Logits:0", (7,)),)):
        found = suggest_wrappers(spec(("obs", (2,), np.float32), outputs=outputs))
        assert [repr(each) for each in found] == [f"Sample(Categorical({outputs[0][0]!r}))"]


@pytest.mark.parametrize("outputs", [
    (("logits", (7,)), ("action", ())), (("logits", (7,)), ("discrete_actions", (1,))), (("logits", (7,)), ("log_prob", ())),
    (("logits", (7,)), ("action_logits", (7,))), (("logits", (1,)),), (("logits", (3, 4)),), (("value_logits", (3,)),),
    (("logits_mean", (3,)),)], ids=str)
def test_what_may_be_something_else_is_not_sampled(outputs: tuple[tuple[str, tuple[int, ...]], ...]) -> None:
    assert suggest_wrappers(spec(("obs", (2,), np.float32), outputs=outputs)) == []


def test_a_previous_action_is_the_output_of_that_name_and_shape() -> None:
    inputs = [("obs", (2,), np.float32), ("prev_actions.1", (3,), np.float32), ("last_action", (3,), np.float32)]
    outputs = (("actions", (3,)), ("actions_scaled", (3,)))
    assert [repr(each) for each in suggest_wrappers(spec(*inputs, outputs=outputs))] == ["PreviousAction('prev_actions.1', 'actions')"]
    assert suggest_wrappers(spec(*inputs, outputs=(("actions", (4,)),))) == []
    assert suggest_wrappers(spec(("obs", (2,), np.float32), ("prev_actions", (3,), np.int64), outputs=outputs)) == []


@pytest.mark.parametrize("name", ["overcooked_cogrid_unnamed_dims"])
def test_sampled_actions_of_a_real_policy_come_beside_its_logits(shared_models: Any, name: str) -> None:
    policy, plain = (load(shared_models.path(name), wrappers=wrappers) for wrappers in ("auto", ()))
    assert list(policy.outputs) == ["logits", "value", "action", "log_prob", "entropy"]
    for each in (policy, plain):
        each.begin_agents(range(5))
    columns = sample_columns(policy.inputs, range(5))
    found, expected = policy.infer_batch(list(range(5)), columns), plain.infer_batch(list(range(5)), columns)
    assert all(same_bits(found[key], expected[key]) for key in plain.outputs)
    assert ((found["action"] >= 0) & (found["action"] < 7)).all()


# Inputs that agents carry on from step to step although no name says so.
UNNAMED = {"robot_kinfer_multiinput": {"buffer.1"}}
OBSERVED = re.compile(r"obs|observation|input|feature|image|point_cloud|policy|grid_map|mask"
                      r"|^(x_vel|y_vel|rot|t|dof_pos|dof_vel|projected_gravity)\b", re.IGNORECASE)


def test_every_real_policy_plays_with_what_is_proposed_and_asks_for_observations_alone(shared_models: Any, valid_model: str) -> None:
    policy, plain = (load(shared_models.path(valid_model), wrappers=wrappers) for wrappers in ("auto", ()))
    for name in set(policy.inputs) - UNNAMED.get(valid_model, set()):
        assert OBSERVED.search(name), f"{name} is no observation"
        assert policy.inputs[name] == plain.inputs[name]
    fed_back = {output for each in policy.wrappers if isinstance(each, Recurrent) for output in (each.pairs or {}).values()}
    assert set(policy.outputs) >= set(plain.outputs) - fed_back
    policy.begin_agents([1, 2, 3])
    for step in range(2):
        found = policy.infer_batch([3, 1], sample_columns(policy.inputs, [3, 1], step))
        assert {name: column.shape for name, column in found.items()} == {
            name: item.batched(2) for name, item in policy.outputs.items()}


def test_branches_that_the_file_says_are_drawn_one_by_one() -> None:
    def described(*sizes: float) -> PolicySpec:
        logits = TensorSpec("logits", (8,), np.dtype(np.float32))
        obs = TensorSpec("obs", (3,), np.dtype(np.float32))
        constants = {"discrete_action_output_shape": np.array([sizes], np.float32)} if sizes else {}
        return PolicySpec(Specs([obs]), Specs([logits]), constants)

    assert repr(suggest_wrappers(described(4, 4))) == "[Sample(MultiDiscrete('logits', [4, 4]))]"
    assert repr(suggest_wrappers(described(8))) == "[Sample(Categorical('logits'))]"
    assert repr(suggest_wrappers(described())) == "[Sample(Categorical('logits'))]"
    assert suggest_wrappers(described(4, 3)) == []


def test_one_choice_is_refused_for_a_space_of_several() -> None:
    data = small_models.stochastic(actions=8)
    game = Spaces((gymnasium.spaces.Box(-1, 1, (5,), np.float32), gymnasium.spaces.MultiDiscrete([4, 4])))
    found = cervello.load(data, wrappers="auto", spaces=game, outputs=["logits"])
    assert repr(found.wrappers[0]).startswith("Sample(MultiDiscrete('logits', [4, 4]")
    with pytest.raises(ConfigurationError, match=r"expected 2 integer\(s\) .* draw them with Sample\(heads.MultiDiscrete\(<the logits>, "):
        cervello.load(data, wrappers=[Sample(Categorical("logits"))], spaces=game)
