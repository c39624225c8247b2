"""Batches that overlap, calls from inside calls, and processes that fork."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_models
import stacks

import cervello
from cervello import AgentError, Policy, PolicySpec, Recurrent
from cervello.agents import AgentTable
from cervello.agents.membership.ids import noise_numbers
from cervello.agents.membership.lock import ExclusiveLock
from cervello.spec import Wrapper
from cervello.wrappers import Passive

X = {"obs": np.ones((1, 1), np.float32)}


def begin(table: AgentTable, *ids: int) -> list[int]:
    slots = table.free_slots(len(ids))
    table.reserve(table.required_capacity(slots))
    table.prepare(slots, noise_numbers(ids), np.zeros(len(ids), np.int64), np.zeros(len(ids), np.int64))
    table.publish(ids, slots)
    return slots.tolist()  # type: ignore[no-any-return]


def end(table: AgentTable, *ids: int) -> None:
    table.end(ids)


def test_slots_of_a_batch_in_flight_are_given_to_nobody() -> None:
    table = AgentTable()
    first, _ = begin(table, 1, 2)
    table.begin_batch("a")
    table.begin_batch("b")
    end(table, 1)
    assert first not in begin(table, 3, 4, 5)
    table.end_batch("a")
    assert first not in begin(table, 6)
    table.end_batch("b")
    assert begin(table, 7) == [first]


def test_slots_are_used_again_though_batches_overlap_without_a_pause() -> None:
    table = AgentTable()
    table.begin_batch(-1)
    for k in range(1000):
        begin(table, k)
        end(table, k)
        table.begin_batch(k)
        table.end_batch(k - 1)
    assert table.capacity == 64
    assert max(begin(table, *range(60))) < 64


def test_a_batch_that_never_began_may_leave() -> None:
    table = AgentTable()
    table.end_batch("nobody")
    assert begin(table, 1) == [0]


@pytest.mark.parametrize("hook", ["begin", "end"])
def test_a_change_from_inside_a_change_is_refused_and_never_waits_for_itself(hook: str) -> None:
    class Eager(Passive):
        active = False

        def attach(self, spec: PolicySpec) -> tuple[Wrapper, PolicySpec]:
            return self, spec

        def _change(self, when: str) -> None:
            if self.active and hook == when:
                policy.begin_agent("more")

        def begin(self, slots: Any) -> None:
            self._change("begin")

        def end(self, slots: Any) -> None:
            self._change("end")

    wrapper = Eager()
    policy = Policy(stacks.model("counter"), wrappers=[wrapper, Recurrent()])
    policy.begin_agent("a")
    wrapper.active = True
    with pytest.raises(AgentError, match="expected agents to begin and end before or after a decision, got a change from inside"):
        policy.restart_agents(["a"])
    wrapper.active = False
    policy.begin_agent("b")
    assert set(policy.agents) == {"a", "b"}


def test_what_an_id_does_when_it_is_hashed_is_not_done_while_agents_are_looked_up() -> None:
    policy = Policy(stacks.model("counter"), wrappers=[Recurrent()])
    policy.begin_agents(["a", "b"])

    class Sneaky(str):
        def __hash__(self) -> int:
            raise AssertionError("asked for its hash")

        def __eq__(self, other: object) -> bool:
            raise AssertionError("compared")

    runtime = cervello.Runtime()
    runtime.add("it", policy)
    for _ in range(2):
        assert policy.infer_batch([Sneaky("a")], X)["action"].item() >= 1
    policy.begin_agents([Sneaky("c")])
    runtime.push("it", Sneaky("c"), {"obs": [1.0]})
    runtime.push_batch("it", [Sneaky("b"), "a"], {"obs": np.ones((2, 1), np.float32)})
    assert list(runtime.run()["it"]) == ["c", "b", "a"]
    runtime.end_agent("it", Sneaky("c"))
    policy.end_agents([Sneaky("b")])
    assert policy.agents == ("a",)
    assert type(policy.agents[0]) is str


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_decision_from_inside_a_decision_goes_the_long_way(dtype: Any) -> None:
    policy = Policy(stacks.model("counter"), wrappers=[Recurrent()])
    policy.begin_agents(["a", "b"])

    class Asking(list[Any]):
        """An observation that is made while the batch is under way."""

        def __len__(self) -> int:
            policy.infer_batch(["a"], X)
            return super().__len__()

    assert policy.infer_batch(["b"], {"obs": Asking([[1.0]])})["action"].item() == 1
    found: list[Any] = []
    policy._core.lock.try_exclusive(lambda: found.append(policy.infer_batch(["a"], {"obs": np.ones((1, 1), dtype)})["action"].item()))
    assert found[0] > 1
    assert policy.infer_batch(["a"], X)["action"].item() == found[0] + 1


def test_a_change_waits_for_another_threads_turn() -> None:
    turn, done = ExclusiveLock("policy"), threading.Event()
    turn.holder[0] = -1
    thread = threading.Thread(target=lambda: turn.exclusive(done.set))
    thread.start()
    assert not done.wait(0.05)
    del turn.holder[0]
    assert done.wait(5)
    thread.join()
    assert not turn.holder


_FORK = """
import os, sys, signal, threading
sys.path.insert(0, sys.argv[1])
import numpy as np, small_models
from cervello import Model, Policy
from cervello.native.execution import thread_pool
signal.alarm(60)
policy = Policy(Model.load(small_models.feed_forward(64, 512, 8)), threads=2)
policy.begin_agents(range(301))
x = {"obs": np.ones((301, 64), np.float32)}
expected = policy.infer_batch(range(301), x)["action"]
assert thread_pool._spawned
policy._core.lock.holder[0] = -1  # a thread that is not in the child has the exclusive lock, and the lock of states
holding = threading.Event()
threading.Thread(target=lambda: (policy._core.lock.state_lock.acquire(), holding.set(), threading.Event().wait(3600)), daemon=True).start()
holding.wait()
child = os.fork()
if not child:
    signal.alarm(20)
    same = np.array_equal(policy.infer_batch(range(301), x)["action"], expected)
    policy.end_agents(range(300))
    os._exit(0 if same and len(policy) == 1 else 1)
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_has_threads_and_a_turn_of_its_own() -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(cervello.__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", _FORK, str(Path(small_models.__file__).parent)], timeout=120,
                          env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
