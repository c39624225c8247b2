"""Crowds that come and go leave nothing behind."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import numpy as np
import pytest
from stacks import model

from cervello import Policy, Recurrent, Runtime
from cervello.agents.membership import episodes

AGENTS, BATCH, GENERATIONS = 20_000, 4_000, 4


def generations(begin: Any, tick: Any, end: Any, n_agents: int = AGENTS, n_batch: int = BATCH) -> tuple[list[int], list[int]]:
    """Bytes with everybody there and with nobody there, by generation; ids are new ones each time, and end in random order."""
    random = np.random.default_rng(0)
    full, empty = [], []
    tracemalloc.start()
    try:
        for number in range(GENERATIONS):
            ids = np.arange(number * n_agents, (number + 1) * n_agents)
            begin(ids)
            for batch in np.split(ids, n_agents // n_batch):
                tick(batch)
            full.append(tracemalloc.get_traced_memory()[0])
            for batch in np.split(random.permutation(ids), n_agents // n_batch):
                end(batch)
            del ids, batch
            gc.collect()
            empty.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    return full, empty


@pytest.fixture(autouse=True)
def remembers_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered of agents that have ended is complete within the first generation."""
    monkeypatch.setattr(episodes, "REMEMBERED", 500)


def no_growth(measured: tuple[list[int], list[int]]) -> None:
    for held in measured:
        assert max(held[2:]) < 1.02 * max(held[:2]), measured  # two queues take turns


@pytest.mark.parametrize("name", ["counter", "recurrent"])
def test_generations_of_agents_leave_no_memory_behind(name: str) -> None:
    policy = Policy(model(name), wrappers=[Recurrent()])
    columns = {"obs": np.ones(policy.inputs["obs"].batched(BATCH), np.float32)}
    no_growth(generations(policy.begin_agents, lambda ids: policy.infer_batch(ids, columns), policy.end_agents))
    assert policy.agents == ()


def test_generations_in_a_runtime_leave_no_memory_behind() -> None:
    runtime = Runtime()
    runtime.add("crowd", Policy(model("counter"), wrappers=[Recurrent()]), measure=False)
    columns = {"obs": np.ones((500, 1), np.float32)}

    def tick(ids: Any) -> None:
        runtime.push_batch("crowd", ids, columns)
        runtime.run(rows=250)  # half of them still wait when they end

    no_growth(generations(lambda ids: runtime.begin_agents("crowd", ids, every=2, hold="last"), tick,
                          lambda ids: runtime.end_agents("crowd", ids), 2500, 500))
    assert runtime.waiting("crowd") == ()


def test_slots_are_used_again_by_those_who_come_later() -> None:
    policy = Policy(model("counter"), wrappers=[Recurrent()])
    for number in range(50):
        policy.begin_agents(range(number * 100, number * 100 + 100))
        policy.infer_batch(policy.agents, {"obs": np.ones((100, 1), np.float32)})
        assert (policy.infer_batch(policy.agents, {"obs": np.ones((100, 1), np.float32)})["action"] == 2).all()
        policy.end_agents(policy.agents)
    assert policy._core.table.capacity <= 256
