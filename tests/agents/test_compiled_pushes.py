"""A push in one compiled call does what a push in Python does, and is made only where it has nothing else to do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import small_models

from cervello import AgentError, Batcher, InputError, Model, Policy, Runtime
from cervello.agents.policy import agents as home
from cervello.native.execution import row_reader

AGENTS = [*range(8), "scout", "guard"]


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.load(small_models.counter())


def obs(value: float) -> dict[str, Any]:
    return {"obs": np.array([value], np.float32)}


def without_compiled_pushes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(home.PolicyAgents, "make_reader", lambda self, specs: None)


def counted(monkeypatch: pytest.MonkeyPatch, owner: type) -> list[Any]:
    """The agents of pushes that took the way through Python."""
    slow: list[Any] = []
    push = owner._push  # type: ignore[attr-defined]

    def noted(self: Any, *given: Any) -> None:
        slow.append(given[1] if owner is Runtime else given[0])
        push(self, *given)

    monkeypatch.setattr(owner, "_push", noted)
    return slow


def two(model: Model) -> Runtime:
    runtime = Runtime()
    for name in ("a", "b"):
        runtime.add(name, Policy(model, wrappers="auto"), measure=False)
        runtime.begin_agents(name, AGENTS)
    return runtime


def played(runtime: Runtime, seed: int) -> list[Any]:
    """What a runtime says of a hundred random calls."""
    rng = np.random.default_rng(seed)
    said: list[Any] = []

    def anyone() -> Any:
        return AGENTS[rng.integers(len(AGENTS))]

    def push() -> None:
        for _ in range(rng.integers(1, 12)):
            agent, value = anyone(), float(rng.integers(9))
            given = obs(value) if rng.random() < 0.9 else {"obs": np.array([value])}
            runtime.push("ab"[rng.integers(2)], agent, given, bool(rng.random() < 0.05))

    def push_batch() -> None:
        some = list(dict.fromkeys(anyone() for _ in range(4)))
        runtime.push_batch("a", some, {"obs": np.full((len(some), 1), 3, np.float32)})

    def run() -> None:
        rows = int(rng.integers(1, 8)) if rng.random() < 0.5 else None
        frame = runtime.run(rows=rows)
        said.append((frame.number, frame.n_rows, frame.skipped, {name: {agent: {key: row.tolist() for key, row in rows.items()}
                                                                        for agent, rows in frame[name].items()} for name in frame},
                     {name: list(frame[name].errors) for name in frame}))

    def change() -> None:
        agent = anyone()
        runtime.restart_agents("a", [agent])
        runtime.policies["b"].restart_agents([agent])  # behind the runtime's back
        gone = anyone()
        runtime.end_agent("b", gone)
        runtime.begin_agent("b", gone)

    def level() -> None:
        runtime.set_level("a", anyone(), every=int(rng.integers(1, 4)), priority=float(rng.integers(1, 3)), hold="last")

    calls: list[Callable[[], None]] = [push, push, push, push_batch, run, run, run, change]
    for i in range(100):
        (level if i > 60 and rng.random() < 0.1 else calls[rng.integers(len(calls))])()
        said.append([runtime.waiting(name) for name in ("a", "b")] if rng.random() < 0.3 else None)
    return said


@pytest.mark.parametrize("seed", range(12))
def test_random_calls_have_the_same_effects_with_and_without_compiled_pushes(model: Model, monkeypatch: pytest.MonkeyPatch,
                                                                             seed: int) -> None:
    found = played(two(model), seed)
    without_compiled_pushes(monkeypatch)
    assert played(two(model), seed) == found


def test_pushes_of_a_crowd_that_decides_in_every_frame_are_compiled(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime, slow = two(model), counted(monkeypatch, Runtime)
    for frame in range(4):
        for agent in AGENTS:
            runtime.push("a", agent, obs(frame))
        frame_found = runtime.run()
        assert list(frame_found["a"]) == AGENTS
        assert [row["action"].item() for row in frame_found["a"].values()] == [sum(range(frame + 1))] * len(AGENTS)
    assert slow == AGENTS[:1]
    runtime.push("a", 0, obs(1.0))
    runtime.push("a", 0, obs(2.0))  # the newest counts
    assert runtime.run()["a"][0]["action"].item() == 6 + 2
    assert slow == AGENTS[:1]


@pytest.mark.parametrize("agent", [np.int64(3), type("Name", (str,), {})("scout")])
def test_ids_of_other_types_go_through_python(model: Model, monkeypatch: pytest.MonkeyPatch, agent: Any) -> None:
    runtime, slow = two(model), counted(monkeypatch, Runtime)
    runtime.push("a", 0, obs(1.0))
    runtime.push("a", agent, obs(2.0))
    assert len(slow) == 2
    assert list(runtime.run()["a"]) == [0, 3 if agent == 3 else "scout"]


def test_a_push_that_is_refused_changes_nothing(model: Model) -> None:
    runtime = two(model)
    runtime.push("a", 0, obs(1.0))
    for agent, given, error in ((99, obs(1.0), AgentError), (True, obs(1.0), AgentError), (1, {"obs": np.zeros(2, np.float32)}, InputError),
                                (1, {"other": np.zeros(1, np.float32)}, InputError), (0, {"obs": np.zeros(2, np.float32)}, InputError)):
        with pytest.raises(error):
            runtime.push("a", agent, given)
    assert runtime.waiting("a") == (0,)
    assert runtime.run()["a"][0]["action"].item() == 1


def test_nobody_is_added_while_somebody_holds_the_lock(model: Model) -> None:
    runtime = two(model)
    runtime.push("a", 0, obs(1.0))
    with runtime._lock, pytest.raises(AgentError, match="expected a call outside of other calls"):
        runtime.push("a", 1, obs(1.0))
    pushed = threading.Event()

    def push() -> None:
        runtime.push("a", 1, obs(1.0))
        pushed.set()

    other = threading.Thread(target=push)
    with runtime._lock:
        other.start()
        assert not pushed.wait(0.05)
        assert runtime._queues["a"].wait_queue.queue.ids == (0,)
    other.join(10)
    assert runtime.waiting("a") == (0, 1)


def test_nobody_is_added_while_agents_change(model: Model) -> None:
    policy = Policy(model, wrappers="auto")
    policy.begin_agents(AGENTS)
    batch, found = Batcher(policy), []
    batch.push(0, obs(1.0))

    def write() -> None:
        found.append(batch._queue.push(1, obs(1.0)))

    policy._core.lock.write(write)
    assert found == [0]
    assert batch._queue.push(1, obs(1.0)) == 1


def test_a_runtime_whose_locks_lie_otherwise_pushes_in_python(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_reader, "_locks_are_known", lambda: False)
    slow = counted(monkeypatch, Runtime)
    runtime = two(model)
    for agent in AGENTS:
        runtime.push("a", agent, obs(1.0))
    assert slow == AGENTS
    assert list(runtime.run()["a"]) == AGENTS


def test_pushes_by_many_threads_lose_nobody(model: Model) -> None:
    runtime, n_threads, each = Runtime(), 4, 50
    runtime.add("a", Policy(model, wrappers="auto"), measure=False)
    runtime.begin_agents("a", range(n_threads * each))
    decided: dict[Any, int] = {}
    over = threading.Event()

    def push(first: int) -> None:
        for _ in range(20):
            for agent in range(first, first + each):
                runtime.push("a", agent, obs(agent))

    threads = [threading.Thread(target=push, args=(k * each,)) for k in range(n_threads)]
    for thread in threads:
        thread.start()
    while not over.is_set():
        if not any(thread.is_alive() for thread in threads):
            over.set()  # and one frame more
        frame = runtime.run()
        for agent, row in frame["a"].items():
            decided[agent] = decided.get(agent, 0) + 1
            assert row["action"].item() == agent * decided[agent]  # the sum of its own observations
    assert sorted(decided) == list(range(n_threads * each))
    assert runtime.waiting("a") == ()


def gathered(policy: Policy, seed: int) -> list[Any]:
    """What a batcher says of random calls."""
    rng, batch, said = np.random.default_rng(seed), Batcher(policy), []

    def refused(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except AgentError as error:
            return str(error)

    for _ in range(150):
        agent, kind = AGENTS[rng.integers(len(AGENTS))], rng.integers(8)
        if kind < 4:
            value = float(rng.integers(9))
            said.append(refused(lambda agent=agent, value=value: batch.push(agent, obs(value))))
        elif kind == 4:
            said.append(batch.discard(agent))
        elif kind == 5:
            policy.restart_agents([agent])
        elif kind == 6:
            said.append(refused(lambda agent=agent: batch.extend({agent: obs(1.0), "guard": obs(2.0)})))
        else:
            found = refused(batch.execute)
            if isinstance(found, str):
                batch.clear()
            said.append(found if isinstance(found, str) else {each: row["action"].item() for each, row in found.items()})
        said.append((len(batch), [each in batch for each in AGENTS], batch.batched().ids))
    return said


@pytest.mark.parametrize("seed", range(8))
def test_a_batcher_has_the_same_effects_with_and_without_compiled_pushes(model: Model, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    def begun() -> Policy:
        policy = Policy(model, wrappers="auto")
        policy.begin_agents(AGENTS)
        return policy

    found = gathered(begun(), seed)
    without_compiled_pushes(monkeypatch)
    assert gathered(begun(), seed) == found


def test_rows_that_were_looked_up_stay_those_of_agents_pushed_later(model: Model) -> None:
    policy = Policy(model, wrappers="auto")
    policy.begin_agents(AGENTS)
    batch = Batcher(policy)
    for agent in (0, 1):
        batch.push(agent, obs(agent))
    generation = policy._core.generations([0])[0]
    assert generation is not None
    batch._queue.put(0, generation, obs(7.0))  # replaces a row, so rows are looked up
    batch.push(2, obs(2.0))
    batch.push(3, obs(3.0))
    assert batch.discard(1)
    assert {agent: row["action"].item() for agent, row in batch.execute().items()} == {0: 7, 2: 2, 3: 3}


def test_a_batcher_pushes_a_crowd_in_compiled_calls(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    policy, slow = Policy(model, wrappers="auto"), counted(monkeypatch, Batcher)
    policy.begin_agents(AGENTS)
    batch = Batcher(policy)
    for _ in range(3):
        for agent in AGENTS:
            batch.push(agent, obs(1.0))
        assert list(batch.execute()) == AGENTS
    assert slow == AGENTS[:1]
