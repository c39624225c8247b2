"""A frame that reads batches where they wait gives what a frame gives that takes them out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from stacks import model

from cervello import Policy, Recurrent, Runtime
from cervello.batcher import Queue
from cervello.wrappers import Passive

AGENTS = [*range(5), "scout"]
NAMES = ("a", "lookup", "b")


class Meanwhile(Passive):
    """Does something while its policy decides."""

    def __init__(self) -> None:
        self.act: Callable[[], None] = lambda: None

    def attach(self, spec: Any) -> Any:
        return self, spec

    def inward(self, view: Any) -> None:
        act, self.act = self.act, lambda: None
        act()


def made() -> tuple[Runtime, Meanwhile]:
    runtime, meanwhile = Runtime(), Meanwhile()
    policies = (Policy(model("counter"), wrappers=[meanwhile, Recurrent()]), Policy(model("lookup")),
                Policy(model("counter"), wrappers=[Recurrent()]))
    for name, policy in zip(NAMES, policies, strict=True):
        runtime.add(name, policy, measure=False)
        runtime.begin_agents(name, AGENTS)
    return runtime, meanwhile


def row(name: str, value: int) -> dict[str, Any]:
    return {"index": np.array(value, np.int64)} if name == "lookup" else {"obs": np.full(1, value, np.float32)}


def told(frame: Any) -> list[Any]:
    """All that a frame says, in its order."""
    rows = [(name, [(agent, {key: value.tolist() for key, value in found.items()}) for agent, found in frame[name].items()])
            for name in frame]
    batches = [(name, [ids for ids, _ in frame.batches(name)]) for name in frame]
    errors = [(name, type(error), str(error), list(frame[name].errors)) for name, error in frame.errors.items()]
    return [frame.number, frame.n_rows, rows, batches, errors, {name: frame[name].skipped for name in NAMES}, frame.skipped]


def played(seed: int) -> list[Any]:
    """What a runtime says in forty frames, between and within which agents are pushed, end and begin anew, and policies fail."""
    rng, said = np.random.default_rng(seed), []
    runtime, meanwhile = made()

    def push(name: str, n: int, fails: float = 0.0) -> None:
        for _ in range(n):
            index = 99 if rng.random() < fails else int(rng.integers(3))
            runtime.push(name, AGENTS[rng.integers(len(AGENTS))], row(name, index))

    def change(name: str) -> None:
        agent = AGENTS[rng.integers(len(AGENTS))]
        if rng.random() < 0.5:
            runtime.restart_agents(name, [agent])
        else:
            runtime.policies[name].restart_agents([agent])  # behind the runtime's back

    for _ in range(40):
        for name in NAMES:
            if rng.random() < 0.9:
                push(name, int(rng.integers(1, 8)), 0.03)
        if rng.random() < 0.2:
            change(NAMES[rng.integers(3)])
        if rng.random() < 0.3:
            other = "b" if rng.random() < 0.5 else "lookup"
            acts = [lambda other=other: push(other, 3), lambda: push("a", 2), lambda other=other: change(other),
                    lambda: said.append(runtime.waiting("b")), lambda: runtime.set_level("b", 1, hold="last")]
            meanwhile.act = acts[rng.integers(len(acts))]
        said.append(told(runtime.run()))
        meanwhile.act = lambda: None
        said.append([runtime.waiting(name) for name in NAMES])
        if runtime._queues["b"].levels.by_agent and rng.random() < 0.5:
            runtime.set_level("b", 1)
    said.append(runtime.snapshot())
    return said


@pytest.mark.parametrize("seed", range(12))
def test_random_calls_have_the_same_effects_in_place(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    run_in_place, plain = Runtime._run_in_place, []

    def noted(self: Runtime, flight: Any) -> Any:
        found = run_in_place(self, flight)
        plain.append(found is not None)
        return found

    monkeypatch.setattr(Runtime, "_run_in_place", noted)
    found = played(seed)
    assert 5 < sum(plain) < len(plain)
    monkeypatch.setattr(Runtime, "_run_in_place", lambda self, flight: None)
    assert played(seed) == found


def test_frames_of_a_crowd_that_decides_in_every_one_are_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime, _ = made()
    for name in NAMES:
        runtime.push(name, 0, row(name, 1))
    runtime.run()  # whoever is pushed first is noted
    monkeypatch.setattr(Runtime, "_open", None)
    for frame in range(1, 4):
        for name in NAMES[:1 + frame % 3]:
            for agent in AGENTS:
                runtime.push(name, agent, row(name, 1))
        assert runtime.run().n_rows == len(AGENTS) * (1 + frame % 3)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupt_while_a_failed_batch_is_set_apart_loses_no_agent(error: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    runtime, meanwhile = made()
    for _ in range(2):
        for agent in AGENTS:
            runtime.push("a", agent, row("a", 1))
        runtime.run()

    def act() -> None:
        front = Queue.front

        def interrupted(self: Queue, n: int) -> Any:
            monkeypatch.setattr(Queue, "front", front)
            raise error

        monkeypatch.setattr(Queue, "front", interrupted)
        raise ValueError("the policy fails, so its batch is set apart")

    meanwhile.act = act
    for agent in AGENTS:
        runtime.push("a", agent, row("a", 1))
    with pytest.raises(error):
        runtime.run()
    assert runtime.waiting("a") == tuple(AGENTS)
    assert set(runtime.run(budget_s=60)["a"]) == set(AGENTS)


def test_a_level_that_is_set_while_another_policy_decides_holds_from_the_next_frame_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def skipped() -> list[Any]:
        runtime, meanwhile = Runtime(), Meanwhile()
        runtime.add("first", Policy(model("counter"), wrappers=[Recurrent()]), measure=False)
        runtime.add("second", Policy(model("counter"), wrappers=[meanwhile, Recurrent()]), measure=False)
        found = []
        for name in ("first", "second"):
            runtime.begin_agents(name, AGENTS)
        for frame in range(10):
            for name in ("first", "second"):
                for agent in AGENTS:
                    runtime.push(name, agent, row(name, 1))
            if frame == 4:
                meanwhile.act = lambda: [runtime.set_level("first", agent, every=4) for agent in AGENTS]  # type: ignore[assignment, return-value]
            said = runtime.run()
            found.append((sorted(map(str, said["first"])), said["first"].skipped))
        return found

    plainly = skipped()
    monkeypatch.setattr(Runtime, "_run_in_place", lambda self, flight: None)
    assert plainly == skipped()
    assert any(len(decided) < len(AGENTS) for decided, _ in plainly)
