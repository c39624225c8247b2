"""Ctrl-C may come after any call: the policy goes on as if the interrupted call had happened, or had not."""

from __future__ import annotations

import dis
import gc
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np
import pytest
import small_models

from cervello import Model, Policy, Runtime
from cervello.agents.policy import policy as home
from cervello.agents.policy.core import PolicyCore

# Where CPython looks for signals: when a function begins, after calls, and when a loop jumps back.
_PLACES = ("RESUME", "CALL", "CALL_FUNCTION_EX", "CALL_KW", "JUMP_BACKWARD")
_PACKAGE = Path(home.__file__).parents[2]
_FILES = {str(_PACKAGE / name) for name in ("agents/policy/policy.py", "agents/policy/core.py", "agents/policy/agents.py",
                                            "agents/policy/by_name.py", "agents/policy/prepared_call.py", "agents/policy/replacement.py",
                                            "agents/membership/lock.py", "agents/policy/membership.py", "agents/membership/table.py",
                                            "agents/membership/slot_lookup.py",
                                            "inferers/fast_path.py")}


_FRAME_FILES = {str(_PACKAGE / "agents" / "runtime" / f"{name}.py")
                for name in ("ready_queue", "policy_queue", "frame", "frame_state", "scheduler", "level_of_detail", "wait_queue",
                             "queue_state", "waiting_agents", "workers", "runtime", "observations", "agents", "registry", "batch")}
_FRAME_FILES |= {str(_PACKAGE / name) for name in ("inferers/deadline_path.py", "batcher/queue.py", "batcher/agent_rows.py",
                                                   "batcher/pad.py", "batcher/observation.py")}


class Interrupt(KeyboardInterrupt):
    """As Ctrl-C raises it."""


@cache
def names(code: CodeType) -> dict[int, str]:
    """Instructions by offset."""
    return {i.offset: i.opname for i in dis.get_instructions(code)}


def interrupted(call: Callable[[], Any], at: int) -> bool:
    """Makes a call and interrupts it at the at-th place; returns whether there was one."""
    left, before = at, dict[FrameType, str]()

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename not in _FILES or left < 0:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            if before.get(frame, "") in _PLACES:
                left -= 1
                if left < 0:
                    raise Interrupt
            before[frame] = names(frame.f_code)[frame.f_lasti]
        return trace

    tracer = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except Interrupt:
        return True
    finally:
        sys.settrace(tracer)
    return False


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.load(small_models.counter())


def everywhere(make: Callable[[], tuple[Policy, Callable[[], Any]]]) -> Iterator[Policy]:
    """Policies whose call was interrupted, at each place in turn; the last one was not."""
    for at in range(10_000):
        policy, call = make()
        done = not interrupted(call, at)
        yield policy
        if done:
            assert at > 5, "nothing was interrupted"
            return


def summed(policy: Policy, agents: list[int]) -> list[float]:
    """What each agent has summed up, found by adding 0."""
    return [float(policy.infer_batch([agent], {"obs": np.zeros((1, 1), np.float32)})["action"].item()) for agent in agents]


@pytest.mark.parametrize("prepared", [False, True])
@pytest.mark.parametrize("out", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_decision_that_is_interrupted_is_made_for_all_or_for_none(model: Model, prepared: bool, out: bool, dtype: Any) -> None:
    def make() -> tuple[Policy, Callable[[], Any]]:
        policy = Policy(model, wrappers="auto")
        policy.begin_agents(range(5))
        x = {"obs": np.ones((5, 1), dtype)}
        if prepared:
            policy.infer_batch([0, 1, 2, 3, 4], {"obs": np.zeros((5, 1), dtype)})
        given = {"action": np.zeros((5, 1), np.float32)} if out else None
        return policy, lambda: policy.infer_batch([0, 1, 2, 3, 4], x, out=given)

    for policy in everywhere(make):
        first = summed(policy, [0])[0]
        assert first in (0, 1)
        found = policy.infer_batch([0, 1, 2, 3, 4], {"obs": np.ones((5, 1), np.float32)})["action"]
        assert (found == first + 1).all()
        policy.end_agent(0)  # would wait for ever for a turn that was lost
        policy.begin_agents(range(100, 300))
        assert summed(policy, [1, 299]) == [first + 1, 0]


@pytest.mark.parametrize("change", ["begin", "end", "restart"])
def test_a_change_that_is_interrupted_is_made_for_all_or_for_none(model: Model, change: str) -> None:
    some = [900, 901, 902]

    def make() -> tuple[Policy, Callable[[], Any]]:
        policy = Policy(model, wrappers="auto")
        policy.begin_agents(range(62))  # for three more, room has to be made
        if change != "begin":
            policy.begin_agents(some)
        policy.infer_batch(policy.agents, {"obs": np.full((len(policy), 1), 7, np.float32)})
        return policy, lambda: getattr(policy, f"{change}_agents")(some)

    for policy in everywhere(make):
        assert len(policy) in ((65,) if change == "restart" else (62, 65))
        there = [agent for agent in some if agent in policy]
        found = set(summed(policy, there))
        assert len(found) <= 1
        assert found <= {"begin": {0}, "end": {7}, "restart": {0, 7}}[change]
        policy.end_agents(there)  # would wait for ever for a turn that was lost
        policy.begin_agents(range(1000, 1200))
        assert summed(policy, [0, 61, 1000, 1199]) == [7, 7, 0, 0]


def test_a_batch_that_ends_after_it_was_put_back_is_given_back_once(model: Model) -> None:
    """As after two interrupts, while a helper of the frame still decides: the next batch's rows stay its own."""
    runtime = Runtime()
    runtime.add("a", Policy(model, wrappers="auto"), measure=False)
    runtime.begin_agents("a", list(range(200)))
    queue = runtime._queues["a"]
    for agent in range(14):
        runtime.push("a", agent, {"obs": np.full(1, agent, np.float32)})
    batch = queue.dequeue(5, 0)
    ids, columns = queue.decide(batch)
    queue.requeue(batch, None)
    queue.decided(batch, ids, columns, 0)
    following = queue.dequeue(10, 0)
    for agent in range(100, 140):
        runtime.push("a", agent, {"obs": np.full(1, -7, np.float32)})
    assert [row.item() for row in following.columns["obs"]] == list(following.ids)
    queue.decided(following, *queue.decide(following), 0)
    assert queue.wait_queue.queue.pad.pin_count == 0


def hurried(n_run: int) -> Callable[..., Any]:
    """An `infer_within` that has time for so many rows."""
    within = PolicyCore.infer_within

    def infer_within(policy: PolicyCore, ids: Any, inputs: Any, expected_version: int, limit: Any) -> Any:
        limit.guaranteed_rows, limit.chunk = min(n_run, len(ids)), 0
        return within(policy, ids, inputs, expected_version, limit)

    return infer_within


@pytest.mark.parametrize("budget_s", [10.0, None])
@pytest.mark.parametrize("n_run", [2, 8, 10])
def test_a_frame_that_is_interrupted_loses_nobody_whom_its_batch_had_no_time_for(model: Model, n_run: int, budget_s: float | None,
                                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ten agents the batch decides for some; wherever the interrupt comes, all ten have decided after the next frame."""
    monkeypatch.setitem(globals(), "_FILES", _FILES | _FRAME_FILES)
    monkeypatch.setattr(PolicyCore, "infer_within", hurried(n_run))
    for at in range(10_000):
        runtime = Runtime()
        runtime.add("a", Policy(model, wrappers="auto"))
        runtime.begin_agents("a", list(range(12)))
        runtime.push_batch("a", list(range(10)), {"obs": np.ones((10, 1), np.float32)})
        done = not interrupted(lambda runtime=runtime: runtime.run(budget_s=budget_s), at)
        assert gc.isenabled()
        queue = runtime._queues["a"]
        runtime.push("a", 11, {"obs": np.ones(1, np.float32)})
        for _ in range(6):
            frame = runtime.run(budget_s=10.0)
            assert not frame.errors
            assert set(queue.wait_queue.enqueued_frame) == set(queue.wait_queue.queue.generations) == set(runtime.waiting("a"))
        assert not runtime.waiting("a")
        assert not queue.in_flight
        # Twice, where the interrupt came between a decision and its result.
        assert set(summed(runtime.policies["a"], [*range(10), 11])) <= {1.0, 2.0}
        if done:
            assert at > 50
            return


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("n_run", [2, 8])
def test_a_push_that_is_interrupted_loses_nobody_whom_the_last_batch_had_no_time_for(model: Model, n_run: int, batch: bool,
                                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    """What a batch leaves to do is done by the next push: wherever the interrupt comes, all ten decide, and once."""
    monkeypatch.setitem(globals(), "_FILES", _FILES | _FRAME_FILES)
    for at in range(10_000):
        runtime = Runtime()
        runtime.add("a", Policy(model, wrappers="auto"))
        runtime.begin_agents("a", list(range(12)))
        runtime.push_batch("a", list(range(10)), {"obs": np.ones((10, 1), np.float32)})
        with monkeypatch.context() as patch:
            patch.setattr(PolicyCore, "infer_within", hurried(n_run))
            assert list(runtime.run(budget_s=10.0)["a"]) == list(range(n_run))

        def push(runtime: Runtime = runtime) -> None:
            if batch:
                runtime.push_batch("a", [11, 9], {"obs": np.ones((2, 1), np.float32)})
            else:
                runtime.push("a", 11, {"obs": np.ones(1, np.float32)})

        done = not interrupted(push, at)
        assert set(runtime.waiting("a")) - {11} == set(range(n_run, 10))
        frame = runtime.run(budget_s=10.0)
        assert not frame.errors
        assert not runtime.waiting("a")
        assert set(frame["a"]) - {11} == set(range(n_run, 10))
        assert set(summed(runtime.policies["a"], list(range(10)))) == {1.0}
        queue = runtime._queues["a"]
        assert not queue.in_flight
        assert queue.wait_queue.queue.pad.pin_count == 0
        if done:
            assert at > 30
            return


def runtimes(model: Model, call: Callable[[Runtime], Any], waiting: int = 10) -> Iterator[Runtime]:
    """Runtimes whose call was interrupted, at each place in turn; the last one was not. Ten agents of twelve wait at first."""
    for at in range(10_000):
        runtime = Runtime()
        runtime.add("a", Policy(model, wrappers="auto"))
        runtime.begin_agents("a", list(range(12)))
        if waiting:
            ones(runtime, range(waiting))
        done = not interrupted(lambda runtime=runtime: call(runtime), at)
        assert gc.isenabled()
        yield runtime
        if done:
            assert at > 10
            return


def ones(runtime: Runtime, agents: Any) -> None:
    agents = list(agents)
    runtime.push_batch("a", agents, {"obs": np.ones((len(agents), 1), np.float32)})


def one(runtime: Runtime) -> None:
    runtime.push("a", 3, {"obs": np.ones(1, np.float32)})


@pytest.mark.parametrize(("push", "crowd"), [(lambda runtime: ones(runtime, range(10)), set(range(10))), (one, {3})])
def test_who_pushes_again_after_an_interrupt_decides(model: Model, push: Callable[[Runtime], Any], crowd: set[int],
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "_FILES", _FILES | _FRAME_FILES)
    for runtime in runtimes(model, push, waiting=0):
        push(runtime)
        frame = runtime.run(budget_s=10.0)
        for _ in range(2):
            assert frame["a"].skipped == runtime.waiting("a")
            assert set(frame["a"]) | set(frame["a"].skipped) == crowd
            if not frame["a"].skipped:
                break
            frame = runtime.run(budget_s=10.0)
        assert set(frame["a"]) == crowd


@pytest.mark.parametrize("budget_s", [10.0, None])
def test_a_part_of_a_line_that_is_interrupted_stops_nobody(model: Model, budget_s: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "_FILES", _FILES | _FRAME_FILES)
    for runtime in runtimes(model, lambda runtime: runtime.run(budget_s=budget_s, rows=4)):
        ones(runtime, [11])
        frame = runtime.run()
        assert frame["a"].skipped == runtime.waiting("a") == ()
        assert set(summed(runtime.policies["a"], [*range(10), 11])) <= {1.0, 2.0}
        queue = runtime._queues["a"]
        assert (queue.in_flight, queue.wait_queue.queue.pad.pin_count) == ([], 0)


def test_a_batch_with_a_limit_that_fails_and_is_interrupted_loses_nobody(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "_FILES", _FILES | _FRAME_FILES)
    infer = PolicyCore.infer_within

    def fails(policy: PolicyCore, ids: Any, inputs: Any, expected_version: int, limit: Any) -> Any:
        monkeypatch.setattr(PolicyCore, "infer_within", hurried(6))
        limit.guaranteed_rows, limit.chunk = 4, 0
        raise ValueError("no")

    def run(runtime: Runtime) -> None:
        monkeypatch.setattr(PolicyCore, "infer_within", fails)
        runtime.run(budget_s=10.0)

    for runtime in runtimes(model, run):
        monkeypatch.setattr(PolicyCore, "infer_within", infer)
        for _ in range(3):
            runtime.run(budget_s=10.0)
        assert runtime.waiting("a") == ()
        assert set(summed(runtime.policies["a"], list(range(10)))) <= {1.0, 2.0}


@pytest.mark.parametrize("leave", [lambda runtime: runtime.remove("a"), lambda runtime: runtime.clear()])
def test_a_policy_whose_leave_is_interrupted_is_there_or_not(model: Model, leave: Callable[[Runtime], Any],
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "_FILES", _FILES | _FRAME_FILES)
    for runtime in runtimes(model, leave):
        frame = runtime.run(budget_s=10.0)
        assert set(frame) == set(runtime.policies)
        assert not frame.skipped


@pytest.mark.parametrize(("batch", "dtype", "least"), [(False, np.float32, 2), (False, np.float64, 20), (True, np.float32, 20)],
                         ids=["compiled", "through-python", "batch"])
def test_a_push_that_is_interrupted_mixes_up_nobodys_observations(model: Model, batch: bool, dtype: Any, least: int,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "_FILES", _FILES | _FRAME_FILES)
    for at in range(10_000):
        runtime = Runtime()
        runtime.add("a", Policy(model, wrappers="auto"), measure=False)
        runtime.begin_agents("a", list(range(12)))
        runtime.push("a", 5, {"obs": np.full(1, 5, np.float32)})

        def push(agents: list[int], runtime: Runtime = runtime) -> None:
            if batch:
                runtime.push_batch("a", agents, {"obs": np.array(agents, np.float32)[:, None]})
            else:
                runtime.push("a", agents[0], {"obs": np.full(1, agents[0], dtype)})

        done = not interrupted(lambda push=push: push([7, 5, 8]), at)
        push([9, 3])
        frame = runtime.run()
        assert {agent: row["action"].item() for agent, row in frame["a"].items()} == {agent: float(agent) for agent in frame["a"]}
        assert set(frame["a"]) >= ({5, 9, 3} if batch else {5, 9})
        assert not frame.errors
        if done:
            assert at > least
            return
