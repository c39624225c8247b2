"""Many policies in one runtime: who decides, who waits, and that a policy that fails harms nobody else."""

from __future__ import annotations

import gc
import signal
import threading
from typing import Any

import numpy as np
import pytest
import small_models
from stacks import model

import cervello
from cervello import AgentError, ConfigurationError, Epsilon, ExecutionError, InputError, Policy, Recurrent, Runtime
from cervello.inferers.testing import same_bits
from cervello.wrappers import Passive


def counting(name: str = "counter") -> Policy:
    return Policy(model("counter"), wrappers=[Recurrent()])


def one(value: float) -> dict[str, Any]:
    return {"obs": np.full(1, value, np.float32)}


@pytest.fixture
def runtime() -> Runtime:
    """Two policies that sum observations, three agents each."""
    made = Runtime()
    for name in ("a", "b"):
        made.add(name, counting(), measure=False)
        made.begin_agents(name, [1, 2, 3])
    return made


def sums(frame: Any, name: str) -> dict[Any, float]:
    return {agent: float(row["action"][0]) for agent, row in frame[name].items()}


# Frames without a clock ---------------------------------------------------------------------------------------------------


def test_everybody_who_was_pushed_decides(runtime: Runtime) -> None:
    runtime.push("a", 1, one(1))
    runtime.push("b", 3, one(5))
    runtime.push_batch("a", [3, 2], {"obs": np.array([[3], [2]], np.float32)})
    frame = runtime.run()
    assert sums(frame, "a") == {1: 1, 3: 3, 2: 2}
    assert sums(frame, "b") == {3: 5}
    assert (frame.number, frame.n_rows, frame["a"].skipped, frame["a"].version) == (0, 4, (), 1)
    assert runtime.waiting("a") == ()
    empty = runtime.run()
    assert not empty
    assert empty["a"] == {}
    assert empty.number == 1


def test_the_results_are_the_policies_own(runtime: Runtime) -> None:
    policy = Policy(model("full"), wrappers=[Recurrent(), Epsilon()], seed=4)
    twin = Policy(model("full"), wrappers=[Recurrent(), Epsilon()], seed=4)
    runtime.add("full", policy)
    runtime.begin_agents("full", range(5), stream=3)
    twin.begin_agents(range(5), stream=3)
    random = np.random.default_rng(0)
    for _ in range(4):
        x = {name: random.random((5, *spec.shape)).astype(spec.dtype) for name, spec in policy.inputs.items()}
        runtime.push_batch("full", [4, 2, 0, 1, 3], x)
        frame = runtime.run()
        expected = twin.infer_batch([4, 2, 0, 1, 3], x)
        for row, agent in enumerate([4, 2, 0, 1, 3]):
            assert all(same_bits(np.asarray(frame["full"][agent][name]), expected[name][row]) for name in expected)


def test_the_newest_observation_counts_and_keeps_its_place(runtime: Runtime) -> None:
    for agent in (2, 1, 3):
        runtime.push("a", agent, one(agent))
    runtime.push("a", 2, one(20))
    assert runtime.waiting("a") == (2, 1, 3)
    assert sums(runtime.run(rows=1), "a") == {2: 20}


def test_rows_decide_who_runs_the_longest_waiting_first(runtime: Runtime) -> None:
    order: list[Any] = []
    for _ in range(6):
        for name in ("a", "b"):
            for agent in (1, 2, 3):
                runtime.push(name, agent, one(1))
        frame = runtime.run(rows=2)
        assert frame.n_rows == 2
        order += [(name, agent) for name in frame for agent in frame[name]]
        skipped = [(name, agent) for name in ("a", "b") for agent in frame[name].skipped]
        assert len(skipped) == 4
    assert sorted(order[:6]) == sorted(order[6:]) == [(name, agent) for name in "ab" for agent in (1, 2, 3)]


def test_frames_by_rows_are_the_same_again() -> None:
    def play() -> list[Any]:
        runtime = Runtime()
        for name in ("a", "b", "c"):
            runtime.add(name, counting(), measure=False)
            runtime.begin_agents(name, range(7), every=3 if name == "c" else 1)
        found = []
        for step in range(12):
            for name in ("a", "b", "c"):
                for agent in range(7):
                    if (agent + step) % 4:
                        runtime.push(name, agent, one(agent))
            frame = runtime.run(rows=5)
            found.append({name: (sums(frame, name), actions.skipped) for name, actions in frame.items()})
        return found

    assert play() == play()


def test_deterministic_is_said_agent_by_agent() -> None:
    runtime = Runtime()
    runtime.add("noisy", Policy(model("noise_alone"), wrappers=[Epsilon()], seed=2), measure=False)
    runtime.begin_agents("noisy", range(4))
    x = {"obs": np.zeros(4, np.float32)}
    for agent in range(4):
        runtime.push("noisy", agent, x, deterministic=agent % 2 == 0)
    found = runtime.run()["noisy"]
    assert [bool(np.any(found[agent]["action"])) for agent in range(4)] == [False, True, False, True]
    runtime.push_batch("noisy", [0, 1], {"obs": np.zeros((2, 4))}, deterministic=True)
    runtime.push("noisy", 1, x)  # the newest push counts
    found = runtime.run()["noisy"]
    assert [bool(np.any(found[agent]["action"])) for agent in (0, 1)] == [False, True]


def test_one_agent_may_be_asked_at_once(runtime: Runtime) -> None:
    runtime.push("a", 1, one(1))
    assert runtime.infer_single("a", 1, one(10))["action"] == 10
    assert runtime.waiting("a") == (1,)
    assert sums(runtime.run(), "a") == {1: 11}


def test_a_swap_between_frames_shows_in_the_version(runtime: Runtime) -> None:
    runtime.push("a", 1, one(1))
    runtime.run()
    runtime.policies["a"].replace(small_models.counter())
    runtime.push("a", 1, one(1))
    frame = runtime.run()
    assert frame["a"].version == 2
    assert sums(frame, "a") == {1: 2}


@pytest.mark.parametrize("options", [{}, {"rows": 3}, {"budget_s": 60.0}])
def test_agents_that_differ_in_a_value_all_rows_share_run_in_batches_of_their_own(runtime: Runtime, options: Any) -> None:
    data = small_models.graph([small_models.node("Mul", "obs gain", "action")],
                              {"obs": (small_models.FLOAT, ("N", 2)), "gain": (small_models.FLOAT, (1,))},
                              {"action": (small_models.FLOAT, ("N", 2))}, {})
    policy = cervello.load(data)
    assert policy.inputs["gain"].batch_axis is None
    runtime.add("shared", policy)
    runtime.begin_agents("shared", range(3))
    for agent, gain in enumerate((2.0, 3.0, 2.0)):
        runtime.push("shared", agent, {"obs": np.ones(2), "gain": np.array([gain])})
    runtime.snapshot()
    found = {}
    for _ in range(3):
        found.update({agent: row["action"].tolist() for agent, row in runtime.run(**options)["shared"].items()})
    assert found == {0: [2, 2], 1: [3, 3], 2: [2, 2]}


def test_agents_may_differ_in_a_value_all_rows_share_when_they_are_pushed_together(runtime: Runtime) -> None:
    data = small_models.graph([small_models.node("Mul", "obs gain", "action")],
                              {"obs": (small_models.FLOAT, ("N", 2)), "gain": (small_models.FLOAT, (1,))},
                              {"action": (small_models.FLOAT, ("N", 2))}, {})
    runtime.add("shared", cervello.load(data))
    runtime.begin_agents("shared", range(6))
    for first, gain in ((0, 2.0), (3, 5.0)):
        runtime.push_batch("shared", range(first, first + 3), {"obs": np.ones((3, 2), np.float32), "gain": np.array([gain], np.float32)})
    found = {agent: row["action"].tolist() for agent, row in runtime.run()["shared"].items()}
    assert found == {agent: [2, 2] if agent < 3 else [5, 5] for agent in range(6)}


def test_of_equal_policies_the_one_that_was_added_first_comes_first(runtime: Runtime) -> None:
    runtime.push("b", 1, one(1))
    runtime.push("a", 1, one(1))
    state = runtime.snapshot()
    assert list(runtime.run(rows=1)) == ["a"]
    runtime.restore(state)
    assert list(runtime.run(rows=1)) == ["a"]
    runtime.set_level("b", 1, every=1, priority=1.0)  # may differ from now on, and does not
    runtime.restore(state)
    assert list(runtime.run(rows=1)) == ["a"]


# Adding and removing ------------------------------------------------------------------------------------------------------


def test_removed_policies_report_whose_observations_are_orphaned(runtime: Runtime) -> None:
    runtime.push("a", 3, one(1))
    runtime.push("a", 1, one(1))
    runtime.push("b", 2, one(1))
    policy = runtime.policies["a"]
    assert runtime.remove("a") == (3, 1)
    assert "a" not in runtime
    assert policy.agents == (1, 2, 3)
    assert runtime.clear() == {"b": (2,)}
    assert len(runtime) == 0
    assert not runtime.run()


@pytest.mark.parametrize("call", [
    lambda r: r.push("c", 1, one(1)), lambda r: r.push_batch("c", [1], {}), lambda r: r.begin_agent("c", 1), lambda r: r.end_agent("c", 1),
    lambda r: r.remove("c"), lambda r: r.infer_single("c", 1, one(1)), lambda r: r.set_level("c", 1), lambda r: r.waiting(["c"]),
    lambda r: r.restart_agents("c", [1])])
def test_an_unknown_policy_is_named(runtime: Runtime, call: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"expected a policy among \['a', 'b'\], got \[?'c'"):
        call(runtime)


@pytest.mark.parametrize(("name", "make", "message"), [
    ("a", counting, "expected a new name, got 'a'"), ("", counting, "expected a name, got ''"), (3, counting, "expected a name, got 3"),
    ("c", lambda: "racer.onnx", "expected a cervello.Policy, got 'racer.onnx'")])
def test_what_cannot_be_added_is_refused(runtime: Runtime, name: Any, make: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        runtime.add(name, make())
    assert list(runtime.policies) == ["a", "b"]


def test_a_policy_has_one_name_only(runtime: Runtime) -> None:
    with pytest.raises(ConfigurationError, match="expected a policy of its own, got one that is here under another name"):
        runtime.add("c", runtime.policies["a"])


# Pushes that do not fit ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("push", "error", "message"), [
    (lambda r: r.push("a", 9, one(1)), AgentError, "expected agents that have begun, got 9"),
    (lambda r: r.push("a", 1, {"obs": [1.0, 2.0]}), InputError, r"agent 1, input 'obs': expected \(1,\) float32, got \(2,\)"),
    (lambda r: r.push("a", 1, {}), InputError, "missing"),
    (lambda r: r.push("a", 1, one(1), deterministic="yes"), InputError, "deterministic: expected True or False, got 'yes'"),
    (lambda r: r.push_batch("a", [1, 9], {"obs": np.zeros((2, 1))}), AgentError, "got 9"),
    (lambda r: r.push_batch("a", [1, 1], {"obs": np.zeros((2, 1))}), AgentError, "expected distinct agents, got 1 twice"),
    (lambda r: r.push_batch("a", [1, 2], {"obs": np.zeros((3, 1))}), InputError, r"expected \(2, 1\) float32, got \(3, 1\)"),
    (lambda r: r.push_batch("a", [1, 2], {"x": np.zeros((2, 1))}), InputError, "unknown"),
    (lambda r: r.push_batch("a", {1, 2}, {"obs": np.zeros((2, 1))}), AgentError, "expected a sequence of ids, got a set"),
    (lambda r: r.push_batch("a", [[1], [2]], {"obs": np.zeros((2, 1))}), AgentError, r"expected ints or strings, got \[1\]"),
    (lambda r: r.end_agents("a", [[1], [2]]), AgentError, r"expected ints or strings, got \[1\]"),
    (lambda r: r.restart_agents("a", [2, [1]]), AgentError, r"expected ints or strings, got \[1\]"),
    (lambda r: r.infer_single(["a"], 1, one(1)), ConfigurationError, r"expected a policy among \['a'.*\], got \['a'\]"),
])
def test_a_push_that_does_not_fit_changes_nothing(runtime: Runtime, push: Any, error: type, message: str) -> None:
    runtime.push("a", 2, one(4))
    with pytest.raises(error, match=message):
        push(runtime)
    assert runtime.waiting("a") == (2,)
    assert sums(runtime.run(), "a") == {2: 4}


@pytest.mark.parametrize(("options", "message"), [
    ({"budget_s": 0}, "budget_s: expected seconds above 0, got 0"), ({"budget_s": -1.0}, "got -1.0"),
    ({"budget_s": float("nan")}, "got nan"),
    ({"budget_s": "1"}, "got '1'"), ({"budget_s": float("inf")}, "got inf"), ({"budget_s": True}, "got True"),
    ({"rows": 0}, "rows: expected at least 1, got 0"), ({"rows": 1.5}, "got 1.5"), ({"rows": True}, "got True")])
def test_a_budget_of_nothing_is_refused(runtime: Runtime, options: Any, message: str) -> None:
    runtime.push("a", 1, one(1))
    for call in (runtime.run, runtime.submit):
        with pytest.raises(ConfigurationError, match=message):
            call(**options)
    assert sums(runtime.run(), "a") == {1: 1}


# Agents come and go -------------------------------------------------------------------------------------------------------


def test_what_an_agent_waited_with_ends_with_it(runtime: Runtime) -> None:
    for agent in (1, 2, 3):
        runtime.push("a", agent, one(agent))
    runtime.end_agent("a", 2)
    runtime.begin_agent("a", 2)
    assert sums(runtime.run(), "a") == {1: 1, 3: 3}
    runtime.push("a", 1, one(1))
    runtime.restart_agents("a", [1])
    assert not runtime.run()
    runtime.push("a", 1, one(7))
    assert sums(runtime.run(), "a") == {1: 7}


def test_agents_that_ended_behind_the_runtimes_back_are_named_and_harm_nobody(runtime: Runtime) -> None:
    for agent in (1, 2, 3):
        runtime.push("a", agent, one(agent))
    runtime.policies["a"].end_agent(2)
    runtime.policies["a"].restart_agents([3])
    frame = runtime.run()
    assert sums(frame, "a") == {1: 1}
    assert set(frame["a"].errors) == {2, 3}
    assert isinstance(frame.errors["a"], AgentError)
    assert "expected agents that have not ended since their push, got [2, 3]" in str(frame.errors["a"])
    runtime.push("a", 3, one(9))
    assert sums(runtime.run(), "a") == {3: 9}


# Errors -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("options", [{}, {"rows": 100}, {"budget_s": 60.0}])
def test_a_policy_that_fails_harms_no_other_and_keeps_its_queue(threads: int, options: Any) -> None:
    runtime = Runtime(threads=threads)
    for name in ("a", "lookup", "b"):
        runtime.add(name, Policy(model("lookup")) if name == "lookup" else counting())
        runtime.begin_agents(name, [1, 2])
    for name in ("a", "b"):
        runtime.push_batch(name, [1, 2], {"obs": np.ones((2, 1))})
    runtime.push("lookup", 1, {"index": np.int64(99)})
    runtime.push("lookup", 2, {"index": np.int64(3)})
    frame = runtime.run(**options)
    assert sums(frame, "a") == sums(frame, "b") == {1: 1, 2: 1}
    assert set(frame["lookup"].errors) == {1, 2}
    assert all(isinstance(error, ExecutionError) for error in frame["lookup"].errors.values())
    assert frame["lookup"].skipped == runtime.waiting("lookup") == (1, 2)
    runtime.push("lookup", 1, {"index": np.int64(1)})
    assert {agent: row["action"].tolist() for agent, row in runtime.run(**options)["lookup"].items()} == {1: [2, 3], 2: [6, 7]}


def test_a_policy_that_fails_goes_to_the_back_of_the_line() -> None:
    runtime = Runtime()
    runtime.add("broken", Policy(model("lookup")), measure=False)
    runtime.add("a", counting(), measure=False)
    runtime.begin_agent("broken", 1)
    runtime.begin_agents("a", [1, 2])
    runtime.push("broken", 1, {"index": np.int64(99)})
    runtime.push_batch("a", [1, 2], {"obs": np.ones((2, 1))})
    assert runtime.run(rows=1)["broken"].errors
    assert sums(runtime.run(rows=1), "a") == {1: 1}
    assert sums(runtime.run(rows=1), "a") == {2: 1}
    assert runtime.run(rows=1)["broken"].errors


def test_an_interrupt_loses_nobody(runtime: Runtime) -> None:
    class Interrupting(Passive):
        armed = True

        def attach(self, spec: Any) -> Any:
            return self, spec

        def outward(self, view: Any) -> None:
            if self.armed:
                raise KeyboardInterrupt

    wrapper = Interrupting()
    runtime.add("slow", Policy(model("counter"), wrappers=[wrapper, Recurrent()]), measure=False)
    runtime.begin_agents("slow", [5, 6, 7])
    for options in ({"rows": 6}, {}, {"budget_s": 1.0}):
        wrapper.armed = True
        for agent in (7, 5, 6):
            runtime.push("slow", agent, one(agent), deterministic=agent == 5)
            runtime.push("b", agent - 4, one(1))
        before = runtime.waiting("slow")
        with pytest.raises(KeyboardInterrupt):
            runtime.run(**options)  # type: ignore[arg-type]
        assert runtime.waiting("slow") == before == (7, 5, 6)
        wrapper.armed = False
        assert set(runtime.run()["slow"]) == {5, 6, 7}


# Frames on other threads --------------------------------------------------------------------------------------------------


class Gate(Passive):
    """Holds a batch until it is let go."""

    def __init__(self) -> None:
        self.entered, self.go = threading.Event(), threading.Event()

    def attach(self, spec: Any) -> Any:
        return self, spec

    def outward(self, view: Any) -> None:
        self.entered.set()
        assert self.go.wait(20)


@pytest.mark.parametrize("options", [{}, {"rows": 10}, {"budget_s": 30.0}])
def test_a_submitted_frame_is_decided_while_the_game_goes_on(options: Any) -> None:
    gate = Gate()
    with Runtime() as runtime:
        runtime.add("slow", Policy(model("counter"), wrappers=[gate, Recurrent()]), measure=False)
        runtime.begin_agents("slow", [1, 2, 3])
        for agent in (1, 2, 3):
            runtime.push("slow", agent, one(agent))
        if "budget_s" in options:  # a cold policy is tried with one row
            runtime._queues["slow"].costs.initialize((1, 1e-6), (2, 2e-6))
        future = runtime.submit(**options)
        assert gate.entered.wait(20)
        runtime.push("slow", 2, one(20))  # for the next frame
        runtime.end_agent("slow", 3)
        with pytest.raises(ConfigurationError, match="expected one frame at a time"):
            runtime.run()
        with pytest.raises(ConfigurationError, match="snapshot: expected no frame under way"):
            runtime.snapshot()
        gate.go.set()
        frame = future.result(20)
        assert sums(frame, "slow") == {1: 1, 2: 2, 3: 3}
        assert frame["slow"].skipped == (2,)
        assert sums(runtime.run(), "slow") == {2: 22}


def test_who_is_pushed_during_a_frame_is_not_taken_with_those_who_wait_in_it() -> None:
    gate = Gate()
    with Runtime() as runtime:
        for name, wrappers in (("slow", [gate, Recurrent()]), ("quick", [Recurrent()])):
            runtime.add(name, Policy(model("counter"), wrappers=wrappers), measure=False)
            runtime._queues[name].costs.initialize((1, 1e-6), (2, 2e-6))
            runtime.begin_agents(name, [1, 2])
            runtime.push(name, 1, one(1))
        future = runtime.submit(budget_s=100.0)
        assert gate.entered.wait(20)
        runtime.push("quick", 2, one(2))  # for the next frame
        gate.go.set()
        assert sums(future.result(20), "quick") == {1: 1}
        assert sums(runtime.run(), "quick") == {2: 2}


def test_a_submitted_frame_that_fails_puts_back_only_those_without_a_newer_observation() -> None:
    gate = Gate()
    runtime = Runtime()
    runtime.add("broken", Policy(model("lookup"), wrappers=[]), measure=False)
    runtime.add("slow", Policy(model("counter"), wrappers=[gate, Recurrent()]), measure=False)
    runtime.begin_agents("broken", [1, 2, 3])
    for agent in (1, 2, 3):
        runtime.push("broken", agent, {"index": np.int64(99)})
    queue = runtime._queues["broken"]
    taken = queue.dequeue(3, 0)
    runtime.push("broken", 2, {"index": np.int64(1)})
    runtime.end_agent("broken", 1)
    queue.requeue(taken, 1)
    assert runtime.waiting("broken") == (2, 3)
    assert queue.wait_queue.queue.front(2)[1]["index"].tolist() == [1, 99]


@pytest.mark.parametrize("change", ["end", "restart"])
def test_agents_that_leave_during_a_frame_are_left_out_of_it(change: str) -> None:
    gate = Gate()
    with Runtime() as runtime:
        runtime.add("slow", Policy(model("counter"), wrappers=[gate, Recurrent()]), measure=False)
        runtime.add("a", counting(), measure=False)
        runtime.begin_agent("slow", 1)
        runtime.begin_agents("a", range(50))
        runtime.push("slow", 1, one(1))
        runtime.push_batch("a", range(50), {"obs": np.full((50, 1), 7, np.float32)})
        future = runtime.submit()
        assert gate.entered.wait(20)
        (runtime.end_agents if change == "end" else runtime.restart_agents)("a", [3, 4])
        gate.go.set()
        frame = future.result(20)
        assert set(frame["a"]) == set(range(50)) - {3, 4}
        assert not frame.errors
        if change == "restart":
            runtime.push("a", 3, one(1))
            assert sums(runtime.run(), "a") == {3: 1}


def test_a_batch_that_everybody_has_left_costs_nothing() -> None:
    gate = Gate()
    with Runtime() as runtime:
        runtime.add("slow", Policy(model("counter"), wrappers=[gate, Recurrent()]), measure=False)
        runtime.begin_agents("slow", [1, 2])
        queue = runtime._queues["slow"]
        queue.costs.initialize((1, 1e-6), (2, 2e-6))
        runtime.push("slow", 1, one(1))
        decide = queue.decide

        def late(taken: Any) -> Any:
            runtime.end_agent("slow", 1)
            return decide(taken)

        queue.decide = late  # type: ignore[method-assign]
        frame = runtime.run(budget_s=10.0)
        assert (frame.n_rows, frame.errors, dict(frame)) == (0, {}, {})


def test_agents_without_an_order_cannot_have_streams_one_by_one(runtime: Runtime) -> None:
    with pytest.raises(AgentError, match="expected a sequence of ids, got a set"):
        runtime.begin_agents("a", {8, 9}, stream=[1, 2])
    runtime.begin_agents("a", {8, 9}, stream=3)
    assert {8, 9} <= set(runtime.policies["a"].agents)


def test_a_frame_that_was_submitted_cannot_be_cancelled() -> None:
    gate = Gate()
    with Runtime() as runtime:
        runtime.add("slow", Policy(model("counter"), wrappers=[gate, Recurrent()]), measure=False)
        runtime.begin_agent("slow", 1)
        runtime.push("slow", 1, one(1))
        future = runtime.submit()
        assert not future.cancel()
        gate.go.set()
        assert sums(future.result(20), "slow") == {1: 1}
        runtime.push("slow", 1, one(1))
        assert sums(runtime.run(), "slow") == {1: 2}


def test_frames_may_be_submitted_from_a_futures_callback(runtime: Runtime) -> None:
    found: list[Any] = []

    def again(future: Any) -> None:
        runtime.push("a", 2, one(5))
        found.append(runtime.submit())

    runtime.push("a", 1, one(1))
    future = runtime.submit()
    future.add_done_callback(again)
    future.result(20)
    while not found:
        threading.Event().wait(0.01)
    assert sums(found[0].result(20), "a") == {2: 5}
    runtime.close()
    runtime.push("a", 2, one(1))
    assert sums(runtime.submit().result(20), "a") == {2: 6}
    runtime.close()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers here")
def test_an_interrupt_at_any_moment_leaves_a_runtime_that_goes_on() -> None:
    class Interrupt(BaseException):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupt

    runtime = Runtime()
    for name in ("a", "b"):
        runtime.add(name, counting(), measure=False)
        runtime.begin_agents(name, range(3))
    x = {"obs": np.ones((3, 1), np.float32)}
    before = signal.signal(signal.SIGALRM, interrupt)
    hits = 0
    gc.disable()  # callbacks of other libraries run in a collection, and an interrupt of theirs is nobody's
    try:
        for attempt in range(3000):
            for name in ("a", "b"):
                runtime.push_batch(name, range(3), x)
            try:  # the timer rings once
                signal.setitimer(signal.ITIMER_REAL, 5e-6 + attempt % 150 * 1e-6)
                runtime.run()
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Interrupt:
                hits += 1
            for name in ("a", "b"):
                runtime.push_batch(name, range(3), x)
            assert runtime.run().n_rows == 6
    finally:
        gc.enable()
        signal.signal(signal.SIGALRM, before)
    assert hits > 20


def test_policies_run_on_several_threads_with_the_same_results() -> None:
    def play(threads: int) -> Any:
        with Runtime(threads=threads) as runtime:
            for k in range(4):
                runtime.add(str(k), Policy(model("feed_forward", 64, 256, 8), seed=k))
                runtime.begin_agents(str(k), range(300))
            x = np.random.default_rng(0).standard_normal((300, 64)).astype(np.float32)
            found = []
            for _ in range(3):
                for k in range(4):
                    runtime.push_batch(str(k), range(300), {"obs": x})
                frame = runtime.run()
                assert frame.n_rows == 1200
                found.append({name: np.stack([row["action"] for row in frame[name].values()]) for name in sorted(frame)})
            return found

    for alone, together in zip(play(1), play(3), strict=True):
        assert all(same_bits(alone[name], together[name]) for name in alone)


def test_threads_may_push_while_frames_run() -> None:
    runtime = Runtime()
    runtime.add("a", counting(), measure=False)
    runtime.begin_agents("a", range(40))
    done: list[int] = []
    stop = threading.Event()
    pushed = [0] * 4

    def push(k: int) -> None:
        while not stop.is_set():
            for agent in range(10 * k, 10 * k + 10):
                runtime.push("a", agent, one(1))
                pushed[k] += 1

    threads = [threading.Thread(target=push, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    total: dict[int, float] = {}
    while sum(done) < 3000:
        frame = runtime.run(rows=17)
        done.append(frame.n_rows)
        total.update(sums(frame, "a"))
    stop.set()
    for thread in threads:
        thread.join()
    last = runtime.run()
    total.update(sums(last, "a"))
    assert sum(total.values()) == sum(done) + last.n_rows  # every decision added one, and none was lost or made twice
    assert sum(done) <= sum(pushed)


def test_what_a_runtime_is_shows(runtime: Runtime) -> None:
    assert repr(runtime) == "Runtime(['a', 'b'], frame=0)"
    assert isinstance(cervello.Runtime, type)
    with pytest.raises(ConfigurationError, match="threads"):
        Runtime(threads=0)
