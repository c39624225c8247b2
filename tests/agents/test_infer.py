"""Deciding for agents: by name, by row, for one."""

from __future__ import annotations

import re
from collections import deque
from typing import Any

import numpy as np
import pytest
import small_models
import stacks

import cervello
from cervello import AgentError, ConfigurationError, Epsilon, InputError, Model, Policy, Recurrent


def rows(n: int, width: int = 6) -> Any:
    return np.random.default_rng(n).standard_normal((n, width)).astype(np.float32)


@pytest.fixture
def policy() -> Policy:
    found = Policy(stacks.model("feed_forward"))
    found.begin_agents(range(20))
    return found


def unaligned(x: Any) -> Any:
    found: Any = np.ndarray(x.shape, x.dtype, np.zeros(x.nbytes + 1, np.uint8), 1)
    found[...] = x
    return found


def read_only(x: Any) -> Any:
    found = x.copy()
    found.flags.writeable = False
    return found


class Subclass(np.ndarray[Any, Any]):
    pass


ODD = {"read_only": read_only, "unaligned": unaligned, "strided": lambda x: np.repeat(x, 2, 1)[:, ::2], "fortran": np.asfortranarray,
       "reversed": lambda x: x[::-1, ::-1].copy()[::-1, ::-1], "float64": lambda x: x.astype(np.float64), "list": lambda x: x.tolist(),
       "float16": lambda x: x.astype(np.float16), "big_endian": lambda x: x.astype(">f4"), "subclass": lambda x: x.copy().view(Subclass),
       "integers": lambda x: (10 * x).astype(np.int32), "bools": lambda x: x > 0, "cut_out": lambda x: np.hstack([x, x, x])[:, 5:11]}


# Forms of asking ----------------------------------------------------------------------------------------------------------


def test_by_name_by_row_and_for_one_agree(policy: Policy) -> None:
    x = rows(3)
    columns = policy.infer_batch([4, 0, 9], {"obs": x})
    named = policy.infer({4: {"obs": x[0]}, 0: {"obs": x[1]}, 9: {"obs": x[2]}})
    assert list(named) == [4, 0, 9]
    for i, agent in enumerate((4, 0, 9)):
        assert np.array_equal(named[agent]["action"], columns["action"][i])
        assert np.array_equal(policy.infer_single(agent, {"obs": x[i]})["action"], columns["action"][i])


def test_actions_say_what_goes_along(policy: Policy) -> None:
    for actions in (policy.infer({1: {"obs": np.zeros(6)}}), policy.infer_batch([1], {"obs": np.zeros((1, 6))}), policy.infer({})):
        assert isinstance(actions, cervello.Actions)
        assert (actions.version, actions.skipped, dict(actions.errors)) == (1, (), {})


@pytest.mark.parametrize("ids", [[3, 1], (3, 1), np.array([3, 1]), np.array([3, 1], np.int32), np.array([3, 1], np.uint64), deque([3, 1]),
                                 {3: 0, 1: 0}.keys(), [np.int64(3), np.int64(1)], range(3, 0, -2)], ids=lambda v: type(v).__name__)
def test_ids_may_come_in_any_sequence(policy: Policy, ids: Any) -> None:
    x = rows(2)
    expected = policy.model.run({"obs": x})["action"]
    for _ in range(3):
        assert np.array_equal(policy.infer_batch(ids, {"obs": x})["action"], expected)


def test_strings_and_ints_may_be_mixed() -> None:
    policy = Policy(stacks.model("counter"), wrappers=[Recurrent()])
    policy.begin_agents(["scout", 1, "1", np.int64(2)])
    assert policy.agents == ("scout", 1, "1", 2)
    assert type(policy.agents[3]) is int
    x = np.array([[1], [10], [100]], np.float32)
    policy.infer_batch(["1", 1, "scout"], {"obs": x})
    assert policy.infer_batch(("scout", "1", 1), {"obs": x})["action"][:, 0].tolist() == [101, 11, 110]
    policy.begin_agents(np.array(["a", "b"]))
    assert policy.infer_batch(np.array(["b", "a"]), {"obs": x[:2]})["action"][:, 0].tolist() == [1, 10]


def test_the_same_agents_in_another_order_keep_their_state() -> None:
    # Dict views compare as sets and a deque may change in place: neither may be mistaken for the crowd before.
    for first, second in (({1: 0, 2: 0}.keys(), {2: 0, 1: 0}.keys()), ([1, 2], [2, 1]), ((1, 2), (2, 1)),
                          (np.array([1, 2]), np.array([2, 1]))):
        policy = Policy(stacks.model("counter"), wrappers=[Recurrent()])
        policy.begin_agents([1, 2])
        policy.infer_batch(first, {"obs": np.array([[1], [10]], np.float32)})  # type: ignore[arg-type]
        found = policy.infer_batch(second, {"obs": np.array([[10], [1]], np.float32)})  # type: ignore[arg-type]
        assert found["action"][:, 0].tolist() == [20, 2]


@pytest.mark.parametrize("kind", [list, deque, np.array])
def test_ids_that_change_in_place_are_read_anew(kind: Any) -> None:
    policy = Policy(stacks.model("counter"), wrappers=[Recurrent()])
    policy.begin_agents([1, 2])
    ids = kind([1, 2])
    policy.infer_batch(ids, {"obs": np.array([[1], [10]], np.float32)})
    ids[0], ids[1] = 2, 1
    assert policy.infer_batch(ids, {"obs": np.array([[10], [1]], np.float32)})["action"][:, 0].tolist() == [20, 2]


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("inferer", ["basic", "memoizing"])
def test_arrays_may_lie_in_memory_as_they_like(kind: str, inferer: str) -> None:
    model = stacks.model("feed_forward")
    policy = Policy(model, inferer=inferer)
    policy.begin_agents(range(7))
    x = ODD[kind](rows(7))
    expected = model.run({"obs": np.ascontiguousarray(np.asarray(x), np.float32)})["action"]
    for _ in range(2):
        assert np.array_equal(policy.infer_batch(list(range(7)), {"obs": x})["action"], expected)
        assert np.array_equal(policy.infer_batch(list(range(7)), {"obs": x}, deterministic=True)["action"], expected)


def test_out_may_be_partial_strided_or_overlap_the_inputs(policy: Policy) -> None:
    x = rows(3)
    expected = policy.model.run({"obs": x})["action"]
    wide = np.zeros((3, 9), np.float32)
    found = policy.infer_batch([0, 1, 2], {"obs": x}, out={"action": wide[:, ::3]})
    assert found["action"].base is wide
    assert np.array_equal(wide[:, ::3], expected)
    assert (wide[:, 1::3] == 0).all()
    assert np.array_equal(policy.infer_batch([0, 1, 2], {"obs": x}, out={})["action"], expected)
    shared = np.zeros((3, 9), np.float32)
    shared[:, :6] = x
    policy.infer_batch([0, 1, 2], {"obs": shared[:, :6]}, out={"action": shared[:, 3:6]})
    assert np.array_equal(shared[:, 3:6], expected)
    flat = np.zeros(18, np.float32)
    flat[:] = x.ravel()
    policy.infer_batch([0, 1, 2], {"obs": flat.reshape(3, 6)}, out={"action": flat[:9].reshape(3, 3)})
    assert np.array_equal(flat[:9].reshape(3, 3), expected)


def test_an_empty_batch_gives_an_empty_result(policy: Policy) -> None:
    assert policy.infer({}) == {}
    found = policy.infer_batch([], {"obs": np.zeros((0, 6), np.float32)})
    assert found["action"].shape == (0, 3)
    out = {"action": np.zeros((0, 3), np.float32)}
    assert policy.infer_batch(np.array([], np.int64), {"obs": np.zeros((0, 6))}, out=out)["action"] is out["action"]
    assert policy.infer_batch((), {"obs": np.zeros((0, 6))}, deterministic=True)["action"].shape == (0, 3)
    with pytest.raises(InputError):
        policy.infer_batch([], {"obs": np.zeros((1, 6))})
    with pytest.raises(InputError):
        policy.infer_batch([], {})
    policy.begin_agents([])
    policy.end_agents([])
    policy.restart_agents([])


def test_integer_and_scalar_outputs_keep_their_types() -> None:
    policy = Policy(stacks.model("masked_argmax"))
    policy.begin_agents([1, 2])
    observations = {agent: {"obs": np.ones(5), "mask": np.array([False, True, False, False])} for agent in (1, 2)}
    found = policy.infer(observations)
    assert found[1]["action"] == 1
    assert found[1]["action"].dtype == np.int64
    assert found[1]["action"].shape == ()


def test_constants_are_listed_apart() -> None:
    policy = Policy(stacks.model("with_constant_output"))
    assert list(policy.outputs) == ["action"]
    assert policy.constants["version"].tolist() == [3]
    policy.begin_agent(1)
    assert list(policy.infer({1: {"obs": np.zeros(4)}})[1]) == ["action"]
    with pytest.raises(TypeError):
        policy.constants["version"] = np.zeros(1)  # type: ignore[index]


def test_outputs_with_rows_on_another_axis_reach_their_agents() -> None:
    policy = Policy(stacks.model("stacked_state"))  # two layers, so that two agents could be mistaken for them
    policy.begin_agents([1, 2, 3])
    zeros = np.zeros((2, 3), np.float32)
    for ids in ([1, 2], [2], [3, 1, 2]):
        found = policy.infer({agent: {"obs": np.full(3, agent), "h_in": zeros} for agent in ids})
        for agent in ids:
            assert found[agent]["h_out"].tolist() == [[agent] * 3, [2 * agent] * 3]


# Deterministic ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["noise_alone", "random_normal"])
@pytest.mark.parametrize("inferer", ["basic", "fixed", "memoizing", "dynamic"])
def test_deterministic_may_differ_by_agent(name: str, inferer: str) -> None:
    policy, free = (Policy(stacks.model(name), inferer=inferer, wrappers=[Epsilon()] if name == "noise_alone" else []) for _ in range(2))
    for each in (policy, free):
        each.begin_agents(range(5))
    zeros = {"obs": np.zeros((5, 4), np.float32)}
    flags = np.array([True, False, True, False, False])
    drawn = free.infer_batch(list(range(5)), zeros)["action"]
    assert (drawn != 0).all()
    mixed = policy.infer_batch(list(range(5)), zeros, flags)["action"]
    assert np.array_equal(mixed, np.where(flags[:, None], 0, drawn))
    named = policy.infer({agent: {"obs": np.zeros(4)} for agent in range(5)}, deterministic={0: True, 3: True})
    assert [bool(named[agent]["action"].any()) for agent in range(5)] == [False, True, True, False, True]
    assert not policy.infer_single(4, {"obs": np.zeros(4)}, deterministic=True)["action"].any()
    assert policy.infer_single(4, {"obs": np.zeros(4)})["action"].all()


@pytest.mark.parametrize("inferer", ["basic", "fixed", "memoizing", "dynamic"])
def test_a_deterministic_run_of_the_model_does_not_quieten_its_policies(inferer: str) -> None:
    model = Model.load(small_models.random_normal())
    policy = Policy(model, inferer=inferer)
    policy.begin_agents([1, 2, 3])
    zeros = {"obs": np.zeros((3, 4), np.float32)}
    assert not model.run(zeros, deterministic=True)["action"].any()
    assert policy.infer_batch([1, 2, 3], zeros)["action"].all()
    assert not policy.infer_batch([1, 2, 3], zeros, deterministic=True)["action"].any()
    assert model.run(zeros, seed=1)["action"].all()


# What is refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("inputs", "message"), [
    ({}, "policy 'model': expected inputs ['obs'], got a dict in which input 'obs' is missing; give all of them"),
    ({"obs": np.zeros((2, 6)), "speed": np.zeros(2)}, "got ['speed'] unknown; give exactly these names"),
    ({"observation": np.zeros((2, 6))}, "got ['obs'] missing; ['observation'] unknown"),
    ({"obs": np.zeros((2, 5), np.float32)}, "policy 'model', input 'obs': expected (2, 6) float32, got (2, 5) float32; check the"),
    ({"obs": np.zeros((3, 6), np.float32)}, "input 'obs': expected (2, 6) float32, got (3, 6) float32"),
    ({"obs": np.zeros(12, np.float32)}, "input 'obs': expected (2, 6) float32, got (12,) float32"),
    ({"obs": np.zeros((2, 6, 1))}, "input 'obs': expected (2, 6) float32, got (2, 6, 1) float64"),
    ({"obs": np.zeros((2, 6), complex)}, "input 'obs': expected float32, got complex128, which is never cast to it; convert it yourself"),
    ({"obs": [["a"] * 6] * 2}, "input 'obs': expected float32, got <U1, which is never cast to it"),
])
@pytest.mark.parametrize("deterministic", [False, True])
def test_inputs_that_do_not_fit_are_refused_by_name(policy: Policy, inputs: Any, message: str, deterministic: bool) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        policy.infer_batch([0, 1], inputs, deterministic)
    with pytest.raises(ValueError, match=re.escape(message)):  # every InputError is one
        policy.infer_batch([0, 1], inputs)


@pytest.mark.parametrize(("out", "message"), [
    ({"logits": np.zeros((2, 3), np.float32)}, "policy 'model', out: expected names among ['action'], got ['logits']"),
    ({"action": np.zeros((2, 4), np.float32)}, "policy 'model', out 'action': expected (2, 3) float32, got (2, 4) float32"),
    ({"action": np.zeros((3, 3), np.float32)}, "out 'action': expected (2, 3) float32, got (3, 3) float32"),
    ({"action": np.zeros((2, 3))}, "out 'action': expected (2, 3) float32, got (2, 3) float64"),
    ({"action": [[0] * 3] * 2}, "out 'action': expected (2, 3) float32, got list"),
    ({"action": read_only(np.zeros((2, 3), np.float32))}, "out 'action': expected an array that can be written, got a read-only one"),
    ({"action": np.lib.stride_tricks.as_strided(np.zeros(3, np.float32), (2, 3), (0, 4))},
     "out 'action': expected memory for every element, got an array that repeats its own (strides (0, 4)); give a copy of it"),
])
@pytest.mark.parametrize("wrapped", [False, True])
def test_out_that_does_not_fit_is_refused_and_changes_nothing(out: Any, message: str, wrapped: bool) -> None:
    policy = Policy(stacks.model("full"), wrappers="auto") if wrapped else Policy(stacks.model("feed_forward"))
    policy.begin_agents([0, 1])
    columns = {name: np.zeros(spec.batched(2), spec.dtype) for name, spec in policy.inputs.items()}
    policy.infer_batch([0, 1], columns)
    twin = Policy(policy.model, wrappers=policy.wrappers)
    twin.begin_agents([0, 1])
    twin.infer_batch([0, 1], columns)
    with pytest.raises(InputError, match=re.escape(message).replace(r"\['action'\]", ".*")):
        policy.infer_batch([0, 1], columns, out=out)
    assert np.array_equal(policy.infer_batch([0, 1], columns)["action"], twin.infer_batch([0, 1], columns)["action"])


@pytest.mark.parametrize(("ids", "message"), [
    ([1, 1], "agents: expected distinct agents, got 1 twice; name each once"),
    (["a", 1], "expected agents that have begun, got 'a'; call begin_agent('a')"),
    ([1, 77], "got 77; call begin_agent(77) first"), ([1, None], "got None"), ([1, [2]], "got [2]"), ([1, -1], "got -1"),
    ([1, 2**63], f"got {2**63}"), (np.array([1.0, 2.0]), "expected a vector of ints or strings, got float64 (2,)"),
    (np.array([True, False]), "expected a vector of ints or strings, got bool (2,)"), (np.array([[1, 2]]), "got int64 (1, 2)"),
    (np.array(1), "got int64 ()"), (1, "expected a sequence of ids, got 1; one agent is [1]"),
    ("ab", "expected a sequence of ids, got 'ab'"),
    (None, "expected a sequence of ids, got None"), ([True, 2], "expected ints or strings, got True"),
])
def test_ids_that_name_no_agents_are_refused(policy: Policy, ids: Any, message: str) -> None:
    with pytest.raises(AgentError, match=re.escape(message)):
        policy.infer_batch(ids, {"obs": np.zeros((2, 6), np.float32)})
    with pytest.raises(KeyError):  # every AgentError is one
        policy.end_agents(ids)
    assert policy.agents == tuple(range(20))


@pytest.mark.parametrize("flags", [np.array([True]), np.array([1, 0]), [[True, False]], "no"])
def test_deterministic_flags_that_do_not_fit_are_refused(policy: Policy, flags: Any) -> None:
    with pytest.raises(InputError, match=r"policy 'model', deterministic: expected a bool or \(2,\) bools, got"):
        policy.infer_batch([1, 2], {"obs": np.zeros((2, 6))}, flags)


@pytest.mark.parametrize("observation", [{}, {"obs": np.zeros(5)}, {"obs": np.zeros((1, 6))}, {"obs": np.zeros(6), "more": 1},
                                        {"ob": np.zeros(6)}, None, np.zeros(5), "abc", {"obs": None}, {"obs": ["a"] * 6},
                                        {"obs": [[1, 2], [3]]}])
def test_observations_that_do_not_fit_name_their_agent(policy: Policy, observation: Any) -> None:
    for order in (1, -1):
        with pytest.raises(InputError, match="agent 3"):
            policy.infer(dict([(2, {"obs": np.zeros(6, np.float32)}), (3, observation)][::order]))


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, True, "7", None])
def test_a_seed_out_of_range_is_refused(seed: Any) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(f"expected a seed 0 ≤ seed < 2⁶⁴, got {seed!r}")):
        Policy(stacks.model("feed_forward"), seed=seed)


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="precision: expected 'float32', got 'bfloat16'"):
        cervello.load(stacks.model("feed_forward"), precision="bfloat16")
