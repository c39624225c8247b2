"""What waits: agents that end meanwhile, observations taken out, and pushes that are all or nothing."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import stacks
from hypothesis import given, settings
from hypothesis import strategies as st

from cervello import AgentError, Batcher, Epsilon, InputError, Policy, Recurrent
from cervello.batcher import Batched, Queue
from cervello.spec import Specs, TensorSpec


def total(value: float) -> dict[str, Any]:
    return {"obs": np.array([value], np.float32)}


def results(actions: Any) -> dict[Any, float]:
    return {agent: found["action"].item() for agent, found in actions.items()}


@pytest.fixture
def policy() -> Policy:
    """Sums up observations."""
    found = Policy(stacks.model("counter"), wrappers=[Recurrent()])
    found.begin_agents([1, 2, 3, "scout"])
    return found


@pytest.fixture
def batch(policy: Policy) -> Batcher:
    found = Batcher(policy)
    for agent, value in ((1, 1), (2, 10), (3, 100), ("scout", 1000)):
        found.push(agent, total(value))  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize("back", [False, True])
def test_agents_that_ended_while_they_waited_are_all_named_and_can_be_taken_out(policy: Policy, batch: Batcher, back: bool) -> None:
    policy.end_agents([1, 3])
    if back:  # the observation is still one of the episode before
        policy.begin_agents([3, 1])
    for _ in range(2):
        with pytest.raises(AgentError, match=r"execute: expected agents that have not ended since their push, got \[1, 3\]; discard them"):
            batch.execute()
        assert batch.batched().ids == (1, 2, 3, "scout")
    assert batch.discard(1)
    with pytest.raises(AgentError, match=r"got \[3\]"):
        batch.execute()
    assert batch.discard(3)
    if back:
        batch.push(1, total(5))
    assert results(batch.execute()) == {2: 10, "scout": 1000} | ({1: 5} if back else {})


def test_an_observation_of_the_episode_before_decides_nothing_in_the_next(policy: Policy, batch: Batcher) -> None:
    policy.restart_agents(["scout"])
    with pytest.raises(AgentError, match=r"got \['scout'\]"):
        batch.execute()
    batch.discard("scout")
    batch.push("scout", total(2))
    assert results(batch.execute()) == {1: 1, 2: 10, 3: 100, "scout": 2}


@pytest.mark.parametrize("gone", [1, 2, 3, "scout"])
def test_those_behind_a_discarded_agent_keep_their_observations(batch: Batcher, gone: Any) -> None:
    assert batch.discard(gone)
    assert not batch.discard(gone)
    assert gone not in batch
    expected: dict[Any, float] = {1: 1, 2: 10, 3: 100, "scout": 1000}
    del expected[gone]
    assert batch.batched().ids == tuple(expected)
    batch.push(gone, total(7))
    assert results(batch.execute()) == expected | {gone: 7}


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["put", "again", "discard", "drop", "arrange", "columns", "clear"]), st.integers(0, 9)),
                max_size=60))
def test_rows_stay_with_their_agents_whatever_comes_and_goes(moves: list[tuple[str, int]]) -> None:
    queue = Queue(Specs([TensorSpec("x", (2,), np.dtype(np.float32))]))
    plain: dict[int, float] = {}
    for number, (what, k) in enumerate(moves):
        value = float(number)
        if what in ("put", "again"):
            queue.put(k, number, {"x": np.full(2, value, np.float32)})
            plain[k] = value
        elif what == "columns":
            ids = [(k + i) % 30 for i in range(8)]
            queue.put_columns(ids, [number] * 8, {"x": np.array([[value + i] * 2 for i in range(8)], np.float32)})
            plain.update({agent: value + i for i, agent in enumerate(ids)})
        elif what == "discard":
            assert queue.discard(k) == (plain.pop(k, None) is not None)
        elif what == "drop":
            queue.drop(k)
            plain = dict(list(plain.items())[k:])
        elif what == "arrange":
            order = np.random.default_rng(k).permutation(len(plain))
            queue.arrange(order)
            items = list(plain.items())
            plain = dict(items[i] for i in order)
        else:
            queue.clear()
            plain.clear()
        if k % 3 == 0:
            batch = Batched(*queue.front(len(queue)))
            assert (list(batch.ids), batch.columns["x"][:, 0].tolist()) == (list(plain), list(plain.values()))
    assert queue.rows(len(queue))["x"][:, 1].tolist() == list(plain.values())


@pytest.mark.parametrize("agent", [True, 1.0, [1], None, 9, np.array([1])])
def test_only_ids_of_agents_that_have_begun_can_be_pushed(policy: Policy, agent: Any) -> None:
    batch = Batcher(policy)
    for push in (lambda: batch.push(agent, total(1)), lambda: batch.extend({agent: total(1)})):
        with pytest.raises((AgentError, TypeError) if isinstance(agent, (list, np.ndarray)) else AgentError):
            push()
    with pytest.raises(AgentError, match=r"agents: expected .*, got"):
        batch.push(agent, total(1))
    assert len(batch) == 0


def test_extend_takes_a_mapping(policy: Policy) -> None:
    with pytest.raises(InputError, match=r"extend: expected a mapping \{agent: observation\}, got list"):
        Batcher(policy).extend([(1, total(1))])  # type: ignore[arg-type]


@pytest.mark.parametrize("strict", [lambda: np.errstate(all="raise"), lambda: warnings.catch_warnings(action="error")])
def test_numbers_too_large_for_a_float32_raise_nothing_whatever_numpy_is_told(policy: Policy, strict: Callable[[], Any]) -> None:
    batch, large = Batcher(policy), {"obs": np.array([1e300])}
    with pytest.warns(RuntimeWarning, match="expected finite state"):  # said once, of what the policy makes of it
        policy.infer({2: large})
    with strict():
        batch.extend({1: total(1), 2: large})
        batch.push(3, large)
        assert results(batch.execute()) == {1: 1, 2: np.inf, 3: np.inf}
        assert results(policy.infer({1: {"obs": [1.0]}, "scout": large})) == {1: 2, "scout": np.inf}


def test_rows_of_several_types_are_each_cast_as_if_alone() -> None:
    # Through a common float64 an int64 would be rounded twice.
    policy = Policy(stacks.model("counter"), wrappers=[Recurrent()])
    policy.begin_agents([1, 2])
    number = (1 << 60) + (1 << 36) + 1
    alone = policy.infer({1: {"obs": np.array([number])}})[1]["action"]
    policy.restart_agents([1])
    assert policy.infer({1: {"obs": np.array([number])}, 2: {"obs": np.array([0.5])}})[1]["action"] == alone == np.float32(np.int64(number))


def test_deterministic_may_differ_by_agent() -> None:
    policy, free = (Policy(stacks.model("noise_alone"), wrappers=[Epsilon()]) for _ in range(2))
    zeros = {"obs": np.zeros(4, np.float32)}
    for each in (policy, free):
        each.begin_agents([1, 2, 3])
    batch = Batcher(policy)
    drawn = free.infer(dict.fromkeys((1, 2, 3), zeros))
    batch.extend(dict.fromkeys((1, 2, 3), zeros))
    for flags, error in (({9: True}, AgentError), ({1: 1}, InputError), (1, InputError), ("yes", InputError)):
        with pytest.raises(error, match="deterministic: expected"):
            batch.execute(flags)  # type: ignore[arg-type]
    found = batch.execute(deterministic={1: True, 3: np.True_})  # type: ignore[dict-item]
    assert not found[1]["action"].any()
    assert not found[3]["action"].any()
    assert np.array_equal(found[2]["action"], drawn[2]["action"])
    batch.push(2, zeros)
    assert not batch.execute(deterministic=True)[2]["action"].any()


@pytest.mark.parametrize("then", ["they leave", "all others leave too", "an interrupt leaves holes", "another order"])
def test_rows_that_a_batch_still_reads_are_not_written_over(then: str) -> None:
    queue = Queue(Specs([TensorSpec("obs", (2,), np.dtype(np.float32))]))
    first = np.arange(32, dtype=np.float32).reshape(16, 2)
    queue.put_columns(list(range(16)), list(range(16)), {"obs": first})
    pin_count, reading = queue.pad, Batched(*queue.front(10))
    pin_count.pin_count += 1
    if then == "an interrupt leaves holes":
        for agent in range(3):
            queue.discard(agent)
    else:
        queue.drop(10)
    if then == "all others leave too":
        queue.clear()
    if then == "another order":
        queue.arrange(range(5, -1, -1))
    left = {agent: row.copy() for agent, row in zip(queue.generations, queue.rows(len(queue))["obs"], strict=True)}
    for turn in range(3):
        ids = list(range(100 + 10 * turn, 110 + 10 * turn))
        queue.put_columns(ids, ids, {"obs": np.full((10, 2), -1.0, np.float32)})
    np.testing.assert_array_equal(reading.columns["obs"], first[:10])
    found = Batched(*queue.front(len(queue)))
    assert len(found.ids) == len(left) + 30
    for agent, row in zip(found.ids, found.columns["obs"], strict=True):
        np.testing.assert_array_equal(row, left.get(agent, np.full(2, -1.0, np.float32)))


def test_rows_of_agents_that_do_not_come_again_are_forgotten() -> None:
    queue = Queue(Specs([TensorSpec("obs", (1,), np.dtype(np.float32))]))
    for first in range(0, 1000, 10):
        for agent in range(first, first + 10):
            for value in (1.0, 2.0):  # the second one replaces a row, so that rows are recorded
                queue.put(agent, 0, {"obs": np.full(1, value, np.float32)})
        queue.clear()
    assert len(queue._row_by_agent()) <= 20
