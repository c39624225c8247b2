"""Law 5: after the first calls nothing is allocated and nothing is compiled."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import stacks

from cervello import Epsilon, Policy, Recurrent
from cervello.codegen import compiler, linker

CALLS = 10_000
NUMPY = np.lib.tracemalloc_domain


def columns(policy: Policy, n: int) -> dict[str, Any]:
    return {name: np.zeros(spec.batched(n), spec.dtype) for name, spec in policy.inputs.items()}


@pytest.mark.parametrize("inferer", ["basic", "fixed", "memoizing", "dynamic"])
@pytest.mark.parametrize(("name", "wrappers", "n"), [("feed_forward", [], 1), ("feed_forward", [], 8), ("noisy", [Epsilon()], 8),
                                                    ("counter", [Recurrent()], 1), ("full", "auto", 8)])
def test_ten_thousand_calls_with_out_allocate_nothing(inferer: str, name: str, wrappers: Any, n: int) -> None:
    policy = Policy(stacks.model(name), inferer=inferer, wrappers=wrappers)
    ids = list(range(n))
    policy.begin_agents(ids)
    x = columns(policy, n)
    out = {key: np.zeros(spec.batched(n), spec.dtype) for key, spec in policy.outputs.items()}
    infer = policy.infer_batch
    repeats = CALLS if inferer == "memoizing" else CALLS // 10

    def calls(count: int) -> None:
        for _ in range(count):
            infer(ids, x, out=out)

    calls(200)
    gc.collect()
    blocks = sys.getallocatedblocks()
    calls(repeats)
    gc.collect()
    assert sys.getallocatedblocks() - blocks < 50
    if inferer == "memoizing":
        tracemalloc.start()
        calls(10)
        before = tracemalloc.take_snapshot().filter_traces([tracemalloc.DomainFilter(True, NUMPY)])
        tracemalloc.reset_peak()
        calls(repeats // 10)
        after = tracemalloc.take_snapshot().filter_traces([tracemalloc.DomainFilter(True, NUMPY)])
        tracemalloc.stop()
        assert sum(trace.size for trace in after.traces) == sum(trace.size for trace in before.traces)


ODD: dict[str, Callable[[Any], Any]] = {
    "read_only": lambda x: np.broadcast_to(x[:1], x.shape), "float64": lambda x: x.astype(np.float64), "fortran": np.asfortranarray,
    "strided": lambda x: np.repeat(x, 2, 1)[:, ::2],
    "unaligned": lambda x: np.ndarray(x.shape, x.dtype, np.zeros(x.nbytes + 1, np.uint8), 1),
    "integers": lambda x: x.astype(np.int16), "lists": lambda x: x.tolist()}


@pytest.mark.parametrize("inferer", ["basic", "fixed", "memoizing", "dynamic"])
def test_no_legal_input_compiles_anything(inferer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = Policy(stacks.model("full"), inferer=inferer, wrappers="auto")
    policy.begin_agents(range(40))
    for n in (1, 7):
        policy.infer_batch(list(range(n)), columns(policy, n))
    policy.infer({agent: {name: column[0] for name, column in columns(policy, 1).items()} for agent in range(2)})
    linked = set(linker._linked)

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("something was compiled")

    monkeypatch.setattr(compiler, "compile_object", refuse)
    monkeypatch.setattr(linker, "link", refuse)
    for n in (1, 7, 8, 39):  # two sizes that were never seen
        for change in ODD.values():
            x = {name: change(column) if column.dtype == np.float32 else column for name, column in columns(policy, n).items()}
            policy.infer_batch(list(range(n)), x)
            policy.infer_batch(list(range(n)), x, deterministic=np.arange(n) % 2 == 0)
            policy.infer({0: {name: np.asarray(column)[0] for name, column in x.items()}})
    assert set(linker._linked) == linked
