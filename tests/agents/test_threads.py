"""Several Python threads, and batches split over threads."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import small_models
import stacks

from cervello import Epsilon, Model, Policy, Recurrent


@pytest.fixture
def eager_switching() -> Iterator[None]:
    """Python changes threads as often as it can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def at_once(work: Callable[[int], None], n: int = 4) -> None:
    """Runs work(0) to work(n - 1) in threads; raises what they raise."""
    errors: list[BaseException] = []

    def guarded(k: int) -> None:
        try:
            work(k)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(k,)) for k in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@pytest.mark.usefixtures("eager_switching")
@pytest.mark.parametrize("inferer", stacks.INFERERS)
@pytest.mark.parametrize("form", ["columns", "names"])
def test_threads_may_decide_for_different_agents(inferer: str, form: str) -> None:
    model = stacks.model("counter")
    policy = Policy(model, inferer=stacks.INFERERS[inferer](model), wrappers=[Recurrent()])
    policy.begin_agents(range(40))

    def work(k: int) -> None:
        ids = np.arange(10 * k, 10 * k + 2 + k)  # another size per thread
        x = np.full((len(ids), 1), k + 1, np.float32)
        for tick in range(1, 200):
            if form == "columns":
                found = policy.infer_batch(ids, {"obs": x})["action"][:, 0].tolist()
            else:
                named = policy.infer({int(i): {"obs": row} for i, row in zip(ids, x, strict=True)})
                found = [row["action"].item() for row in named.values()]
            assert found == [(k + 1) * tick] * len(ids)

    at_once(work)


@pytest.mark.usefixtures("eager_switching")
@pytest.mark.parametrize("inferer", ["basic", "memoizing", "dynamic"])
def test_agents_may_come_and_go_while_others_decide(inferer: str) -> None:
    model = stacks.model("counter")
    policy = Policy(model, inferer=inferer, wrappers=[Recurrent()])
    policy.begin_agents([f"lasting{k}" for k in range(3)])

    def work(k: int) -> None:
        sizes = np.random.default_rng(k)
        for tick in range(1, 100):
            born = [f"{k}.{tick}.{i}" for i in range(int(sizes.integers(1, 12)))]  # the table grows from time to time
            policy.begin_agents(born)
            x = np.ones((len(born) + (k < 3), 1), np.float32)
            lasting = [f"lasting{k}"] if k < 3 else []
            found = policy.infer_batch(lasting + born, {"obs": x})["action"][:, 0].tolist()
            assert found == [tick] * len(lasting) + [1] * len(born)
            assert policy.infer_batch(born, {"obs": x[:len(born)]})["action"][:, 0].tolist() == [2] * len(born)
            if tick % 3:
                policy.end_agents(born)

    at_once(work)


@pytest.mark.usefixtures("eager_switching")
def test_threads_draw_the_noise_of_their_agents() -> None:
    policy, reference = (Policy(stacks.model("noise_alone"), wrappers=[Epsilon()]) for _ in range(2))
    for each in (policy, reference):
        each.begin_agents(range(40))
    zeros = np.zeros((20, 4), np.float32)
    expected = [[reference.infer_batch(list(range(10 * k, 10 * k + 3 + k)), {"obs": zeros[:3 + k]})["action"] for _ in range(100)]
                for k in range(4)]

    def work(k: int) -> None:
        for each in expected[k]:
            assert np.array_equal(policy.infer_batch(list(range(10 * k, 10 * k + 3 + k)), {"obs": zeros[:3 + k]})["action"], each)

    at_once(work)


@pytest.fixture(scope="module")
def wide() -> Model:
    """A model whose batches are worth splitting."""
    return Model.load(small_models.feed_forward(64, 512, 8))


@pytest.mark.parametrize("inferer", ["basic", "fixed", "memoizing", "dynamic"])
def test_a_split_batch_has_the_same_bits(wide: Model, inferer: str) -> None:
    n_rows = 301
    assert wide.resolve(n_rows, threads=2).helpers == 1
    x = np.random.default_rng(0).standard_normal((n_rows, 64)).astype(np.float32)
    ids = list(range(n_rows))
    results = []
    for threads in (1, 2, 3):
        policy = Policy(wide, inferer=inferer, threads=threads)
        policy.begin_agents(ids)
        out = {"action": np.zeros((n_rows, 8), np.float32)}
        policy.infer_batch(ids, {"obs": x}, out=out)
        results.append(out["action"])
        assert np.array_equal(policy.infer_batch(ids[:5], {"obs": x[:5]})["action"], out["action"][:5])
        for _ in range(10):
            non_leading_axes = {"action": np.zeros((n_rows, 16), np.float32)[:, ::2]}
            policy.infer_batch(ids, {"obs": np.asfortranarray(x, np.float64)}, out=non_leading_axes)
            assert np.array_equal(non_leading_axes["action"], out["action"])
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])


def test_other_threads_run_while_a_long_batch_does(wide: Model) -> None:
    policy = Policy(wide)
    n_rows = 2000
    policy.begin_agents(range(n_rows + 1))
    x = np.zeros((n_rows, 64), np.float32)
    expected = wide.run({"obs": x[:1]})["action"]
    done = threading.Event()

    def long() -> None:
        for _ in range(5):
            policy.infer_batch(range(n_rows), {"obs": x})  # type: ignore[arg-type]
        done.set()

    thread = threading.Thread(target=long)
    thread.start()
    short = 0
    while not done.is_set():
        assert np.array_equal(policy.infer_batch([n_rows], {"obs": x[:1]})["action"], expected)
        short += 1
    thread.join()
    assert short >= 1
