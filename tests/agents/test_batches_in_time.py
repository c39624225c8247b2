"""Batches that are over in time: whatever the clock says, rows have the bits they have alone, and agents the state of what they decided."""

from __future__ import annotations

import ctypes
import threading
import time
from typing import Any

import numpy as np
import pytest
import stacks

from cervello import AgentError, ExecutionError, Policy, Recurrent, Runtime, inferers
from cervello.agents.membership.table import ChangedError
from cervello.agents.policy.core import PolicyCore
from cervello.agents.runtime.cost_model import CostModel
from cervello.agents.runtime.policy_queue import PolicyQueue
from cervello.inferers.deadline_path import Limit
from cervello.inferers.testing import same_bits, sample_columns
from cervello.native.kernels import abi
from cervello.native.memory import arena
from cervello.wrappers import Passive

N = 61
PAST, FUTURE = -1e3, 1e3  # seconds from now
MODELS: dict[str, tuple[tuple[Any, ...], Any]] = {
    "feed-forward": (("feed_forward",), ()),
    "everything": (("full",), "auto"),  # noise, a state, previous actions, a mask
    "counter": (("counter",), [Recurrent()]),
    "normal": (("random_normal",), ()),
    "multinomial": (("multinomial",), ()),
}


def pair(which: str, inferer: Any = "memoizing") -> tuple[Policy, Policy, dict[str, Any]]:
    """Two policies of the same agents, and what these observe."""
    name, wrappers = MODELS[which]
    made = [Policy(stacks.model(*name), wrappers=wrappers, seed=3, inferer=inferer) for _ in range(2)]
    for policy in made:
        policy.begin_agents(range(N))
        policy.infer_batch(range(N), sample_columns(policy.inputs, list(range(N))))
    return made[0], made[1], sample_columns(made[0].inputs, list(range(100, 100 + N)))


def infer_within(policy: Policy, ids: tuple[Any, ...], columns: dict[str, Any], limit: Limit) -> Any:
    """A batch of agents of whom none has begun or ended since they were looked up."""
    return policy._core.infer_within(ids, columns, policy._core.membership_version, limit)


def part(policy: Policy, columns: dict[str, Any], n_rows: int) -> dict[str, Any]:
    return {name: columns[name] if spec.batch_axis is None else columns[name][:n_rows] for name, spec in policy.inputs.items()}


@pytest.mark.parametrize("seconds", [PAST, FUTURE])
@pytest.mark.parametrize(("sure", "piece"), [(1, 1), (3, 8), (16, 2), (40, 64), (7, 5), (N, 0), (24, 0)])
@pytest.mark.parametrize("inferer", ["memoizing", "basic", "fixed", "dynamic", inferers.Fixed([1, 5, 32])], ids=str)
@pytest.mark.parametrize("which", MODELS)
def test_the_first_rows_run_in_any_case_and_all_of_them_when_there_is_time(which: str, inferer: Any, sure: int, piece: int,
                                                                           seconds: float) -> None:
    policy, twin, columns = pair(which, inferer)
    limit = Limit(time.perf_counter() + seconds, sure, piece, 1e-9)
    found = infer_within(policy, tuple(range(N)), columns, limit)
    assert found is not None
    if seconds == FUTURE:
        assert limit.n_rows == (N if piece else sure)
    else:
        assert 1 <= limit.n_rows <= sure  # a first piece that itself runs in pieces may stop too
    expected = twin.infer_batch(range(limit.n_rows), part(twin, columns, limit.n_rows))
    assert list(found) == list(expected)
    assert all(same_bits(found[name], expected[name]) for name in expected)
    assert policy.snapshot() == twin.snapshot()


def test_what_a_limit_says_afterwards_is_what_happened() -> None:
    policy, _, columns = pair("counter")
    before = time.perf_counter()
    limit = Limit(before + FUTURE, 5, 8, 1e-9)
    infer_within(policy, tuple(range(N)), columns, limit)
    after = time.perf_counter()
    assert (limit.guaranteed_rows, limit.n_rows) == (5, N)
    assert 0 < limit.chunks_s < after - before
    assert before < limit.ended_s < after


def test_rows_that_are_said_to_take_long_do_not_begin() -> None:
    policy, _, columns = pair("counter")
    limit = Limit(time.perf_counter() + 10.0, 5, 8, 2.0)  # eight rows would take 16 seconds, four take 8
    infer_within(policy, tuple(range(N)), columns, limit)
    assert limit.n_rows >= 9
    late = Limit(time.perf_counter() + 10.0, 5, 8, 20.0)
    infer_within(policy, tuple(range(N)), columns, late)
    assert late.n_rows == 5


@pytest.mark.parametrize("n_fit", [170, 200, 481, 500, 999])
@pytest.mark.parametrize("n_rows", [1000, 100_000])
def test_a_batch_stops_on_time_by_what_its_rows_have_taken_so_far(n_rows: int, n_fit: int) -> None:
    """Rows are said to take nothing. The clock is one on which every row takes a microsecond."""
    policy = Policy(stacks.model("feed_forward"))
    ids = tuple(range(n_rows))
    policy.begin_agents(ids)
    columns = sample_columns(policy.inputs, list(ids))
    infer_within(policy, ids, columns, Limit(time.perf_counter() + FUTURE, 100, 64))
    timely = policy._core.engine.deadline_path
    assert timely is not None
    assert timely._run is not None
    context = timely._run.context
    clock = ctypes.CFUNCTYPE(ctypes.c_int64)(lambda: int(context[abi.CTX.row] + context[abi.CTX.rows]) * 1000)
    context[abi.CTX.clock], context[abi.CTX.clock_writes] = ctypes.cast(clock, ctypes.c_void_p).value, 0
    limit = Limit((n_fit + 0.5) * 1e-6, 100, 64, 0.0)
    infer_within(policy, ids, columns, limit)
    assert limit.n_rows == n_fit
    assert limit.ended_s == pytest.approx(n_fit * 1e-6)
    assert limit.chunks_s == pytest.approx((n_fit - 100) * 1e-6)


def test_more_agents_and_more_rows_than_before() -> None:
    policy, twin, _ = pair("everything")
    for n in (N, 5 * N, 20 * N):
        for each in (policy, twin):
            each.begin_agents([agent for agent in range(n) if agent not in each])
        columns = sample_columns(policy.inputs, list(range(n)))
        found = infer_within(policy, tuple(range(n)), columns, Limit(time.perf_counter() + FUTURE, 8, 8, 1e-9))
        expected = twin.infer_batch(range(n), columns)
        assert found is not None
        assert all(same_bits(found[name], expected[name]) for name in expected)
    assert policy.snapshot() == twin.snapshot()


def test_a_swap_is_followed() -> None:
    policy, twin, columns = pair("everything")
    for each in (policy, twin):
        each.replace(stacks.model("full"))
    found = infer_within(policy, tuple(range(N)), columns, Limit(time.perf_counter() + FUTURE, 8, 8))
    assert found is not None
    assert found.version == 2
    twin.infer_batch(range(N), columns)
    assert policy.snapshot() == twin.snapshot()


def test_what_must_take_another_way_changes_nothing() -> None:
    policy, _, columns = pair("everything")
    before = policy.snapshot()
    limit = Limit(time.perf_counter() + FUTURE, 8, 8)
    doubles = {name: column.astype(np.float64) for name, column in columns.items()}
    assert infer_within(policy, tuple(range(N)), doubles, limit) is None
    with pytest.raises(ChangedError):
        policy._core.infer_within(tuple(range(N)), columns, policy._core.membership_version - 1, limit)
    inside: list[Any] = []
    policy._core.lock.exclusive(lambda: inside.append(infer_within(policy, tuple(range(N)), columns, limit)))
    assert inside == [None]
    assert policy.snapshot() == before
    policy.begin_agent(1000)  # would wait for ever for a turn that was lost


class Foreign(Passive):
    """A wrapper that says nothing of moves."""

    def attach(self, spec: Any) -> Any:
        return self, spec

    def outward(self, view: Any) -> None:
        view.scratch[self] = None


def test_policies_without_such_a_way_say_so() -> None:
    model = stacks.model("feed_forward")
    assert Policy(model)._core.supports_deadline
    assert not Policy(model, threads=2)._core.supports_deadline
    assert not Policy(model, wrappers=[Foreign()])._core.supports_deadline
    assert not Policy(stacks.model("one_row_only"))._core.supports_deadline


def test_arenas_are_used_again_the_last_one_first() -> None:
    first, second = arena.borrow(1000), arena.borrow(10)
    assert first is not second
    assert first.capacity >= 1000
    assert first.address % 64 == 0
    arena.give_back(second)
    arena.give_back(first)
    again = arena.borrow(first.capacity + 1)
    assert again is first
    assert again.capacity >= 1001
    arena.give_back(again)


# In frames ----------------------------------------------------------------------------------------------------------------


class Hurry:
    """Lets every batch with a limit run as many rows as a test wants, and meanwhile whatever else it does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.counts: Any = lambda n_rows: n_rows
        self.meanwhile: Any = lambda: None
        within = PolicyCore.infer_within

        def run(policy: PolicyCore, ids: Any, inputs: Any, expected_version: int, limit: Limit) -> Any:
            limit.guaranteed_rows, limit.chunk = self.counts(len(ids)), 0
            self.meanwhile()
            return within(policy, ids, inputs, expected_version, limit)

        monkeypatch.setattr(PolicyCore, "infer_within", run)


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> Hurry:
    return Hurry(monkeypatch)


def counting(n_agents: int = 10, **level: Any) -> Runtime:
    runtime = Runtime()
    runtime.add("a", Policy(stacks.model("counter"), wrappers=[Recurrent()]))
    runtime.begin_agents("a", list(range(n_agents)), **level)
    return runtime


def push(runtime: Runtime, agents: Any, value: float = 1.0) -> None:
    agents = list(agents)
    runtime.push_batch("a", agents, {"obs": np.full((len(agents), 1), value, np.float32)})


def decided(frame: Any) -> dict[int, float]:
    return {agent: float(row["action"].item()) for agent, row in frame["a"].items()}


def test_those_without_time_wait_in_front_of_newer_ones(hurry: Hurry) -> None:
    runtime = counting()
    push(runtime, range(6))
    hurry.counts = lambda n: min(n, 4)
    frame = runtime.run(budget_s=10.0)
    assert decided(frame) == dict.fromkeys(range(4), 1.0)
    assert (frame.n_rows, frame["a"].skipped, runtime.waiting("a")) == (4, (4, 5), (4, 5))
    push(runtime, [0, 1, 8])
    assert runtime.waiting("a") == (4, 5, 0, 1, 8)
    assert decided(runtime.run(budget_s=10.0)) == {4: 1.0, 5: 1.0, 0: 2.0, 1: 2.0}
    assert runtime.waiting("a") == (8,)
    assert runtime._queues["a"].wait_queue.enqueued_frame == {8: 1}
    hurry.counts = lambda n: n
    assert decided(runtime.run(budget_s=10.0)) == {8: 1.0}
    assert runtime.waiting("a") == ()


@pytest.mark.parametrize("n_rows", [1, 9, 27, 29])
def test_the_newest_of_those_who_wait_again_counts(hurry: Hurry, n_rows: int) -> None:
    runtime = counting(30)
    push(runtime, range(30))
    hurry.counts = lambda n: min(n, n_rows)
    assert len(runtime.run(budget_s=10.0)["a"]) == n_rows
    push(runtime, [29], 5.0)
    hurry.counts = lambda n: n
    assert decided(runtime.run(budget_s=10.0)) == {agent: 5.0 if agent == 29 else 1.0 for agent in range(n_rows, 30)}


def test_who_is_pushed_meanwhile_decides_on_the_newest_and_the_others_keep_their_places(hurry: Hurry) -> None:
    runtime = counting()
    push(runtime, range(6))
    hurry.counts = lambda n: min(n, 2)
    hurry.meanwhile = lambda: push(runtime, [9, 4, 0], 7.0)
    assert decided(runtime.run(budget_s=10.0)) == {0: 1.0, 1: 1.0}
    assert runtime.waiting("a") == (2, 3, 4, 5, 9, 0)
    assert runtime._queues["a"].wait_queue.enqueued_frame == {2: 0, 3: 0, 4: 0, 5: 0, 9: 1, 0: 1}
    hurry.counts, hurry.meanwhile = lambda n: n, lambda: None
    assert decided(runtime.run(budget_s=10.0)) == {2: 1.0, 3: 1.0, 4: 7.0, 5: 1.0, 9: 7.0, 0: 8.0}


@pytest.mark.parametrize("behind_its_back", [False, True])
def test_who_ends_meanwhile_waits_no_longer(hurry: Hurry, behind_its_back: bool) -> None:
    """A change waits for the batch, as it would in another thread; what was taken must not bring the agent back."""
    runtime = counting()
    push(runtime, range(6))
    hurry.counts = lambda n: min(n, 2)

    def end() -> None:
        hurry.meanwhile = lambda: None
        if behind_its_back:
            runtime.policies["a"].end_agents([3])
        else:
            runtime.end_agents("a", [3])

    hurry.meanwhile = end
    frame = runtime.run(budget_s=10.0)
    hurry.counts = lambda n: n
    assert not frame.errors
    assert 3 not in runtime.waiting("a")
    later = decided(runtime.run(budget_s=10.0))
    assert set(decided(frame)) | set(later) == {0, 1, 2, 4, 5}
    assert not set(decided(frame)) & set(later)
    assert runtime.waiting("a") == ()


@pytest.mark.parametrize("fails", [False, True])
def test_when_all_the_others_end_meanwhile_the_next_batch_keeps_its_rows(hurry: Hurry, fails: bool,
                                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = counting(64)
    push(runtime, range(6))
    hurry.counts = lambda n: min(n, 2)

    def end() -> None:
        hurry.meanwhile = lambda: None
        runtime.policies["a"].end_agents([2, 3, 4, 5])
        if fails:
            raise ValueError("no")

    hurry.meanwhile = end
    assert list(runtime.run(budget_s=10.0)["a"]) == ([] if fails else [0, 1])
    runtime.run()
    for agent in range(10, 26):
        push(runtime, [agent], agent)
    infer = PolicyCore.infer_batch

    def pushed_meanwhile(policy: Policy, ids: Any, inputs: Any, *others: Any, **more: Any) -> Any:
        monkeypatch.setattr(PolicyCore, "infer_batch", infer)
        for agent in range(30, 42):
            push(runtime, [agent], -7.0)
        return infer(policy, ids, inputs, *others, **more)

    monkeypatch.setattr(PolicyCore, "infer_batch", pushed_meanwhile)
    assert decided(runtime.run(rows=12)) == {agent: float(agent) for agent in range(10, 22)}


def test_nobody_settles_without_the_lock(hurry: Hurry, monkeypatch: pytest.MonkeyPatch) -> None:
    with Runtime(threads=2) as runtime:
        runtime.add("a", Policy(stacks.model("counter"), wrappers=[Recurrent()]))
        runtime.begin_agents("a", range(30))
        settle, seen = PolicyQueue.finalize, []

        def locked(queue: PolicyQueue) -> None:
            seen.append(runtime._lock._is_owned())
            settle(queue)

        monkeypatch.setattr(PolicyQueue, "finalize", locked)
        hurry.counts = lambda n: min(n, 5)
        push(runtime, range(20))
        for _ in range(3):
            runtime.run(budget_s=10.0)
            runtime.submit(budget_s=10.0).result()
        assert len(seen) > 3
        assert all(seen)


def test_levels_of_those_who_wait_again_stay(hurry: Hurry) -> None:
    runtime = counting(6, every=2, hold="last")
    for agent in range(6):
        runtime.set_level("a", agent, priority=1.0 + agent, hold="last")
    push(runtime, range(6))
    hurry.counts = lambda n: min(n, 2)
    assert decided(runtime.run(budget_s=10.0)) == {5: 1.0, 4: 1.0}
    push(runtime, range(6))
    frame = runtime.run(budget_s=10.0)
    assert decided(frame) == {3: 1.0, 2: 1.0, 4: 1.0, 5: 1.0}  # the last two repeat what they decided
    assert frame.n_rows == 2


@pytest.mark.parametrize("way", ["deterministic", "rows"])
def test_batches_that_cannot_stop_run_as_before(hurry: Hurry, way: str) -> None:
    runtime = counting()
    hurry.counts = lambda n: pytest.fail("this batch has no limit")
    if way == "deterministic":
        runtime.push_batch("a", list(range(6)), {"obs": np.ones((6, 1), np.float32)}, deterministic=True)
        frame = runtime.run(budget_s=10.0)
    else:
        push(runtime, range(6))
        frame = runtime.run(budget_s=10.0, rows=6)
    assert decided(frame) == dict.fromkeys(range(6), 1.0)


def test_a_batch_whose_short_way_is_taken_runs_the_rows_that_surely_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = counting(100)
    costs = runtime._queues["a"].costs
    costs.initialize((1, 1e-3), (100, 100e-3))
    push(runtime, range(100))
    monkeypatch.setattr(PolicyCore, "infer_within", lambda *_: None)
    frame = runtime.run(budget_s=30e-3)
    assert 10 <= len(frame.batches("a")[0][0]) < 30
    assert decided(frame) == dict.fromkeys(range(frame.n_rows), 1.0)
    assert runtime.waiting("a") == tuple(range(frame.n_rows, 100))


@pytest.mark.parametrize("threads", [1, 2])
def test_frames_of_any_budget_decide_what_agents_decide_alone(threads: int) -> None:
    """Three policies with state and noise, random budgets and pushes: every decision has the bits of the same agent's same step alone."""
    random = np.random.default_rng(threads)
    made = {name: [Policy(stacks.model(*MODELS[name][0]), wrappers=MODELS[name][1], seed=9) for _ in range(2)]
            for name in ("everything", "counter", "normal")}
    n_agents, n_decisions = 40, 0
    with Runtime(threads=threads) as runtime:
        for name, (policy, alone) in made.items():
            runtime.add(name, policy)
            runtime.begin_agents(name, list(range(n_agents)))
            alone.begin_agents(range(n_agents))
        newest: dict[tuple[str, int], dict[str, Any]] = {}
        for _ in range(150):
            for name, (policy, _) in made.items():
                ids = random.permutation(n_agents)[:int(random.integers(1, n_agents))].tolist()
                columns = sample_columns(policy.inputs, [int(random.integers(1 << 30)) for _ in ids])
                runtime.push_batch(name, ids, columns)
                newest.update({(name, agent): {key: np.array(column[row]) for key, column in columns.items()}
                               for row, agent in enumerate(ids)})
            frame = runtime.run(budget_s=float(10 ** random.uniform(-5, -3)))
            for name, (_, alone) in made.items():
                for agent, row in frame[name].items():
                    expected = alone.infer_single(agent, newest.pop((name, agent)))
                    assert all(same_bits(np.asarray(row[key]), np.asarray(expected[key])) for key in expected)
                    n_decisions += 1
                waiting = runtime.waiting(name)
                assert set(waiting) == {agent for other, agent in newest if other == name}
                assert frame[name].skipped == waiting
    assert n_decisions > 1000


def test_a_frame_answers_as_a_mapping_and_has_its_batches_as_columns() -> None:
    runtime = counting()
    push(runtime, range(4))
    frame = runtime.run(budget_s=10.0)
    assert dict(frame) == {"a": frame["a"]}
    assert frame["a"] is frame["a"]
    assert ("a" in frame, "b" in frame, len(frame), list(frame)) == (True, False, 1, ["a"])
    for ask in (frame.__getitem__, frame.batches):
        with pytest.raises(AgentError, match=r"expected a policy among \['a'\], got 'b'"):
            ask("b")
    (ids, columns), = frame.batches("a")
    assert ids == (0, 1, 2, 3)
    assert columns["action"].tolist() == [[1.0]] * 4
    assert not np.shares_memory(frame["a"][2]["action"], columns["action"])  # an agent that keeps its action keeps no batch
    assert "n_rows=4" in repr(frame)
    assert (frame.get("b"), frame.get("b", 5), frame.get("a", 5)) == (None, 5, frame["a"])


def test_nobody_starves_who_is_pushed_in_every_flight(hurry: Hurry) -> None:
    runtime, counts = counting(30), dict.fromkeys(range(30), 0)
    hurry.counts = lambda n: min(n, 10)
    hurry.meanwhile = lambda: push(runtime, range(30))
    push(runtime, range(30))
    for _ in range(30):
        for agent in runtime.run(budget_s=10.0)["a"]:
            counts[agent] += 1
    assert set(counts.values()) == {10}


def test_who_ended_behind_the_runtimes_back_does_not_disturb_a_push() -> None:
    runtime = counting()
    push(runtime, range(3))
    runtime.policies["a"].end_agents([1])
    push(runtime, range(5, 10))
    frame = runtime.run(budget_s=10.0)
    assert set(decided(frame)) == {0, 2, 5, 6, 7, 8, 9}
    assert set(frame["a"].errors) == {1}


def test_a_row_that_fails_keeps_nobody_else_from_deciding(hurry: Hurry) -> None:
    runtime, n_agents = Runtime(), 40
    runtime.add("a", Policy(stacks.model("lookup")), measure=False)
    runtime.begin_agents("a", list(range(n_agents)))
    runtime._queues["a"].costs.initialize((1, 1e-6), (2, 2e-6))
    spec = runtime.policies["a"].inputs["index"]
    done: set[Any] = set()
    hurry.counts = lambda n: min(n, 10)
    for agent in range(n_agents):
        runtime.push("a", agent, {"index": np.full(spec.shape, 10**6 if agent == 25 else 1, spec.dtype)})
    failed: set[Any] = set()
    for _ in range(12):
        frame = runtime.run(budget_s=10.0)
        assert set(frame["a"].errors) <= set(range(n_agents)) - done
        failed |= set(frame["a"].errors)
        done |= set(frame["a"])
        assert set(runtime.waiting("a")) == set(range(n_agents)) - done == set(frame["a"].skipped)
    assert done == set(range(n_agents)) - failed
    assert 25 in failed
    assert len(failed) <= 10
    tried = [agent for agent in range(n_agents) if agent in failed]
    assert runtime.waiting("a") == tuple(tried)


def test_a_piece_that_fails_ends_the_batch_before_it() -> None:
    policy = Policy(stacks.model("lookup"))
    policy.begin_agents(range(40))
    spec = policy.inputs["index"]
    index = np.ones(spec.batched(40), spec.dtype)
    index[25] = 10**6
    limit = Limit(time.perf_counter() + FUTURE, 4, 8, 1e-9)
    found = infer_within(policy, tuple(range(40)), {"index": index}, limit)
    assert found is not None
    assert 20 <= limit.n_rows <= 25
    assert policy._core.table.steps[:40].tolist() == [1] * limit.n_rows + [0] * (40 - limit.n_rows)
    with pytest.raises(ExecutionError):
        infer_within(policy, tuple(range(40)), {"index": index}, Limit(time.perf_counter() + FUTURE, 30, 8))
    assert policy._core.table.steps[:40].sum() == limit.n_rows


def test_pieces_that_run_in_pieces_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    from cervello import Model
    from cervello.native.program import chunking

    monkeypatch.setattr(chunking, "CACHE_BYTES", 1)  # sixteen rows at a time
    import small_models

    policy, twin = (Policy(Model.load(small_models.counter()), wrappers=[Recurrent()]) for _ in range(2))
    for each in (policy, twin):
        each.begin_agents(range(N))
    columns = sample_columns(policy.inputs, list(range(N)))
    limit = Limit(time.perf_counter() + FUTURE, 40, 24, 1e-9)
    assert infer_within(policy, tuple(range(N)), columns, limit) is not None
    assert limit.n_rows == N
    twin.infer_batch(range(N), columns)
    assert policy.snapshot() == twin.snapshot()


@pytest.mark.parametrize("budget_s", [1e10, 1e300])
def test_a_budget_may_be_as_large_as_anybody_likes(budget_s: float) -> None:
    runtime = counting()
    push(runtime, range(4))
    assert runtime.run(budget_s=budget_s).n_rows == 4


def test_a_crowd_of_very_many_is_not_handed_over_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = counting(3000)
    push(runtime, range(3000))
    monkeypatch.setattr(PolicyCore, "infer_within", lambda *_: pytest.fail("too many"))
    assert runtime.run(budget_s=10.0).n_rows == 3000


def test_a_piece_that_was_slow_once_is_tried_again() -> None:
    costs = CostModel()
    costs.initialize((1, 1e-5), (100, 1e-4))
    costs.chunk_row_s = 1.0
    limit = Limit(1.0, 8, 4, 1.0, n_rows=8, began_s=1e-6, ended_s=2e-6)
    for _ in range(1000):
        costs.learn(8, limit, 0.0, 3e-6, False)
    assert costs.chunk_row_s < 1e-6


def test_in_a_forked_process_garbage_is_collected_again() -> None:
    import gc

    runtime = counting()
    gc.disable()
    runtime._reenable_gc = True
    runtime._initialize()  # as after a fork in the midst of a frame
    assert gc.isenabled()


def test_python_collects_no_garbage_while_a_budget_runs(hurry: Hurry) -> None:
    import gc

    runtime, seen = counting(), []
    hurry.meanwhile = lambda: seen.append(gc.isenabled())
    assert gc.isenabled()
    push(runtime, range(4))
    runtime.run(budget_s=10.0)
    assert gc.isenabled()
    gc.disable()
    try:
        push(runtime, range(4))
        runtime.run(budget_s=10.0)
        assert not gc.isenabled()
    finally:
        gc.enable()
    assert seen == [False, False]


def test_others_may_look_and_push_while_a_batch_runs() -> None:
    """A batch has its policy's turn; who only asks who is there does not wait for it."""
    policy = Policy(stacks.model("counter"), wrappers=[Recurrent()])
    policy.begin_agents(range(3))
    found: list[Any] = []

    def act() -> int:
        other = threading.Thread(target=lambda: found.append(policy._core.generations([0, 7])))
        other.start()
        other.join(10)
        return len(found)

    assert policy._core.lock.try_exclusive(act) == 1
    assert policy._core.lock.try_exclusive(lambda: policy._core.lock.try_exclusive(lambda: 5)) is None
