"""Decisions without agents: state travels with the caller, noise never repeats, masks are obeyed."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import small_models
from gymnasium import spaces
from small_models import FLOAT, INT64, graph, node

import cervello
from cervello import ConfigurationError, ExecutionError, InputError, Recurrent, Sample
from cervello.agents.policy.core import core_of
from cervello.agents.runtime.calibration import measure
from cervello.heads import Categorical
from cervello.spaces import Spaces

BOX = spaces.Box(-np.inf, np.inf, (4,))


def chooser(actions: int = 3, output: str = "logits") -> bytes:
    """obs [N, 4] → logits [N, actions]."""
    return graph([node("MatMul", "obs w", output)], {"obs": (FLOAT, ("N", 4))}, {output: (FLOAT, ("N", actions))},
                 {"w": small_models.dense(4, actions)})


def drawing(**options: Any) -> cervello.Policy:
    return cervello.load(chooser(), wrappers="auto", spaces=(BOX, spaces.Discrete(3)), **options)


def actions_of(policy: cervello.Policy, n: int = 64, **options: Any) -> list[int]:
    return policy.predict(np.zeros((n, 4)), **options)[0].tolist()  # type: ignore[no-any-return]


def test_the_head_of_the_game_draws_and_the_inputs_stay_the_file_s_own() -> None:
    policy = drawing()
    assert list(policy.inputs) == ["obs"]
    assert set(actions_of(policy)) == {0, 1, 2}
    policy.begin_agent(1)
    assert set(policy.infer({1: {"obs": np.zeros(4)}})[1]) == {"logits", "action", "log_prob", "entropy"}
    chosen = {int(policy.infer({1: {"obs": np.zeros(4), "action_mask": np.array([0, 1, 0], np.int8)}})[1]["action"]) for _ in range(20)}
    assert chosen == {1}


def test_a_single_observation_gives_a_single_action() -> None:
    action, state = drawing().predict(np.zeros(4))
    assert (action.shape, action.dtype, len(state)) == ((), np.int64, 1)
    assert drawing().predict(np.zeros((1, 4)))[0].shape == (1,)


def test_rows_that_begin_anew_never_repeat_noise() -> None:
    policy = drawing()
    assert actions_of(policy) != actions_of(policy)
    action, state = policy.predict(np.zeros((64, 4)))
    again, _ = policy.predict(np.zeros((64, 4)), state)
    restarted, _ = policy.predict(np.zeros((64, 4)), state, np.ones(64, bool))
    assert len({tuple(a.tolist()) for a in (action, again, restarted)}) == 3


def test_a_state_is_reusable_and_survives_pickling() -> None:
    policy = drawing(seed=3)
    _, state = policy.predict(np.zeros((8, 4)))
    kept = pickle.dumps(state)
    first, after = policy.predict(np.ones((8, 4)), state)
    policy.predict(np.ones((8, 4)), after)
    assert policy.predict(np.ones((8, 4)), state)[0].tolist() == first.tolist()
    assert policy.predict(np.ones((8, 4)), pickle.loads(kept))[0].tolist() == first.tolist()


def test_a_pickled_policy_goes_on_counting() -> None:
    policy = drawing()
    actions_of(policy)
    other = pickle.loads(pickle.dumps(policy))
    assert actions_of(other) == actions_of(policy)
    assert actions_of(copy.deepcopy(policy)) == actions_of(policy)


def test_agents_and_rows_of_predict_share_no_noise_and_no_state() -> None:
    policy = drawing()
    policy.begin_agents(range(64))
    before = policy.infer_batch(list(range(64)), {"obs": np.zeros((64, 4), np.float32)})["action"].tolist()
    other = drawing()
    other.begin_agents(range(64))
    other.predict(np.zeros((64, 4)))
    assert other.infer_batch(list(range(64)), {"obs": np.zeros((64, 4), np.float32)})["action"].tolist() == before
    assert actions_of(drawing()) != before


def test_recurrent_state_travels_with_the_caller() -> None:
    data = small_models.recurrent("GRU")
    inputs = cervello.load(data).inputs
    names = [name for name in inputs if name != "obs"]
    space = spaces.Box(-np.inf, np.inf, inputs["obs"].shape)
    out = spaces.Box(-np.inf, np.inf, cervello.load(data, wrappers=[Recurrent()]).outputs["action"].shape)
    policy = cervello.load(data, wrappers=[Recurrent()], spaces=(space, out))
    assert names
    agents = cervello.load(data, wrappers=[Recurrent()])
    agents.begin_agents([0, 1])
    observations = np.random.default_rng(0).standard_normal((5, 2, *space.shape)).astype(np.float32)
    state = None
    for i, observation in enumerate(observations):
        starts = np.array([i == 0, i == 3])
        if i == 3:
            agents.restart_agents([1])
        mine, state = policy.predict(observation, state, starts)
        assert mine.tobytes() == agents.infer_batch([0, 1], {"obs": observation})["action"].tobytes()


def test_a_policy_that_neither_remembers_nor_draws_has_no_state() -> None:
    policy = cervello.load(small_models.feed_forward(), spaces=(spaces.Box(-1, 1, (6,)), spaces.Box(-np.inf, np.inf, (3,))))
    assert policy.predict(np.zeros(6))[1] is None
    with pytest.raises(InputError, match="expected None, since the policy remembers nothing"):
        policy.predict(np.zeros(6), drawing().predict(np.zeros(4))[1])


def test_states_of_others_are_refused() -> None:
    policy = drawing()
    _, state = policy.predict(np.zeros((2, 4)))
    for other, rows, message in ((policy, 3, "a state of 3 rows"), (drawing(seed=9), 2, "that this policy's predict gave")):
        with pytest.raises(InputError, match=message):
            other.predict(np.zeros((rows, 4)), state)
    with pytest.raises(InputError, match="that this policy's predict gave"):
        policy.predict(np.zeros((2, 4)), (1, 2))


def test_a_call_that_fails_names_the_row_and_changes_no_later_call() -> None:
    table = small_models.dense(5, 3)
    data = graph([node("Gather", "table place", "logits")], {"place": (INT64, ("N",))}, {"logits": (FLOAT, ("N", 3))}, {"table": table})
    policy, twin = (cervello.load(data, wrappers="auto", spaces=(spaces.Discrete(9), spaces.Discrete(3)), name="npc") for _ in range(2))
    places = np.arange(64) % 5
    assert np.array_equal(policy.predict(places)[0], twin.predict(places)[0])
    wrong = places.copy()
    wrong[[7, 50]] = 8
    for state in (None, policy.predict(places)[1]):
        with pytest.raises(ExecutionError, match=r"^policy 'npc', row 7, node Gather → 'logits': expected to run, got an index outside"):
            policy.predict(wrong, state)
    twin.predict(places)
    assert np.array_equal(policy.predict(places)[0], twin.predict(places)[0])


def test_ragged_episode_starts_are_refused() -> None:
    policy = drawing()
    _, state = policy.predict(np.zeros((2, 4)))
    with pytest.raises(InputError, match="predict, episode_start: expected an array, got something ragged"):
        policy.predict(np.zeros((2, 4)), state, episode_start=[[True], [True, False]])


def test_a_state_belongs_to_the_policy_and_not_to_the_shape_of_its_file() -> None:
    policy = drawing()
    _, state = policy.predict(np.zeros((2, 4)))
    weights = small_models.dense(4, 3) + np.float32(1)
    other = cervello.load(graph([node("MatMul", "obs w", "logits")], {"obs": (FLOAT, ("N", 4))}, {"logits": (FLOAT, ("N", 3))},
                                {"w": weights}), wrappers="auto", spaces=(BOX, spaces.Discrete(3)))
    deeper = cervello.load(graph([node("MatMul", "obs w", "sums"), node("Tanh", "sums", "logits")], {"obs": (FLOAT, ("N", 4))},
                                 {"logits": (FLOAT, ("N", 3))}, {"w": small_models.dense(4, 3)}), wrappers="auto",
                           spaces=(BOX, spaces.Discrete(3)))
    for another in (other, deeper):
        with pytest.raises(InputError, match="that this policy's predict gave"):
            another.predict(np.zeros((2, 4)), state)
    policy.update_weights({"w": weights})  # the policy is still the same one
    for same in (policy, pickle.loads(pickle.dumps(policy)), drawing()):
        same.predict(np.zeros((2, 4)), pickle.loads(pickle.dumps(state)))


def test_an_illegal_action_is_never_returned() -> None:
    space = spaces.Dict({"observation": BOX, "action_mask": spaces.Box(0, 1, (3,), np.int8)})
    policy = cervello.load(chooser(), wrappers="auto", spaces=Spaces((space, spaces.Discrete(3)), keys={"observation": "obs"}))
    rows = np.zeros((32, 4))
    for deterministic in (False, True):
        both, _ = policy.predict({"observation": rows, "action_mask": np.tile([0, 1, 1], (32, 1))}, deterministic=deterministic,
                                 action_masks=np.tile([1, 1, 0], (32, 1)))
        assert set(both.tolist()) == {1}
    with pytest.raises(InputError, match="expected an allowed action in every row, got none in row 31"):
        policy.predict({"observation": rows, "action_mask": np.repeat([[1], [0]], [31, 1], 0) * np.ones(3, int)})


def test_a_sample_without_a_mask_is_refused_where_the_game_gives_one() -> None:
    space = spaces.Dict({"obs": BOX, "action_mask": spaces.Box(0, 1, (3,), np.int8)})
    with pytest.raises(ConfigurationError, match=r"as Categorical\(…, mask='action_mask'\)"):
        cervello.load(chooser(), wrappers=[Sample(Categorical("logits"))], spaces=(space, spaces.Discrete(3)))


def test_values_are_taken_greedily_when_said_so() -> None:
    game = (BOX, spaces.Discrete(3))
    with pytest.raises(ConfigurationError, match="if they are values"):
        cervello.load(chooser(output="q"), wrappers="auto", spaces=game)
    greedy = cervello.load(chooser(output="q"), wrappers="auto", spaces=Spaces(game, action="q", greedy=0.0))
    rows = np.random.default_rng(1).standard_normal((64, 4)).astype(np.float32)
    best = cervello.Model.load(chooser(output="q")).run({"obs": rows})["q"].argmax(1)
    assert greedy.predict(rows)[0].tolist() == best.tolist()
    always = cervello.load(chooser(output="q"), wrappers="auto", spaces=Spaces(game, action="q", greedy=1.0))
    assert always.predict(rows, deterministic=True)[0].tolist() == best.tolist()
    assert always.predict(rows)[0].tolist() != best.tolist()


def test_a_baked_action_refuses_masks_and_ignores_deterministic() -> None:
    data = graph([node("MatMul", "obs w", "z"), node("ArgMax", "z", "action", axis=1, keepdims=0)], {"obs": (FLOAT, ("N", 4))},
                 {"action": (INT64, ("N",))}, {"w": small_models.dense(4, 3)})
    policy = cervello.load(data, wrappers="auto", spaces=(BOX, spaces.Discrete(3)))
    assert policy._core.binding.model_decides
    assert policy.predict(np.ones(4), deterministic=True)[0] == policy.predict(np.ones(4))[0]
    with pytest.raises(InputError, match="export its logits"):
        policy.predict(np.ones(4), action_masks=[1, 1, 0])


def test_what_gymnasium_and_older_habits_give_is_named() -> None:
    with pytest.raises(ValueError, match=r"give its first part"):
        drawing().predict((np.zeros(4), {}))
    with pytest.raises(ConfigurationError, match="load it with spaces=env"):
        cervello.load(chooser()).predict(np.zeros(4))
    with pytest.raises(InputError, match="deterministic: expected True or False"):
        drawing().predict(np.zeros(4), deterministic=2)  # type: ignore[arg-type]
    policy = drawing()
    state = policy.predict(np.zeros((2, 4)))[1]
    with pytest.raises(InputError, match="episode_start: expected"):
        policy.predict(np.zeros((2, 4)), state, np.ones(3, bool))


def test_other_rows_keep_their_bits_beside_one_that_is_not_finite() -> None:
    rows = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    clean, _ = drawing().predict(rows)
    rows[2] = np.nan
    broken, _ = drawing().predict(rows)
    assert np.delete(broken, 2).tolist() == np.delete(clean, 2).tolist()


def test_state_that_is_not_finite_stays_as_it_was_and_other_rows_go_on() -> None:
    policy = cervello.load(small_models.counter(), wrappers=[Recurrent()], spaces=(spaces.Box(-np.inf, np.inf, (1,)),) * 2)
    _, state = policy.predict(np.array([[1], [2], [3]], np.float32))
    with pytest.warns(RuntimeWarning, match="finite state"):
        actions, state = policy.predict(np.array([[1], [np.nan], [3]], np.float32), state)
    assert np.array_equal(actions, np.array([[2], [np.nan], [6]]), equal_nan=True)
    assert policy.predict([[1], [1], [1]], state)[0].tolist() == [[3], [3], [7]]


def test_a_swap_is_followed() -> None:
    policy = drawing()
    first = policy.predict(np.ones(4), deterministic=True)[0]
    policy.update_weights({"w": -small_models.dense(4, 3)})
    assert policy.predict(np.ones(4), deterministic=True)[0] != first


def test_a_runtime_takes_observations_without_the_mask_of_the_game() -> None:
    runtime = cervello.Runtime()
    policy = drawing()
    runtime.add("npc", policy)
    policy.begin_agents([1, 2, 3])
    runtime.push("npc", 1, {"obs": np.zeros(4)})
    runtime.push_batch("npc", [2], {"obs": np.zeros((1, 4), np.float32)})
    runtime.push_batch("npc", [3], {"obs": np.zeros((1, 4), np.float32), "action_mask": np.array([[0, 1, 0]], np.int8)})
    actions = runtime.run()["npc"]
    assert set(actions) == {1, 2, 3}
    assert actions[3]["action"] == 1


def test_what_a_masked_policy_costs_is_measured_ahead() -> None:
    assert measure(core_of(drawing())) is not None
