"""Wrappers and inferers of a user's own: what they give is compared with what they promised before anything is stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import stacks
from small_models import FLOAT, graph, node

from cervello import (
    Batcher,
    ConfigurationError,
    ExecutionError,
    InputError,
    Model,
    Policy,
    PolicySpec,
    Recurrent,
    Specs,
    TensorSpec,
    WrapperError,
)
from cervello.inferers import Memoizing, choose
from cervello.spec import View, Wrapper
from cervello.wrappers import Passive, without
from cervello.wrappers.testing.fakes import FailingInferer

ONE = {"obs": [1.0]}


class Spoiler(Passive):
    """Calls what the test says in one of the hooks; does nothing while it is good."""

    def __init__(self, hook: str = "outward", spoil: Callable[[View], Any] = lambda view: None):
        self.hook, self.spoil, self.bad = hook, spoil, False

    def attach(self, spec: PolicySpec) -> tuple[Wrapper, PolicySpec]:
        return self, spec

    def _hook(self, name: str, view: View) -> None:
        if self.bad and name == self.hook:
            self.spoil(view)

    def inward(self, view: View) -> None:
        self._hook("inward", view)

    def outward(self, view: View) -> None:
        self._hook("outward", view)

    def commit(self, view: View) -> None:
        self._hook("commit", view)


def fail(view: View) -> None:
    raise RuntimeError("commit")


SPOILS: dict[str, tuple[str, Callable[[View], Any], type[Exception], str]] = {
    "an output is gone": ("outward", lambda v: v.outputs.clear(), ExecutionError,
                          r"output 'action': expected \(2, 1\) float32, got NoneType"),
    "a row is gone": ("outward", lambda v: v.outputs.update(action=v.outputs["action"][:-1]), ExecutionError,
                      r"output 'action': expected \(2, 1\) float32, got \(1, 1\) float32; outward must give what attach promised"),
    "another type": ("outward", lambda v: v.outputs.update(action=np.zeros((2, 1))), ExecutionError, r"got \(2, 1\) float64"),
    "an output too many": ("outward", lambda v: v.outputs.update(more=1), ExecutionError,
                           r"expected outputs \['action'\], got \['more'\] too"),
    "an input is gone": ("inward", lambda v: v.inputs.pop("obs"), ExecutionError,
                         r"input 'obs': expected \(2, 1\) float32, got NoneType; inward"),
    "a row of the input is gone": ("inward", lambda v: v.inputs.update(obs=v.inputs["obs"][:1]), ExecutionError, r"got \(1, 1\) float32"),
    "commit fails": ("commit", fail, RuntimeError, "commit"),
    "slots in another order": ("outward", lambda v: v.slots.sort(), ValueError, "read-only"),
}


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("spoil", SPOILS)
def test_a_wrapper_that_breaks_its_promise_is_named_and_nothing_changes(spoil: str, inside: bool) -> None:
    hook, action, kind, message = SPOILS[spoil]
    if not inside and spoil == "an output is gone":
        message = message.replace("h_out", "action")
    spoiler = Spoiler(hook, action)
    policy = Policy(stacks.model("counter"), wrappers=[Recurrent(), spoiler] if inside else [spoiler, Recurrent()])
    policy.begin_agents([2, 1])
    batch, x = Batcher(policy), np.ones((2, 1), np.float32)
    policy.infer({1: ONE, 2: ONE})
    batch.extend({1: ONE, 2: ONE})
    spoiler.bad = True
    for call in (lambda: policy.infer({1: ONE, 2: ONE}), lambda: policy.infer_batch([1, 2], {"obs": x}), batch.execute,
                 lambda: policy.infer_batch([1, 2], {"obs": x}, out={"action": np.zeros((2, 1), np.float32)})):
        with pytest.raises(kind, match=message):
            call()
    spoiler.bad = False
    assert batch.batched().ids == (1, 2)
    assert {agent: found["action"] for agent, found in batch.execute().items()} == {1: 2, 2: 2}
    assert policy._core.table.steps[policy._core.table.slots_of([1, 2])].tolist() == [2, 2]


@pytest.mark.parametrize("attach", [lambda wrapper, spec: None, lambda wrapper, spec: spec, lambda wrapper, spec: (spec, wrapper),
                                    lambda wrapper, spec: (type(wrapper), spec), lambda wrapper, spec: (wrapper, spec, 1)])
def test_an_attach_that_returns_something_else_is_refused(attach: Any) -> None:
    wrapper = type("Odd", (Passive,), {"attach": attach})()
    with pytest.raises(WrapperError, match=r"expected attach to return \(wrapper, PolicySpec\), got"):
        Policy(stacks.model("counter"), wrappers=[wrapper])


def test_one_wrapper_twice_in_a_stack_is_refused() -> None:
    spoiler = Spoiler()
    with pytest.raises(WrapperError, match=r"expected distinct wrappers, got .* twice"):
        Policy(stacks.model("counter"), wrappers=[spoiler, Recurrent(), spoiler])


def test_an_input_that_a_wrapper_hides_must_be_filled() -> None:
    class Forgetful(Passive):
        def attach(self, spec: PolicySpec) -> tuple[Wrapper, PolicySpec]:
            return self, without(spec, ["obs"])

    policy = Policy(stacks.model("feed_forward"), wrappers=[Forgetful()])
    policy.begin_agents([1, 2])
    with pytest.raises(ExecutionError, match=r"input 'obs': expected \(2, 6\) float32, got NoneType; inward must fill every input that"):
        policy.infer_batch([1, 2], {})


def test_a_policy_whose_outputs_are_all_hidden_decides_all_the_same() -> None:
    model = Model.load(graph([node("Add", "h_in obs", "h_out")], {"obs": (FLOAT, ("N", 1)), "h_in": (FLOAT, ("N", 1))},
                             {"h_out": (FLOAT, ("N", 1))}, {}))
    policy = Policy(model, wrappers="auto")
    policy.begin_agents([1, 2])
    assert policy.infer({1: ONE, 2: ONE}) == {1: {}, 2: {}}
    batch = Batcher(policy)
    batch.push(1, ONE)
    assert batch.execute() == {1: {}}
    assert policy._core.table.steps[policy._core.table.slots_of([1, 2])].tolist() == [2, 1]


class Echo(Passive):
    """Gives the observation back, as it is in memory."""

    reads_inputs = True

    def attach(self, spec: PolicySpec) -> tuple[Wrapper, PolicySpec]:
        seen = spec.inputs["obs"]
        return Echo(), replace(spec, outputs=Specs([*spec.outputs.values(), TensorSpec("echo", seen.shape, seen.dtype)]))

    def outward(self, view: View) -> None:
        view.outputs["echo"] = view.inputs["obs"]


def test_results_by_name_never_lie_in_memory_that_the_next_batch_overwrites() -> None:
    policy = Policy(stacks.model("feed_forward"), wrappers=[Echo()])
    policy.begin_agents([1, 2])
    batch = Batcher(policy)
    batch.push(1, {"obs": np.full(6, 5)})
    found = [policy.infer({1: {"obs": np.full(6, 4)}})[1]["echo"], batch.execute()[1]["echo"]]
    policy.infer({2: {"obs": np.full(6, 99)}})
    batch.push(2, {"obs": np.full(6, 99)})
    assert [row.tolist() for row in found] == [[4] * 6, [5] * 6]


def test_a_wrapper_that_says_nothing_of_inputs_gets_arrays_that_fit() -> None:
    class Doubled(Passive):
        def attach(self, spec: PolicySpec) -> tuple[Wrapper, PolicySpec]:
            return self, spec

        def inward(self, view: View) -> None:
            view.inputs["obs"] = view.inputs["obs"] * np.float32(2)

    policy = Policy(stacks.model("counter"), wrappers=[Doubled(), Recurrent()])
    policy.begin_agent(1)
    assert policy.infer_batch([1], {"obs": [[3]]})["action"].item() == 6


# Inferers of other models -------------------------------------------------------------------------------------------------


def test_an_inferer_of_another_model_is_refused() -> None:
    donor = Policy(stacks.model("full", 6, 8))
    with pytest.raises(ConfigurationError, match="expected one of model 'model', got _MemoizingInferer of model"):
        Policy(stacks.model("full", 6, 16), inferer=donor.inferer)
    assert Policy(donor.model, inferer=donor.inferer).inferer is donor.inferer

    class Misled(Memoizing):
        def open(self, model: Model, threads: int = 1) -> Any:
            return donor.inferer

    with pytest.raises(ConfigurationError, match="expected one of model"):
        Policy(stacks.model("full", 6, 16), inferer=Misled())


@pytest.mark.parametrize("other", [("feed_forward", 6, 16, 5), ("counter",), ("noisy",)])
def test_an_inferer_with_other_specs_than_the_models_is_refused(other: Any) -> None:
    inferer = FailingInferer(choose("basic", stacks.model(*other)))
    with pytest.raises(ConfigurationError, match=r"raw_(in|out)puts: expected those of model 'model', .*, got"):
        Policy(stacks.model("feed_forward", 6, 16, 3), inferer=inferer)


def test_an_inferer_of_the_same_specs_may_run_something_else() -> None:
    column = (FLOAT, ("N", 1))
    negating, other = (Model.load(graph([node(op, "obs", "action")], {"obs": column}, {"action": column}, {})) for op in ("Neg", "Abs"))
    policy = Policy(other, inferer=FailingInferer(choose("basic", negating)))
    policy.begin_agent(1)
    assert policy.infer({1: ONE})[1]["action"] == -1


# Outputs that overlap -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("custom", [False, True])
def test_outputs_that_share_an_element_are_refused_and_interleaved_ones_are_not(custom: bool) -> None:
    column = (FLOAT, ("N", 3))
    model = Model.load(graph([node("Neg", "obs", "a"), node("Abs", "obs", "b")], {"obs": column}, {"a": column, "b": column}, {}))
    policy = Policy(model, inferer=FailingInferer(choose("basic", model)) if custom else "memoizing")
    policy.begin_agents([1, 2])
    x, room, whole = {"obs": np.ones((2, 3), np.float32)}, np.zeros((2, 6), np.float32), np.zeros((2, 3), np.float32)
    for out in ({"a": room[:, ::2], "b": room[:, ::2]}, {"a": room[:, :3], "b": room[:, 2:5]}, {"a": whole, "b": whole}):
        for call in (lambda out=out: policy.infer_batch([1, 2], x, out=out), lambda out=out: model.run(x, out=out)):
            with pytest.raises(InputError, match="expected memory of its own, got an array that overlaps"):
                call()
    found = policy.infer_batch([1, 2], x, out={"a": room[:, ::2], "b": room[:, 1::2]})
    assert (found["a"] == -1).all()
    assert (room == [-1, 1] * 3).all()
