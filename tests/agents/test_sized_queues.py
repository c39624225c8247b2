"""Agents whose observations differ in size, in a Batcher and in a Runtime: those of one size run together, everything else is as ever."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np
import pytest
from open_crowds import SIZES, assert_same, columns_of, crowd, observations, policy, tokens
from small_models import FLOAT, dense, graph, node

import cervello
from cervello import Batcher, Epsilon, Policy, Recurrent, Runtime
from cervello.agents.policy.snapshot_format import sealed, unsealed
from cervello.agents.runtime.sized_queue import SizedQueue
from cervello.agents.runtime.snapshot import MAGIC, VERSION
from cervello.agents.runtime.wait_queue import WaitQueue
from cervello.batcher import Queue
from cervello.batcher.open_pad import ragged
from cervello.errors import AgentError, CervelloError, InputError, SnapshotError
from cervello.native import Model

ORDERS = list(itertools.permutations([1, 2, 3, "four"]))  # agents of 5, 7, 5 and 1 entities; the specs say 1


def specified() -> dict[Any, Any]:
    """Observations of the sizes that the specs show, which fit as they are."""
    return {agent: {**given, "index": np.array(given["index"]), "entities": given["entities"][:1].copy()}
            for agent, given in observations().items()}


def alone(n_steps: int, ids: Any = SIZES) -> list[dict[Any, Any]]:
    """What agents decide that run one by one, by step."""
    one = policy()
    return [{agent: one.infer({agent: given})[agent] for agent, given in observations(step, ids).items()} for step in range(n_steps)]


@pytest.fixture
def runtime() -> Runtime:
    found = Runtime()
    found.add("crowd", cervello.load(crowd(), wrappers=[Recurrent(), Epsilon("epsilon")], seed=3), measure=False)
    found.begin_agents("crowd", list(SIZES))
    return found


def push(runtime: Runtime, given: Any) -> None:
    for agent, observation in given.items():
        runtime.push("crowd", agent, observation)


def queue_of(runtime: Runtime) -> SizedQueue:
    found = runtime._queues["crowd"]
    assert isinstance(found, SizedQueue)
    return found


# Batcher ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("many", [False, True])
def test_a_batcher_takes_sizes_in_every_order(many: bool) -> None:
    expected = alone(len(ORDERS), ORDERS[0])
    one = policy()
    batch = Batcher(one)
    for step, order in enumerate(ORDERS):
        given = observations(step, order)
        if many:
            batch.extend(given)
        else:
            for agent, observation in given.items():
                batch.push(agent, observation)
        assert batch.batched().ids == order
        assert_same(batch.execute(), {agent: expected[step][agent] for agent in order})
        assert len(batch) == 0


def test_agents_of_the_size_that_the_specs_show_are_added_in_one_compiled_call_until_others_come() -> None:
    one = policy()
    given = specified()
    batch, expected = Batcher(one), policy().infer({**given, 5: observations()[5]})
    queue = batch._queue
    batch.push(1, given[1])
    assert queue.push(2, given[2]) == 1
    assert queue.push(3, given[3]) == 1
    batch.push(5, observations()[5])
    assert queue.push("four", given["four"]) == 0
    batch.push("four", given["four"])
    assert_same(batch.execute(), {agent: expected[agent] for agent in (1, 2, 3, 5, "four")})


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_was_pushed_is_a_copy(runtime: Runtime, dtype: Any) -> None:
    one, expected = policy(), alone(1)[0]
    batch = Batcher(one)
    given = {agent: {name: np.array(row, dtype if name == "entities" else None) for name, row in rows.items()}
             for agent, rows in observations().items()}
    batch.extend(given)
    push(runtime, given)
    for rows_of in given.values():
        for row in rows_of.values():
            row[...] = 0
    assert_same(batch.execute(), expected)
    found = runtime.run()["crowd"]
    assert_same({agent: found[agent] for agent in SIZES}, expected)


def test_flags_of_a_batcher_belong_to_agents_of_any_size() -> None:
    batch, flags = Batcher(policy()), {2: True, 5: True}
    batch.extend(observations())
    assert_same(batch.execute(flags), policy().infer(observations(), flags))


def test_a_group_that_fails_leaves_the_whole_batch_waiting() -> None:
    one = policy()
    one.infer(observations(0))
    batch, bad, before = Batcher(one), observations(1), one.snapshot()
    bad[2]["index"] = np.int64(99)  # found while the second group runs
    batch.extend(bad)
    for _ in range(2):
        with pytest.raises(CervelloError):
            batch.execute()
        assert batch.batched().ids == tuple(SIZES)
        assert one.snapshot() == before
    assert batch.discard(2)
    expected = alone(2)[1]
    assert_same(batch.execute(), {agent: expected[agent] for agent in SIZES if agent != 2})


def test_agents_of_other_sizes_may_leave_a_batcher() -> None:
    one = policy()
    batch, expected = Batcher(one), alone(1)[0]
    batch.extend(observations())
    one.end_agent(2)
    with pytest.raises(AgentError, match=r"got \[2\]; discard them"):
        batch.execute()
    assert batch.discard(2)
    assert batch.discard(1)
    batch.push(1, observations()[1])
    assert_same(batch.execute(), {agent: expected[agent] for agent in (3, "four", 5, 1)})


# What is refused --------------------------------------------------------------------------------------------------------


def two_lists() -> bytes:
    """Two lists of one length, and one of another: a [N, n, 2], b [N, n, 2], c [N, m, 2]."""
    row = (FLOAT, ("N", "n", 2))
    nodes = [node("Add", "a b", "sum"), node("ReduceMax", "sum", "x", axes=[1], keepdims=0),
             node("ReduceMax", "c", "y", axes=[1], keepdims=0), node("Add", "x y", "action")]
    return graph(nodes, {"a": row, "b": row, "c": (FLOAT, ("N", "m", 2))}, {"action": (FLOAT, ("N", 2))}, {})


def remembering() -> bytes:
    """A state of open size."""
    row = (FLOAT, ("N", "n", 3))
    return graph([node("Add", "h_in obs", "h_out"), node("ReduceMax", "h_out", "action", axes=[1], keepdims=0)], {"obs": row, "h_in": row},
                 {"action": (FLOAT, ("N", 3)), "h_out": row}, {})


def choosy() -> bytes:
    """Lists of 1 or 5 entries."""
    return graph([node("Add", "obs five", "y"), node("ReduceMax", "y", "action", axes=[1], keepdims=0)], {"obs": (FLOAT, ("N", "n", 3))},
                 {"action": (FLOAT, ("N", 3))}, {"five": dense(5, 3)})


def rows(*sizes: int, width: int = 2) -> dict[str, Any]:
    return {name: np.ones((size, width), np.float32) for name, size in zip("abc", sizes, strict=True)}


REFUSED: list[tuple[Callable[[], Policy], Any, Any, str]] = [
    (lambda: cervello.load(two_lists()), rows(3, 3, 5), rows(3, 4, 5), "agent 2, input 'b': expected size 3 for 'n', as another .*, got 4"),
    (lambda: cervello.load(two_lists()), rows(3, 3, 5), rows(3, 3, 0), "input 'c': expected c: .* with at least 1 entry"),
    (lambda: cervello.load(two_lists()), rows(3, 3, 5), rows(3, 3, 4, width=3), r"input 'a': expected \(3, 2\) float32, got \(3, 3\)"),
    (lambda: cervello.load(two_lists()), rows(3, 3, 5), {name: np.ones((3, 2)) for name in "ab"}, "in which input 'c' is missing"),
    (lambda: cervello.load(choosy()), np.ones((5, 3)), np.ones((4, 3)),
     r"agent 2: expected sizes with which the graph runs, got \{'n': 4\}; node Add → 'y': expected shapes that broadcast"),
    (lambda: cervello.load(tokens()), np.ones((4, 3)), np.ones(3), "input 'tokens': expected tokens: "),
    (lambda: cervello.load(remembering(), wrappers=[Recurrent()]), np.ones((1, 3)), np.ones((5, 3)),
     r"agent 2: expected sizes .* wrapper Recurrent\(.*\) keeps h_in: \(N, n, 3\) float32, a state of one size: "
     r"fix the sizes with dims=\{'n': 5\}")]


@pytest.mark.parametrize(("make", "good", "bad", "message"), REFUSED)
def test_an_observation_that_is_refused_changes_nothing(make: Callable[[], Policy], good: Any, bad: Any, message: str) -> None:
    one = make()
    one.begin_agents([1, 2])
    batch, runtime = Batcher(one), Runtime()
    batch.push(1, good)
    other = make()
    runtime.add("crowd", other)
    runtime.begin_agents("crowd", [1, 2])
    runtime.push("crowd", 1, good)
    for refused in (lambda: batch.push(2, bad), lambda: batch.extend({2: bad}), lambda: runtime.push("crowd", 2, bad)):
        with pytest.raises(InputError, match=message) as caught:
            refused()
        assert f"policy {one.name!r}" in str(caught.value)
    assert batch.batched().ids == runtime.waiting("crowd") == (1,)
    expected = make()
    expected.begin_agent(1)
    action = expected.infer({1: good})
    assert_same(batch.execute(), action)
    assert_same(runtime.run()["crowd"], action)


def test_a_policy_that_keeps_to_one_size_runs_with_the_one_that_dims_fixes() -> None:
    one = cervello.load(remembering(), wrappers=[Recurrent()], dims={"n": 5})
    one.begin_agent(1)
    batch = Batcher(one)
    batch.push(1, np.ones((5, 3)))
    assert batch.execute()[1]["action"].tolist() == [1, 1, 1]


def test_columns_that_are_pushed_may_differ_in_size(runtime: Runtime) -> None:
    expected = alone(2)
    runtime.push_batch("crowd", list(SIZES), columns_of(observations()))
    found = runtime.run()["crowd"]
    assert_same({agent: found[agent] for agent in SIZES}, expected[0])
    columns = columns_of(observations(1))
    columns["entities"][3] = np.zeros((2, 4))
    with pytest.raises(InputError, match=r"agent 'four', input 'entities': expected \(2, 3\)"):
        runtime.push_batch("crowd", list(SIZES), columns)
    with pytest.raises(InputError, match="expected 5 rows, got 4"):
        runtime.push_batch("crowd", list(SIZES), {**columns, "entities": columns["entities"][:4]})
    with pytest.raises(InputError, match="input 'entities': expected rows of one size, got rows of several"):
        runtime.push_batch("crowd", list(SIZES), {**columns, "entities": list(columns["entities"])})
    assert runtime.waiting("crowd") == ()
    one_size = {name: np.stack([observations(1)[agent][name] for agent in (1, 3)]) for name in columns}
    runtime.push_batch("crowd", [1, 3], one_size)
    assert_same(runtime.run()["crowd"], {agent: expected[1][agent] for agent in (1, 3)})


# Runtime ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"rows": 1}, {"rows": 3}, {"budget_s": 60.0}])
def test_a_runtime_takes_sizes_in_every_order(runtime: Runtime, options: Any) -> None:
    expected = alone(len(ORDERS), ORDERS[0])
    for step, order in enumerate(ORDERS):
        push(runtime, observations(step, order))
        found: dict[Any, Any] = {}
        for _ in range(8):
            frame = runtime.run(**options)
            assert not frame.errors
            if "rows" in options:
                wanted = [agent for agent in order if agent not in found][:options["rows"]]
                assert set(frame["crowd"]) == set(wanted)  # the same ones as if they were of one size
            found.update(frame["crowd"])
            if not frame.skipped:
                break
        assert_same({agent: found[agent] for agent in order}, {agent: expected[step][agent] for agent in order})


def test_agents_of_one_size_run_as_one_batch(runtime: Runtime) -> None:
    push(runtime, observations())
    frame = runtime.run()
    assert [ids for ids, *_ in frame._decided["crowd"].batches] == [(1, 3), (2,), ("four",), (5,)]
    assert {columns["scores"].shape for _, columns in frame.batches("crowd")} == {(2, 5), (1, 7), (1, 1), (1, 2)}


def test_groups_may_run_on_several_threads() -> None:
    threaded = Runtime(threads=2)
    threaded.add("crowd", cervello.load(crowd(), wrappers=[Recurrent(), Epsilon("epsilon")], seed=3), measure=False)
    threaded.begin_agents("crowd", list(SIZES))
    for step, expected in enumerate(alone(4)):
        push(threaded, observations(step))
        queue_of(threaded).costs.initialize((1, 1.0), (2, 2.0))  # so much that a second thread pays
        found = threaded.run()["crowd"]
        assert_same({agent: found[agent] for agent in SIZES}, expected)
    threaded.close()


def test_an_agent_that_is_pushed_again_with_another_size_keeps_its_place(runtime: Runtime) -> None:
    push(runtime, {**observations(), 1: {**observations()[1], "entities": np.zeros((9, 3), np.float32)}})
    push(runtime, {3: observations()[3], 1: observations()[1]})
    assert runtime.waiting("crowd") == tuple(SIZES)
    assert_same(runtime.run(rows=1)["crowd"], {1: alone(1)[0][1]})
    assert runtime.waiting("crowd") == (2, 3, "four", 5)


def test_a_group_that_fails_waits_and_the_others_decide(runtime: Runtime) -> None:
    expected, bad = alone(1)[0], observations()
    bad[3]["index"] = np.int64(99)
    push(runtime, bad)
    frame = runtime.run()
    assert set(frame["crowd"]) == {2, "four", 5}
    assert set(frame["crowd"].errors) == {1, 3}
    assert set(runtime.waiting("crowd")) == {1, 3}
    push(runtime, {3: observations()[3]})
    found = {**frame["crowd"], **runtime.run()["crowd"]}
    assert_same({agent: found[agent] for agent in SIZES}, expected)


def test_agents_of_any_size_may_end_while_they_wait(runtime: Runtime) -> None:
    expected, one = alone(1)[0], runtime.policies["crowd"]
    push(runtime, observations())
    runtime.end_agent("crowd", 1)
    runtime.restart_agents("crowd", [5])
    one.end_agent(2)  # behind the runtime's back
    frame = runtime.run()
    assert_same(dict(frame["crowd"]), {agent: expected[agent] for agent in (3, "four")})
    assert set(frame["crowd"].errors) == {2}
    assert runtime.waiting("crowd") == ()


def test_an_agent_may_end_between_the_groups_of_a_frame(runtime: Runtime) -> None:
    push(runtime, observations())
    queue = queue_of(runtime)
    decide, ended = queue.decide, []

    def ending(in_flight: Any) -> Any:
        if not ended:
            ended.append(runtime.policies["crowd"].end_agent(5))
        return decide(in_flight)

    queue.decide = ending  # type: ignore[method-assign]
    assert set(runtime.run()["crowd"]) == {1, 2, 3, "four"}


def test_levels_and_priorities_count_whatever_the_sizes(runtime: Runtime) -> None:
    runtime.set_level("crowd", 5, priority=100.0)
    runtime.set_level("crowd", 3, every=2, hold="last")
    runtime.set_level("crowd", 1, hold="last")
    push(runtime, observations())
    assert set(runtime.run(rows=1)["crowd"]) - {1, 3} == {5}
    runtime.run()
    decided = []
    for step in range(1, 5):
        push(runtime, observations(step))
        frame = runtime.run()
        assert set(frame["crowd"]) == set(SIZES)
        decided.append(3 not in frame.skipped.get("crowd", ()))
    assert decided in ([True, False] * 2, [False, True] * 2)


def frames_after(runtime: Runtime, n_frames: int = 6) -> list[dict[Any, Any]]:
    found = []
    for step in range(n_frames):
        if step % 2:
            push(runtime, observations(10 + step, (2, 5, 1)))
        found.append(dict(runtime.run(rows=2)["crowd"]))
    return found


def test_agents_wait_in_the_order_of_urgency_after_a_frame_that_could_not_begin(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    for agent in (1, 2, 3):
        push(runtime, observations(0, (agent,)))
        runtime.frame += 1  # as if frames had had no time

    def fails(*_: object) -> Any:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(queue_of(runtime).wait_queue.queue, "front", fails)
        with pytest.raises(MemoryError):
            runtime.run()
    assert runtime.waiting("crowd") == (1, 2, 3)
    assert set(runtime.run(rows=2)["crowd"]) == {1, 2}


def time_major() -> bytes:
    """Rows on the second axis: x [n, N, 3] → y = x - max over n, sum [N, 3]."""
    nodes = [node("ReduceMax", "x", "most", axes=[0], keepdims=1), node("Sub", "x most", "y"),
             node("ReduceSum", "x axis", "sum", keepdims=0)]
    return graph(nodes, {"x": (FLOAT, ("n", "N", 3))}, {"y": (FLOAT, ("n", "N", 3)), "sum": (FLOAT, ("N", 3))}, {"axis": np.array([0])})


def test_rows_may_lie_on_another_axis(runtime: Runtime) -> None:
    one = cervello.load(time_major(), batch_axis=1)
    assert (one.inputs["x"].batch_axis, one.outputs["y"].batch_axis, one.outputs["sum"].batch_axis) == (1, 1, 0)
    runtime.add("major", one)
    runtime.begin_agents("major", range(4))
    given = {agent: np.random.default_rng(agent).standard_normal((1 + agent // 2, 3)).astype(np.float32) for agent in range(4)}
    expected = {agent: one.infer({agent: row})[agent] for agent, row in given.items()}
    assert expected[3]["y"].shape == (2, 3)
    batch = Batcher(one)
    batch.extend(given)
    assert_same(batch.execute(), expected)
    for agent, row in given.items():
        runtime.push("major", agent, row)
    found = runtime.run()["major"]
    assert_same({agent: found[agent] for agent in given}, expected)
    runtime.push_batch("major", [2, 3], {"x": np.stack([given[2], given[3]], 1)})
    assert_same(runtime.run()["major"], {agent: expected[agent] for agent in (2, 3)})


def test_rows_on_another_axis_of_agents_that_are_not_due_are_left_out(runtime: Runtime) -> None:
    one = cervello.load(time_major(), batch_axis=1)
    runtime.add("major", one)
    runtime.begin_agents("major", range(3))
    runtime.set_level("major", 1, every=4)
    given = {agent: np.full((1 + agent, 3), agent, np.float32) for agent in range(3)}
    expected = {agent: one.infer({agent: row})[agent] for agent, row in given.items()}
    decided = []
    for _ in range(4):
        runtime.push_batch("major", list(given), {"x": ragged(list(given.values()))})
        found = runtime.run()["major"]
        decided.append(sorted(found))
        assert_same(found, {agent: expected[agent] for agent in found})
    assert sorted(decided) == [[0, 1, 2], [0, 2], [0, 2], [0, 2]]


def test_a_snapshot_with_another_number_of_rows_than_agents_is_refused(runtime: Runtime) -> None:
    push(runtime, observations())
    body = msgpack.unpackb(unsealed(runtime.snapshot(), MAGIC, VERSION, "runtime"), strict_map_key=False)
    entry = next(each for each in body["brains"] if each["waiting"]["ids"])
    rows = next(packed for packed in entry["waiting"]["rows"] if packed[0] is None)[1]
    rows.append(rows[0])
    saved = sealed(magic=MAGIC, version=VERSION, body=msgpack.packb(body))
    with pytest.raises(SnapshotError, match="expected what"):
        runtime.restore(saved)
    found = runtime.run()["crowd"]
    assert_same({agent: found[agent] for agent in SIZES}, alone(1)[0])


def test_a_snapshot_has_what_waits_of_every_size(runtime: Runtime) -> None:
    runtime.set_level("crowd", 2, hold="last")
    push(runtime, observations())
    runtime.run()
    push(runtime, observations(1))
    runtime.run(rows=2)
    saved = runtime.snapshot()
    first = frames_after(runtime)
    runtime.restore(saved)
    other = Runtime()
    other.add("crowd", cervello.load(crowd(), wrappers=[Recurrent(), Epsilon("epsilon")], seed=3), measure=False)
    other.restore(saved)
    assert other.waiting("crowd") == runtime.waiting("crowd")
    for each in (runtime, other):
        for found, expected in zip(frames_after(each), first, strict=True):
            assert_same(found, expected)


@pytest.mark.parametrize("row", [np.zeros((3, 4), np.float32), np.zeros(3, np.float32), np.zeros((0, 3), np.float32), np.zeros((3, 3))])
def test_a_snapshot_with_a_row_that_does_not_fit_is_refused(runtime: Runtime, row: Any) -> None:
    push(runtime, observations())
    queue = queue_of(runtime).wait_queue.queue
    good = queue.rows(5)["entities"][1]
    queue.pad.rows(5)["entities"][1] = row
    saved = runtime.snapshot()
    queue.pad.rows(5)["entities"][1] = good
    with pytest.raises(SnapshotError, match="expected what"):
        runtime.restore(saved)
    found = runtime.run()["crowd"]
    assert_same({agent: found[agent] for agent in SIZES}, alone(1)[0])


def test_swaps_reach_agents_of_every_size_that_wait(runtime: Runtime) -> None:
    expected, one = alone(3), runtime.policies["crowd"]
    for step, swap in enumerate((lambda: None, lambda: one.update_weights({"w": dense(3)}), lambda: one.replace(Model.load(crowd())))):
        push(runtime, observations(step))
        swap()
        found = runtime.run(budget_s=60.0)["crowd"]
        assert found.version == step + 1
        assert_same({agent: found[agent] for agent in SIZES}, expected[step])


def test_what_is_pushed_while_a_frame_runs_waits_for_the_next(runtime: Runtime) -> None:
    expected = alone(2)
    push(runtime, observations())
    future = runtime.submit()
    push(runtime, observations(1))
    found = [future.result()["crowd"], runtime.run()["crowd"]]
    for step in range(2):
        assert_same({agent: found[step][agent] for agent in SIZES}, expected[step])
    runtime.close()


# Budgets ----------------------------------------------------------------------------------------------------------------


def sized(n: int) -> Any:
    return ((n, 3),)


def test_costs_are_learnt_by_size(runtime: Runtime) -> None:
    for step in range(3):
        push(runtime, observations(step))
        runtime.run(budget_s=60.0)
    queue = queue_of(runtime)
    queue.finalize()
    measured = {n: queue._costs_of(sized(n)).measured for n in (1, 2, 5, 7)}
    assert all(n >= 3 for n in measured.values()), measured


def test_costs_of_a_new_size_begin_as_those_of_a_near_one(runtime: Runtime) -> None:
    queue = queue_of(runtime)
    queue._costs_of(sized(10)).initialize((1, 3e-3), (2, 5e-3))
    near, far = queue._costs_of(sized(15)), queue._costs_of(sized(100))
    assert near.fitted_s(10) == pytest.approx(1e-3 + 10 * 1.5 * 2e-3)
    assert not far.measured
    runtime.policies["crowd"].replace(Model.load(crowd()))
    assert queue._costs_of(sized(10)).version == 2
    assert not queue._costs_of(sized(10)).measured
    for n in range(1, 200):
        queue._costs_of(sized(n))
    assert len(queue._by_sizes) <= 65
    assert sized(1) in queue._by_sizes


def test_agents_too_slow_for_the_budget_keep_no_others_from_deciding(runtime: Runtime) -> None:
    queue = queue_of(runtime)
    for n, seconds in ((1, 1e-6), (2, 1e-6), (5, 1e-6), (7, 1e3)):
        queue._costs_of(sized(n)).initialize((1, seconds), (2, 2 * seconds))
    push(runtime, observations(0, (2,)))
    for step in range(3):
        push(runtime, observations(step, (1, 3, "four", 5)))
        frame = runtime.run(budget_s=0.5)
        assert set(frame["crowd"]) == {1, 3, "four", 5}
        assert frame.skipped["crowd"] == (2,)
    assert queue._costs_of(sized(7)).fitted_s(1) < 1e3  # so that its turn comes
    assert runtime.waiting("crowd") == (2,)
    assert set(runtime.run()["crowd"]) == {2}


def test_a_budget_goes_by_the_sizes_of_the_most_urgent_agent(runtime: Runtime) -> None:
    queue = queue_of(runtime)
    for n, seconds in ((1, 0.2), (5, 0.2), (7, 1e3)):
        queue._costs_of(sized(n)).initialize((1, seconds), (2, 2 * seconds))
    runtime.set_level("crowd", 2, priority=100.0)
    push(runtime, observations(0, (1, "four", 2)))
    assert 2 not in runtime.run(budget_s=0.5)["crowd"]
    assert runtime.waiting("crowd")[0] == 2


def test_a_budget_takes_what_fits_of_each_size(runtime: Runtime) -> None:
    queue = queue_of(runtime)
    runtime.begin_agents("crowd", range(100, 140))
    costs = {n: queue._costs_of(sized(n)) for n in (1, 2)}
    costs[1].initialize((1, 1e-5), (2, 2e-5))
    costs[2].initialize((1, 0.3), (2, 0.6))
    given = {agent: {"obs": np.ones(3), "index": 0, "entities": np.ones((1 + agent % 2, 3))} for agent in range(100, 140)}
    push(runtime, given)
    frame = runtime.run(budget_s=1.0)
    batches = [ids for ids, *_ in frame._decided["crowd"].batches]
    assert batches[:2] == [tuple(range(100, 140, 2)), (101, 103)] or batches[:2] == [tuple(range(100, 140, 2)), (101, 103, 105)], batches


def test_a_crowd_of_the_size_that_the_specs_show_may_still_stop_in_time(runtime: Runtime) -> None:
    push(runtime, specified())
    queue = queue_of(runtime)
    assert queue.policy.supports_deadline
    assert queue.supports_limit(runtime.frame)
    push(runtime, observations(0, (1,)))
    assert not queue.supports_limit(runtime.frame)


def test_agents_of_other_sizes_join_those_who_wait_on(runtime: Runtime) -> None:
    """As after a batch that has stopped: its line takes over those who came meanwhile."""
    queue, same, other = queue_of(runtime), specified(), observations()
    push(runtime, {agent: same[agent] for agent in (1, 2, 3)})
    newer = WaitQueue(queue.policy.all_inputs, queue.policy.make_reader)
    for agent, generation in zip((2, 5), queue.policy.generations((2, 5)), strict=True):
        assert generation is not None
        newer.put(agent, generation, queue.checked(agent, other[agent]), 0)
    queue.wait_queue.merge(newer)
    assert runtime.waiting("crowd") == (1, 2, 3, 5)
    found = runtime.run()["crowd"]
    assert_same({agent: found[agent] for agent in (1, 2, 3, 5)}, policy().infer({1: same[1], 2: other[2], 3: same[3], 5: other[5]}))


# Memory -----------------------------------------------------------------------------------------------------------------


def test_rows_that_have_left_are_given_back(runtime: Runtime) -> None:
    push(runtime, observations())
    queue = queue_of(runtime).wait_queue.queue
    held = [weakref.ref(row) for row in queue.rows(5)["entities"]]
    runtime.run()
    assert [ref() for ref in held] == [None] * 5


def test_rows_that_have_left_are_given_back_where_others_always_wait(runtime: Runtime) -> None:
    queue = Queue(runtime.policies["crowd"]._core.all_inputs)
    held = []
    for agent in range(200):
        queue.put(agent, 0, observations()[1])
        held.append(weakref.ref(queue.rows(1)["entities"][0]))
        if agent:
            queue.drop(1)
    assert sum(ref() is not None for ref in held) < 20


def test_policies_without_open_sizes_have_queues_that_know_nothing_of_them() -> None:
    one, runtime = policy(dims={"n": 5}), Runtime()
    assert not Batcher(one)._has_open_axes
    runtime.add("crowd", one)
    assert type(runtime._queues["crowd"]) is not SizedQueue
    runtime.push("crowd", 1, observations()[1])
    assert_same(runtime.run()["crowd"], {1: alone(1)[0][1]})
