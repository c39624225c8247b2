"""The order of locks (docs/decisions/0018-locks.md): hooks may call a runtime, and calls from the wrong place say so and do not wait."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import stacks
from own_process import run

from cervello import AgentError, Batcher, Policy, Recurrent, Runtime
from cervello.agents.membership import deferred
from cervello.agents.membership.lock import ExclusiveLock
from cervello.agents.policy.core import core_of

_HOOKS = """
hook = sys.argv[2]

class Asking(Passive):
    '''Asks the runtime from inside a hook, once another thread waits for the policy under the runtime's lock or could do so.'''
    def attach(self, spec):
        return self, spec
    def ask(self, name):
        if name == hook and busy.is_set():
            time.sleep(0.02)  # the other thread comes to its push
            runtime.waiting("a")
            runtime.push("b", 1, {"obs": [1.0]})
            asked.append(name)
    def begin(self, slots):
        self.ask("begin")
    def end(self, slots):
        self.ask("end")
    def inward(self, view):
        self.ask("inward")
    def commit(self, view):
        self.ask("commit")
    def get_state(self, slots):
        self.ask("get_state")
        return {}
    def set_state(self, slots, state):
        self.ask("set_state")

busy, asked, stop = threading.Event(), [], threading.Event()
runtime = Runtime()
runtime.add("a", Policy(stacks.model("counter"), wrappers=[Asking(), Recurrent()]), measure=False)
runtime.add("b", Policy(stacks.model("counter"), wrappers=[Recurrent()]), measure=False)
runtime.begin_agents("a", list(range(8)))
runtime.begin_agents("b", [1, 2])
saved = runtime.snapshot()

def push():
    while not stop.is_set():
        try:
            runtime.push_batch("a", list(range(8)), columns(8))
            runtime.waiting("a")
        except AgentError:
            pass  # an agent has just ended
other = threading.Thread(target=push)
other.start()
busy.set()
for _ in range(10):
    runtime.run(rows=4)
    runtime.infer_single("a", 3, {"obs": [1.0]})
    runtime.restart_agents("a", [6, 7])
    runtime.snapshot()
    runtime.restore(saved)
stop.set()
other.join()
assert len(asked) > 5, asked
"""


@pytest.mark.parametrize("hook", ["begin", "end", "inward", "commit", "get_state", "set_state"])
def test_a_hook_may_ask_the_runtime_while_another_thread_pushes(hook: str) -> None:
    run(_HOOKS, hook)


_TWO = """
'''Two policies whose end hooks end agents of the other one, from two threads.'''
class Ending(Passive):
    other, agents = None, ()
    def attach(self, spec):
        return self, spec
    def end(self, slots):
        if self.agents:
            time.sleep(0.001)
            self.other.end_agent(self.agents.pop())

hooks = Ending(), Ending()
policies = [Policy(stacks.model("counter"), wrappers=[hook, Recurrent()]) for hook in hooks]
for hook, other, policy in zip(hooks, policies[::-1], policies):
    policy.begin_agents(range(400))
    hook.other, hook.agents = other, list(range(300, 400))
barrier = threading.Barrier(2)
def work(policy):
    barrier.wait()
    for agent in range(200):
        policy.end_agent(agent)
threads = [threading.Thread(target=work, args=(policy,)) for policy in policies]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert [len(policy) for policy in policies] == [100, 100], policies
"""


def test_two_policies_may_end_agents_of_each_other_from_two_threads() -> None:
    run(_TWO)


_THREADS = """
'''Frames on two threads, pushes and ends by a third; every agent is a collected object.'''
import random
gc.set_threshold(50, 3, 3)
sys.setswitchinterval(1e-5)
runtime = Runtime(threads=2)
for name in "ab":
    runtime.add(name, make("long" if name == "b" else "short"), measure=False)
    runtime.begin_agents(name, list(range(20)))
stop = threading.Event()
errors = []
def spawn(first):
    try:
        for agent in range(first, first + 400):
            name, other = "ab" if agent % 2 else "ba"
            runtime.begin_agent(name, agent)
            Unit(lambda name=name, agent=agent: runtime.end_agent(name, agent))
            runtime.push_batch(name, list(range(20)), columns(20))
            runtime.policies[other].infer_batch([agent % 20], columns(1))
    except BaseException as error:
        errors.append(error)
threads = [threading.Thread(target=spawn, args=(1000 * k,)) for k in (1, 2)]
for thread in threads: thread.start()
while any(thread.is_alive() for thread in threads):
    runtime.run(budget_s=0.01)
    runtime.submit().result()
gc.collect()
assert not errors, errors
assert not lost, lost[:3]
assert [len(policy) for policy in runtime.policies.values()] == [20, 20], runtime.policies
runtime.close()
"""


def test_objects_are_collected_on_any_thread_while_frames_run_on_two() -> None:
    run(_THREADS)


def counter() -> Policy:
    policy = Policy(stacks.model("counter"), wrappers=[Recurrent()])
    policy.begin_agents(range(4))
    return policy


def in_time(call: Callable[[], Any]) -> None:
    """Calls on a thread of its own, which must be over soon."""
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive(), "it waits for ever"


@pytest.mark.parametrize(("what", "call"), [
    ("push", lambda runtime: runtime.push("a", 1, {"obs": [1.0]})),
    ("push_batch", lambda runtime: runtime.push_batch("a", [1], {"obs": [[1.0]]})),
    ("waiting", lambda runtime: runtime.waiting("a")), ("run", lambda runtime: runtime.run()),
    ("remove", lambda runtime: runtime.remove("a")),
    ("run", lambda runtime: runtime.submit()), ("snapshot", lambda runtime: runtime.snapshot()),
    ("restore", lambda runtime: runtime.restore(b"")), ("set_level", lambda runtime: runtime.set_level("a", 1, every=2))])
def test_a_call_from_the_middle_of_a_runtimes_own_work_is_refused(what: str, call: Any) -> None:
    runtime = Runtime()
    runtime.add("a", counter())
    before = runtime.snapshot()

    def inside() -> None:
        with runtime._lock, pytest.raises(AgentError, match=f"runtime, {what}: expected a call outside of other calls, got one from a fin"):
            call(runtime)

    in_time(inside)
    assert runtime.snapshot() == before


def test_under_a_runtimes_lock_an_end_waits_and_a_begin_is_refused() -> None:
    runtime, policy = Runtime(), counter()
    runtime.add("a", policy)
    runtime.push_batch("a", [0, 1, 2], {"obs": np.ones((3, 1), np.float32)})
    found: list[Any] = []

    def inside() -> None:
        with runtime._locked("this test"):
            runtime.end_agent("a", 0)
            policy.end_agent(1)
            found.append(len(policy))
            with pytest.raises(AgentError, match="change them outside"):
                runtime.begin_agent("a", 9)
            with pytest.raises(AgentError, match="expected agents that have begun, got 0"):
                runtime.end_agent("a", 0)
            with pytest.raises(AgentError, match="expected agents that have begun, got 77"):
                runtime.end_agents("a", [2, 77])
        found.append(policy.agents)

    in_time(inside)
    assert found == [4, (2, 3)]
    assert runtime.waiting("a") == (1, 2)  # that 1 has ended is the next frame's to say
    assert list(runtime.run()["a"]) == [2]
    assert not deferred.deferred_calls
    assert not deferred.writers


def test_an_end_that_was_noted_comes_before_another_threads_begin() -> None:
    policy, noted, order = counter(), threading.Event(), []

    def meanwhile() -> None:
        policy.end_agent(2)
        noted.set()
        order.append("noted")
        other.start()
        other.join(0.2)  # it waits for the turn
        order.append("over")

    def again() -> None:
        noted.wait(10)
        policy.begin_agent(2)
        order.append("begun")

    other = threading.Thread(target=again)
    policy._core.lock.try_exclusive(meanwhile)
    other.join(10)
    assert order == ["noted", "over", "begun"]
    assert set(policy.agents) == {0, 1, 2, 3}


def test_who_is_there_is_asked_without_a_lock_and_never_in_the_midst_of_a_change() -> None:
    turn, state, seen = ExclusiveLock("it"), [1, 1], []
    done, middle = threading.Event(), threading.Event()

    def change() -> None:
        state[0] = 2
        middle.set()
        done.wait(10)
        state[1] = 2

    writer = threading.Thread(target=lambda: turn.write(change))
    writer.start()
    middle.wait(10)
    reader = threading.Thread(target=lambda: seen.append(turn.read(lambda _: tuple(state), ())))
    reader.start()
    reader.join(0.05)
    assert not seen
    done.set()
    writer.join(10)
    reader.join(10)
    assert seen == [(2, 2)]


def test_a_batcher_refuses_pushes_from_inside_its_own_calls_and_discards_when_they_are_over() -> None:
    policy = counter()
    batcher = Batcher(policy)
    for agent in range(3):
        batcher.push(agent, {"obs": [1.0]})
    found: list[Any] = []
    core = core_of(policy)
    infer = core.infer_batch

    def meanwhile(*arguments: Any, **more: Any) -> Any:
        found.append(batcher.discard(1))
        found.append(batcher.discard(1))
        for call in (lambda: batcher.push(3, {"obs": [1.0]}), lambda: batcher.extend({3: {"obs": [1.0]}}), batcher.clear, batcher.execute,
                     batcher.batched):
            with pytest.raises(AgentError, match="expected a call after the last one has returned"):
                call()
        if len(found) == 2:
            raise ValueError("no")
        return infer(*arguments, **more)

    core.infer_batch = meanwhile  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="no"):
        batcher.execute()
    assert found == [True, False]
    assert len(batcher) == 2
    assert list(batcher.execute()) == [0, 2]
    assert found[2:] == [False, False]
    assert not len(batcher)
    batcher.push(3, {"obs": [1.0]})
