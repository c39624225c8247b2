"""What people read when something does not fit: the policy's name, what is wrong, what to do, in 500 characters at most."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import small_models
import stacks

import cervello
from cervello import Batcher, Policy
from cervello.errors import AgentError, CervelloError, ConfigurationError, InputError


@pytest.fixture
def policy() -> Policy:
    found = cervello.load(small_models.feed_forward(), name="racer")
    found.begin_agents([1, 2])
    return found


@pytest.mark.parametrize("act", [
    lambda p: p.begin_agent(1), lambda p: p.begin_agents([3, 3]), lambda p: p.begin_agent(-1), lambda p: p.begin_agent(1.5),
    lambda p: p.begin_agents(7), lambda p: p.begin_agents([5], stream=-1), lambda p: p.begin_agents([5], episode=[1, 2]),
    lambda p: p.end_agent(9), lambda p: p.end_agents([1, 1]), lambda p: p.restart_agents([9]), lambda p: p._core.check_agents([9]),
    lambda p: p._core.check_distinct([1, 1]), lambda p: p.infer_batch([9], {"obs": np.zeros((1, 6))}),
    lambda p: p.infer_batch([1, 1], {"obs": np.zeros((2, 6))}), lambda p: p.infer_batch({1}, {"obs": np.zeros((1, 6))}),
    lambda p: p.infer_batch([1], {"obs": np.zeros((2, 6))}), lambda p: p.infer_batch([1], {}), lambda p: p.infer({1: "x"}),
    lambda p: p.infer({9: np.zeros(6)}), lambda p: p.infer_single(9, np.zeros(6, np.float32)), lambda p: p.infer_single(1, np.zeros(5)),
    lambda p: p.infer({1: np.zeros(6), 2: np.zeros(6)}, {3: True}), lambda p: p.infer({1: np.zeros(6, np.float32)}, {1: 2}),
    lambda p: Batcher(p).push(9, np.zeros(6)), lambda p: Batcher(p).push(1, np.zeros(5)), lambda p: Batcher(p).extend({1: None}),
    lambda p: p.snapshot([9]), lambda p: Batcher(p).extend([1])])
def test_every_message_names_the_policy(policy: Policy, act: Callable[[Policy], Any]) -> None:
    with pytest.raises(CervelloError, match="policy 'racer'") as found:
        act(policy)
    assert len(str(found.value)) <= 500


def test_a_wrong_number_of_rows_is_called_so(policy: Policy) -> None:
    with pytest.raises(InputError, match=r"3 rows and 2 ids \(or rows of other inputs\) differ") as found:
        policy.infer_batch([1, 2], {"obs": np.zeros((3, 6), np.float32)})
    assert "observation_space" not in str(found.value)


def test_the_end_of_an_unknown_agent_is_no_reason_to_begin_it(policy: Policy) -> None:
    with pytest.raises(AgentError, match="policy 'racer', agents: expected agents that have begun, got 9; it has ended") as found:
        policy.end_agent(9)
    assert "begin_agent" not in str(found.value)


def test_a_long_message_keeps_its_place_and_its_remedy() -> None:
    error = InputError("policy 'x': " + "a" * 2000 + "; do this")
    assert len(str(error)) == 500
    assert str(error).startswith("policy 'x': aaa")
    assert str(error).endswith("a; do this")
    assert str(InputError("short")) == "short"


@pytest.mark.parametrize(("inferer", "said"), [
    ("basic", "<basic inferer of model 'model': one row at a time>"),
    ("memoizing", "<memoizing inferer of model 'model': all rows at once>"),
    ("dynamic", "<dynamic inferer of model 'model': all rows at once>"),
    (cervello.inferers.Fixed([1, 8]), "<fixed inferer of model 'model': runs of [8, 1] rows>")])
def test_inferers_say_what_they_are(inferer: Any, said: str) -> None:
    assert repr(Policy(stacks.model("feed_forward"), inferer=inferer).inferer) == said


def test_a_model_made_of_a_path_points_to_load() -> None:
    with pytest.raises(ConfigurationError, match=r"expected a graph, got str; a file is read by cervello.Model.load"):
        cervello.Model("racer.onnx")  # type: ignore[arg-type]


def test_tensors_are_those_that_outputs_accepts() -> None:
    data = small_models.feed_forward()
    names = cervello.Model.load(data).tensors
    assert {"action", "action.h0", "action.w0"} <= set(names)
    assert len(set(names)) == len(names)
    for name in names:
        model = cervello.Model.load(data, outputs=[name])
        assert name in model.outputs or name in model.constants


class Chunked:
    """An inferer of a user's own that wants at most three rows."""

    def __init__(self, model: cervello.Model, most: Any = 3):
        self.model, self.most, self.seen = model, most, []  # type: ignore[var-annotated]
        self.raw_inputs = self.inputs = model.inputs
        self.raw_outputs = self.outputs = model.outputs

    def select_batch_size(self, max_rows: int) -> Any:
        return min(self.most, max_rows)

    def infer_raw(self, view: Any) -> None:
        self.seen.append(view.n_rows)
        view.outputs.update(self.model.run(view.inputs))

    def begin_agent(self, slot: int) -> None: ...

    def end_agent(self, slot: int) -> None: ...


@pytest.mark.parametrize("name", ["feed_forward", "gru"])
def test_an_inferer_of_ones_own_gets_as_many_rows_as_it_selects(name: str) -> None:
    model = cervello.Model.load(small_models.feed_forward() if name == "feed_forward" else small_models.recurrent("GRU"))
    inferer = Chunked(model)
    policies = [Policy(model, inferer=each, wrappers="auto") for each in (inferer, "memoizing")]
    obs = np.random.default_rng(0).standard_normal((8, *policies[0].inputs["obs"].shape)).astype(np.float32)
    for policy in policies:
        policy.begin_agents(range(8))
    for _ in range(2):
        ours, plain = (policy.infer_batch(range(8), {"obs": obs}) for policy in policies)
        assert all(np.array_equal(ours[key], plain[key]) for key in plain)
    assert inferer.seen == [3, 3, 2] * 2


@pytest.mark.parametrize("most", [0, 1.5, True])
def test_an_impossible_number_of_rows_is_refused(most: Any) -> None:
    model = cervello.Model.load(small_models.feed_forward())
    policy = Policy(model, inferer=Chunked(model, most))
    policy.begin_agents([1, 2])
    with pytest.raises(cervello.errors.ExecutionError, match=r"policy 'model', inferer .*select_batch_size\(2\) to give 1 to 2, got"):
        policy.infer_batch([1, 2], {"obs": np.zeros((2, 6))})
