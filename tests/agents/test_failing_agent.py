"""A batch that fails inside the graph names the agent whose row fails, on every way to decide."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import stacks
from small_models import FLOAT, INT64, graph, node

import cervello
from cervello import Batcher, Epsilon, ExecutionError, Policy, PreviousAction, Recurrent, Runtime

IDS: list[int | str] = ["anna", 7, 3, "bert", 12]
WAYS: dict[str, Callable[[Policy, Any], Any]] = {
    "infer": lambda policy, index: policy.infer({agent: {"index": row} for agent, row in zip(IDS, index, strict=True)}),
    "infer_batch": lambda policy, index: policy.infer_batch(IDS, {"index": index}),
    "out": lambda policy, index: policy.infer_batch(IDS, {"index": index}, out={"action": np.zeros((5, 2), np.float32)}),
    "mixed flags": lambda policy, index: policy.infer_batch(IDS, {"index": index}, np.arange(5) % 2 == 0),
    "a list": lambda policy, index: policy.infer_batch(IDS, {"index": index.tolist()}),
    "batcher": lambda policy, index: batcher_of(policy, index).execute(),
}


def batcher_of(policy: Policy, index: Any) -> Batcher:
    batcher = Batcher(policy)
    for agent, row in zip(IDS, index, strict=True):
        batcher.push(agent, {"index": row})
    return batcher


@pytest.mark.parametrize("inferer", [name for name in stacks.INFERERS if name != "of_a_user"])
@pytest.mark.parametrize("way", WAYS)
def test_the_first_agent_whose_row_fails_is_named(inferer: str, way: str) -> None:
    model = stacks.model("remembered_lookup")
    policy = Policy(model, inferer=stacks.INFERERS[inferer](model), wrappers=[Recurrent(), Epsilon(), PreviousAction("prev", "action")])
    policy.begin_agents(IDS)
    for bad in range(5):
        for _ in range(3):  # the same agents again and again are prepared for
            policy.infer_batch(IDS, {"index": np.arange(5)})
        before = policy.snapshot()
        index = np.arange(5)
        index[bad:] = 999
        with pytest.raises(ExecutionError, match=rf"^policy '.*', agent {IDS[bad]!r}, node Gather → 'row': expected to run, got an index"):
            WAYS[way](policy, index)
        assert policy.snapshot() == before


def test_rows_on_another_axis_and_inputs_without_rows_are_told_apart() -> None:
    policy = cervello.load(graph(
        [node("Transpose", "index", "rows", perm=[1, 0]), node("Gather", "table rows", "found"), node("Add", "found shift", "action")],
        {"index": (INT64, (1, "N")), "shift": (FLOAT, (1,))}, {"action": (FLOAT, ("N", 1))}, {"table": np.arange(5, dtype=np.float32)}),
        batch_axis={"index": 1, "shift": None})
    policy.begin_agents(IDS)
    with pytest.raises(ExecutionError, match="agent 3, node Gather"):
        policy.infer_batch(IDS, {"index": np.array([[0, 1, 9, 2, 9]]), "shift": np.ones(1, np.float32)})


@pytest.mark.parametrize("budget_s", [None, 10.0])
def test_a_runtime_names_at_least_the_policy(budget_s: float | None) -> None:
    runtime = Runtime()
    runtime.add("npc", Policy(stacks.model("lookup")))
    runtime.begin_agents("npc", IDS)
    for agent in IDS:
        runtime.push("npc", agent, {"index": np.array(999 if agent == 3 else 0)})
    whose = "" if budget_s else "agent 3, "  # to find the agent takes time that a budget has not
    message = f"^policy '{runtime.policies['npc'].name}', {whose}node Gather"
    frame = runtime.run(budget_s)
    with pytest.raises(ExecutionError, match=message):
        raise frame.errors["npc"]


def test_a_model_and_its_bound_calls_name_the_model() -> None:
    model = stacks.model("lookup")
    index, out = np.zeros(2, np.int64), {name: np.zeros(spec.batched(2), spec.dtype) for name, spec in model.outputs.items()}
    bound = model.bind({"index": index}, out)
    bound()
    index[1] = 999
    for call in (bound, lambda: model.run({"index": index}), lambda: model.run({"index": index.tolist()})):
        with pytest.raises(ExecutionError, match=f"^policy '{model.name}', node Gather"):
            call()
