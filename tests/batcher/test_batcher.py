"""Pushing, running and forgetting observations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import stacks

import cervello
from cervello import AgentError, Batched, Batcher, Epsilon, ExecutionError, InputError, Policy, PreviousAction, Recurrent
from cervello.agents.policy.core import core_of
from cervello.wrappers.testing.fakes import BreakdownError, FailingInferer


def rows(n: int, width: int = 6) -> Any:
    return np.random.default_rng(n).standard_normal((n, width)).astype(np.float32)


@pytest.fixture
def policy() -> Policy:
    found = Policy(stacks.model("feed_forward"))
    found.begin_agents([1, 2, 3, "scout"])
    return found


@pytest.fixture
def batch(policy: Policy) -> Batcher:
    return Batcher(policy)


@pytest.fixture
def counting() -> tuple[Policy, FailingInferer, Batcher]:
    """A policy that sums observations and fails on demand."""
    model = stacks.model("counter")
    inferer = FailingInferer(cervello.inferers.choose("memoizing", model))
    found = Policy(model, inferer=inferer, wrappers=[Recurrent()])
    found.begin_agents([1, 2, 3])
    return found, inferer, Batcher(found)


def total(value: float) -> dict[str, Any]:
    return {"obs": np.array([value], np.float32)}


# Push ---------------------------------------------------------------------------------------------------------------------


def test_every_agent_gets_the_answer_to_its_own_observation(policy: Policy, batch: Batcher) -> None:
    x = rows(3)
    for agent, row in zip((3, "scout", 1), x, strict=True):
        batch.push(agent, {"obs": row})
    assert len(batch) == 3
    assert "scout" in batch
    assert 2 not in batch
    actions = batch.execute()
    expected = policy.model.run({"obs": x})["action"]
    assert list(actions) == [3, "scout", 1]
    for i, agent in enumerate(actions):
        assert np.array_equal(actions[agent]["action"], expected[i])
    assert len(batch) == 0
    assert "scout" not in batch


def test_push_with_a_missing_key_is_refused_and_leaks_nothing(policy: Policy) -> None:
    # cervo failure 2: the previous occupant's row was used instead.
    two = Policy(stacks.model("noisy"))
    two.begin_agents([1, 2])
    batch = Batcher(two)
    batch.push(1, {"obs": rows(1)[0], "epsilon": np.ones(3, np.float32)})
    batch.execute()
    with pytest.raises(InputError, match=r"agent 2: expected inputs \['obs', 'epsilon'\], got a dict in which input 'epsilon' is missing"):
        batch.push(2, {"obs": rows(1)[0]})
    assert len(batch) == 0


def test_push_with_an_unknown_key_leaves_the_batch_unchanged(batch: Batcher) -> None:
    # cervo failure 3: a ghost agent stayed and was executed.
    batch.push(1, {"obs": rows(1)[0]})
    with pytest.raises(InputError, match=r"agent 2: .*\['speed'\] unknown"):
        batch.push(2, {"obs": rows(1)[0], "speed": np.zeros(1)})
    assert 2 not in batch
    assert list(batch.execute()) == [1]


@pytest.mark.parametrize("row", [np.zeros(5, np.float32), np.zeros(7, np.float32), np.zeros((1, 6), np.float32), np.float32(0), [1.0, 2.0]])
def test_push_of_a_wrong_length_is_refused_by_name(batch: Batcher, row: Any) -> None:
    # cervo failure 3: a wrong length panicked.
    with pytest.raises(InputError, match=r"agent 'scout', input 'obs': expected \(6,\) float32, got .*observation_space"):
        batch.push("scout", {"obs": row})
    assert len(batch) == 0


def test_an_agent_waits_only_once(batch: Batcher) -> None:
    # cervo failure 4: with an id twice in a batch a response was lost.
    x = rows(2)
    batch.push(1, {"obs": x[0]})
    with pytest.raises(AgentError, match="expected one observation per agent and run, got 1 twice"):
        batch.push(1, {"obs": x[1]})
    assert np.array_equal(batch.batched().columns["obs"], x[:1])


def test_an_agent_that_has_not_begun_cannot_be_pushed(batch: Batcher) -> None:
    with pytest.raises(AgentError, match=r"expected agents that have begun, got 9; call begin_agent\(9\) first"):
        batch.push(9, {"obs": rows(1)[0]})
    assert len(batch) == 0


@pytest.mark.parametrize("row", [np.arange(6), np.arange(6, dtype=np.float64) / 3, [1, 2, 3, 4, 5, 6], np.array([True] * 6),
                                 np.arange(6, dtype=np.float16)])
def test_numbers_of_other_types_are_cast_to_float32(policy: Policy, batch: Batcher, row: Any) -> None:
    batch.push(1, {"obs": row})
    expected = policy.model.run({"obs": np.asarray(row, np.float32)[None]})["action"][0]
    assert np.array_equal(batch.execute()[1]["action"], expected)


@pytest.mark.parametrize(("name", "key", "row"), [("lookup", "index", np.float32(1)), ("lookup", "index", 1.0),
                                                 ("feed_forward", "obs", np.array(list("abcdef"))),
                                                 ("feed_forward", "obs", np.ones(6, complex))])
def test_a_float_never_becomes_an_integer_or_a_bool(name: str, key: str, row: Any) -> None:
    policy = Policy(stacks.model(name))
    policy.begin_agent(1)
    observation = {k: np.zeros(s.shape, s.dtype) for k, s in policy.inputs.items()} | {key: row}
    with pytest.raises(InputError, match=rf"agent 1, input '{key}': expected .*, got .*, which is never cast to it; convert it yourself"):
        Batcher(policy).push(1, observation)


def test_scalar_rows_are_given_as_scalars() -> None:
    policy = Policy(stacks.model("lookup"))
    policy.begin_agents([1, 2, 3])
    batch = Batcher(policy)
    batch.push(1, {"index": 4})
    batch.push(2, {"index": np.int32(5)})
    batch.push(3, {"index": np.array(6)})
    actions = batch.execute()
    assert [actions[agent]["action"].tolist() for agent in (1, 2, 3)] == [[8, 9], [10, 11], [12, 13]]


def test_an_observation_that_is_no_mapping_is_refused(batch: Batcher) -> None:
    with pytest.raises(InputError, match=r"'model', agent 1: expected a mapping of inputs \['obs'\], or the row of 'obs' alone, got"):
        batch.push(1, "abcdef")
    assert len(batch) == 0


def test_the_callers_array_may_change_after_the_push(policy: Policy, batch: Batcher) -> None:
    row = rows(1)[0]
    expected = policy.model.run({"obs": row[None]})["action"][0]
    batch.push(1, {"obs": row})
    row[:] = 99
    assert np.array_equal(batch.execute()[1]["action"], expected)


def test_more_agents_than_there_was_room_for_keep_their_rows() -> None:
    policy = Policy(stacks.model("feed_forward"))
    policy.begin_agents(range(100))
    batch, x = Batcher(policy), rows(100)
    for agent in range(100):
        batch.push(agent, {"obs": x[agent]})
    actions = batch.execute()
    expected = policy.model.run({"obs": x})["action"]
    assert all(np.array_equal(actions[agent]["action"], expected[agent]) for agent in range(100))


# Extend, clear, batched ---------------------------------------------------------------------------------------------------


def test_extend_adds_all_or_none(batch: Batcher) -> None:
    x = rows(3)
    batch.push(1, {"obs": x[0]})
    for bad in ({2: {"obs": x[1]}, 3: {"obs": x[2][:5]}}, {2: {"obs": x[1]}, 9: {"obs": x[2]}}, {2: {"obs": x[1]}, 1: {"obs": x[2]}},
                {2: {"obs": x[1]}, 3: {}}):
        with pytest.raises((InputError, AgentError)):
            batch.extend(bad)
        assert batch.batched().ids == (1,)
    batch.extend({2: {"obs": x[1]}, 3: {"obs": x[2]}})
    assert batch.batched().ids == (1, 2, 3)
    assert np.array_equal(batch.batched().columns["obs"], x)


def test_clear_says_who_was_waiting(batch: Batcher) -> None:
    batch.extend({2: {"obs": rows(1)[0]}, "scout": {"obs": rows(1)[0]}})
    assert batch.clear() == (2, "scout")
    assert len(batch) == 0
    assert batch.execute() == {}


def test_batched_holds_ids_and_columns(batch: Batcher) -> None:
    assert batch.batched().ids == ()
    assert batch.batched().columns["obs"].shape == (0, 6)
    x = rows(2)
    batch.extend({2: {"obs": x[0]}, 1: {"obs": x[1]}})
    found = batch.batched()
    assert isinstance(found, Batched)
    assert found.ids == (2, 1)
    assert np.array_equal(found.columns["obs"], x)


def test_with_nothing_waiting_the_result_is_empty(batch: Batcher) -> None:
    actions = batch.execute()
    assert actions == {}
    assert actions.version == 1


# Execute ------------------------------------------------------------------------------------------------------------------


def test_a_failed_run_keeps_the_queue_and_the_next_push_overwrites_nothing(counting: Any) -> None:
    # cervo failure 1: after a failure the next push overwrote row 0 and agents got each other's actions.
    _, inferer, batch = counting
    batch.push(1, total(1))
    batch.push(2, total(10))
    inferer.fail = "after"
    with pytest.raises(BreakdownError):
        batch.execute()
    assert len(batch) == 2
    batch.push(3, total(100))
    inferer.fail = ""
    actions = batch.execute()
    assert {agent: found["action"].item() for agent, found in actions.items()} == {1: 1, 2: 10, 3: 100}


def test_a_failure_inside_the_graph_keeps_queue_state_and_counters() -> None:
    model = stacks.model("remembered_lookup")
    wrappers = [Recurrent(), Epsilon(), PreviousAction("prev", "action")]
    policy, twin = (Policy(model, wrappers=wrappers) for _ in range(2))
    for each in (policy, twin):
        each.begin_agents([1, 2])
        each.infer({1: {"index": 3}, 2: {"index": 4}})
    batch = Batcher(policy)
    batch.push(1, {"index": 5})
    batch.push(2, {"index": 99})
    for _ in range(3):
        with pytest.raises(ExecutionError, match=r"node Gather → .*: expected to run, got an index outside its table"):
            batch.execute()
        assert batch.batched().ids == (1, 2)
    assert batch.clear() == (1, 2)
    observations = {2: {"index": 6}, 1: {"index": 7}}
    found, expected = policy.infer(observations), twin.infer(observations)
    assert all(np.array_equal(found[agent]["action"], expected[agent]["action"]) for agent in (1, 2))


def test_a_nan_observation_is_legal_and_stays_with_its_agent(policy: Policy, batch: Batcher) -> None:
    x = rows(3)
    x[1, 2] = np.nan
    batch.extend({agent: {"obs": row} for agent, row in zip((1, 2, 3), x, strict=True)})
    actions = batch.execute()
    expected = policy.model.run({"obs": x[[0, 2]]})["action"]
    assert np.isnan(actions[2]["action"]).all()
    assert np.array_equal(actions[1]["action"], expected[0])
    assert np.array_equal(actions[3]["action"], expected[1])


def test_results_survive_the_next_run(batch: Batcher) -> None:
    batch.push(1, {"obs": rows(1)[0]})
    first = batch.execute()
    kept = first[1]["action"].copy()
    batch.push(1, {"obs": rows(1)[0] + 1})
    batch.execute()
    assert np.array_equal(first[1]["action"], kept)


def test_outputs_with_rows_on_another_axis_reach_their_agents() -> None:
    policy = Policy(stacks.model("stacked_state"))
    policy.begin_agents([1, 2])
    batch = Batcher(policy)
    for agent in (1, 2):
        batch.push(agent, {"obs": np.full(3, agent, np.float32), "h_in": np.zeros((2, 3), np.float32)})
    actions = batch.execute()
    for agent in (1, 2):
        assert actions[agent]["h_out"].tolist() == [[agent] * 3, [2 * agent] * 3]
        assert actions[agent]["action"].tolist() == [2 * agent] * 3
    batch.push(2, {"obs": np.ones(3), "h_in": np.zeros((2, 3))})
    assert batch.execute()[2]["h_out"].tolist() == [[1] * 3, [2] * 3]


@pytest.mark.parametrize("column", [np.zeros((2, 4), np.float32), np.zeros(7, np.float32)], ids=["rows", "numbers"])
def test_an_answer_for_another_number_of_agents_is_an_error(policy: Policy, batch: Batcher, column: Any) -> None:
    for each in (column, list(column)):
        assert cervello.Actions().split((1, 2, 3), {"action": each}) is None
    core_of(policy).infer_batch = lambda *given, **named: cervello.Actions(action=column)  # type: ignore[method-assign]
    for agent in (1, 2, 3):
        batch.push(agent, {"obs": rows(1)[0]})
    with pytest.raises(ValueError, match="argument"):
        batch.execute()
