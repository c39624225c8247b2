"""A restart keeps agents at their slots, where nothing of the last episode is left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import small_models

from cervello import EpisodeStart, Epsilon, Fill, Model, Policy, PreviousAction, Recurrent

IDS = [f"agent {i}" for i in range(70)]
SOME = [IDS[3], IDS[0], IDS[68]]


def decided(policy: Policy, ids: Any) -> list[float]:
    """What each agent has summed up, found by adding 1."""
    return policy.infer_batch(ids, {"obs": np.ones((len(ids), 1), np.float32)})["action"].ravel().tolist()  # type: ignore[no-any-return]


@pytest.fixture
def policy() -> Policy:
    policy = Policy(Model.load(small_models.counter()), wrappers=[Recurrent()], seed=5)
    policy.begin_agents(IDS)
    return policy


def test_restarted_agents_stay_where_a_look_up_finds_them(policy: Policy) -> None:
    decided(policy, IDS)
    slots, looked_up, changes = dict(policy._core.table.slots), policy._core.table.last, policy._core.membership_version
    policy.restart_agents(SOME)
    assert dict(policy._core.table.slots) == slots
    assert policy._core.table.last is looked_up
    assert policy._core.membership_version > changes  # for whoever asks whether an agent is still in its episode
    assert decided(policy, IDS) == [1.0 if agent in SOME else 2.0 for agent in IDS]
    assert policy._core.table.last is looked_up


def test_restarted_agents_are_the_youngest(policy: Policy) -> None:
    generations = policy._core.generations(IDS)
    policy.restart_agents(SOME)
    assert policy.agents == (*(agent for agent in IDS if agent not in SOME), *SOME)
    young = policy._core.generations(SOME)
    assert young == sorted(young)  # type: ignore[type-var]
    assert min(young) > max(generations)  # type: ignore[type-var]


def test_a_restart_while_a_batch_runs_leaves_its_slots_alone(policy: Policy) -> None:
    """That batch will store to the slots that it looked up."""
    decided(policy, IDS)
    slots, batch = dict(policy._core.table.slots), object()
    with policy._core.lock.state_lock:
        policy._core.table.begin_batch(batch)
    policy.restart_agents(SOME)
    assert not set(slots.values()) & {policy._core.table.slots[agent] for agent in SOME}
    with policy._core.lock.state_lock:
        policy._core.table.end_batch(batch)
    assert decided(policy, SOME) == [1.0, 1.0, 1.0]


def everything() -> Policy:
    wrappers = [EpisodeStart("start"), PreviousAction("prev_action", "action"), Recurrent(initial={"h_in": np.full(8, 3)}), Epsilon(),
                Fill("mask", True)]
    return Policy(Model.load(small_models.full()), wrappers=wrappers, seed=1 << 63 | 9)


def with_the_batch_on_another_axis() -> Policy:
    return Policy(Model.load(small_models.recurrent("LSTM", width=6)), wrappers=[Recurrent()])


@pytest.mark.parametrize("grown", [False, True])
@pytest.mark.parametrize("make", [everything, with_the_batch_on_another_axis])
def test_noise_and_state_of_a_restart_are_those_of_a_begin(make: Callable[[], Policy], grown: bool) -> None:
    def decide(policy: Policy, ids: Any) -> Any:
        return policy.infer_batch(ids, {"obs": np.linspace(-1, 1, 6 * len(ids)).astype(np.float32).reshape(-1, 6)})["action"]

    restarted, begun = make(), make()
    restarted.begin_agents(IDS, stream=4)
    for _ in range(2):
        decide(restarted, IDS)
    restarted.restart_agents([IDS[9]])
    if grown:
        restarted.begin_agents(range(100))  # slabs move
    restarted.restart_agents(SOME, episode=[7, 0, 2])
    restarted.restart_agents([IDS[1]], stream=6)
    some = [*SOME, IDS[1]]
    begun.begin_agents(some, stream=[4, 4, 4, 6], episode=[7, 0, 2, 1])
    for _ in range(3):
        np.testing.assert_array_equal(decide(restarted, some), decide(begun, some))


def test_other_initial_rows_count_from_a_swap_on() -> None:
    model = Model.load(small_models.counter())
    policy = Policy(model, wrappers=[Recurrent()], seed=5)
    policy.begin_agents(IDS)
    policy.restart_agents(SOME)
    name = next(iter(policy._core.engine.stack.slabs())).partition(" ")[2]
    policy.replace(model, wrappers=[Recurrent(initial={name: np.full(1, 40, np.float32)})])
    policy.restart_agents(SOME)
    assert decided(policy, SOME) == [41.0, 41.0, 41.0]
