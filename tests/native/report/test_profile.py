"""Profiles: what is counted and measured of every step. How long a step takes is never asserted."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from native_graphs import Chain, node, policy, rows, weights

from cervello.errors import ConfigurationError, ExecutionError, InputError
from cervello.native import Model
from cervello.native.report import roofline
from cervello.native.report.profile import Profile, profile
from cervello.native.report.step_timer import StepTimer


def given(model: Model, n_rows: int) -> dict[str, Any]:
    random = np.random.default_rng(3)
    return {name: random.standard_normal(spec.batched(n_rows)).astype(spec.dtype) for name, spec in model.inputs.items()}


def profiled(model: Model, n_rows: int = 1, rounds: int = 2) -> Profile:
    return profile(model, given(model, n_rows), n_rows, rounds)


def in_place() -> Model:
    """Steps that overwrite what they read, and a Gather whose indices have been overwritten when the run ends."""
    c = Chain(x=rows(40))
    h = c.add("Exp", c.dense("x", 40, 40))
    h = c.add("Exp", c.add("Softmax", c.add("Mul", h, h), axis=1))
    picked = c.add("Gather", weights(7, 40), c.add("Cast", c.add("Floor", c.add("Mul", h, np.float32(2))), to=7), axis=0)
    return Model.load(c.model(c.dense(c.add("Sqrt", c.add("Abs", c.add("ReduceSum", picked, np.array([2]), keepdims=0))), 40, 3)))


def slow() -> Model:
    c = Chain(x=rows(5))
    return Model.load(c.model(c.dense(c.add("Mod", c.dense("x", 5, 5), np.ones(5, np.float32), fmod=1), 5, 2)))


def test_the_example_overwrites_operands() -> None:
    steps = in_place().program.steps
    assert any({id(t.buffer) for t in step.reads} & {id(t.buffer) for t in step.writes} for step in steps)


@pytest.mark.parametrize("n_rows", [1, 9])
@pytest.mark.parametrize("make", [in_place, slow, lambda: Model.load(policy())], ids=["in_place", "slow", "policy"])
def test_steps_that_were_timed_one_by_one_leave_the_results_of_a_run(make: Any, n_rows: int) -> None:
    model = make()
    n_rows = n_rows if model.batched else 1
    inputs = given(model, n_rows)
    expected = model.run(inputs)
    results = [np.full(spec.batched(n_rows), np.nan, spec.dtype) for spec in model.outputs.values()]
    columns, targets = model.fitted(list(inputs.values()), results, n_rows)
    run = model.acquire()
    StepTimer(model, run, model.resolve(n_rows), [*columns, *targets], len(columns)).measure(1, None)
    for target, name in zip(targets, model.outputs, strict=True):
        np.testing.assert_array_equal(target, expected[name])


@pytest.mark.parametrize("make", [in_place, slow, lambda: Model.load(policy())], ids=["in_place", "slow", "policy"])
def test_shares_sum_to_one(make: Any) -> None:
    found = profiled(make())
    for parts in (found.steps, found.kinds, found.tiers):
        assert sum(part.share for part in parts) == pytest.approx(1)
        assert sum(part.seconds for part in parts) == pytest.approx(found.steps_s)


def test_every_step_of_the_plan_is_there() -> None:
    model = Model.load(policy())
    found = profiled(model, 6)
    assert [(step.node, step.op, step.runs) for step in found.steps] == [(s.node, s.op, s.runs) for s in model.plan(6).steps]
    assert {step.tier for step in found.steps} == {"planned"}
    assert (found.name, found.n_rows, found.rounds) == (model.name, 6, 2)
    assert (found.plan.arena_bytes, found.plan.weight_bytes) == (model.plan(6).arena_bytes, model.weights.n_bytes)


def test_work_of_a_product_is_counted() -> None:
    c = Chain(x=rows(40))
    found = profiled(Model.load(c.model(c.dense("x", 40, 64))), 5)
    (step,) = found.steps
    assert (step.multiply_adds, step.elements) == (5 * 40 * 64, 5 * 64)
    assert step.weight_bytes == (40 * 64 + 64) * 4  # two panels of 32 columns, and the bias
    assert (step.read_bytes, step.written_bytes) == (5 * 40 * 4 + step.weight_bytes, 5 * 64 * 4)


def test_work_of_an_lstm_is_counted() -> None:
    c = Chain(x=rows(1, 8))  # [N, time, features]
    turned = c.add("Transpose", "x", perm=[1, 0, 2])
    y = c.add("LSTM", turned, weights(1, 64, 8), weights(1, 64, 16), weights(1, 128), outputs=2, hidden_size=16)[1]
    found = profiled(Model.load(c.model(c.add("Squeeze", y, np.array([0])))), 3)
    (step,) = [step for step in found.steps if step.op == "LSTM"]
    assert step.multiply_adds == 3 * (8 + 16) * 64


def test_elements_and_bytes_of_other_steps_are_counted() -> None:
    c = Chain(x=rows(4))
    found = profiled(Model.load(c.model(c.add("Add", "x", np.ones((1, 4), np.float32)))), 5)
    (step,) = found.steps
    assert (step.multiply_adds, step.elements, step.read_bytes, step.weight_bytes, step.written_bytes) == (0, 20, 96, 16, 80)


def test_slower_tiers_are_timed_too() -> None:
    found = profiled(slow())
    (step,) = [step for step in found.steps if step.op == "Mod"]
    assert step.runs == step.tier
    assert step.tier in ("numpy", "reference")
    assert {tier.kind: tier.steps for tier in found.tiers} == {kind: n for kind, n in found.plan.tiers.items() if n}


def test_kinds_are_totals_over_ops() -> None:
    found = profiled(Model.load(policy()), 3)
    for kind in found.kinds:
        own = [step for step in found.steps if step.op == kind.kind]
        assert (kind.steps, kind.multiply_adds, kind.read_bytes) == (
            len(own), sum(step.multiply_adds for step in own), sum(step.read_bytes for step in own))
    assert sum(kind.steps for kind in found.kinds) == len(found.steps)
    assert [kind.seconds for kind in found.kinds] == sorted((kind.seconds for kind in found.kinds), reverse=True)


def test_a_model_without_steps_has_a_profile() -> None:
    c = Chain(x=rows(4))
    c.nodes.append(node("Identity", [c.const(np.float32([1, 2]))], ["fixed"]))
    found = profiled(Model.load(c.model("fixed")))
    assert (found.steps, found.kinds, found.steps_s) == ((), (), 0)
    assert found.to_trace()["traceEvents"]


def test_random_ops_draw_from_the_seed_and_leave_no_key_behind() -> None:
    c = Chain(x=rows(4))
    model = Model.load(c.model(c.add("Add", "x", c.add("RandomNormalLike", "x"))))
    profiled(model, 3)
    with pytest.raises(InputError, match=r"expected seed= or deterministic=True, got neither"):
        model.run(given(model, 3))


def test_the_trace_lays_steps_end_to_end() -> None:
    found = profiled(Model.load(policy()), 2, rounds=3)
    trace = json.loads(json.dumps(found.to_trace()))
    events = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert [event["name"] for event in events] == [step.node for step in found.steps] * 3
    assert [event["args"]["round"] for event in events] == sorted([0, 1, 2] * len(found.steps))
    now = 0.0
    for event, lasts_s in zip(events, (step.rounds_s[i] for i in range(3) for step in found.steps), strict=True):
        assert event["ts"] == pytest.approx(now)
        assert event["dur"] == pytest.approx(lasts_s * 1e6)
        assert {"cat", "pid", "tid", "args"} < set(event)
        now += event["dur"]


def test_progress_is_reported_after_every_round() -> None:
    model, said = Model.load(policy()), []
    profile(model, given(model, 1), rounds=3, progress=lambda done, total: said.append((done, total)))
    assert said == [(1, 3), (2, 3), (3, 3)]


def test_arrays_that_must_be_copied_are_profiled() -> None:
    model = Model.load(policy())
    assert profile(model, {"obs": np.zeros((3, 8))[:, ::2]}, 3, 1).n_rows == 3


def test_impossible_requests_are_refused() -> None:
    model = Model.load(policy())
    with pytest.raises(ConfigurationError, match=r"profile: expected at least 1 round, got 0"):
        profile(model, given(model, 1), rounds=0)
    with pytest.raises(ConfigurationError, match=r"profile: expected at least 1 row, got 0"):
        profile(model, given(model, 1), 0)
    with pytest.raises(InputError, match=r"'obs'"):
        profile(model, given(model, 2), 3)
    with pytest.raises(InputError, match=r"'ob'"):
        profile(model, {"ob": np.zeros((1, 4), np.float32)})


def test_a_model_for_one_row_refuses_more() -> None:
    c = Chain(x=rows(4))
    model = Model.load(c.model(c.add("Sub", "x", c.add("ReduceMean", "x", axes=[0], keepdims=1))), batch_axis=0)
    with pytest.raises(ConfigurationError, match=r"profile: expected 1 row, got 2; rows run one after another"):
        profile(model, given(model, 2), 2)


def test_a_step_that_fails_is_named() -> None:
    c = Chain(x=rows(2))
    model = Model.load(c.model(c.add("Gather", weights(3, 2), c.add("Cast", "x", to=7), axis=0)))
    with pytest.raises(ExecutionError, match=r"node Gather.*expected to run, got an index outside its table"):
        profile(model, {"x": np.full((2, 2), 9, np.float32)}, 2)


def test_the_limit_grows_with_work_and_bytes() -> None:
    assert roofline.least_s(0, 0) == 0
    assert 0 < roofline.least_s(1000, 0) < roofline.least_s(2000, 0)
    assert roofline.least_s(10**9, 4) == roofline.least_s(10**9, 0)
    assert roofline.least_s(1, 1 << 14) == (1 << 14) / roofline.bandwidth(1 << 14)
    assert roofline.bandwidth(100) == roofline.bandwidth(1 << 14)
