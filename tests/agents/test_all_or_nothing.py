"""Law 3: a run that fails leaves state, counters and queue as before."""

from __future__ import annotations

import gc
import re
from typing import Any

import numpy as np
import pytest
import small_models
import stacks

import cervello
from cervello import AgentError, EpisodeStart, Epsilon, ExecutionError, InputError, Policy, PreviousAction, Recurrent
from cervello.inferers import choose
from cervello.spec import View
from cervello.wrappers.testing.fakes import FailingInferer

WRAPPERS = [Recurrent(), Epsilon(), PreviousAction("prev", "action")]


@pytest.mark.parametrize("inferer", stacks.INFERERS)
@pytest.mark.parametrize("bad_row", [0, 1, 9])
def test_a_node_that_fails_changes_nothing(inferer: str, bad_row: int) -> None:
    model = stacks.model("remembered_lookup")
    policy, twin = (Policy(model, inferer=stacks.INFERERS[inferer](model), wrappers=WRAPPERS) for _ in range(2))
    ids = list(range(10))
    for each in (policy, twin):
        each.begin_agents(ids)
        each.infer_batch(ids, {"index": np.arange(10)})
    bad = np.arange(10)
    bad[bad_row] = 999
    for deterministic in (False, True):
        with pytest.raises(ExecutionError, match="node Gather → 'row': expected to run, got an index outside its table"):
            policy.infer_batch(ids, {"index": bad}, deterministic)
    for step in range(3):
        columns = {"index": np.arange(10)[::-1].copy() if step else np.arange(10)}
        assert np.array_equal(policy.infer_batch(ids, columns)["action"], twin.infer_batch(ids, columns)["action"])


@pytest.mark.parametrize("inferer", stacks.INFERERS)
@pytest.mark.parametrize(("ids", "columns", "options"), [
    ([1, 1], {"index": [1, 1]}, {}), ([1, 9], {"index": [1, 1]}, {}), ([1, 2], {"index": [1, 1, 1]}, {}),
    ([1, 2], {"index": [1.5, 1]}, {}),
    ([1, 2], {}, {}), ([1, 2], {"index": [1, 2], "more": [1, 2]}, {}), ([1, 2], {"index": [1, 2]}, {"deterministic": np.zeros(3, bool)}),
    ([1, 2], {"index": [1, 2]}, {"out": {"action": np.zeros((2, 3), np.float32)}})])
def test_a_batch_that_is_refused_changes_nothing(inferer: str, ids: Any, columns: Any, options: Any) -> None:
    model = stacks.model("remembered_lookup")
    policy, twin = (Policy(model, inferer=stacks.INFERERS[inferer](model), wrappers=WRAPPERS) for _ in range(2))
    for each in (policy, twin):
        each.begin_agents([1, 2])
        each.infer_batch([1, 2], {"index": [3, 4]})
    with pytest.raises((InputError, AgentError)):
        policy.infer_batch(ids, columns, **options)
    for _ in range(2):
        found, expected = (each.infer_batch([1, 2], {"index": [3, 4]})["action"] for each in (policy, twin))
        assert np.array_equal(found, expected)


@pytest.mark.parametrize(("given", "got"), [(None, "NoneType"), (np.zeros((3, 2), np.float32), "(3, 2) float32"),
                                            (np.zeros((2, 2)), "(2, 2) float64"), ([[0, 0]] * 2, "list")])
def test_an_inferer_that_breaks_its_promise_changes_nothing(given: Any, got: str) -> None:
    class Broken(FailingInferer):
        broken = False

        def infer_raw(self, view: View) -> None:
            super().infer_raw(view)
            if self.broken:
                view.outputs["h_out"] = given
                if given is None:
                    del view.outputs["h_out"]

    model = stacks.model("remembered_lookup")
    inferer = Broken(choose("basic", model))
    policy, twin = Policy(model, inferer=inferer, wrappers=WRAPPERS), Policy(model, wrappers=WRAPPERS)
    for each in (policy, twin):
        each.begin_agents([1, 2])
        each.infer_batch([1, 2], {"index": [3, 4]})
    inferer.broken = True
    with pytest.raises(ExecutionError, match=re.escape(f"output 'h_out': expected (2, 2) float32, got {got}; infer_raw must fill")):
        policy.infer_batch([1, 2], {"index": [3, 4]})
    inferer.broken = False
    assert np.array_equal(policy.infer_batch([1, 2], {"index": [3, 4]})["action"], twin.infer_batch([1, 2], {"index": [3, 4]})["action"])


def test_an_inferer_that_ignores_out_still_fills_it() -> None:
    class Careless(FailingInferer):
        def infer_raw(self, view: View) -> None:
            view.outputs.clear()
            super().infer_raw(view)

    model = stacks.model("feed_forward")
    policy = Policy(model, inferer=Careless(choose("basic", model)))
    policy.begin_agents([1, 2])
    x, out = np.ones((2, 6), np.float32), np.zeros((2, 3), np.float32)
    assert policy.infer_batch([1, 2], {"obs": x}, out={"action": out})["action"] is out
    assert np.array_equal(out, model.run({"obs": x})["action"])


# Agents that end while a batch is in flight -------------------------------------------------------------------------------


@pytest.mark.parametrize("again", [False, True])
def test_a_run_that_outlives_its_agent_writes_to_nobodys_state(again: bool) -> None:
    # The inferer stands for another thread: it ends an agent of the batch, and lets others begin, while the batch runs.
    model = stacks.model("counter")

    class Meddling(FailingInferer):
        meddle = False

        def infer_raw(self, view: View) -> None:
            super().infer_raw(view)
            if self.meddle:
                policy.end_agent("old")
                policy.begin_agents([f"new{k}" for k in range(70)])
                if again:
                    policy.begin_agent("old")

    inferer = Meddling(choose("memoizing", model))
    policy = Policy(model, inferer=inferer, wrappers=[Recurrent(), EpisodeStart("obs")])
    policy.begin_agents(["old", "other"])
    policy.infer_batch(["old", "other"], {})
    inferer.meddle = True
    assert policy.infer_batch(["old", "other"], {})["action"][:, 0].tolist() == [1, 1]
    inferer.meddle = False
    names = [f"new{k}" for k in range(70)] + ["other"] + ["old"] * again
    assert policy.infer_batch(names, {})["action"][:, 0].tolist() == [1] * 70 + [1] + [1] * again
    later = [f"later{k}" for k in range(5)]
    policy.begin_agents(later)
    assert policy.infer_batch([*later, *names], {})["action"][:, 0].tolist() == [1] * (76 + again)


def test_ids_that_change_the_table_when_they_are_read_reach_no_other_agent() -> None:
    # Before ids are looked up, another thread may end an agent and begin one. A sequence of ids does it on cue.
    policy = Policy(stacks.model("counter"), inferer=FailingInferer(choose("basic", stacks.model("counter"))), wrappers=[Recurrent()])
    policy.begin_agents(["a", "b"])

    class Sneaky(list[str]):
        def __iter__(self) -> Any:
            if "new" not in policy:
                policy.end_agent("a")
                policy.begin_agent("new")
            return super().__iter__()

    with pytest.raises(AgentError):
        policy.infer_batch(Sneaky(["a", "b"]), {"obs": np.ones((2, 1), np.float32)})
    assert policy.infer_batch(["new", "b"], {"obs": np.ones((2, 1), np.float32)})["action"][:, 0].tolist() == [1, 1]


# One copy of the weights --------------------------------------------------------------------------------------------------


def test_a_policy_outlives_its_model() -> None:
    model = cervello.Model.load(small_models.feed_forward())
    x = np.ones((2, 6), np.float32)
    expected = model.run({"obs": x})["action"]
    policy = Policy(model)
    other = cervello.load(small_models.feed_forward(), share=policy)
    del model
    policy.begin_agents([1, 2])
    other.begin_agents([1, 2])
    gc.collect()
    assert np.array_equal(policy.infer_batch([1, 2], {"obs": x})["action"], expected)
    del policy
    gc.collect()
    assert np.array_equal(other.infer_batch([1, 2], {"obs": x})["action"], expected)


def test_policies_of_one_model_and_of_equal_files_hold_one_copy_of_the_weights() -> None:
    # cervo failure 13: weights were held per plan and per instance.
    model = cervello.Model.load(small_models.feed_forward(hidden=64))
    policies = [Policy(model, inferer=inferer) for inferer in ("basic", "fixed", "memoizing", "dynamic")]
    assert all(each.model.weights is model.weights for each in policies)
    bytes_before = model.plan(1).weight_bytes
    for policy in policies:
        policy.begin_agents(range(9))
        policy.infer_batch(list(range(9)), {"obs": np.zeros((9, 6), np.float32)})
    assert model.plan(1).weight_bytes == bytes_before
    shared = cervello.load(small_models.feed_forward(hidden=64), share=model)
    apart = cervello.load(small_models.feed_forward(hidden=64))
    kept = {id(array) for array in model.weights.arrays()}
    assert {id(array) for array in shared.model.weights.arrays()} == kept
    assert not {id(array) for array in apart.model.weights.arrays()} & kept
    assert not any(array.flags.writeable for array in model.weights.arrays())
