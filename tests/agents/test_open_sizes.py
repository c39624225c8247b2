"""Agents of one policy whose observations differ in a size that the file leaves open."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from open_crowds import SIZES, assert_same, columns_of, crowd, observations, policy, replaced, tokens
from small_models import FLOAT, dense, graph, node

import cervello
from cervello import Recurrent
from cervello.errors import AgentError, CervelloError, ConfigurationError, InputError
from cervello.native import Model


@pytest.mark.parametrize("inferer", ["basic", "fixed", "memoizing", "dynamic"])
def test_an_agent_decides_the_same_whoever_else_there_is_and_whatever_their_sizes(inferer: str) -> None:
    together, alone = policy(inferer=inferer), policy()
    for step in range(4):
        found = together.infer(observations(step))
        apart = {agent: alone.infer({agent: given})[agent] for agent, given in reversed(observations(step).items())}
        assert_same(found, {agent: apart[agent] for agent in SIZES})
    assert {agent: outputs["scores"].shape for agent, outputs in found.items()} == {agent: (size,) for agent, size in SIZES.items()}


def test_an_agent_may_change_its_size_between_decisions() -> None:
    one, state = policy(), np.zeros(3, np.float32)
    for size in (5, 2, 9, 1):
        entities = np.full((size, 3), size, np.float32)
        found = one.infer({1: {"obs": np.ones(3, np.float32), "index": np.int64(0), "entities": entities}}, deterministic=True)
        state = state + 1 + size
        np.testing.assert_array_equal(found[1]["action"], state + np.arange(3))


def test_a_group_that_fails_leaves_every_group_as_it_was() -> None:
    one, other = policy(), policy()
    one.infer(observations(0))
    other.infer(observations(0))
    bad = observations(1)
    bad[2]["index"] = np.int64(99)  # found while the second group runs
    before = one.snapshot()
    with pytest.raises(CervelloError):
        one.infer(bad)
    bad = observations(1)
    bad[5]["entities"] = np.zeros((2, 4), np.float32)
    with pytest.raises(InputError, match="agent 5, input 'entities'"):
        one.infer(bad)
    with pytest.raises(AgentError):
        one.infer({**observations(1), 77: observations(1)[1]})
    assert one.snapshot() == before
    assert_same(one.infer(observations(1)), other.infer(observations(1)))


def test_columns_have_one_size() -> None:
    one, other = policy(), policy()
    given = observations()
    columns = {name: np.stack([given[1][name], given[3][name]]) for name in given[1]}
    found = one.infer_batch([1, 3], columns)
    expected = other.infer({1: given[1], 3: given[3]})
    for row, agent in enumerate((1, 3)):
        assert found["action"][row].tobytes() == expected[agent]["action"].tobytes()
    assert found["scores"].shape == (2, 5)
    out = {"scores": np.empty((2, 5), np.float32)}
    assert one.infer_batch([1, 3], columns, out=out)["scores"] is out["scores"]


def test_flags_belong_to_agents_of_any_size() -> None:
    flags = {agent: agent in (2, 3) for agent in SIZES}
    mixed, quiet = policy().infer(observations(), flags), policy().infer(observations(), deterministic=True)
    for agent, flag in flags.items():
        assert (mixed[agent]["action"].tobytes() == quiet[agent]["action"].tobytes()) == flag


def test_specs_name_the_open_axes() -> None:
    one = policy()
    assert {name: spec.open_axes for name, spec in one.inputs.items()} == {"obs": (), "entities": ((0, "n"),), "index": ()}
    assert one.outputs["scores"].open_axes == ((0, "n"),)
    assert str(one.inputs["entities"]) == "entities: (N, n, 3) float32"


def test_agents_of_any_size_survive_swaps_snapshots_and_pickles() -> None:
    one, other = policy(), policy()
    for each in (one, other):
        each.infer(observations(0))
    one.update_weights({"w": dense(3)})
    assert_same(one.infer(observations(1)), other.infer(observations(1)))
    third = policy()
    third.restore(one.snapshot())
    fourth = pickle.loads(pickle.dumps(one))
    expected = other.infer(observations(2))
    for each in (one, third, fourth):
        assert_same(each.infer(observations(2)), expected)
    with pytest.raises(ConfigurationError, match="entities"):
        one.replace(Model.load(crowd(), dims={"n": 4}))


def test_slabs_that_grow_are_those_of_every_size() -> None:
    one, other = policy(), policy()
    one.infer(observations(0))
    other.infer(observations(0))
    one.begin_agents(range(100, 400))
    assert_same(one.infer(observations(1)), other.infer(observations(1)))


def test_sizes_that_contradict_each_other_or_are_zero_are_refused() -> None:
    one = policy()
    for size in ((0, 3), (3,)):
        with pytest.raises(InputError, match="input 'entities': expected entities: "):
            one.infer({1: {**observations()[1], "entities": np.zeros(size, np.float32)}})


def test_a_state_of_open_size_is_refused_by_name_with_the_remedy() -> None:
    data = graph([node("Add", "h_in obs", "h_out"), node("ReduceMax", "h_out", "action", axes=[1], keepdims=0)],
                 {"obs": (FLOAT, ("N", "n", 3)), "h_in": (FLOAT, ("N", "n", 3))},
                 {"action": (FLOAT, ("N", 3)), "h_out": (FLOAT, ("N", "n", 3))}, {})
    one = cervello.load(data, wrappers=[Recurrent()])
    one.begin_agent(1)
    with pytest.raises(InputError, match=r"wrapper Recurrent\(.*\) keeps h_in: \(N, n, 3\) float32, a state of one size: "
                                         r"fix the sizes with dims=\{'n': 5\}"):
        one.infer({1: {"obs": np.ones((5, 3), np.float32)}})
    fixed = cervello.load(data, wrappers=[Recurrent()], dims={"n": 5})
    fixed.begin_agent(1)
    assert fixed.infer({1: {"obs": np.ones((5, 3), np.float32)}})


def test_a_row_alone_may_have_any_size() -> None:
    one = cervello.load(tokens())
    one.begin_agents([1, 2])
    found = one.infer({1: np.full((5, 3), 2, np.float32), 2: np.ones((1, 3))})
    assert [found[agent]["sum"].tolist() for agent in (1, 2)] == [[10, 10, 10], [1, 1, 1]]
    assert one.infer_single(1, np.ones((4, 3), np.float32))["sum"].tolist() == [4, 4, 4]


def test_columns_of_type_object_have_rows_of_any_size() -> None:
    one, other = policy(), policy()
    flags = np.array([agent == 2 for agent in SIZES])
    for step in range(2):
        given = observations(step)
        found = one.infer_batch(list(SIZES), columns_of(given), flags)
        expected = other.infer(given, {agent: agent == 2 for agent in SIZES})
        assert found["action"].dtype == np.float32
        assert found["scores"].dtype == object
        assert_same({agent: {name: column[row] for name, column in found.items()} for row, agent in enumerate(SIZES)}, expected)
    assert one.infer_batch([], {**columns_of(given, ids=()), "entities": np.empty(0, object)})["action"].shape == (0, 3)


@pytest.mark.parametrize(("name", "change", "message"), [
    ("entities", lambda column: column[:3], "input 'entities': expected 5 rows, got 3; row i belongs to ids"),
    ("entities", lambda column: replaced(column, 3, np.zeros((1, 4))), r"row 3, input 'entities': expected \(1, 3\) float32, got \(1, 4\)"),
    ("entities", lambda column: replaced(column, 3, np.zeros(3)), "row 3, input 'entities': expected entities: "),
    ("entities", lambda column: replaced(column, 3, np.zeros((0, 3))), "row 3, input 'entities': expected entities: "),
    ("entities", lambda column: replaced(column, 3, np.zeros((5, 3), complex)), "input 'entities': expected float32, got complex128"),
    ("entities", list, "input 'entities': expected rows of one size, got rows of several; give an array of type object"),
    ("obs", lambda column: column[:4], "4 rows and 5 ids"),
    ("obs", lambda column: replaced(np.empty(5, object), 0, column), "input 'obs': expected"),
])
def test_columns_of_type_object_that_do_not_fit_change_nothing(name: str, change: Any, message: str) -> None:
    one = policy()
    one.infer(observations())
    before, columns = one.snapshot(), columns_of(observations(1))
    with pytest.raises(InputError, match=message):
        one.infer_batch(list(SIZES), {**columns, name: change(columns[name])})
    with pytest.raises(InputError, match="out: expected None for rows of different sizes"):
        one.infer_batch(list(SIZES), columns, out={"action": np.empty((5, 3), np.float32)})
    assert one.snapshot() == before
