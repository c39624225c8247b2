"""How many rows run at once, and where plans come from."""

from __future__ import annotations

import re
import sys
import threading
from typing import Any

import numpy as np
import pytest
import stacks

import cervello
from cervello import ConfigurationError, Policy, inferers
from cervello.inferers.testing import FakeAgents
from cervello.spec import View


def opened(wanted: Any, name: str = "feed_forward") -> Any:
    return inferers.choose(wanted, stacks.model(name))


def run(inferer: Any, n_rows: int) -> Any:
    x = np.random.default_rng(n_rows).standard_normal((n_rows, 6)).astype(np.float32)
    view = View(n_rows, np.arange(n_rows), {"obs": x}, {}, FakeAgents())
    inferer.infer_raw(view)
    assert np.array_equal(view.outputs["action"], inferer.model.run({"obs": x})["action"])


class CountedModel:
    """A model that notes which sizes are resolved, and may be made to wait while it resolves one."""

    def __init__(self, model: cervello.Model):
        self._model = model
        self.resolved: list[int] = []
        self.slow_size = 0
        self.entered, self.go_on = threading.Event(), threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def resolve(self, n_rows: int, threads: int = 1, into: Any = None) -> Any:
        self.resolved.append(n_rows)
        if n_rows == self.slow_size:
            self.entered.set()
            assert self.go_on.wait(20)
        return self._model.resolve(n_rows, threads, into)


def runs(inferer: Any, n_rows: int) -> list[int]:
    """Rows per run."""
    return [plan.n_rows for plan in inferer.plan(n_rows).chunks]


# Basic and fixed ----------------------------------------------------------------------------------------------------------


def test_basic_runs_one_row_at_a_time() -> None:
    inferer = opened("basic")
    assert inferer.select_batch_size(100) == 1
    assert runs(inferer, 5) == [1] * 5
    assert runs(inferer, 1) == [1]
    run(inferer, 5)


@pytest.mark.parametrize(("sizes", "n_rows", "expected"), [([8], 20, [8, 8, 1, 1, 1, 1]), ([7, 32], 50, [32, 7, 7, 1, 1, 1, 1]),
                                                           ([1, 8, 64], 73, [64, 8, 1]), ([], 3, [1, 1, 1]), ([4, 2], 7, [4, 2, 1])])
def test_fixed_is_greedy_with_the_largest_first_and_one_always_among_them(sizes: list[int], n_rows: int, expected: list[int]) -> None:
    inferer = opened(inferers.Fixed(sizes))
    assert runs(inferer, n_rows) == expected
    chosen, left = [], n_rows
    while left:
        chosen.append(inferer.select_batch_size(left))
        left -= chosen[-1]
    assert chosen == expected
    run(inferer, n_rows)


def test_fixed_resolves_its_sizes_once() -> None:
    counted = CountedModel(stacks.model("feed_forward"))
    inferer = inferers.Fixed([4, 2, 4]).open(counted)  # type: ignore[arg-type]
    assert sorted(counted.resolved) == [1, 2, 4]
    for n_rows in (1, 2, 3, 4, 7, 100):
        run(inferer, n_rows)
    assert sorted(counted.resolved) == [1, 2, 4]


# Memoizing ----------------------------------------------------------------------------------------------------------------


def test_memoizing_keeps_a_bounded_number_of_plans_and_lets_the_oldest_go() -> None:
    # cervo failure 11: no bound, no eviction.
    inferer = opened(inferers.Memoizing(capacity=3))
    for n_rows in (1, 2, 3, 1, 4):
        run(inferer, n_rows)
    assert inferer.sizes == (3, 1, 4)
    for n_rows in range(1, 200):
        run(inferer, n_rows)
        assert len(inferer.sizes) <= 3


def test_memoizing_resolves_a_size_that_repeats_once() -> None:
    counted = CountedModel(stacks.model("feed_forward"))
    inferer = inferers.Memoizing(preload=[2, 8]).open(counted)  # type: ignore[arg-type]
    assert counted.resolved == [2, 8]
    assert inferer.sizes == (2, 8)  # type: ignore[attr-defined]
    for n_rows in (2, 8, 5, 2, 8, 5, 5):
        run(inferer, n_rows)
    assert counted.resolved == [2, 8, 5]


def test_a_new_size_blocks_no_thread_that_runs_a_known_one() -> None:
    # cervo failure 11: a new size compiled under the write lock while readers waited.
    counted = CountedModel(stacks.model("feed_forward"))
    inferer = inferers.Memoizing(preload=[2, 3]).open(counted)  # type: ignore[arg-type]
    counted.slow_size = 50
    newcomer = threading.Thread(target=run, args=(inferer, 50))
    newcomer.start()
    try:
        assert counted.entered.wait(20)
        for n_rows in (2, 3, 2):  # these finish while the new size is still being resolved
            known = threading.Thread(target=run, args=(inferer, n_rows))
            known.start()
            known.join(20)
            assert not known.is_alive()
        run(inferer, 4)  # and so does another new one
        assert newcomer.is_alive()
        assert 50 not in inferer.sizes  # type: ignore[attr-defined]
    finally:
        counted.go_on.set()
        newcomer.join(20)
    assert 50 in inferer.sizes  # type: ignore[attr-defined]


def test_threads_share_a_small_cache_without_harm() -> None:
    inferer = opened(inferers.Memoizing(capacity=2))
    failed: list[BaseException] = []

    def work(first: int) -> None:
        try:
            for i in range(300):
                run(inferer, 1 + (first + i) % 7)
        except BaseException as error:
            failed.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not failed
    assert len(inferer.sizes) <= 3


# Dynamic ------------------------------------------------------------------------------------------------------------------


def test_dynamic_resolves_again_whenever_the_size_changes() -> None:
    inferer = opened("dynamic")
    assert runs(inferer, 99) == [99]
    for n_rows in (3, 40, 3, 1, 40, 2):
        run(inferer, n_rows)


@pytest.mark.parametrize("inferer", stacks.INFERERS)
def test_a_deterministic_batch_between_two_others_disturbs_neither(inferer: str) -> None:
    # The short and the long way may keep plans of different sizes; neither may use the other's.
    model = stacks.model("feed_forward")
    policy = Policy(model, inferer=stacks.INFERERS[inferer](model))
    policy.begin_agents(range(64))
    x = np.random.default_rng(0).standard_normal((64, 6)).astype(np.float32)
    expected = model.run({"obs": x})["action"]
    for n_rows, deterministic in ((3, False), (40, True), (3, False), (5, True), (3, False), (40, False), (3, True)):
        out = np.full((64, 3), 7, np.float32)
        policy.infer_batch(list(range(n_rows)), {"obs": x[:n_rows]}, deterministic, {"action": out[:n_rows]})
        assert np.array_equal(out[:n_rows], expected[:n_rows])
        assert (out[n_rows:] == 7).all(), "rows beyond the batch were written"


# Models exported for one row ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rank_one", "one_row_only"])  # the first is freed, the second cannot be
@pytest.mark.parametrize("inferer", stacks.INFERERS)
def test_a_model_for_one_row_gives_every_row_what_it_gets_alone(name: str, inferer: str) -> None:
    model = stacks.model(name)
    policy = Policy(model, inferer=stacks.INFERERS[inferer](model))
    policy.begin_agents(range(9))
    x = np.random.default_rng(0).standard_normal((9, *model.inputs["obs"].shape)).astype(np.float32)
    found = policy.infer_batch(list(range(9)), {"obs": x})["action"]
    assert model.batched == (name == "rank_one")
    for i in range(9):
        assert np.array_equal(found[i], model.run({"obs": x[i:i + 1]})["action"][0])


# Bad options --------------------------------------------------------------------------------------------------------------


NAMES = "inferer: expected one of ['basic', 'dynamic', 'fixed', 'memoizing']"


@pytest.mark.parametrize(("wanted", "message"), [
    ("fastest", f"{NAMES}, got 'fastest'"), (object(), f"{NAMES} or an object with the methods of cervello.Inferer, got"),
    (inferers.Basic, "or an object with the methods of cervello.Inferer, got <class"),
    (stacks.Pairwise, "or an object with the methods of cervello.Inferer, got <class"),
    (None, "or an object with the methods of cervello.Inferer, got None")])
def test_an_unknown_inferer_is_refused(wanted: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        opened(wanted)


@pytest.mark.parametrize("size", [0, -1, 2.5, True, "8"])
def test_a_fixed_size_of_no_rows_is_refused(size: Any) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(f"inferers.Fixed: expected sizes of at least 1, got {size!r}")):
        inferers.Fixed([1, size])


@pytest.mark.parametrize("capacity", [0, -3])
def test_a_memoizing_cache_of_nothing_is_refused(capacity: int) -> None:
    with pytest.raises(ConfigurationError, match=rf"inferers\.Memoizing: expected a capacity of at least 1, got {capacity}"):
        inferers.Memoizing(capacity=capacity)


def test_preloading_no_rows_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"inferers\.Memoizing: expected sizes to preload of at least 1, got 0"):
        inferers.Memoizing(preload=[4, 0])


@pytest.mark.parametrize("threads", [0, -1, 1.5, True])
def test_a_number_of_threads_that_makes_no_sense_is_refused(threads: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"threads: expected at least 1, got {threads}"):
        Policy(stacks.model("feed_forward"), threads=threads)


def test_descriptions_say_what_they_are() -> None:
    assert [repr(each) for each in (inferers.Basic(), inferers.Fixed([8]), inferers.Memoizing(), inferers.Dynamic())] == [
        "Basic()", "Fixed(sizes=[8, 1])", "Memoizing(capacity=128)", "Dynamic()"]


def test_numpys_integers_are_numbers_too() -> None:
    model = stacks.model("feed_forward")
    assert inferers.Fixed(np.array([4, 16])).sizes == (16, 4, 1)
    assert inferers.Memoizing(np.int64(3), preload=np.array([2])).preload == (2,)
    assert inferers.choose("basic", model, np.int32(2)).threads == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize(("make", "message"), [
    (lambda: inferers.Fixed(8), "inferers.Fixed: expected sizes of at least 1, got 8; give a list"),
    (lambda: inferers.Fixed([2**70]), "inferers.Fixed: expected sizes of at most 1,000,000,000, got"),
    (lambda: inferers.Memoizing("a"), "inferers.Memoizing: expected a capacity of at least 1, got 'a'"),
    (lambda: inferers.Memoizing(preload=5), "expected sizes to preload of at least 1, got 5; give a list"),
    (lambda: inferers.Memoizing(preload=[1.5]), "expected sizes to preload of at least 1, got 1.5"),
    (lambda: inferers.choose("basic", stacks.model("feed_forward"), 2**40), "threads: expected at most 1,024, got"),
])
def test_sizes_that_make_no_sense_are_refused_in_words(make: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        make()
