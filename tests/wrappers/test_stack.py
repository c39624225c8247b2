"""Wrappers one inside the other, and wrappers of a user's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import stacks

import cervello
from cervello import ConfigurationError, Epsilon, Policy, PolicySpec, Recurrent
from cervello.spec import View, Wrapper
from cervello.wrappers import Stack
from cervello.wrappers.base import Passive
from cervello.wrappers.testing.fakes import RecordingWrapper

LOG: list[str] = []


class Logged(Passive):
    def __init__(self, name: str):
        self.name = name

    def attach(self, spec: PolicySpec) -> tuple[Wrapper, PolicySpec]:
        LOG.append(f"attach {self.name}")
        return Logged(self.name), spec

    def inward(self, view: View) -> None:
        LOG.append(f"in {self.name}")

    def outward(self, view: View) -> None:
        LOG.append(f"out {self.name}")

    def commit(self, view: View) -> None:
        LOG.append(f"commit {self.name}")


def test_the_first_in_the_list_is_outermost() -> None:
    LOG.clear()
    policy = Policy(stacks.model("feed_forward"), wrappers=[Logged("a"), Logged("b")])
    assert LOG == ["attach b", "attach a"]
    LOG.clear()
    policy.begin_agent(1)
    policy.infer({1: {"obs": np.zeros(6)}})
    assert LOG == ["in a", "in b", "out b", "out a", "commit b", "commit a"]


def test_a_stack_has_the_specs_of_its_outer_side() -> None:
    spec = stacks.model("full").spec
    stack = Stack([Epsilon(), Recurrent()], spec)
    assert len(stack) == 2
    assert list(stack.spec.inputs) == ["obs", "prev_action", "start", "mask"]
    assert list(stack.spec.outputs) == ["action", "value"]
    assert list(spec.inputs) == ["obs", "h_in", "epsilon", "prev_action", "start", "mask"]
    assert Stack([], spec).spec is spec


def test_one_wrapper_instead_of_a_list_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"expected a list of wrappers or 'auto', got Epsilon\('epsilon'\); put it in a list"):
        Policy(stacks.model("noisy"), wrappers=Epsilon())  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="expected a list of wrappers or 'auto', got 'all'"):
        Policy(stacks.model("noisy"), wrappers="all")


def test_a_wrapper_may_remove_and_add_inputs_and_outputs() -> None:
    class Split(Passive):
        """The caller gives `left` and `right`; the model gets obs. The caller gets `steer` beside the action."""

        def attach(self, spec: PolicySpec) -> tuple[Wrapper, PolicySpec]:
            half = cervello.TensorSpec("left", (3,), np.dtype(np.float32))
            steer = cervello.TensorSpec("steer", (), np.dtype(np.float32))
            inputs = [half, cervello.TensorSpec("right", (3,), half.dtype)]
            return self, PolicySpec(cervello.Specs(inputs), cervello.Specs([*spec.outputs.values(), steer]), spec.constants)

        reads_inputs = True

        def inward(self, view: View) -> None:
            view.inputs["obs"] = np.concatenate([view.inputs.pop("left"), view.inputs.pop("right")], 1)

        def outward(self, view: View) -> None:
            view.outputs["steer"] = view.outputs["action"].sum(1)

    model = stacks.model("feed_forward")
    policy = Policy(model, wrappers=[Split()])
    policy.begin_agents([1, 2])
    x = np.random.default_rng(0).standard_normal((2, 6)).astype(np.float32)
    expected = model.run({"obs": x})["action"]
    found = policy.infer({1: {"left": x[0, :3], "right": x[0, 3:]}, 2: {"left": list(x[1, :3]), "right": x[1, 3:]}})
    assert np.array_equal(found[2]["action"], expected[1])
    assert found[1]["steer"] == expected[0].sum()
    out = {"steer": np.zeros(2, np.float32), "action": np.zeros((2, 3), np.float32)}
    results = policy.infer_batch([1, 2], {"left": x[:, :3], "right": x[:, 3:].astype(np.float64)}, out=out)
    assert results["steer"] is out["steer"]
    assert np.array_equal(out["steer"], expected.sum(1))
    assert np.array_equal(out["action"], expected)


@pytest.mark.parametrize("hook", ["inward", "outward"])
def test_a_wrapper_that_fails_leaves_the_others_as_they_were(hook: str) -> None:
    class Moody(Passive):
        angry = False

        def attach(self, spec: PolicySpec) -> tuple[Wrapper, PolicySpec]:
            return self, spec

        def inward(self, view: View) -> None:
            if self.angry and hook == "inward":
                raise RuntimeError("moody")

        def outward(self, view: View) -> None:
            if self.angry and hook == "outward":
                raise RuntimeError("moody")

    one, x = np.ones(1, np.float32), {"obs": np.ones((1, 1), np.float32)}
    for place in (0, 1):
        moody = Moody()
        wrappers: list[Any] = [Recurrent()]
        wrappers.insert(place, moody)
        policy = Policy(stacks.model("counter"), wrappers=wrappers)
        policy.begin_agent(1)
        policy.infer_batch([1], x)
        moody.angry = True
        for _ in range(3):
            with pytest.raises(RuntimeError, match="moody"):
                policy.infer({1: {"obs": one}})
        moody.angry = False
        assert policy.infer_batch([1], x)["action"].item() == 2


def test_hooks_reach_wrappers_with_any_inferer_and_any_container() -> None:
    # Nothing stands between an agent and the wrappers: begin and end arrive with every inferer, alone or in bulk.
    model = stacks.model("full")
    for make in stacks.INFERERS.values():
        watched = [RecordingWrapper(Recurrent()), RecordingWrapper(Epsilon())]
        policy = Policy(model, inferer=make(model), wrappers=watched)
        policy.begin_agent("a")
        policy.begin_agents(["b", "c"])
        policy.restart_agents(["a"])
        policy.end_agents(["a", "b"])
        for each in watched:
            assert each.calls == [("begin", 1), ("begin", 2), ("begin", 1), ("end", 1), ("end", 2)]
