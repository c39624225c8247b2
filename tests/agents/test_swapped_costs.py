"""Budgets after a swap: a model that takes longer, or less, is known before it decides."""

from __future__ import annotations

import time as real
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import small_models
import stacks

import cervello
from cervello import Policy, Runtime
from cervello.agents.policy.core import PolicyCore
from cervello.agents.runtime import calibration, frame_state, runtime, scheduler, workers
from cervello.agents.runtime.cost_model import CostModel
from cervello.agents.runtime.policy_queue import PolicyQueue
from cervello.wrappers import Passive

BUDGET_S = 1e-3
N = 300


class Clock:
    """Time that passes when a policy decides, and a little whenever it is looked at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        self.costs: list[Callable[[int], float]] = [lambda n: 2e-5 + 5e-7 * n]  # by version: seconds of n rows
        for module in (scheduler, frame_state, workers, calibration, runtime):
            monkeypatch.setattr(module, "time", self)
        monkeypatch.setattr(PolicyCore, "supports_deadline", property(lambda policy: False))
        monkeypatch.setattr(calibration, "_GAME_BYTES", 1)
        infer, clock = PolicyCore.infer_batch, self

        def run(policy: Policy, ids: Any, *arguments: Any, **options: Any) -> Any:
            found = infer(policy, ids, *arguments, **options)
            clock.now_s += clock.costs[clock.models.index(policy.model)](len(ids))
            return found

        self.models: list[Any] = []
        monkeypatch.setattr(PolicyCore, "infer_batch", run)

    def perf_counter(self) -> float:
        self.now_s += 1e-7
        return self.now_s


def make(clock: Clock | None = None, measure: bool = True, **options: Any) -> Runtime:
    made = Runtime()
    policy = cervello.load(small_models.feed_forward(), **options)
    if clock is not None:
        clock.models.append(policy.model)
    made.add("a", policy, measure=measure)
    made.begin_agents("a", list(range(N)))
    return made


def frames(made: Runtime, n: int) -> list[Any]:
    """Frames of a crowd that is pushed before each."""
    found = []
    for _ in range(n):
        made.push_batch("a", list(range(N)), {"obs": np.zeros((N, 6), np.float32)})
        found.append(made.run(budget_s=BUDGET_S))
    return found


def late(found: list[Any], share: float = 1.1) -> int:
    return sum(each.elapsed_s > share * BUDGET_S for each in found)


def swap(made: Runtime, clock: Clock, cost: Callable[[int], float]) -> None:
    model = cervello.Model.load(small_models.scaled(small_models.feed_forward(), 0.5))
    clock.models.append(model)
    clock.costs.append(cost)
    made.policies["a"].replace(model)


@pytest.mark.parametrize("per_row_s", [5e-4, 5e-5, 1e-6])
@pytest.mark.parametrize("measure", [True, False])
def test_after_a_swap_to_a_slower_model_frames_are_in_time_at_once(per_row_s: float, measure: bool,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    made = make(clock, measure)
    assert late(frames(made, 50)) <= 1
    swap(made, clock, lambda n: 2e-5 + per_row_s * n)
    found = frames(made, 100)
    assert late(found) <= 3
    fits = int((BUDGET_S - 2e-5) / per_row_s)
    assert np.median([each.n_rows for each in found]) >= 0.5 * min(fits, N)


def test_a_faster_model_is_used_at_once() -> None:
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock(patch)
        clock.costs[0] = lambda n: 5e-4 * n
        made = make(clock)
        assert max(each.n_rows for each in frames(made, 30)) <= 3
        swap(made, clock, lambda n: 1e-5 + 1e-7 * n)
        assert np.median([each.n_rows for each in frames(made, 10)]) == N


def test_one_row_that_takes_longer_than_the_budget_runs_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    made = make(clock)
    frames(made, 50)
    swap(made, clock, lambda n: 0.16 * n)
    found = frames(made, 140)
    assert late(found) <= 3
    assert sum(each.n_rows for each in found) >= 2  # nobody is forgotten


def test_a_model_that_becomes_slow_without_a_swap_makes_few_frames_late(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    made = make(clock)
    frames(made, 50)
    clock.costs[0] = lambda n: 2e-5 + 1e-4 * n
    found = frames(made, 100)
    assert late(found, 1.5) <= 3
    assert np.median([each.n_rows for each in found[10:]]) >= 4


def test_one_batch_that_was_delayed_costs_one_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    made = make(clock)
    usual = clock.costs[0]
    rows = [each.n_rows for each in frames(made, 50)]
    clock.costs[0] = lambda n: usual(n) + 0.1
    assert late(frames(made, 1)) == 1
    clock.costs[0] = usual
    found = frames(made, 10)
    assert late(found) == 0
    assert np.median([each.n_rows for each in found]) >= 0.9 * np.median(rows)
    assert min(each.n_rows for each in found[2:]) >= 0.5 * np.median(rows)


def test_update_weights_and_watch_measure_too(tmp_path: Any) -> None:
    path = tmp_path / "policy.onnx"
    path.write_bytes(small_models.feed_forward())
    with cervello.watch(path, settle_s=0.0, interval_s=3600) as watched:
        made, seen = Runtime(), []
        made.add("a", watched.policy)
        queue = made._queues["a"]
        swapped = PolicyQueue.on_swap

        def note(self: PolicyQueue, version: int, measured: Any) -> None:
            seen.append((version, watched.policy.version, measured))
            swapped(self, version, measured)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(PolicyQueue, "on_swap", note)
            watched.policy.update_weights({"action.b0": np.ones(16, np.float32)})
            path.write_bytes(small_models.scaled(small_models.feed_forward(), 0.5))
            assert watched.check()
        assert [version for version, _, _ in seen] == [2, 3]
        for _, _, measured in seen:
            (one, one_s), (several, several_s) = measured
            assert one == 1 < several
            assert 0 < one_s < 10 > several_s > 0
        assert (queue.costs.version, queue.costs.measured) == (3, 1)


class Odd(Passive):
    """A user's own, which cannot be made twice."""

    def attach(self, spec: Any) -> Any:
        return self, spec


@pytest.mark.parametrize(("measure", "wrappers"), [(False, ()), (True, [Odd()])])
def test_what_cannot_be_measured_begins_with_one_row(measure: bool, wrappers: Any) -> None:
    made = make(measure=measure, wrappers=wrappers)
    costs = made._queues["a"].costs
    for _ in range(5):
        costs.observe(10, 1e-5)
    made.policies["a"].replace(small_models.scaled(small_models.feed_forward(), 0.5))
    costs = made._queues["a"].costs
    assert (costs.measured, costs.rows_within(1.0)) == (0, 1)


def test_what_a_batch_of_the_old_model_took_is_not_learnt_for_the_new_one() -> None:
    made = make()
    made.push_batch("a", list(range(N)), {"obs": np.zeros((N, 6), np.float32)})
    made.run(budget_s=1.0)
    made.policies["a"].replace(small_models.scaled(small_models.feed_forward(), 0.5))
    queue = made._queues["a"]
    before = queue.costs.measured, queue.costs.fixed_s
    made.push("a", 1, {"obs": np.zeros(6)})  # settles the batch
    assert (queue.costs.measured, queue.costs.fixed_s) == before


def test_a_swap_without_a_runtime_measures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "measure", lambda *_: pytest.fail("measured"))
    cervello.load(small_models.feed_forward()).replace(small_models.feed_forward())


def doubted() -> CostModel:
    costs = CostModel()
    costs.initialize((1, 11e-6), (101, 111e-6))
    costs.learn(100, None, 0.0, 1.0, False, 0.5)
    assert (costs.measured, costs.rows_within(1.0)) == (0, 1)
    return costs


def test_a_line_that_is_doubted_stays_when_a_row_takes_what_it_says() -> None:
    costs = doubted()
    costs.observe(1, 15e-6)
    assert costs.expected_s(101) == pytest.approx(111e-6)
    costs.learn(100, None, 0.0, 1.0, False, 0.5)  # again
    costs.observe(1, 15e-6)
    assert costs.expected_s(100) == pytest.approx(1.0, rel=0.1)


def test_a_line_that_is_doubted_goes_when_a_row_takes_longer() -> None:
    costs = doubted()
    costs.observe(1, 1e-2)
    assert costs.expected_s(1) == pytest.approx(1e-2, rel=0.1)
    assert costs.expected_s(100) == pytest.approx(1.0, rel=0.1)


def test_a_batch_that_is_long_and_yet_within_its_budget_is_learnt_as_before() -> None:
    costs = CostModel()
    costs.initialize((1, 11e-6), (101, 111e-6))
    costs.learn(100, None, 0.0, 1.0, False, 2.0)
    assert costs.measured == 2
    assert costs.expected_s(100) < 5e-4


def test_a_much_larger_model_makes_few_frames_late_on_a_real_clock() -> None:
    small = stacks.model("feed_forward")
    made = Runtime()
    policy = Policy(small)
    made.add("a", policy)
    made.begin_agents("a", list(range(N)))
    frames(made, 30)
    policy.replace(large())
    start = real.perf_counter()
    found = frames(made, 60)
    assert real.perf_counter() - start < 30
    whole_s = timed(policy)
    assert sum(each.elapsed_s > 0.5 * whole_s for each in found) <= 3


def large() -> bytes:
    """The same interface; a crowd takes many budgets."""
    return small_models.feed_forward(hidden=3000)


def timed(policy: Policy) -> float:
    ids, columns = list(range(N)), {"obs": np.zeros((N, 6), np.float32)}
    start = real.perf_counter()
    policy.infer_batch(ids, columns)
    return real.perf_counter() - start
