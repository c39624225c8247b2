"""Whose a snapshot is: a matter of what is in the file, not of what it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import small_models
from onnx import numpy_helper

import cervello
from cervello import Model, Policy, Recurrent, Runtime, SnapshotError
from cervello.inferers.testing import same_bits


def played(source: Any) -> Policy:
    policy = cervello.load(source, wrappers=[Recurrent()], seed=1)
    policy.begin_agents([1, 2])
    decide(policy)
    return policy


def decide(policy: Policy) -> Any:
    return policy.infer_batch([1, 2], {"obs": np.array([[1], [2]], np.float32)})["action"]


def other(change: str) -> bytes:
    """The counter, changed in its graph, and with inputs, outputs and state as before."""
    inputs, outputs = {"obs": (1, ("N", 1)), "h_in": (1, ("N", 1))}, {"action": (1, ("N", 1)), "h_out": (1, ("N", 1))}
    node = small_models.node
    nodes = {
        "as it is": [node("Add", "h_in obs", "h_out"), node("Identity", "h_out", "action")],
        "another operation": [node("Sub", "h_in obs", "h_out"), node("Identity", "h_out", "action")],
        "another connection": [node("Add", "h_in obs", "h_out"), node("Identity", "obs", "action")],
        "other operands": [node("Add", "obs h_in", "h_out"), node("Identity", "h_out", "action")],
        "one more": [node("Add", "h_in obs", "h_out"), node("Tanh", "h_out", "action")],
        "an attribute": [node("Add", "h_in obs", "h_out"), node("LeakyRelu", "h_out", "action", alpha=0.5)],
        "another attribute": [node("Add", "h_in obs", "h_out"), node("LeakyRelu", "h_out", "action", alpha=0.25)],
    }[change]
    return small_models.graph(nodes, inputs, outputs, {})


def test_equal_files_of_other_names_take_each_others_agents(tmp_path: Path) -> None:
    paths = [tmp_path / "scout.onnx", tmp_path / "deeper" / "other.onnx"]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(small_models.counter())
    first, second = played(paths[0]), played(paths[1])
    assert first.name != second.name
    state = first.snapshot()
    expected = decide(first)
    second.restore(state)
    assert same_bits(decide(second), expected)
    in_memory = cervello.load(small_models.counter(), wrappers=[Recurrent()], seed=1)
    in_memory.restore(state)
    assert same_bits(decide(in_memory), expected)


CHANGES = ["another operation", "another connection", "other operands", "one more", "an attribute", "another attribute"]


def test_models_that_differ_in_their_graph_have_other_structures() -> None:
    found = {change: Model.load(other(change)).structure for change in ("as it is", *CHANGES)}
    assert len(set(found.values())) == len(found)
    assert all(len(structure) == 32 for structure in found.values())


@pytest.mark.parametrize("change", CHANGES)
def test_another_model_given_as_bytes_is_refused(change: str) -> None:
    state = played(other("as it is")).snapshot()
    policy = played(other(change))
    before = policy.snapshot()
    with pytest.raises(SnapshotError, match="expected a snapshot of a model with the same graph, inputs and outputs, got one of policy"):
        policy.restore(state)
    assert policy.snapshot() == before


def test_another_model_in_a_runtime_is_refused() -> None:
    states = []
    for change in ("as it is", "one more"):
        runtime = Runtime()
        runtime.add("npc", played(other(change)), measure=False)
        states.append(runtime.snapshot())
    with pytest.raises(SnapshotError, match="expected a snapshot of a model with the same graph"):
        runtime.restore(states[0])
    runtime.restore(states[1])


def test_a_snapshot_survives_a_swap_of_weights() -> None:
    data = small_models.recurrent("GRU")
    policy = cervello.load(data, wrappers=[Recurrent()], seed=1)
    policy.begin_agents([1, 2])
    state = policy.snapshot()
    policy.replace(small_models.scaled(data, 0.5))
    assert policy.version == 2
    policy.restore(state)
    graph = onnx.load_from_string(data).graph
    weights = {item.name: 2 * numpy_helper.to_array(item) for item in graph.initializer if item.data_type == onnx.TensorProto.FLOAT}
    policy.update_weights(weights)
    policy.restore(state)
    assert policy.agents == (1, 2)


def test_names_inside_a_file_do_not_count() -> None:
    proto = onnx.load_from_string(small_models.full())
    before = Model.load(proto).structure
    outside = {port.name for port in (*proto.graph.input, *proto.graph.output)}
    for k, node in enumerate(proto.graph.node):
        node.name = f"anything {k}"
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                if name and name not in outside:
                    names[i] = f"{name}_again"
    for item in proto.graph.initializer:
        item.name += "_again"
    proto.graph.name = "another"
    assert Model.load(proto).structure == before
    assert Model.load(small_models.full(6, 8, 3)).structure == before
    assert Model.load(small_models.full(6, 9, 3)).structure != before


def loop(op: str) -> bytes:
    """obs → action, three times through a body of one operation."""
    body = onnx.helper.make_graph(
        [small_models.node("Identity", "go", "go_on"), small_models.node(op, "x step", "y")], "body",
        [onnx.helper.make_tensor_value_info("i", 7, []), onnx.helper.make_tensor_value_info("go", 9, []),
         onnx.helper.make_tensor_value_info("x", 1, ["N", 1])],
        [onnx.helper.make_tensor_value_info("go_on", 9, []), onnx.helper.make_tensor_value_info("y", 1, ["N", 1])])
    return small_models.graph([small_models.node("Loop", "times go_in obs", "action", body=body)], {"obs": (1, ("N", 1))},
                              {"action": (1, ("N", 1))}, {"times": np.array(3), "go_in": np.array(True), "step": np.ones(1, np.float32)})


def test_what_lies_inside_a_loop_counts() -> None:
    assert Model.load(loop("Add")).structure == Model.load(loop("Add")).structure
    assert Model.load(loop("Add")).structure != Model.load(loop("Mul")).structure
