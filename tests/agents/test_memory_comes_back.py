"""One large batch does not keep its memory for ever; sizes that come again and again do not allocate."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_models

import cervello
from cervello import Batcher, Policy, Runtime
from cervello.batcher import ScratchPad
from cervello.batcher.queue import Queue
from cervello.high_water import KEPT_BYTES, USES, HighWater
from cervello.native.memory import arena
from cervello.spec import TensorSpec

WIDTH, MANY = 20_000, 600  # a batch of 48 MB
NUMPY = np.lib.tracemalloc_domain


@pytest.fixture
def traced() -> Iterator[Callable[[], int]]:
    """Bytes of arrays that are alive."""
    gc.collect()
    tracemalloc.start()

    def n_bytes() -> int:
        found = tracemalloc.take_snapshot().filter_traces([tracemalloc.DomainFilter(True, NUMPY)])
        return sum(trace.size for trace in found.traces)

    yield n_bytes
    tracemalloc.stop()


@pytest.fixture(scope="module")
def model() -> cervello.Model:
    return cervello.Model.load(small_models.feed_forward(width=WIDTH, hidden=2))


def rows(n: int) -> dict[str, Any]:
    row = np.zeros(WIDTH, np.float32)
    return {agent: {"obs": row} for agent in range(n)}  # type: ignore[misc]


Act = Callable[[int], Any]


def by_name(model: cervello.Model) -> Act:
    policy = Policy(model)
    policy.begin_agents(range(MANY))
    return lambda n: policy.infer(rows(n))


def batcher(model: cervello.Model) -> Act:
    policy = Policy(model)
    policy.begin_agents(range(MANY))
    made = Batcher(policy)

    def act(n: int) -> None:
        made.extend(rows(n))
        made.execute()

    return act


def frames(model: cervello.Model, budget_s: float | None = None, left: int = 0) -> Act:
    made = Runtime()
    made.add("a", Policy(model), measure=False)
    made.begin_agents("a", range(MANY))
    column = np.zeros((MANY, WIDTH), np.float32)

    def act(n: int) -> None:
        made.push_batch("a", list(range(n)), {"obs": column[:n]})
        made.run(budget_s=budget_s, rows=max(n - left, 1) if left else None)

    return act


WAYS: dict[str, Callable[[cervello.Model], Act]] = {
    "by name": by_name, "batcher": batcher, "frames": frames, "frames with a budget": lambda model: frames(model, 10.0),
    "frames that leave somebody waiting": lambda model: frames(model, None, 1)}


@pytest.mark.parametrize("way", WAYS)
def test_after_one_large_batch_small_ones_give_its_memory_back(way: str, model: cervello.Model, traced: Callable[[], int]) -> None:
    act = WAYS[way](model)
    for _ in range(3):
        act(4)
    before = traced()
    act(MANY)
    act(MANY)
    assert traced() > before + 0.9 * MANY * WIDTH * 4
    for _ in range(4 * USES + MANY):
        act(4)
    assert traced() < before + 4 * KEPT_BYTES


@pytest.mark.parametrize("way", WAYS)
def test_sizes_that_come_again_and_again_keep_their_memory(way: str, model: cervello.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    act = WAYS[way](model)

    def play() -> None:
        for _ in range(4):
            act(MANY)
            for _ in range(10):  # an odd number in all: lines take turns
                act(2)

    play()
    seen: list[int] = []
    resize = ScratchPad._resize

    def note(pad: ScratchPad, capacity: int, *others: int) -> None:
        seen.append(capacity)
        resize(pad, capacity, *others)

    monkeypatch.setattr(ScratchPad, "_resize", note)
    play()
    assert not seen


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_process_itself_gets_smaller(model: cervello.Model) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    act = frames(model)
    for _ in range(3):
        act(4)
    before = resident()
    act(MANY)
    act(MANY)
    assert resident() > before + 0.9 * MANY * WIDTH * 4
    for _ in range(4 * USES):
        act(4)
    gc.collect()
    assert resident() < before + MANY * WIDTH


def test_an_arena_shrinks_to_what_was_needed_lately_and_not_at_once() -> None:
    first = arena.borrow(64 << 20)
    arena.give_back(first)
    for k in range(USES - 1):
        again = arena.borrow(KEPT_BYTES + k)
        assert again is first
        assert again.capacity >= 64 << 20
        arena.give_back(again)
    again = arena.borrow(10)
    assert again.capacity == KEPT_BYTES + USES - 2
    assert again.address % 64 == 0
    arena.give_back(again)
    for _ in range(3 * USES):  # less than this is kept for good
        small = arena.borrow(KEPT_BYTES)
        assert small.capacity >= KEPT_BYTES
        arena.give_back(small)


def test_a_large_batch_every_now_and_then_keeps_its_arena() -> None:
    first = arena.borrow(64 << 20)
    arena.give_back(first)
    for _ in range(5):
        for _ in range(USES - 1):
            arena.give_back(arena.borrow(10))
        again = arena.borrow(64 << 20)
        assert again is first
        address = again.address
        arena.give_back(again)
        assert again.address == address


def test_large_arenas_that_nobody_borrows_go() -> None:
    several = [arena.borrow(16 << 20) for _ in range(4)]
    for each in several:
        arena.give_back(each)
    rooms = [sum(idle.capacity for idle in arena._idle)]
    for _ in range(12 * USES):
        arena.give_back(arena.borrow(10))
        rooms.append(sum(idle.capacity for idle in arena._idle))
    assert rooms[0] >= 64 << 20
    assert rooms[-1] <= 2 * KEPT_BYTES
    assert rooms == sorted(rooms, reverse=True)


def test_what_a_queue_holds_survives_when_its_pad_gets_smaller() -> None:
    specs = {"obs": TensorSpec("obs", (WIDTH,), np.dtype(np.float32))}
    queue = Queue(specs)
    column = np.arange(MANY, dtype=np.float32)[:, None].repeat(WIDTH, 1)
    queue.put_columns(range(MANY), range(MANY), {"obs": column})
    queue.drop(MANY - 2)
    capacity = queue.pad.capacity
    for k in range(MANY, 4 * MANY):
        queue.put(k, k, {"obs": np.full(WIDTH, k, np.float32)})
        ids, columns = queue.front(2)
        assert [float(row[0]) for row in columns["obs"]] == list(ids)
        queue.drop(1)
        assert [float(row[-1]) for row in queue.front(2)[1]["obs"]] == list(queue.ids)
    assert queue.pad.capacity < capacity / 4


def test_high_water() -> None:
    water = HighWater()
    assert {water.keep(25, 100) for _ in range(3 * USES)} == {100}
    assert [water.keep(k % 20, 100) for k in range(USES)] == [100] * (USES - 1) + [19]
    assert [water.keep(1, 19) for _ in range(USES - 1)] == [19] * (USES - 1)
    assert water.keep(5, 19) == 19
    assert water.keep(1, 19) == 19
