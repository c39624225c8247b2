"""Batches in chunks, on one thread and on several."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_models
from native_cases import named
from native_rows import assert_same_bits, columns, execute, one_by_one

import cervello
from cervello import Policy
from cervello.errors import ConfigurationError, ExecutionError
from cervello.native import Model
from cervello.native.execution import thread_pool
from cervello.native.program import chunking


@pytest.fixture(scope="module")
def wide() -> Model:
    return Model.load(small_models.feed_forward(64, 512, 8))


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers take part in every batch, however small."""
    monkeypatch.setattr(chunking, "SPLIT_WORK", -1)
    monkeypatch.setattr(chunking, "_CHUNK_WORK", 0)
    monkeypatch.setattr(chunking, "_STEP_ROWS", 1)
    monkeypatch.setattr(thread_pool, "WAKING_WORK", -1)


def _rows(plan: Any) -> list[int]:
    return [piece.n_rows for piece in plan.chunks]


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_chunks_cover_the_batch_and_are_nearly_equal(wide: Model, threads: int) -> None:
    for n_rows in (*range(1, 70), 500, 512, 513, 1000, 12_345):
        plan = wide.resolve(n_rows, threads)
        sizes = _rows(plan)
        assert sum(sizes) == plan.n_rows == n_rows
        assert sizes == sorted(sizes, reverse=True)
        assert len(set(sizes)) <= 2
        assert plan.arena_bytes >= max(wide.program.resolve(size).arena_bytes for size in sizes)
        assert plan.helpers == 0 or (threads > 1 and plan.helpers < min(threads, len(sizes)))


def test_a_batch_whose_values_outgrow_the_cache_runs_in_chunks(wide: Model) -> None:
    rows = chunking.rows_in_cache(wide.program)
    assert rows % 16 == 0
    assert wide.program.layout.arena_bytes(rows) <= chunking.CACHE_BYTES
    assert _rows(wide.resolve(rows)) == [rows]
    assert max(_rows(wide.resolve(10 * rows))) <= rows
    assert wide.plan(10 * rows).arena_bytes <= chunking.CACHE_BYTES
    assert "in chunks of" in str(wide.plan(10 * rows))
    assert "in chunks of" not in str(wide.plan(rows))


def test_plans_of_plans_run_in_order(wide: Model) -> None:
    inner = wide.combine([(wide.program.resolve(3), 2), (wide.program.resolve(1), 1)])
    assert _rows(wide.combine([(inner, 2), (wide.program.resolve(5), 1)])) == [3, 3, 1, 3, 3, 1, 5]
    assert wide.combine([(inner, 1)]).n_rows == 7
    single = wide.program.resolve(4)
    assert wide.combine([(single, 1)]) is single


@pytest.mark.parametrize("name", ["Gemm-wide", "Softmax-middle", "LSTM-batch-first", "Conv", "RandomNormalLike"])
def test_a_shared_batch_has_the_bits_of_rows_alone(name: str, eager: None) -> None:
    case = named(name)
    model = Model.load(case.build(17))
    given = columns(model, 61, special=True, positive=case.positive, integers=case.integers)
    alone = one_by_one(model, given, 61)
    for threads in (2, 3, 4):
        for _ in range(20):
            assert_same_bits(execute(model, given, range(61), threads=threads), alone, f"{threads} threads")


def test_several_threads_share_one_crew(wide: Model, eager: None) -> None:
    x = np.random.default_rng(0).standard_normal((300, 64)).astype(np.float32)
    expected = wide.run({"obs": x})["action"]
    policies = [Policy(wide, threads=3) for _ in range(4)]
    wrong: list[int] = []

    def play(policy: Policy, seed: int) -> None:
        random = np.random.default_rng(seed)
        policy.begin_agents(range(300))
        for _ in range(150):
            n_rows = int(random.integers(1, 300))
            if not np.array_equal(policy.infer_batch(range(n_rows), {"obs": x[:n_rows]})["action"], expected[:n_rows]):
                wrong.append(seed)
            if random.random() < 0.05:
                time.sleep(0.001)  # workers fall asleep meanwhile

    threads = [threading.Thread(target=play, args=(policy, k)) for k, policy in enumerate(policies)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert not wrong
    assert sum(thread.name == "cervello" for thread in threading.enumerate()) == len(thread_pool._spawned)
    assert len(thread_pool._idle) == len(thread_pool._spawned)


def test_a_handle_with_threads_has_the_bits_of_one_without(wide: Model) -> None:
    x = np.random.default_rng(0).standard_normal((3000, 64)).astype(np.float32)
    out = {"action": np.zeros((3000, 8), np.float32)}
    handle = wide.bind({"obs": x}, out, threads=2)
    assert wide.resolve(3000, threads=2).helpers == 1
    expected = wide.run({"obs": x})["action"]
    for _ in range(20):
        out["action"][:] = np.nan
        handle()
        assert np.array_equal(out["action"], expected)
    with pytest.raises(ConfigurationError, match="bind, threads: expected at least 1, got 0"):
        wide.bind({"obs": x}, out, threads=0)


def test_a_batch_that_finds_no_idle_worker_runs_alone(wide: Model, eager: None) -> None:
    plan = wide.resolve(64, threads=2)
    taken = thread_pool.claim(plan)
    busy = [thread_pool._idle.pop() for _ in range(len(thread_pool._idle))]
    try:
        assert len(taken) == 1
        policy = Policy(wide, threads=2)
        policy.begin_agents(range(64))
        x = np.ones((64, 64), np.float32)
        assert np.array_equal(policy.infer_batch(range(64), {"obs": x})["action"], wide.run({"obs": x})["action"])
    finally:
        thread_pool.give_back([*taken, *busy])


def test_workers_are_not_woken_for_little(wide: Model) -> None:
    plan = wide.resolve(64, threads=2)
    assert plan.helpers == 1
    time.sleep(0.01)  # long enough for the last batch to be past
    assert thread_pool.claim(plan) == []
    taken = thread_pool.claim(plan)  # a second one at once: more are likely to follow as closely
    assert len(taken) == 1
    thread_pool.give_back(taken)


def test_a_failing_chunk_is_reported_and_harms_nobody(eager: None) -> None:
    model = Model.load(named("Gather-table").build(3))
    policy = Policy(model, threads=3)
    policy.begin_agents(range(90))
    good = {name: np.zeros(spec.batched(90), spec.dtype) for name, spec in model.inputs.items()}
    expected = policy.infer_batch(range(90), good)
    for row in (0, 44, 89):
        bad = {name: array.copy() for name, array in good.items()}
        bad["x1"][row] = 10**6
        with pytest.raises(ExecutionError, match="an index outside its table"):
            policy.infer_batch(range(90), bad)
        found = policy.infer_batch(range(90), good)
        assert all(np.array_equal(found[name], expected[name]) for name in model.outputs)


_EXIT = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np, small_models
from cervello import Model, Policy
policy = Policy(Model.load(small_models.feed_forward(64, 512, 8)), threads=3)
policy.begin_agents(range(2000))
policy.infer_batch(range(2000), {"obs": np.ones((2000, 64), np.float32)})
print("played")
"""


@pytest.mark.parametrize("hurry", ["", "import os; os._exit(0)", "raise SystemExit"])
def test_a_process_ends_while_workers_wait(hurry: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(cervello.__file__).parent.parent)}
    command = [sys.executable, "-u", "-c", _EXIT + hurry, str(Path(small_models.__file__).parent)]
    done = subprocess.run(command, timeout=60, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "played\n", "")
