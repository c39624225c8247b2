"""State that returns to its agent, and the names that show which belong together."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import small_models
import stacks

import cervello
from cervello import EpisodeStart, Epsilon, Fill, Model, Policy, PreviousAction, Recurrent, WrapperError


def sums(policy: Policy, values: dict[int, float]) -> dict[int, float]:
    found = policy.infer({agent: {"obs": np.array([value], np.float32)} for agent, value in values.items()})
    return {agent: row["action"].item() for agent, row in found.items()}


def test_every_agent_carries_its_own_state() -> None:
    policy = Policy(stacks.model("counter"), wrappers=[Recurrent()])
    policy.begin_agents([1, 2])
    assert sums(policy, {1: 1, 2: 10}) == {1: 1, 2: 10}
    assert sums(policy, {2: 10}) == {2: 20}
    assert sums(policy, {2: 10, 1: 1}) == {2: 30, 1: 2}
    policy.restart_agents([2])
    assert sums(policy, {1: 1, 2: 10}) == {1: 3, 2: 10}
    policy.end_agents([1, 2])
    policy.begin_agents([3, 1])
    assert sums(policy, {3: 5, 1: 1}) == {3: 5, 1: 1}


@pytest.mark.parametrize("inferer", stacks.INFERERS)
def test_chunks_of_a_batch_read_each_agents_own_old_state(inferer: str) -> None:
    # cervo failure 4: within a chunk doubled ids read the old state, across chunks they chained. Here ids are distinct or refused.
    model = stacks.model("counter")
    policy = Policy(model, inferer=stacks.INFERERS[inferer](model), wrappers=[Recurrent()])
    policy.begin_agents(range(20))
    for tick in range(1, 4):
        found = policy.infer_batch(list(range(20)), {"obs": np.arange(20, dtype=np.float32)[:, None]})
        assert found["action"][:, 0].tolist() == [tick * i for i in range(20)]
    with pytest.raises(cervello.AgentError, match="expected distinct agents, got 3 twice"):
        policy.infer_batch([3, 4, 3], {"obs": np.ones((3, 1), np.float32)})
    assert policy.infer_batch([3, 4], {"obs": np.zeros((2, 1), np.float32)})["action"][:, 0].tolist() == [9, 12]


@pytest.mark.parametrize("wrappers", [[Recurrent()], [Recurrent({"h_in": "h_out"})], [Epsilon(), Recurrent()], [Recurrent(), Epsilon()]],
                         ids=repr)
def test_hidden_state_is_never_seen_by_the_caller(wrappers: list[Any]) -> None:
    # cervo failure 7: hidden outputs leaked through boxed and stacked inferers.
    policy = Policy(stacks.model("full"), wrappers=wrappers)
    policy.begin_agent(1)
    assert "h_in" not in policy.inputs
    assert list(policy.outputs) == ["action", "value"]
    observation = {name: np.zeros(spec.shape, spec.dtype) for name, spec in policy.inputs.items()}
    columns = {name: value[None] for name, value in observation.items()}
    assert list(policy.infer({1: observation})[1]) == ["action", "value"]
    assert list(policy.infer_single(1, observation)) == ["action", "value"]
    assert list(policy.infer_batch([1], columns)) == ["action", "value"]
    assert list(policy.infer_batch([1], columns, deterministic=True)) == ["action", "value"]
    assert list(policy.infer_batch([], {name: column[:0] for name, column in columns.items()})) == ["action", "value"]
    with pytest.raises(cervello.InputError, match=r"out: expected names among \['action', 'value'\], got \['h_out'\]"):
        policy.infer_batch([1], columns, out={"h_out": np.zeros((1, 8), np.float32)})
    with pytest.raises(cervello.InputError, match=r"\['h_in'\] unknown"):
        policy.infer_batch([1], columns | {"h_in": np.zeros((1, 8), np.float32)})


def test_an_initial_state_is_where_an_agent_begins() -> None:
    policy = Policy(stacks.model("counter"), wrappers=[Recurrent(initial={"h_in": [100]})])
    policy.begin_agent(1)
    assert sums(policy, {1: 1}) == {1: 101}
    assert sums(policy, {1: 1}) == {1: 102}
    policy.restart_agents([1])
    assert sums(policy, {1: 1}) == {1: 101}


def test_a_state_with_layers_in_front_keeps_layers_and_agents_apart() -> None:
    policy = Policy(stacks.model("stacked_state", 3, 2), wrappers=[Recurrent()])
    policy.begin_agents([1, 2, 3])
    one = np.ones(2, np.float32)
    for tick in range(1, 4):
        found = policy.infer({agent: {"obs": agent * one} for agent in (3, 1, 2)})
        assert {agent: found[agent]["action"].tolist() for agent in found} == {agent: [3 * tick * agent] * 2 for agent in (3, 1, 2)}


@pytest.mark.parametrize(("kind", "layers"), [("GRU", 1), ("LSTM", 1), ("LSTM", 2)])
def test_a_real_recurrent_network_sees_what_feeding_by_hand_sees(kind: str, layers: int) -> None:
    model = stacks.model("recurrent", kind, 5, 7, layers)
    policy = Policy(model, wrappers="auto")
    policy.begin_agents([1, 2])
    states = {name: np.zeros((layers, 2, 7), np.float32) for name in model.inputs if name != "obs"}
    for step in range(4):
        x = np.random.default_rng(step).standard_normal((2, 5)).astype(np.float32)
        by_hand = model.run({"obs": x, **states})
        states = {name: by_hand[name.replace("_in", "_out")] for name in states}
        assert np.array_equal(policy.infer_batch([1, 2], {"obs": x})["action"], by_hand["action"])


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("inferer", ["basic", "memoizing"])
def test_a_state_may_come_out_with_its_rows_on_another_axis(axis: int, inferer: str) -> None:
    # As mlagents declares it: recurrent_in [N, 1, 4], recurrent_out [1, N, 4]; and the other ways round.
    dims: list[Any] = [1, 4]
    dims.insert(axis, "N")
    turn = {0: [0, 1, 2], 1: [1, 0, 2], 2: [1, 2, 0]}[axis]
    nodes = [small_models.node("Reshape", "h_in flat", "h"), small_models.node("Add", "h obs", "action"),
             small_models.node("Unsqueeze", "action one", "column"), small_models.node("Transpose", "column", "h_out", perm=turn)]
    model = Model.load(small_models.graph(
        nodes, {"obs": (small_models.FLOAT, ("N", 4)), "h_in": (small_models.FLOAT, ("N", 1, 4))},
        {"action": (small_models.FLOAT, ("N", 4)), "h_out": (small_models.FLOAT, dims)},
        {"flat": np.array([-1, 4], np.int64), "one": np.array([1], np.int64)}))
    assert model.outputs["h_out"].batch_axis == axis
    policy = Policy(model, inferer=inferer, wrappers=[Recurrent()])
    policy.begin_agents([1, 2, 3])
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    for tick in (1, 2, 3):
        assert np.array_equal(policy.infer_batch([1, 2, 3], {"obs": x})["action"], tick * x)


# Names --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("into", "out"), [
    ("lstm_hidden_state.1", "lstm_hidden_state"), ("lstm_hidden_state", "lstm_hidden_state.1"), ("h_in", "h_out"), ("c_in", "c_out"),
    ("memory_in", "memory_out"), ("state_ins", "state_outs"), ("state_in_0", "state_out_0"), ("recurrent_in", "recurrent_out"),
    ("hidden", "hidden_1"), ("hidden_1", "hidden"), ("hidden", "hidden.1"), ("in_state", "out_state"), ("prev_state", "next_state")])
def test_recurrence_is_found_by_the_names_exporters_use(into: str, out: str) -> None:
    # cervo failure 14: equal names were needed, so its own LSTM could not use automatic recurrence.
    model = Model.load(small_models.state_named(into, out))
    for wrappers in ([Recurrent()], "auto"):
        policy = Policy(model, wrappers=wrappers)  # type: ignore[arg-type]
        assert list(policy.inputs) == ["obs"]
        assert list(policy.outputs) == ["action"]
        policy.begin_agent(1)
        for tick in (1, 2, 3):
            assert policy.infer({1: {"obs": np.ones(2)}})[1]["action"].tolist() == [tick, tick]


def test_pairs_with_many_states_do_not_cross() -> None:
    spec = cervello.PolicySpec
    f32 = np.dtype(np.float32)
    tensors = [cervello.TensorSpec(name, (4,), f32) for name in ("state_in_0", "state_in_1", "state_in_10")]
    outs = [cervello.TensorSpec(name, (4,), f32) for name in ("state_out_10", "state_out_1", "state_out_0")]
    _, outer = Recurrent().attach(spec(cervello.Specs(tensors), cervello.Specs(outs), {}))
    assert len(outer.inputs) == len(outer.outputs) == 0
    bound, _ = Recurrent().attach(spec(cervello.Specs(tensors), cervello.Specs(outs), {}))
    assert bound.pairs == {f"state_in_{k}": f"state_out_{k}" for k in (0, 1, 10)}  # type: ignore[attr-defined]


def test_names_that_pair_but_shapes_that_do_not_are_left_alone() -> None:
    f32 = np.dtype(np.float32)
    into, out = cervello.TensorSpec("h_in", (4,), f32), cervello.TensorSpec("h_out", (5,), f32)
    spec = cervello.PolicySpec(cervello.Specs([into]), cervello.Specs([out]), {})
    with pytest.raises(WrapperError, match="expected inputs and outputs that pair by name and shape"):
        Recurrent().attach(spec)


# Refusals -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "wrappers", "message"), [
    ("feed_forward", [Recurrent()], "wrapper Recurrent(): expected inputs and outputs that pair by name and shape, got inputs ['obs'] and "
                                    "outputs ['action']; name the pairs"),
    ("full", [Recurrent({"memory": "h_out"})], "got 'memory'; it does not exist or an inner wrapper provides it"),
    ("full", [Recurrent({"h_in": "memory"})], "got 'memory'; it does not exist or an inner wrapper hides it"),
    ("full", [Recurrent({"h_in": "action"})], "expected 'h_in' and 'action' of one shape, got h_in: (N, 8) float32 and action: (N, 3)"),
    ("full", [Recurrent({"epsilon": "action", "prev_action": "action"})], "expected every output at most once"),
    ("full", [Recurrent(initial={"obs": 1})], "expected initial states for ['h_in'], got ['obs']"),
    ("full", [Recurrent(initial={"h_in": np.zeros(3)})], "expected a value that fits h_in: (N, 8) float32, got (3,)"),
    ("full", [Recurrent(), Recurrent()], "expected inputs and outputs that pair"),
    ("full", [Epsilon("h_in"), Recurrent()], "wrapper Epsilon('h_in'): expected an input among ['obs', 'epsilon', 'prev_action', 'start', "
                                             "'mask'], got 'h_in'; it does not exist or an inner wrapper provides it"),
    ("full", [PreviousAction("prev_action", "h_out"), Recurrent()], "got 'h_out'; it does not exist or an inner wrapper hides it"),
    ("full", [PreviousAction("prev_action", "h_out")], "expected rows of one size, got prev_action: (N, 3) float32 and h_out: (N, 8)"),
    ("full", [PreviousAction("last", "action")], "got 'last'; it does not exist"),
    ("full", [Epsilon("mask")], "expected a float32 input with the batch on axis 0, got mask: (N, 3) bool"),
    ("stacked_state", [Epsilon("h_in")], "expected a float32 input with the batch on axis 0, got h_in: (2, N, 3) float32"),
    ("full", [Epsilon(), Epsilon()], "got 'epsilon'; it does not exist or an inner wrapper provides it"),
    ("full", [Fill("nothing")], "wrapper Fill('nothing', 0.0): expected an input among"),
    ("full", [Fill("mask", [1, 2])], "expected a value that fits mask: (N, 3) bool, got (2,)"),
    ("masked_argmax", [Fill("mask", 0.5)], "wrapper Fill('mask', 0.5): expected a value that mask: (N, 4) bool can hold, got 0.5"),
    ("full", [EpisodeStart("obs")], "expected an input of one element per agent, got obs: (N, 6) float32"),
    ("full", [EpisodeStart()], "wrapper EpisodeStart('episode_starts'): expected an input among"),
    ("full", [object()], "wrappers: expected objects with the methods of cervello.Wrapper, got <object"),
    ("full", [Epsilon], "wrappers: expected objects with the methods of cervello.Wrapper, got <class"),
    ("full", ["epsilon"], "wrappers: expected objects with the methods of cervello.Wrapper, got 'epsilon'"),
])
def test_a_stack_that_makes_no_sense_is_refused_with_the_reason(name: str, wrappers: list[Any], message: str) -> None:
    with pytest.raises(WrapperError, match=re.escape(message)):
        Policy(stacks.model(name), wrappers=wrappers)
