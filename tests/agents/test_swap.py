"""Another model in the place of the old one, while agents go on."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import onnx
import pytest
import small_models
from onnx import numpy_helper
from stacks import STACKS, Averaged, Pairwise, model

import cervello
from cervello import ConfigurationError, Epsilon, Fill, Policy, PreviousAction, Recurrent, WrapperError
from cervello.inferers.fast_path import FastPath
from cervello.inferers.testing import same_bits, sample_columns
from cervello.spec import PolicySpec, TensorSpec, View, Wrapper
from cervello.wrappers import Passive, Slab


def tick(policy: Policy, agents: Any, step: int) -> Any:
    return policy.infer_batch(list(agents), sample_columns(policy.inputs, agents, step))


@pytest.mark.parametrize("inferer", ["basic", "fixed", "memoizing", "dynamic"])
def test_after_a_swap_agents_go_on_as_if_the_new_model_had_their_state(inferer: str) -> None:
    data = small_models.full()
    wrappers = [Recurrent(), Epsilon(), PreviousAction("prev_action", "action"), Fill("mask", True), cervello.EpisodeStart("start")]
    policy = cervello.load(data, wrappers=wrappers, inferer=inferer, seed=4)
    policy.begin_agents(range(5))
    for step in range(3):
        tick(policy, range(5), step)
    state = policy.snapshot()
    policy.replace(small_models.scaled(data, 0.5))
    other = cervello.load(small_models.scaled(data, 0.5), wrappers=wrappers, inferer=inferer, seed=4)
    other.restore(state)
    for step in range(3, 6):
        found, expected = tick(policy, range(5), step), tick(other, range(5), step)
        assert all(same_bits(found[name], expected[name]) for name in expected)
        assert found.version == 2


def test_the_version_goes_along_with_every_result() -> None:
    policy = cervello.load(small_models.feed_forward())
    policy.begin_agents(range(2))
    for version in (1, 2, 3):
        assert policy.version == tick(policy, range(2), 0).version == version
        assert policy.infer({0: {"obs": np.zeros(6)}}).version == version
        policy.replace(small_models.feed_forward())


def test_weights_are_updated_by_their_names_in_the_file() -> None:
    data = small_models.feed_forward()
    policy = cervello.load(data)
    policy.begin_agents(range(3))
    first = tick(policy, range(3), 0)["action"]
    names = [tensor.name for tensor in onnx.load_from_string(data).graph.initializer]
    weights = {t.name: numpy_helper.to_array(t) for t in onnx.load_from_string(small_models.scaled(data, 0.5)).graph.initializer}
    policy.update_weights({names[0]: weights[names[0]]})
    half = tick(policy, range(3), 0)["action"]
    assert not same_bits(half, first)
    policy.update_weights({name: weights[name] for name in names[1:]})
    expected = cervello.Model.load(small_models.scaled(data, 0.5)).run(sample_columns(policy.inputs, range(3), 0))["action"]
    assert same_bits(tick(policy, range(3), 0)["action"], expected)
    assert policy.version == 3


def test_updated_weights_keep_the_plan_and_share_what_is_equal() -> None:
    old = cervello.Model.load(small_models.feed_forward())
    new = old.updated({"action.b0": np.ones(16, np.float32)})
    assert [step.kernel for step in new.program.steps] == [step.kernel for step in old.program.steps]
    assert new.plan(64).arena_bytes == old.plan(64).arena_bytes
    assert new.weights.shared_bytes > new.weights.n_bytes / 2


@pytest.mark.parametrize(("weights", "message"), [
    ({"nothing": np.zeros(3, np.float32)}, r"update_weights 'nothing': expected a constant of the file \('action.b0'"),
    ({"action.b0": np.zeros(15, np.float32)}, r"update_weights 'action.b0': expected \(16,\) float32, got \(15,\) float32"),
    ({"action.b0": [[1.0], [2.0, 3.0]]}, "got something ragged"),
    ({"action.b0": np.zeros(16)}, r"expected \(16,\) float32, got \(16,\) float64"),
])
def test_weights_that_do_not_fit_change_nothing(weights: Any, message: str) -> None:
    policy = cervello.load(small_models.feed_forward())
    policy.begin_agents(range(3))
    first = tick(policy, range(3), 0)["action"]
    with pytest.raises(ConfigurationError, match=message):
        policy.update_weights({"action.w0": np.zeros((6, 16), np.float32), **weights})
    assert same_bits(tick(policy, range(3), 0)["action"], first)
    assert policy.version == 1


def test_a_file_that_was_written_since_is_not_mixed_with_new_weights(tmp_path: Any) -> None:
    path = tmp_path / "policy.onnx"
    path.write_bytes(small_models.feed_forward())
    policy = cervello.load(path)
    path.write_bytes(small_models.feed_forward(hidden=8))
    with pytest.raises(cervello.FormatError, match="as it was when it was loaded, got a file that has been written since"):
        policy.update_weights({"action.b0": np.zeros(16, np.float32)})


@pytest.mark.parametrize(("other", "message"), [
    (small_models.feed_forward(width=7), r"replace, inputs: expected \['obs: \(N, 6\) float32'\], got \['obs: \(N, 7\) float32'\]"),
    (small_models.feed_forward(actions=2), r"replace, outputs: expected"),
    (small_models.noisy(), r"replace, inputs: expected .*got \['epsilon: \(N, 3\) float32'\]"),
])
def test_a_model_that_takes_or_gives_something_else_is_refused(other: bytes, message: str) -> None:
    policy = cervello.load(small_models.feed_forward())
    policy.begin_agents(range(3))
    first = tick(policy, range(3), 0)["action"]
    with pytest.raises(ConfigurationError, match=message):
        policy.replace(other)
    assert same_bits(tick(policy, range(3), 0)["action"], first)
    assert policy.version == 1


def test_constants_are_compared_too() -> None:
    policy = cervello.load(small_models.with_constant_output())
    proto = onnx.load_from_string(small_models.with_constant_output())
    three = next(t for t in proto.graph.initializer if t.name == "three")
    three.CopyFrom(numpy_helper.from_array(np.array([3, 4], np.float32), "three"))
    with pytest.raises(ConfigurationError, match="replace, constants: expected"):
        policy.replace(proto)


def test_a_broken_file_keeps_the_old_policy() -> None:
    policy = cervello.load(small_models.feed_forward())
    with pytest.raises(cervello.FormatError):
        policy.replace(small_models.feed_forward()[:100])
    assert policy.version == 1


def test_parameters_of_wrappers_swap_with_the_model() -> None:
    policy = Policy(model("full"), wrappers=[Recurrent(initial={"h_in": 1}), Epsilon(scale=0.0), Fill("mask", True)])
    other = Policy(model("full"), wrappers=[Recurrent(initial={"h_in": 2}), Epsilon(scale=2.0), Fill("mask", False)], seed=0)
    for each in (policy, other):
        each.begin_agents(range(3))
    state = policy.snapshot()
    policy.replace(model("full"), wrappers=other.wrappers)
    other.restore(state)
    assert all(same_bits(a, b) for a, b in zip(tick(policy, range(3), 0).values(), tick(other, range(3), 0).values(), strict=True))
    for each in (policy, other):
        each.begin_agent(7)  # the new initial state is for those that begin from here
    assert all(same_bits(a, b) for a, b in zip(tick(policy, [7], 0).values(), tick(other, [7], 0).values(), strict=True))


@pytest.mark.parametrize("wrappers", [[], [Recurrent(), Epsilon()]])
def test_other_wrappers_are_refused(wrappers: Any) -> None:
    policy = Policy(model("full"), wrappers=[Recurrent(), Epsilon(), Fill("mask", True)])
    with pytest.raises((WrapperError, ConfigurationError), match=r"expected"):
        policy.replace(model("full"), wrappers=wrappers)
    assert policy.version == 1


def test_a_wrapper_of_a_user_goes_on_with_its_state_when_it_is_not_replaced() -> None:
    policy, twin = (Policy(model("feed_forward"), wrappers=[Averaged("obs")]) for _ in range(2))
    for each in (policy, twin):
        each.begin_agents(range(3))
        tick(each, range(3), 0)
    policy.replace(small_models.feed_forward())
    assert same_bits(tick(policy, range(3), 1)["action"], tick(twin, range(3), 1)["action"])
    with pytest.raises(WrapperError, match="agents cannot keep their state"):
        policy.replace(small_models.feed_forward(), wrappers=[Averaged("obs")])


def test_an_inferer_of_a_user_must_be_made_again() -> None:
    first, second = model("feed_forward"), cervello.Model.load(small_models.feed_forward())
    policy = Policy(first, inferer=Pairwise(first))
    with pytest.raises(ConfigurationError, match="expected inferer= for the new model"):
        policy.replace(second)
    policy.replace(second, inferer=Pairwise(second))
    policy.replace(first, inferer="basic")
    assert policy.version == 3


def test_batches_that_run_during_a_swap_keep_their_state() -> None:
    """A batch that began with the old model stores its state where the new one reads it."""
    data = small_models.counter()
    entered, go = threading.Event(), threading.Event()
    first = cervello.Model.load(data)

    class Slow(Pairwise):
        def infer_raw(self, view: Any) -> None:
            entered.set()
            assert go.wait(10)
            super().infer_raw(view)

    for wrappers in (None, [Recurrent()]):
        entered.clear()
        go.clear()
        policy = Policy(first, inferer=Slow(first), wrappers=[Recurrent()])
        policy.begin_agents(range(100))
        late = threading.Thread(target=lambda p=policy: p.infer_batch([3], {"obs": np.full((1, 1), 5, np.float32)}))
        late.start()
        assert entered.wait(10)
        policy.replace(cervello.Model.load(data), inferer="basic", wrappers=wrappers)
        policy.begin_agents(range(100, 400))  # slabs grow meanwhile
        go.set()
        late.join()
        found = policy.infer_batch([3, 4], {"obs": np.ones((2, 1), np.float32)})
        assert found["action"].ravel().tolist() == [6, 1]


def test_a_swap_that_is_interrupted_leaves_the_old_model_to_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    data = [small_models.feed_forward(), small_models.scaled(small_models.feed_forward(), 0.5)]
    policy = cervello.load(data[0])
    policy.begin_agents(range(4))
    expected = tick(policy, range(4), 0)
    for _ in range(4):  # the last ones are prepared calls
        tick(policy, range(4), 0)

    def interrupt(fast_path: FastPath) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(FastPath, "invalidate", interrupt)
        with pytest.raises(KeyboardInterrupt):
            policy.replace(data[1])
    assert policy.version == 1
    assert same_bits(tick(policy, range(4), 0)["action"], expected["action"])
    policy.replace(data[1])
    assert not same_bits(tick(policy, range(4), 0)["action"], expected["action"])


def test_other_threads_infer_while_models_are_swapped() -> None:
    data = [small_models.feed_forward(), small_models.scaled(small_models.feed_forward(), 0.5)]
    models = [cervello.Model.load(each) for each in data]
    policy = Policy(models[0])
    policy.begin_agents(range(64))
    columns = sample_columns(policy.inputs, range(64), 0)
    expected = [m.run(columns)["action"] for m in models]
    wrong: list[int] = []
    stop = threading.Event()

    def play(agents: range) -> None:
        x = {"obs": columns["obs"][agents.start:agents.stop]}
        while not stop.is_set():
            found = policy.infer_batch(list(agents), x)
            if not same_bits(found["action"], expected[(found.version - 1) % 2][agents.start:agents.stop]):
                wrong.append(found.version)

    threads = [threading.Thread(target=play, args=(range(16 * k, 16 * k + 16),)) for k in range(4)]
    for thread in threads:
        thread.start()
    for k in range(60):
        policy.replace(models[(k + 1) % 2])
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert policy.version == 61


@pytest.mark.parametrize("stack", [name for name, (_, wrappers) in STACKS.items() if not any(isinstance(w, Averaged) for w in wrappers)])
def test_every_stack_survives_a_swap(stack: str) -> None:
    arguments, wrappers = STACKS[stack]
    again = cervello.Model.load(getattr(small_models, arguments[0])(*arguments[1:]))
    policy, twin = (Policy(model(*arguments), wrappers=wrappers, seed=3) for _ in range(2))
    for each in (policy, twin):
        each.begin_agents(range(4))
        tick(each, range(4), 0)
    policy.replace(again, wrappers=wrappers)
    for step in (1, 2):
        found, expected = tick(policy, range(4), step), tick(twin, range(4), step)
        assert all(same_bits(found[name], expected[name]) for name in expected)


class Counter(Passive):
    """A wrapper that is its own bound self: it adds how often its agent has decided."""

    def attach(self, spec: PolicySpec) -> tuple[Wrapper, PolicySpec]:
        self.slabs = {"n": Slab(TensorSpec("n", (1,), np.dtype(np.float32)))}
        return self, spec

    def outward(self, view: View) -> None:
        view.scratch[self] = self.slabs["n"].gather(view.slots) + 1
        view.outputs["action"] = view.outputs["action"] * 0 + view.scratch[self]

    def commit(self, view: View) -> None:
        self.slabs["n"].scatter(view.slots, view.scratch[self])


def test_a_wrapper_that_is_its_own_bound_self_keeps_its_state() -> None:
    policy = Policy(model("feed_forward"), wrappers=[Counter()])
    policy.begin_agents(range(3))
    for step in range(5):
        tick(policy, range(3), step)
    policy.replace(small_models.feed_forward(), wrappers=policy.wrappers)
    assert (tick(policy, range(3), 5)["action"] == 6).all()
    with pytest.raises(WrapperError):
        policy.replace(small_models.feed_forward(), wrappers=[policy.wrappers[0], Counter()])
    assert (tick(policy, range(3), 6)["action"] == 7).all()


def test_a_swap_that_fails_in_an_inferers_hook_changes_nothing_and_is_taken_back() -> None:
    log: list[tuple[str, int]] = []
    first, second = model("counter"), cervello.Model.load(small_models.counter())

    class Listening(Pairwise):
        fail_at = -1

        def begin_agent(self, slot: int) -> None:
            if slot == self.fail_at:
                raise RuntimeError("no")
            log.append(("begin", slot))

        def end_agent(self, slot: int) -> None:
            log.append(("end", slot))

    policy = Policy(first, inferer=Listening(first), wrappers=[Recurrent()])
    policy.begin_agents(range(3))
    log.clear()
    failing = Listening(second)
    failing.fail_at = 2
    with pytest.raises(RuntimeError, match="no"):
        policy.replace(second, inferer=failing, wrappers=[Recurrent(initial={"h_in": 7})])
    assert log == [("begin", 0), ("begin", 1), ("end", 1), ("end", 0)]
    assert policy.version == 1
    policy.begin_agent(9)
    assert policy.infer_single(9, {"obs": [1.0]})["action"] == 1
    log.clear()
    policy.replace(second, inferer="basic")
    assert log == [("end", slot) for slot in range(4)]


def test_wrappers_without_state_come_and_go_with_a_swap() -> None:
    data = small_models.counter()
    policy = Policy(cervello.Model.load(data), wrappers=[Recurrent()])
    policy.begin_agent(1)
    obs = {"obs": np.full((1, 1), 5, np.float32)}
    policy.infer_batch([1], obs)
    policy.replace(data, wrappers=[cervello.Clip("action", -1, 6), Recurrent()])
    assert policy.infer_batch([1], obs)["action"].tolist() == [[6]]
    policy.replace(data, wrappers=[Recurrent()])
    assert policy.infer_batch([1], obs)["action"].tolist() == [[15]]
    with pytest.raises(WrapperError, match="others may be added or removed"):
        policy.replace(data, wrappers=[Averaged("obs"), Recurrent()])


@pytest.mark.parametrize(("wrappers", "error", "message"), [
    ("auto", ConfigurationError, "^policy 'npc', replace, wrappers: expected a list of wrappers, got 'auto'; put it in a list"),
    (Recurrent(), ConfigurationError, r"^policy 'npc', replace, wrappers: expected a list of wrappers, got Recurrent\(\)"),
    ([cervello.Guard("last"), Recurrent()], WrapperError,
     r"^policy 'npc', wrappers: expected the same ones with state, \['Recurrent'\], in the same order, got \['Guard', 'Recurrent'\]"),
    ([cervello.Guard], WrapperError, "^policy 'npc', wrappers: expected objects with the methods")])
def test_wrappers_that_cannot_replace_the_old_ones_are_refused(wrappers: Any, error: type[Exception], message: str) -> None:
    policy = cervello.load(small_models.counter(), wrappers=[cervello.Guard(), Recurrent()], name="npc")
    with pytest.raises(error, match=message):
        policy.replace(small_models.counter(), wrappers=wrappers)
    assert policy.version == 1
