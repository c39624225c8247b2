"""Fill, EpisodeStart and PreviousAction."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import stacks
from small_models import FLOAT, graph, node

from cervello import EpisodeStart, Fill, Model, Policy, PreviousAction


def test_fill_gives_every_agent_the_same_row() -> None:
    model = stacks.model("masked_argmax")
    policy = Policy(model, wrappers=[Fill("mask", [False, False, True, False])])
    policy.begin_agents(range(20))
    for n_rows in (1, 20, 3):
        found = policy.infer_batch(list(range(n_rows)), {"obs": np.random.default_rng(0).standard_normal((n_rows, 5))})
        assert found["action"].dtype == np.int64
        assert found["action"].tolist() == [2] * n_rows


def test_fill_follows_the_axis_of_the_batch() -> None:
    policy = Policy(stacks.model("stacked_state"), wrappers=[Fill("h_in", [[1, 1, 1], [2, 3, 4]])])
    policy.begin_agents(range(3))
    for n_rows in (1, 2, 3, 2):  # two layers, so that two rows could be mistaken for them
        found = policy.infer_batch(list(range(n_rows)), {"obs": np.zeros((n_rows, 3), np.float32)})
        assert found["action"].tolist() == [[2, 3, 4]] * n_rows


def test_a_value_that_all_agents_share_can_be_filled() -> None:
    model = Model.load(graph([node("Mul", "obs temperature", "action")], {"obs": (FLOAT, ("N", 2)), "temperature": (FLOAT, ())},
                             {"action": (FLOAT, ("N", 2))}, {}))
    policy = Policy(model, wrappers=[Fill("temperature", 3.0)])
    policy.begin_agents([1, 2])
    assert policy.infer({1: {"obs": [1, 2]}, 2: {"obs": [3, 4]}})[2]["action"].tolist() == [9, 12]
    bare = Policy(model)
    bare.begin_agents([1, 2])
    assert bare.infer({1: {"obs": [1, 2], "temperature": 2}, 2: {"obs": [3, 4], "temperature": 2}})[1]["action"].tolist() == [2, 4]
    assert bare.infer_batch([2], {"obs": np.ones((1, 2)), "temperature": np.float32(5)})["action"].tolist() == [[5, 5]]


def starts(dims: tuple[int | str, ...], kind: int = FLOAT) -> bytes:
    """obs [N, 1], start → action = start as a float, [N, 1]."""
    constants = {"column": np.array([-1, 1], np.int64), "zero": np.float32(0)}
    nodes = [node("Cast", "start", "float", to=FLOAT), node("Reshape", "float column", "s"), node("Mul", "obs zero", "o"),
             node("Add", "s o", "action")]
    return graph(nodes, {"obs": (FLOAT, ("N", 1)), "start": (kind, dims)}, {"action": (FLOAT, ("N", 1))}, constants)


@pytest.mark.parametrize(("dims", "kind"), [(("N",), FLOAT), (("N", 1), FLOAT), (("N",), onnx.TensorProto.BOOL),
                                           (("N", 1), onnx.TensorProto.INT64)])
@pytest.mark.parametrize("deterministic", [False, True])
def test_episode_start_is_one_at_the_first_decision_only(dims: tuple[int | str, ...], kind: int, deterministic: bool) -> None:
    policy = Policy(Model.load(starts(dims, kind)), wrappers=[EpisodeStart("start")])
    x = {"obs": np.zeros((2, 1), np.float32)}
    policy.begin_agents([1, 2])
    assert policy.infer_batch([1, 2], x, deterministic)["action"].tolist() == [[1], [1]]
    assert policy.infer_batch([1, 2], x, deterministic)["action"].tolist() == [[0], [0]]
    policy.restart_agents([2])
    policy.begin_agent(3)
    assert policy.infer_batch([1, 2], x, deterministic)["action"].tolist() == [[0], [1]]
    assert policy.infer_batch([3, 2], x, deterministic)["action"].tolist() == [[1], [0]]


def test_previous_action_is_zero_first_and_stays_visible() -> None:
    nodes = [node("Add", "obs last", "action")]
    model = Model.load(graph(nodes, {"obs": (FLOAT, ("N", 2)), "last": (FLOAT, ("N", 2))}, {"action": (FLOAT, ("N", 2))}, {}))
    policy = Policy(model, wrappers=[PreviousAction("last", "action")])
    policy.begin_agents([1, 2])
    for tick in (1, 2, 3):
        found = policy.infer({2: {"obs": [10, 20]}, 1: {"obs": [1, 2]}})
        assert found[1]["action"].tolist() == [tick, 2 * tick]
        assert found[2]["action"].tolist() == [10 * tick, 20 * tick]
    policy.restart_agents([1])
    assert policy.infer({1: {"obs": [1, 2]}})[1]["action"].tolist() == [1, 2]


def test_previous_action_turns_an_integer_action_into_a_float_input() -> None:
    model = Model.load(graph([node("Add", "obs last", "sum"), node("ArgMax", "sum", "index", axis=1, keepdims=1),
                              node("Reshape", "last flat", "seen")],
                             {"obs": (FLOAT, ("N", 3)), "last": (FLOAT, ("N", 1))},
                             {"index": (onnx.TensorProto.INT64, ("N", 1)), "seen": (FLOAT, ("N",))}, {"flat": np.array([-1], np.int64)}))
    policy = Policy(model, wrappers=[PreviousAction("last", "index")])
    policy.begin_agent(1)
    found = [policy.infer_single(1, {"obs": np.eye(3)[k]}) for k in (2, 1, 0)]
    assert [f["index"].item() for f in found] == [2, 1, 0]
    assert [f["seen"].item() for f in found] == [0, 2, 1]
