"""What a caller may take for granted of policies, batchers, frames and runtimes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import small_models
import stacks

import cervello
from cervello import AgentError, Batcher, Policy, Recurrent, Runtime
from cervello.spec import PolicySpec, Wrapper
from cervello.wrappers import Passive


def test_something_that_is_empty_is_still_there() -> None:
    policy = cervello.load(small_models.counter(), wrappers=[Recurrent()])
    assert bool(policy)
    assert bool(Batcher(policy))
    assert bool(Runtime())
    assert (len(policy), len(Batcher(policy)), len(Runtime())) == (0, 0, 0)


def test_a_frame_does_not_answer_for_a_policy_that_does_not_exist() -> None:
    runtime = Runtime()
    runtime.add("npc", cervello.load(small_models.feed_forward()), measure=False)
    runtime.add("boss", cervello.load(small_models.feed_forward()), measure=False)
    frame = runtime.run()
    assert frame["npc"] == {}  # it decided nothing
    for ask in (frame.__getitem__, frame.batches):
        with pytest.raises(AgentError, match=r"frame 0: expected a policy among \['npc', 'boss'\], got 'ncp'; Runtime.add gives"):
            ask("ncp")
    with pytest.raises(KeyError):
        frame["ncp"]
    assert frame.get("ncp") is None
    assert "ncp" not in frame
    runtime.begin_agent("npc", 1)
    runtime.push("npc", 1, {"obs": np.zeros(6, np.float32)})
    frame = runtime.run()
    runtime.remove("npc")
    assert list(frame["npc"]) == [1]


@pytest.mark.parametrize("budget_s", [None, 10.0])
def test_a_policy_that_dislikes_zeros_is_added_and_runs(budget_s: float | None) -> None:
    table = np.arange(10, dtype=np.float32)[:, None]  # 0 asks for the row before the first: index - 11
    data = small_models.graph(
        [small_models.node("Sub", "index eleven", "at"), small_models.node("Gather", "table at", "action")],
        {"index": (7, ("N",))}, {"action": (1, ("N", 1))}, {"table": table, "eleven": np.array(11)})
    policy = cervello.load(data)
    policy.begin_agent(1)
    with pytest.raises(cervello.ExecutionError, match="index outside its table"):
        policy.infer_single(1, {"index": np.array(0)})
    runtime = Runtime()
    runtime.add("npc", policy)
    runtime.push("npc", 1, {"index": np.array(11)})
    assert runtime.run(budget_s)["npc"][1]["action"].tolist() == [0.0]


class Moody(Passive):
    """Fails at the end of an episode when told to."""

    fails = False

    def attach(self, spec: PolicySpec) -> tuple[Wrapper, PolicySpec]:
        return self, spec

    def end(self, slots: Any) -> None:
        if self.fails:
            raise ValueError("end")


@pytest.mark.parametrize("restart", [False, True])
def test_a_hook_that_fails_at_the_end_leaves_nothing_behind(restart: bool) -> None:
    moody = Moody()
    runtime = Runtime()
    runtime.add("npc", Policy(stacks.model("counter"), wrappers=[moody, Recurrent()]), measure=False)
    runtime.begin_agents("npc", [1, 2], every=2, hold="last")
    for agent in (1, 2):
        runtime.push("npc", agent, {"obs": np.ones(1, np.float32)})
    moody.fails = True
    with pytest.raises(ValueError, match="end"):
        (runtime.restart_agents if restart else runtime.end_agents)("npc", [1])
    moody.fails = False
    assert runtime.policies["npc"].agents == ((2, 1) if restart else (2,))  # it has ended all the same
    assert 1 not in runtime.waiting("npc")
    queue = runtime._queues["npc"]
    assert set(queue.levels.by_agent) == ({1, 2} if restart else {2})
    assert not queue.ending
    for _ in range(3):
        frame = runtime.run()
        assert not frame.errors
    if not restart:
        runtime.begin_agent("npc", 1)
    runtime.push("npc", 1, {"obs": np.ones(1, np.float32)})
    frames = [runtime.run()["npc"] for _ in range(2)]
    assert sum(1 in decided for decided in frames) >= 1


def test_an_end_that_is_refused_forgets_nothing() -> None:
    runtime = Runtime()
    runtime.add("npc", Policy(stacks.model("counter"), wrappers=[Recurrent()]), measure=False)
    runtime.begin_agents("npc", [1, 2])
    runtime.push("npc", 1, {"obs": np.ones(1, np.float32)})
    for ids in ([1, 3], [1, 1]):
        with pytest.raises(AgentError):
            runtime.end_agents("npc", ids)
    assert runtime.waiting("npc") == (1,)
    assert runtime.run()["npc"][1]["action"].tolist() == [1.0]
