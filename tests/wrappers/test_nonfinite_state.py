"""State that is not finite: it is not stored, in the compiled call and beside it, and is counted and said once."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pytest
import small_models
import stacks
from onnx import TensorProto

import cervello
from cervello import ExecutionError, Model, Policy, Recurrent, Runtime, WrapperError
from cervello.inferers.testing import same_bits

STATE = {"h_in": "h_out", "d_in": "d_out", "n_in": "n_out"}
INITIAL = {"h_in": [1.0, 2.0, 3.0], "d_in": [10.0], "n_in": [100]}


def several() -> bytes:
    """obs [N, 1] → action = h + log(obs); state h [N, 3] float32 plus log(obs), d [N, 1] float64 plus obs, n [N, 1] int64 plus 1."""
    nodes = [small_models.node("Log", "obs", "log"), small_models.node("Add", "h_in log", "h_out"),
             small_models.node("Add", "h_in log", "action"), small_models.node("Cast", "obs", "wide", to=TensorProto.DOUBLE),
             small_models.node("Add", "d_in wide", "d_out"), small_models.node("Add", "n_in one", "n_out")]
    kinds = {"h": (TensorProto.FLOAT, ("N", 3)), "d": (TensorProto.DOUBLE, ("N", 1)), "n": (TensorProto.INT64, ("N", 1))}
    return small_models.graph(nodes, {"obs": (TensorProto.FLOAT, ("N", 1)), **{f"{name}_in": kind for name, kind in kinds.items()}},
                              {"action": (TensorProto.FLOAT, ("N", 3)), **{f"{name}_out": kind for name, kind in kinds.items()}},
                              {"one": np.array([[1]], np.int64)})


MODEL = Model.load(several())


def tick(policy: Policy, values: Any, deterministic: Any = False) -> Any:
    return policy.infer_batch(list(range(len(values))), {"obs": np.array(values, np.float32)[:, None]}, deterministic)["action"]


def states(policy: Policy) -> list[tuple[Any, ...]]:
    """(h, d, n) of every agent."""
    wrapper: Any = policy._core.engine.stack.inner_first[-1]
    slots = policy._core.table.slots_of(policy.agents)
    found = wrapper.get_state(slots)
    return [tuple(found[name][i].tolist() for name in STATE) for i in range(len(slots))]


def made(kind: str, on_nonfinite: str) -> tuple[Policy, Recurrent]:
    recurrent = Recurrent(STATE, INITIAL, on_nonfinite)
    policy = Policy(MODEL, inferer=stacks.INFERERS[kind](MODEL), wrappers=[recurrent])
    policy.begin_agents(range(3))
    return policy, recurrent


@pytest.mark.parametrize("kind", stacks.INFERERS)
@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
@pytest.mark.parametrize("long_way", [False, True])
def test_the_last_finite_state_stays_all_tensors_of_an_agent_together(kind: str, bad: float, long_way: bool) -> None:
    policy, recurrent = made(kind, "keep")
    flags: Any = np.zeros(3, np.bool_) if long_way else False  # flags by row take the way through the hooks
    tick(policy, [1, 1, 1], flags)
    with pytest.warns(RuntimeWarning, match=r"policy 'model', wrapper Recurrent\(.*\): expected finite state, got NaN or an infinity for 1 "
                                            r"agent\(s\), which go on with their last finite one"):
        found = tick(policy, [1, bad, 1], flags)
    assert not np.isfinite(found[1]).any()  # outputs are given as they are
    assert found[[0, 2]].tolist() == [[1, 2, 3]] * 2
    once, twice = ([1.0, 2.0, 3.0], [11.0], [101]), ([1.0, 2.0, 3.0], [12.0], [102])
    assert states(policy) == [twice, once, twice]
    assert policy._core.table.steps[:3].tolist() == [2, 2, 2]  # it has decided, whatever became of its state
    assert recurrent.nonfinite_rows == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # once per policy
        tick(policy, [bad, bad, 1], flags)
    assert recurrent.nonfinite_rows == 3
    assert tick(policy, [1, 1, 1], flags).tolist() == [[1, 2, 3]] * 3


@pytest.mark.parametrize("kind", stacks.INFERERS)
def test_a_reset_gives_the_initial_state(kind: str) -> None:
    policy, recurrent = made(kind, "reset")
    tick(policy, [1, 1, 1])
    with pytest.warns(RuntimeWarning, match="which go on with their initial one"):
        tick(policy, [1, -1, 1])
    assert states(policy)[1] == ([1.0, 2.0, 3.0], [10.0], [100])
    assert states(policy)[0] == ([1.0, 2.0, 3.0], [12.0], [102])
    assert recurrent.nonfinite_rows == 1


@pytest.mark.parametrize("kind", stacks.INFERERS)
def test_a_refused_batch_changes_nothing_for_anybody(kind: str) -> None:
    policy, recurrent = made(kind, "raise")
    tick(policy, [1, 1, 1])
    before = bytes(policy.snapshot())
    with pytest.raises(ExecutionError, match="expected finite state, got NaN or an infinity in 1 of 3 rows, the first is row 2; check"):
        tick(policy, [1, 1, -1])
    assert bytes(policy.snapshot()) == before
    assert recurrent.nonfinite_rows == 0
    tick(policy, [1, 1, 1])


@pytest.mark.parametrize("n_rows", [1, 7, 64, 300])
def test_many_agents_are_looked_at_one_by_one(n_rows: int) -> None:
    policy = Policy(MODEL, wrappers=[Recurrent(STATE)])
    policy.begin_agents(range(n_rows))
    chance = np.random.default_rng(n_rows)
    expected = np.zeros((n_rows, 3), np.float32)
    for _ in range(5):
        values = chance.normal(1, 1, n_rows).astype(np.float32)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tick(policy, values)
        bad = ~(values > 0)
        with np.errstate(invalid="ignore"):
            expected = np.where(bad[:, None], expected, expected + np.log(values)[:, None])
        np.testing.assert_allclose([row[0] for row in states(policy)], expected, rtol=1e-5, atol=1e-5)


def half() -> bytes:
    """h [N, 3] float16 plus obs, as rows of 6 bytes; action the same as float32."""
    nodes = [small_models.node("Cast", "obs", "narrow", to=TensorProto.FLOAT16), small_models.node("Add", "h_in narrow", "h_out"),
             small_models.node("Cast", "h_out", "action", to=TensorProto.FLOAT)]
    return small_models.graph(nodes, {"obs": (TensorProto.FLOAT, ("N", 1)), "h_in": (TensorProto.FLOAT16, ("N", 3))},
                              {"action": (TensorProto.FLOAT, ("N", 3)), "h_out": (TensorProto.FLOAT16, ("N", 3))}, {})


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e6])
def test_half_precision_counts_as_not_finite_where_it_overflows(bad: float) -> None:
    policy = cervello.load(half(), wrappers=[Recurrent()])
    policy.begin_agents(range(3))
    tick(policy, [1, 2, 60000])
    with pytest.warns(RuntimeWarning):
        tick(policy, [1, bad, 0])
    assert tick(policy, [0, 0, 0])[:, 0].tolist() == [2, 2, 59999 + 1]


def test_a_state_with_layers_in_front_is_kept_by_agent() -> None:
    policy = Policy(stacks.model("stacked_state", 3, 2), wrappers=[Recurrent()])
    policy.begin_agents(range(3))
    inputs = {name: np.ones(spec.batched(3), spec.dtype) for name, spec in policy.inputs.items()}
    first = policy.infer_batch([0, 1, 2], inputs)["action"].copy()
    name = next(iter(inputs))
    inputs[name][1] = np.nan
    with pytest.warns(RuntimeWarning):
        policy.infer_batch([0, 1, 2], inputs)
    inputs[name][1] = 1
    found = policy.infer_batch([0, 1, 2], inputs)["action"]
    assert found[1].tolist() == (2 * first[1]).tolist()
    assert found[0].tolist() == (3 * first[0]).tolist()


def test_finite_extremes_are_stored() -> None:
    policy = Policy(stacks.model("counter"), wrappers=[Recurrent()])
    largest, tiny = float(np.finfo(np.float32).max), 1e-40
    policy.begin_agents(range(4))
    values = {"obs": np.array([[largest], [-largest], [tiny], [-0.0]], np.float32)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        policy.infer_batch(range(4), values)
    found = policy.infer_batch(range(4), {"obs": np.zeros((4, 1), np.float32)})["action"]
    assert same_bits(np.abs(found), np.abs(values["obs"]))


def test_a_frame_with_a_budget_keeps_states_too() -> None:
    policy = Policy(MODEL, wrappers=[recurrent := Recurrent(STATE)])
    runtime = Runtime()
    runtime.add("npc", policy)
    assert recurrent.nonfinite_rows == 0  # what made-up observations did to the measurement is nobody's business
    runtime.begin_agents("npc", range(6))
    runtime.push_batch("npc", range(6), {"obs": np.array([[1], [-1], [1], [np.nan], [1], [1]], np.float32)})
    with pytest.warns(RuntimeWarning) as said:
        runtime.run(budget_s=10.0)
    assert not runtime.waiting("npc")
    assert len(said) == 1
    assert recurrent.nonfinite_rows == 2
    assert [state[2] for state in states(policy)] == [[1], [0], [1], [0], [1], [1]]


def test_a_description_counts_for_all_its_policies_and_is_pickled() -> None:
    recurrent = Recurrent(STATE, on_nonfinite="reset")
    for _ in range(2):
        policy = Policy(MODEL, wrappers=[recurrent])
        policy.begin_agent(0)
        with pytest.warns(RuntimeWarning):
            tick(policy, [-1])
    assert recurrent.nonfinite_rows == 2
    again: Policy = pickle.loads(pickle.dumps(policy))
    assert again.wrappers[0].on_nonfinite == "reset"  # type: ignore[attr-defined]
    assert same_bits(tick(again, [2]), tick(policy, [2]))


@pytest.mark.parametrize("given", ["hold", None, 3, ["keep"]])
def test_an_unknown_choice_is_refused(given: Any) -> None:
    with pytest.raises(WrapperError, match=r"Recurrent: expected on_nonfinite as one of \['keep', 'reset', 'raise'\], got"):
        Recurrent(on_nonfinite=given)


def test_it_says_what_it_is() -> None:
    assert repr(Recurrent(on_nonfinite="raise")) == "Recurrent(on_nonfinite='raise')"
    assert repr(Recurrent({"h": "i"})) == "Recurrent({'h': 'i'})"




def test_the_compiled_call_keeps_the_last_finite_state_too(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = Policy(Model.load(small_models.counter()), wrappers=[Recurrent()])
    policy.begin_agents(range(3))
    monkeypatch.setattr(type(policy._core.engine), "decide", None)  # no batch may take the way through the hooks
    tick(policy, [1, 1, 1])
    with pytest.warns(RuntimeWarning, match="which go on with their last finite one"):
        tick(policy, [1, np.nan, 1])
    assert tick(policy, [1, 1, 1]).reshape(-1).tolist() == [3, 2, 3]
