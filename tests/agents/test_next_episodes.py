"""Begun again without an episode, an agent has its next one: exact for those that ended last, never repeated, in bounded memory."""

from __future__ import annotations

import pickle
import tracemalloc
from typing import Any

import numpy as np
import pytest
import stacks
from hypothesis import given, settings
from hypothesis import strategies as st

from cervello import Epsilon, InputError, Policy, Runtime
from cervello.agents.membership import episodes
from cervello.agents.membership.episodes import PastEpisodes


def make(seed: int = 1) -> Policy:
    return Policy(stacks.model("noise_alone"), wrappers=[Epsilon()], seed=seed)


def draw(policy: Policy, agent: Any) -> tuple[float, ...]:
    return tuple(policy.infer_single(agent, {"obs": np.zeros(4, np.float32)})["action"].tolist())


def life(policy: Policy, agent: Any, **options: Any) -> tuple[float, ...]:
    """The first draw of an episode, from begin to end."""
    policy.begin_agent(agent, **options)
    found = draw(policy, agent)
    policy.end_agent(agent)
    return found


def test_noise_of_an_agent_that_begins_again_is_new_and_that_of_its_next_episode() -> None:
    policy, explicit = make(), make()
    found = [life(policy, 7) for _ in range(4)]
    assert len(set(found)) == 4
    assert found == [life(explicit, 7, episode=k) for k in range(4)]
    assert found == [life(make(), 7), *found[1:]]  # reproducible from the seed


def test_others_and_streams_do_not_count() -> None:
    policy = make()
    lives = []
    for k in range(3):
        policy.begin_agents([100 + k, "x"])
        policy.end_agents(["x"])
        lives.append(life(policy, 7, stream=k))
    assert lives == [life(make(), 7, stream=k, episode=k) for k in range(3)]


def test_the_next_episode_is_the_one_after_the_last_one() -> None:
    policy = make()
    policy.begin_agents([1, 2], episode=[41, 0])
    policy.restart_agents([2])
    policy.end_agents([1, 2])
    assert life(policy, 1) == life(make(), 1, episode=42)
    assert life(policy, 2) == life(make(), 2, episode=2)
    assert life(policy, 1, episode=3) == life(make(), 1, episode=3)
    assert life(policy, 1) == life(make(), 1, episode=4)
    life(policy, 5, episode=2**63 - 1)
    with pytest.raises(InputError, match="episode: expected 0 ≤ episode < 2⁶³"):
        policy.begin_agent(5)
    assert len(policy) == 0


def test_a_begin_that_fails_uses_no_episode() -> None:
    policy = make()
    first = life(policy, 7)
    for _ in range(3):
        with pytest.raises(InputError):
            policy.begin_agents([7, 8], stream=[1])
    assert life(policy, 7) == life(make(), 7, episode=1) != first


def test_runtimes_count_too() -> None:
    runtime = Runtime()
    runtime.add("npc", make(), measure=False)
    for k in range(3):
        runtime.begin_agent("npc", "hero")
        runtime.push("npc", "hero", {"obs": np.zeros(4, np.float32)})
        assert tuple(runtime.run()["npc"]["hero"]["action"].tolist()) == life(make(), "hero", episode=k)
        runtime.end_agent("npc", "hero")


def test_snapshots_and_pickles_remember_who_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(episodes, "REMEMBERED", 4)
    policy = make()
    for agent in (*range(11), "x", 3):
        life(policy, agent)
    state = policy.snapshot()
    copies: list[Policy] = [pickle.loads(pickle.dumps(policy)), make()]
    copies[1].restore(state)
    ids: list[Any] = ["x", 3, 1, 12, 10, 9]
    expected = [life(policy, agent) for agent in ids]
    for copy in copies:
        assert [life(copy, agent) for agent in ids] == expected
        assert copy.snapshot() == policy.snapshot()
    policy.restore(state)  # back in time: the same again
    assert [life(policy, agent) for agent in ids] == expected


def test_some_agents_alone_bring_back_nothing_of_others() -> None:
    policy = make()
    policy.begin_agents([1, 2])
    state = policy.snapshot([1])
    policy.end_agents([1, 2])
    policy.restore(state)
    policy.end_agent(1)
    assert life(policy, 2) == life(make(), 2, episode=1)
    assert life(policy, 1) == life(make(), 1, episode=1)


# The table ----------------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=200)
@given(ends=st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=12, unique=True), max_size=40))
def test_no_episode_is_repeated_and_the_last_ones_are_exact(ends: list[list[int]]) -> None:
    kept, episodes.REMEMBERED = episodes.REMEMBERED, 5
    try:
        past, had, order = PastEpisodes(), dict[int, int](), list[int]()
        for ids in ends:
            found = past.next_episodes(ids)
            begun = [found] * len(ids) if isinstance(found, int) else found
            for agent, episode in zip(ids, begun, strict=True):
                assert episode > had.get(agent, -1)
                if agent in order[-5:]:
                    assert episode == had[agent] + 1
                had[agent] = episode
            past.record(ids, [episode + 1 for episode in begun])
            order = [agent for agent in order if agent not in ids] + ids
            assert all(len(table) <= 5 for table in past.generations)
            assert past.floor <= max(had.values()) + 1
    finally:
        episodes.REMEMBERED = kept


def test_a_far_episode_that_was_given_leaves_the_others_room() -> None:
    past = PastEpisodes()
    past.record(["far"], [1 << 63])
    for k in range(4):
        past.record([(k, i) for i in range(episodes.REMEMBERED)], [1] * episodes.REMEMBERED)  # type: ignore[misc]
    assert past.next_episodes(["far"]) == [1]


def test_millions_that_begin_and_end_once_take_no_memory() -> None:
    policy = make()
    chunk = 50_000
    policy.begin_agents(range(chunk))
    policy.end_agents(range(chunk))
    tracemalloc.start()
    for k in range(1, 20):
        ids = range(k * chunk, (k + 1) * chunk)
        policy.begin_agents(ids)
        policy.end_agents(ids)
    now, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert now < 8 << 20  # a million entries would be ten times as much
    assert sum(map(len, policy._core.table.past.generations)) <= 2 * episodes.REMEMBERED
    assert len(policy.snapshot()) < 1 << 18
    floor = policy._core.table.past.floor
    assert 1 <= floor <= 20 * chunk // episodes.REMEMBERED  # one more per generation at most
    assert life(policy, 0) == life(make(), 0, episode=floor)
