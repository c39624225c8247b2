"""Level of detail, priorities and budgets: whose turn it is, and that nobody waits for ever."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import small_models
from hypothesis import given, settings
from hypothesis import strategies as st
from stacks import model

from cervello import AgentError, ConfigurationError, Policy, Recurrent, Runtime
from cervello.agents.runtime import scheduler
from cervello.agents.runtime.cost_model import CostModel
from cervello.agents.runtime.slowdown import SlowdownEstimate


def make(n_agents: int = 8, **level: Any) -> Runtime:
    runtime = Runtime()
    runtime.add("a", Policy(model("counter"), wrappers=[Recurrent()]), measure=False)
    runtime.begin_agents("a", range(n_agents), **level)
    return runtime


def push(runtime: Runtime, agents: Any, value: float = 1.0) -> None:
    runtime.push_batch("a", list(agents), {"obs": np.full((len(list(agents)), 1), value, np.float32)})


# Level of detail ----------------------------------------------------------------------------------------------------------


def test_agents_decide_at_once_and_then_in_every_fourth_frame_each_in_its_own() -> None:
    runtime = make(8, every=4)
    ran = []
    for _ in range(13):
        push(runtime, range(8))
        ran.append(set(runtime.run()["a"]))
    assert ran[0] == set(range(8))
    for agent in range(8):
        frames_of = [number for number, agents in enumerate(ran) if agent in agents][1:]
        assert frames_of == [number for number in range(1, 13) if number % 4 == agent % 4]
    assert all(len(agents) == 2 for agents in ran[1:])


def test_in_between_the_last_decision_is_repeated_or_nothing_is() -> None:
    runtime = make(0)
    runtime.begin_agent("a", 1, every=3, hold="last")
    runtime.begin_agent("a", 2, every=3, hold="none")
    runtime.begin_agent("a", 3)
    found: list[Any] = []
    for value in range(1, 7):
        push(runtime, [1, 2, 3], value)
        found.append(runtime.run()["a"])
    turns = [[number for number in range(6) if agent in found[number] and agent not in found[number].skipped] for agent in (1, 2, 3)]
    assert turns == [[0, 3], [0, 1, 4], [0, 1, 2, 3, 4, 5]]
    values = [float(actions[1]["action"][0]) for actions in found]
    assert values == [1, 1, 1, 5, 5, 5]  # of the frames in between, only the observations of its turns count
    assert 2 not in found[2]
    assert found[2].skipped == (1, 2)


def test_an_agent_that_missed_its_turn_decides_at_its_next_push() -> None:
    runtime = make(1, every=4)
    push(runtime, [0])
    assert runtime.run()["a"]
    for _ in range(5):
        runtime.run()
    push(runtime, [0])
    assert runtime.run()["a"]
    push(runtime, [0])
    assert not runtime.run()["a"]


def test_a_level_may_change_from_frame_to_frame() -> None:
    runtime = make(1, every=8)
    ran = []
    for number in range(12):
        if number == 3:
            runtime.set_level("a", 0, every=1)
        if number == 6:
            runtime.set_level("a", 0, every=2)
        push(runtime, [0])
        ran.append(bool(runtime.run()["a"]))
    assert ran[:3] == [True, False, False]
    assert ran[3:6] == [True] * 3
    assert sum(ran[6:]) == 3


def test_a_held_decision_is_a_copy_of_the_row_alone() -> None:
    runtime = make(4, every=4, hold="last")
    push(runtime, range(4))
    first = runtime.run()["a"]
    push(runtime, range(4))
    held = runtime.run()["a"]
    skipped = held.skipped[0]
    assert held[skipped]["action"].base is None
    assert held[skipped]["action"] == first[skipped]["action"]


def test_an_agent_that_rested_and_decides_after_all_is_not_skipped() -> None:
    runtime = make(1, every=4)
    push(runtime, [0])
    runtime.run()
    push(runtime, [0])  # not its turn
    runtime.set_level("a", 0, every=1)
    push(runtime, [0])
    frame = runtime.run()
    assert set(frame["a"]) == {0}
    assert frame["a"].skipped == ()


def test_an_agent_that_begins_again_has_the_level_it_begins_with() -> None:
    runtime = make(1, every=4)
    runtime.policies["a"].end_agent(0)  # behind the runtime's back
    runtime.begin_agent("a", 0)
    ran = []
    for _ in range(4):
        push(runtime, [0])
        ran.append(set(runtime.run()["a"]))
    assert ran == [{0}] * 4


def test_the_longest_waiting_is_first_again_when_levels_are_gone() -> None:
    runtime = make(2)
    runtime.begin_agent("a", 2, priority=100.0)
    push(runtime, [0], 1)
    push(runtime, [2], 1)
    assert set(runtime.run(rows=1)["a"]) == {2}
    runtime.set_level("a", 1, priority=4.0)
    push(runtime, [1, 2], 1)
    assert runtime.waiting("a") == (2, 1, 0)
    assert set(runtime.run(rows=1)["a"]) == {2}
    for agent in (1, 2):
        runtime.set_level("a", agent)
    assert runtime.waiting("a") == (0, 1)
    assert set(runtime.run(rows=1)["a"]) == {0}


def test_held_decisions_say_which_version_stands_now() -> None:
    runtime = make(1, every=4, hold="last")
    push(runtime, [0])
    runtime.run()
    runtime.policies["a"].replace(small_models.counter())
    push(runtime, [0])
    assert runtime.run()["a"].version == 2


def test_what_was_held_ends_with_the_episode() -> None:
    for again in ("end_agent", "restart_agents"):
        runtime = make(1, every=8, hold="last")
        push(runtime, [0], 5)
        runtime.run()
        policy = runtime.policies["a"]
        if again == "end_agent":
            policy.end_agent(0)  # behind the runtime's back
            runtime.begin_agent("a", 0, every=8, hold="last")
        else:
            policy.restart_agents([0])
        push(runtime, [0], 1)
        assert runtime.run()["a"][0]["action"] == 1


def test_a_repeated_decision_may_be_written_to() -> None:
    runtime = make(1, every=4, hold="last")
    push(runtime, [0], 5)
    runtime.run()
    for _ in range(2):
        push(runtime, [0])
        row = runtime.run()["a"][0]["action"]
        assert row == 5
        row[...] = 99


def test_who_rested_once_is_skipped_once() -> None:
    runtime = make(1, every=8)
    for _ in range(2):
        push(runtime, [0])
        frame = runtime.run()
    assert frame.skipped == {"a": (0,)}
    assert runtime.run().skipped == runtime.run().skipped == {}


@pytest.mark.parametrize(("options", "message"), [
    ({"every": 0}, "every: expected a whole number of frames from 1 to 2³², got 0"), ({"every": 1.5}, "got 1.5"),
    ({"every": True}, "got True"), ({"every": 10**30}, "from 1 to 2³², got 10+"), ({"priority": 10**400}, "finite number above 0, got 10+"),
    ({"priority": float("nan")}, "got nan"),
    ({"priority": 0}, "priority: expected a finite number above 0, got 0"), ({"priority": float("inf")}, "got inf"),
    ({"priority": "high"}, "got 'high'"), ({"hold": "first"}, r"hold: expected one of \['last', 'none'\], got 'first'")])
def test_a_level_that_makes_no_sense_is_refused(options: Any, message: str) -> None:
    runtime = make(1)
    for call in (lambda: runtime.begin_agent("a", 7, **options), lambda: runtime.set_level("a", 0, **options)):
        with pytest.raises(ConfigurationError, match=message):
            call()
    assert runtime.policies["a"].agents == (0,)
    with pytest.raises(AgentError, match="got 9"):
        runtime.set_level("a", 9)


# Nobody starves -----------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(crowds=st.lists(st.lists(st.sampled_from([0.1, 0.5, 1.0, 3.0, 10.0]), min_size=1, max_size=6), min_size=1, max_size=4),
       rows=st.integers(1, 4))
def test_no_agent_waits_longer_than_the_bound(crowds: list[list[float]], rows: int) -> None:
    """The bound of `Runtime`: in the second half of the frames that an agent i waits, somebody at least as urgent runs in each. Agent j is
    that urgent again only after it has waited pᵢ / pⱼ times half as long, so it runs at most 1 + pⱼ / pᵢ times in them."""
    runtime = Runtime()
    priorities: dict[Any, float] = {}
    for k, crowd in enumerate(crowds):
        runtime.add(str(k), Policy(model("counter"), wrappers=[Recurrent()]), measure=False)
        for agent, priority in enumerate(crowd):
            runtime.begin_agent(str(k), agent, priority=priority)
            priorities[str(k), agent] = priority
    n = len(priorities)
    bound = {key: 2 * (n - 1 + sum(p / own for other, p in priorities.items() if other != key)) for key, own in priorities.items()}
    last = dict.fromkeys(priorities, -1)
    for number in range(150):
        for name, agent in priorities:
            runtime.push(name, agent, {"obs": np.zeros(1, np.float32)})
        frame = runtime.run(rows=rows)
        assert frame.n_rows == min(rows, n)
        for name, actions in frame.items():
            for agent in actions:
                last[name, agent] = number
        for key, seen in last.items():
            assert number - seen <= bound[key] + 1, f"{key} of {priorities}"


def test_priorities_share_turns_in_their_proportion() -> None:
    runtime = make(0)
    for agent, priority in enumerate([1.0, 2.0, 5.0]):
        runtime.begin_agent("a", agent, priority=priority)
    count = [0, 0, 0]
    for _ in range(800):
        push(runtime, range(3))
        for agent in runtime.run(rows=1)["a"]:
            count[agent] += 1
    # In a cycle, waiting times stand in the inverse proportion of priorities, as far as whole frames allow.
    assert count[2] > count[1] > count[0] > 80


# Costs --------------------------------------------------------------------------------------------------------------------


def test_costs_are_learnt_from_batches_of_any_size() -> None:
    costs = CostModel()
    random = np.random.default_rng(0)
    for _ in range(600):
        n = int(random.integers(1, 200))
        costs.observe(n, (20e-6 + 1e-6 * n) * random.uniform(0.98, 1.02))
    for n in (1, 20, 200):
        assert costs.expected_s(n) == pytest.approx(20e-6 + 1e-6 * n, rel=0.1)
    assert costs.slowdown.factor == pytest.approx(1.0, rel=0.1)


def test_costs_follow_a_machine_that_becomes_slower() -> None:
    costs = CostModel()
    costs.initialize((1, 10e-6), (32, 41e-6))
    for _ in range(60):
        costs.observe(32, 120e-6)
    assert costs.expected_s(32) == pytest.approx(120e-6, rel=0.05)


def test_a_pace_learnt_from_one_policy_holds_for_all() -> None:
    slowdown = SlowdownEstimate()
    often, rarely = CostModel(slowdown), CostModel(slowdown)
    for each in (often, rarely):
        each.initialize((1, 10e-6), (32, 41e-6))
    for _ in range(60):
        often.observe(32, 82e-6)
    assert rarely.expected_s(32) > 1.1 * 41e-6
    assert often.expected_s(32) == pytest.approx(82e-6, rel=0.1)


def test_one_stall_moves_costs_by_a_bounded_step() -> None:
    costs = CostModel()
    costs.initialize((1, 10e-6), (32, 41e-6))
    costs.observe(32, 1.0)
    assert costs.expected_s(32) < 55e-6


def test_the_margin_keeps_late_frames_rare() -> None:
    slowdown, random, late = SlowdownEstimate(), np.random.default_rng(1), 0
    for number in range(30_000):
        elapsed_s = 1e-3 - slowdown.margin_s + (random.exponential(100e-6) if random.random() < 0.3 else 0.0)
        slowdown.update_margin(elapsed_s, 1e-3)
        late += number >= 10_000 and elapsed_s > 1.1e-3
    assert 0.003 < late / 20_000 < 0.01
    assert 0.0 < slowdown.margin_s < 300e-6


def test_the_first_margin_is_small_whatever_the_first_budget() -> None:
    slowdown = SlowdownEstimate()
    slowdown.update_margin(0.1, 1.0)  # over early: says nothing
    before = slowdown.margin_s
    slowdown.update_margin(0.9e-3, 1e-3)
    assert before < slowdown.margin_s < 200e-6
    long = SlowdownEstimate()
    long.update_margin(0.9, 1.0)
    assert long.margin_s < 200e-6
    short = SlowdownEstimate()
    short.update_margin(90e-6, 100e-6)
    assert short.margin_s < 30e-6


def test_frames_that_were_never_late_or_never_full_need_no_margin() -> None:
    slowdown = SlowdownEstimate()
    slowdown.update_margin(1.2e-3, 1e-3)
    assert slowdown.margin_s > 0
    kept_s = slowdown.margin_s
    slowdown.update_margin(0.1e-3, 1e-3)  # there was little to do
    assert slowdown.margin_s == kept_s
    for _ in range(3000):
        slowdown.update_margin(1e-3, 1e-3)
    assert slowdown.margin_s == 0


def test_a_machine_that_is_always_late_does_not_stop_all_decisions() -> None:
    slowdown = SlowdownEstimate()
    for _ in range(1000):
        slowdown.update_margin(5e-3, 1e-3)
    assert slowdown.fitted_within(1e-3, 1e-3) > 0.6e-3


def test_a_margin_of_large_budgets_leaves_small_ones_room() -> None:
    runtime = make(8)
    queue = runtime._queues["a"]
    queue.costs.initialize((1, 2e-6), (8, 9e-6))
    queue.costs.slowdown.update_margin(20.0, 10.0)  # one late frame of ten seconds
    before = queue.costs.fitted_s(8)
    decided = 0
    for _ in range(200):
        push(runtime, range(8))
        decided += runtime.run(budget_s=5e-3).n_rows
    assert decided > 800
    assert queue.costs.fitted_s(8) > 0.1 * before


def test_a_budget_too_small_for_anything_still_decides_for_everybody_in_the_end() -> None:
    runtime = make(8)
    runtime._queues["a"].costs.initialize((1, 50e-6), (8, 60e-6))
    decided: set[int] = set()
    for _ in range(2000):
        push(runtime, range(8))
        decided |= set(runtime.run(budget_s=1e-6)["a"])
    assert decided == set(range(8))
    push(runtime, range(8))
    assert runtime.run(budget_s=1.0).n_rows == 8


def test_rows_within_a_time_are_those_whose_line_fits() -> None:
    costs = CostModel()
    assert costs.rows_within(1e-9) == 1  # nothing is known: one row has to be tried
    costs.initialize((1, 11e-6), (101, 111e-6))
    assert costs.rows_within(60e-6) == 50
    assert costs.rows_within(10.9e-6) == 0
    for seconds in (20e-6, 55e-6, 1e-3):
        n = costs.rows_within(seconds)
        assert costs.fitted_s(n) <= seconds < costs.fitted_s(n + 1)


@pytest.mark.parametrize("again", ["push", "push_batch", "run"])
def test_what_a_frame_measured_is_learnt_after_it(again: str) -> None:
    runtime = make(8)
    queue = runtime._queues["a"]
    push(runtime, range(8))
    runtime.run(budget_s=10.0)  # the first row is the measurement
    push(runtime, range(8))
    before = queue.costs.measured
    runtime.run(budget_s=10.0)
    assert runtime._ready_queue.dirty
    assert queue.costs.measured == before
    if again == "push":
        runtime.push("a", 0, {"obs": np.zeros(runtime.policies["a"].inputs["obs"].shape, np.float32)})
    elif again == "push_batch":
        push(runtime, range(8))
    else:
        runtime.run(budget_s=10.0)
    assert not runtime._ready_queue.dirty
    assert queue.costs.measured > before


class Clock:
    """A clock that moves when policies run: a frame's plan without a machine's noise."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cost_s: Any):
        self.now = 0.0
        monkeypatch.setattr(scheduler.time, "perf_counter", lambda: self.now)
        from cervello.agents.runtime.policy_queue import PolicyQueue

        decide = PolicyQueue.decide

        def slow(queue: Any, taken: Any) -> Any:
            limit, n_rows = taken.limit, len(taken.ids)
            if limit is None:
                self.now += cost_s(queue.name, n_rows)
                return decide(queue, taken)
            began, rows, size = self.now, limit.guaranteed_rows, limit.chunk
            self.now += cost_s(queue.name, rows)
            limit.chunks_s = -self.now
            row_s = limit.row_s
            while size:
                if rows + size <= n_rows and self.now + size * row_s <= limit.until_s:
                    rows += size
                    self.now = began + cost_s(queue.name, rows)
                else:
                    size //= 2
            limit.n_rows, limit.ended_s, limit.chunks_s = rows, self.now, limit.chunks_s + self.now
            columns = {name: column[:rows] for name, column in taken.columns.items()}
            return taken.ids[:rows], queue.policy.infer_batch(taken.ids[:rows], columns)

        monkeypatch.setattr(PolicyQueue, "decide", slow)


def test_a_crowd_is_split_over_frames_and_the_budget_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, lambda name, n: 50e-6 + 2e-6 * n)
    runtime = make(1000)
    runtime._queues["a"].costs.initialize((1, 52e-6), (101, 252e-6))
    runtime._queues["a"].costs.slowdown.margin_s = runtime._closing_s = 0.0
    done: set[int] = set()
    for _ in range(4):
        push(runtime, range(1000))
        start = clock.now
        frame = runtime.run(budget_s=1e-3)
        assert clock.now - start <= 1e-3
        assert len(frame["a"]) >= 0.9 * (1e-3 - 50e-6) / 2e-6
        assert len(done & set(frame["a"])) <= max(0, len(done) + len(frame["a"]) - 1000)  # nobody twice before everybody once
        done |= set(frame["a"])
    assert done == set(range(1000))


def test_a_cold_policy_is_tried_with_one_row_at_the_beginning_of_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch, lambda name, n: 10e-6 + 5e-6 * n)
    runtime = make(100)
    ran = []
    for _ in range(6):
        push(runtime, range(100))
        frame = runtime.run(budget_s=1e-3)
        ran.append(len(frame["a"]))
    assert ran[0] >= 1
    assert ran[-1] == 100


def test_a_policy_too_slow_for_any_frame_runs_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch, lambda name, n: 3e-3 if name == "slow" else 1e-5)
    runtime = make(4)
    runtime.add("slow", Policy(model("counter"), wrappers=[Recurrent()]), measure=False)
    runtime.begin_agent("slow", 1)
    runtime._queues["slow"].costs.initialize((1, 3e-3), (1, 3e-3))
    ran = []
    for number in range(80):
        push(runtime, range(4))
        runtime.push("slow", 1, {"obs": np.zeros(1, np.float32)})
        frame = runtime.run(budget_s=1e-3)
        if "slow" in frame:
            ran.append(number)
        assert frame["a"] or "slow" in frame
    assert ran
    assert ran[0] < 40
    assert len(ran) < 20  # and not so often that the others never do


def test_policies_are_measured_when_they_are_added_and_agents_do_not_notice() -> None:
    policy = Policy(model("counter"), wrappers=[Recurrent()])
    policy.begin_agent(0)
    policy.infer_single(0, {"obs": [5.0]})
    state = policy.snapshot()
    runtime = Runtime()
    runtime.add("a", policy)
    costs = runtime._queues["a"].costs
    assert costs.measured
    assert 0 < costs.expected_s(1) < costs.expected_s(100) < 0.1
    assert policy.snapshot() == state
