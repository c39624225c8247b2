"""Agents that come, go, and come again."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import stacks

from cervello import AgentError, InputError, Policy, Recurrent
from cervello.inferers import choose
from cervello.wrappers.testing.fakes import FailingInferer


@pytest.fixture
def policy() -> Policy:
    return Policy(stacks.model("counter"), wrappers=[Recurrent()])


def sums(policy: Policy, **values: float) -> list[float]:
    found = policy.infer({agent: {"obs": [value]} for agent, value in values.items()})
    return [found[agent]["action"].item() for agent in values]


def test_agents_are_listed_oldest_first(policy: Policy) -> None:
    policy.begin_agents([5, "b", 1])
    policy.begin_agent("a")
    policy.end_agent("b")
    assert policy.agents == (5, 1, "a")
    assert len(policy) == 3
    assert 5 in policy
    assert "b" not in policy
    assert "agents=3" in repr(policy)


@pytest.mark.parametrize(("ids", "message"), [
    ([1, 2, 1], "begin: expected distinct agents, got 1 twice; name each once"),
    ([1, "old"], "begin: expected an agent that has not begun, got 'old'; end it first or use restart_agents"),
    ([1, -1], "agent id: expected 0 ≤ id < 2⁶³, got -1"), ([1, 2**63], f"agent id: expected 0 ≤ id < 2⁶³, got {2**63}"),
    ([1, True], "agent id: expected an int (0 ≤ id < 2⁶³) or a string, got True"),
    ([1, 2.0], "or a string, got 2.0"), ([1, None], "got None"),
    ([1, b"a"], "got b'a'"), ([1, (2,)], "got (2,)"), ([1, [2]], "got [2]"), (np.array([2**64 - 1], np.uint64), "expected 0 ≤ id < 2⁶³"),
    ("abc", "expected a sequence of ids, got 'abc'; one agent is ['abc']"), (7, "expected a sequence of ids, got 7"),
    (np.array([0.5]), "expected a vector of ints or strings, got float64 (1,)"),
])
def test_begin_is_all_or_nothing(policy: Policy, ids: Any, message: str) -> None:
    policy.begin_agent("old")
    sums(policy, old=5)
    with pytest.raises(AgentError, match=re.escape(message)):
        policy.begin_agents(ids)
    assert policy.agents == ("old",)
    assert sums(policy, old=5) == [10]


@pytest.mark.parametrize("number", [-1, 2**63, 1.5, True, [1, 2], [1, -1, 2], "7", [0, None, 1]])
@pytest.mark.parametrize("what", ["stream", "episode"])
def test_streams_and_episodes_that_do_not_fit_are_refused(policy: Policy, what: str, number: Any) -> None:
    with pytest.raises(InputError, match=f"{what}: expected"):
        policy.begin_agents([1, 2, 3], **{what: number})
    assert len(policy) == 0
    policy.begin_agents([1, 2, 3])
    with pytest.raises(InputError, match=f"{what}: expected"):
        policy.restart_agents([1, 2, 3], **{what: number})
    assert policy.agents == (1, 2, 3)


@pytest.mark.parametrize(("ids", "message"), [(["a", "c"], "expected agents that have begun, got 'c'"), (["a", "a"], "got 'a' twice"),
                                              ("a", "expected a sequence of ids, got 'a'")])
def test_end_and_restart_are_all_or_nothing(policy: Policy, ids: Any, message: str) -> None:
    policy.begin_agents(["a", "b"])
    sums(policy, a=1, b=10)
    for change in (policy.end_agents, policy.restart_agents):
        with pytest.raises(AgentError, match=message):
            change(ids)
    assert policy.agents == ("a", "b")
    assert sums(policy, a=1, b=10) == [2, 20]


def test_a_restart_beyond_the_last_episode_ends_nobody(policy: Policy) -> None:
    policy.begin_agents(["a"], episode=2**63 - 1)
    sums(policy, a=1)
    with pytest.raises(InputError, match="episode: expected 0 ≤ episode < 2⁶³"):
        policy.restart_agents(["a"])
    assert sums(policy, a=1) == [2]


def test_an_ended_agent_is_unknown_until_it_begins_again(policy: Policy) -> None:
    policy.begin_agents(["a", "b"])
    sums(policy, a=1, b=10)
    policy.end_agent("a")
    with pytest.raises(AgentError, match="got 'a'; call begin_agent"):
        sums(policy, a=1, b=10)
    assert sums(policy, b=10) == [20]
    policy.begin_agent("a")
    assert sums(policy, b=10, a=1) == [30, 1]


def test_slots_that_are_used_again_never_leak_state(policy: Policy) -> None:
    random = np.random.default_rng(0)
    alive: dict[str, float] = {}
    for tick in range(300):
        ending = [agent for agent in alive if random.random() < 0.2]
        policy.end_agents(ending)
        for agent in ending:
            del alive[agent]
        born = [f"{tick}.{k}" for k in range(random.integers(0, 5))]
        policy.begin_agents(born)
        alive |= dict.fromkeys(born, 0.0)
        acting = [agent for agent in alive if random.random() < 0.7]
        random.shuffle(acting)
        values = {agent: float(random.integers(1, 9)) for agent in acting}
        for agent, value in values.items():
            alive[agent] += value
        assert sums(policy, **values) == [alive[agent] for agent in values]


def test_many_agents_find_room_while_others_keep_their_state(policy: Policy) -> None:
    policy.begin_agent("first")
    for k in range(6):
        policy.begin_agents([f"{k}.{i}" for i in range(100)])
        assert sums(policy, first=1) == [k + 1]


def test_the_inferer_hears_of_every_begin_and_end() -> None:
    heard: list[tuple[str, int]] = []

    class Listening(FailingInferer):
        def begin_agent(self, slot: int) -> None:
            heard.append(("begin", slot))

        def end_agent(self, slot: int) -> None:
            heard.append(("end", slot))

    model = stacks.model("feed_forward")
    policy = Policy(model, inferer=Listening(choose("basic", model)))
    policy.begin_agents([7, 8])
    policy.restart_agents([8])
    policy.end_agent(7)
    assert [kind for kind, _ in heard] == ["begin", "begin", "begin", "end", "end"]
    (_, first), (_, second), (_, again), (_, ended), (_, last) = heard
    assert (first, second) == (last, ended)
    assert again not in (first, second)  # the next episode is there before the last one ends, so that it may fail to begin
