"""What may name agents, in what form a crowd may be given, and what else arrives at a policy's door."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import small_models
import stacks

import cervello
from cervello import AgentError, ConfigurationError, Fill, InputError, Policy, Recurrent
from cervello.agents.membership import equal_ids

X = np.ones((2, 6), np.float32)
COLUMN = np.ones((2, 1), np.float32)


@pytest.fixture
def policy() -> Policy:
    found = Policy(stacks.model("feed_forward"))
    found.begin_agents([1, 2])
    return found


@pytest.mark.parametrize("make", [lambda: iter([1, 2]), lambda: (k for k in (1, 2)), lambda: {1: 0, 2: 0}, lambda: {1: 0, 2: 0}.keys(),
                                  lambda: range(1, 3), lambda: np.array([1, 2]), lambda: np.array([1, 2], object), lambda: (1, 2)])
@pytest.mark.parametrize("inferer", ["memoizing", "basic"])
def test_every_iterable_with_an_order_is_gone_through_once(make: Callable[[], Any], inferer: str) -> None:
    policy, filled = Policy(stacks.model("counter"), wrappers=[Recurrent()], inferer=inferer), Policy(
        stacks.model("counter"), wrappers=[Fill("obs", 1.0), Recurrent()], inferer=inferer)
    for each in (policy, filled):
        each.begin_agents(make())
        assert each.agents == (1, 2)
    for tick, column in enumerate((COLUMN, COLUMN.astype(np.float64), COLUMN)):
        assert policy.infer_batch(make(), {"obs": column})["action"].tolist() == [[tick + 1]] * 2
        assert filled.infer_batch(make(), {})["action"].tolist() == [[tick + 1]] * 2
    policy.restart_agents(make())
    policy.end_agents(make())
    assert len(policy) == 0


def test_a_set_has_no_order_and_may_only_begin_and_end(policy: Policy) -> None:
    with pytest.raises(AgentError, match=r"expected a sequence of ids, got a set; row i belongs to ids\[i\], so give a list"):
        policy.infer_batch({1, 2}, {"obs": X})  # type: ignore[arg-type]
    with pytest.raises(AgentError, match="got a set"):
        policy.begin_agents({3, 4}, stream=[0, 1])  # type: ignore[arg-type]
    policy.begin_agents({3, 4})  # type: ignore[arg-type]
    policy.end_agents({3, 4, 1})  # type: ignore[arg-type]
    assert policy.agents == (2,)


def test_ids_may_begin_agents_while_they_are_listed(policy: Policy) -> None:
    def arriving() -> Iterator[int]:
        yield 1
        policy.begin_agent("new")
        yield 2

    assert policy.infer_batch(arriving(), {"obs": X})["action"].shape == (2, 3)  # type: ignore[arg-type]
    assert "new" in policy


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("form", [list, tuple])
def test_what_only_equals_an_id_names_nobody_whatever_came_before(policy: Policy, compiled: bool, form: Any) -> None:
    if not compiled:
        policy._core.table.equal_ids, policy._core._call = equal_ids._equal_ids, None
    x = {"obs": X[:1]}
    for right, wrong in ((1, True), (1, 1.0), (1, np.float64(1)), (1, np.True_), (2, 2.0), (2, 2 + 0j)):
        policy.infer_batch(form([right]), x)
        with pytest.raises(AgentError, match=re.escape(f"agents: expected ints or strings, got {wrong!r}")):
            policy.infer_batch(form([wrong]), x)
        with pytest.raises(AgentError):
            policy._core.check_agents([wrong])
    policy.infer_batch(form([np.int64(2)]), x)
    policy.infer_batch(form([2]), x)


@pytest.mark.parametrize("a", [[], [1], [1, 2], ["a", 1], [2**70], [1.0], [True, 2], [None]])
@pytest.mark.parametrize("b", [[], [1], [1, 2], ["a", 1], [2**70], [1.0], [True, 2], [None]])
@pytest.mark.parametrize("form", [list, tuple])
def test_compiled_and_plain_comparison_agree(a: Any, b: Any, form: Any) -> None:
    compare, x, y = equal_ids.id_comparer(), form(a), form(b)
    assert compare(form is tuple, 0, x, y) == equal_ids._equal_ids(form is tuple, 0, x, y)
    assert compare(form is tuple, 0, x, x) == 2
    for other in (tuple(a) if form is list else list(a), np.array([1]), None):
        assert compare(form is tuple, 0, x, other) == equal_ids._equal_ids(form is tuple, 0, x, other) == 0  # type: ignore[arg-type]


@pytest.mark.parametrize("ids", [b"ab", bytearray(b"ab"), memoryview(b"ab")])
def test_bytes_are_no_ids(policy: Policy, ids: Any) -> None:
    for call in (policy.begin_agents, policy.end_agents, lambda given: policy.infer_batch(given, {"obs": X})):
        with pytest.raises(AgentError, match="expected a sequence of ids, got"):
            call(ids)
    assert policy.agents == (1, 2)


MODEL = stacks.model("feed_forward")
DOOR: dict[str, tuple[Callable[[Policy], Any], type[Exception], str]] = {
    "inputs are an array": (lambda p: p.infer_batch([1, 2], X), InputError, "expected arrays by name, .* got ndarray and NoneType"),  # type: ignore[arg-type]
    "no inputs": (lambda p: p.infer_batch([1, 2], None), InputError, "got NoneType and NoneType"),  # type: ignore[arg-type]
    "out is an array": (lambda p: p.infer_batch([1, 2], {"obs": X}, out=X), InputError, "got dict and ndarray"),  # type: ignore[arg-type]
    "observations in a list": (lambda p: p.infer([X]), InputError, r"expected \{agent: \{input: row\}\}, got list"),  # type: ignore[arg-type]
    "a number": (lambda p: p.infer(5), InputError, "got int"),  # type: ignore[arg-type]
    "a list among the ids": (lambda p: p._core.check_agents([[1]]), AgentError, r"got \[1\]"),  # type: ignore[list-item]
    "a list as an id": (lambda p: p.infer_single([1], {"obs": X[0]}), AgentError, r"got \[1\]"),  # type: ignore[arg-type]
    "an array as an id": (lambda p: p.infer_batch([np.array([1, 2])], {"obs": X[:1]}), AgentError, "begun, got array"),  # type: ignore[list-item]
    "ragged flags": (lambda p: p.infer_batch([1, 2], {"obs": X}, [[True], [False, True]]), InputError, "bools, got a ragged sequence"),  # type: ignore[arg-type]
    "flags without rows": (lambda p: p.infer_batch([], {"obs": X[:0]}, "banana"), InputError, "deterministic: expected a bool"),  # type: ignore[arg-type]
    "flags for nobody": (lambda p: p.infer({}, "banana"), InputError, "deterministic: expected a bool"),  # type: ignore[arg-type]
    "one as a flag": (lambda p: p.infer_batch([1, 2], {"obs": X}, 1), InputError, "deterministic: expected a bool"),
    "a flag of a stranger": (lambda p: p.infer({1: {"obs": X[0]}}, {9: True}), AgentError, "expected agents of this batch, got 9"),
    "one as an agent's flag": (lambda p: p.infer({1: {"obs": X[0]}}, {1: 1}), InputError, "expected a bool for agent 1, got 1"),
    "overlapping out": (lambda p: p.infer_batch([1, 2], {"obs": X}, out={"action": np.zeros((2, 3), np.float32)[::-1], "x": X}), InputError,
                        "expected names among"),
    "a policy of a path": (lambda p: Policy("x.onnx"), ConfigurationError, "expected a cervello.Model, got 'x.onnx'; cervello.load"),  # type: ignore[arg-type]
    "load nothing": (lambda p: cervello.load(None), ConfigurationError, "source: expected a path, .* got None"),  # type: ignore[arg-type]
    "share a name": (lambda p: cervello.load(small_models.counter(), share="x"), ConfigurationError, "share: expected"),  # type: ignore[arg-type]
    "no outputs": (lambda p: cervello.load(small_models.counter(), outputs=[]), ConfigurationError, "at least one name, got"),
    "outputs of a model": (lambda p: cervello.load(MODEL, outputs=["action"]), ConfigurationError, "for a model that is loaded"),
    "share of a model": (lambda p: cervello.load(MODEL, share=MODEL), ConfigurationError, "for a model that is loaded"),
    "a strict model": (lambda p: cervello.load(MODEL, strict=True), ConfigurationError, "for a model that is loaded"),
    "dims of a model": (lambda p: cervello.load(MODEL, dims={"N": 1}), ConfigurationError, "for a model that is loaded"),
    "outputs are a number": (lambda p: cervello.load(small_models.counter(), outputs=3), ConfigurationError, "at least one name, got 3"),  # type: ignore[arg-type]
    "dims are a list": (lambda p: cervello.load(small_models.counter(), dims=["N"]), ConfigurationError, "dims: expected sizes by symbol"),  # type: ignore[arg-type]
    "a batcher of a path": (lambda p: cervello.Batcher("x.onnx"), ConfigurationError, "batcher: expected a cervello.Policy, got 'x.onnx'"),  # type: ignore[arg-type]
    "a batcher of a class": (lambda p: cervello.Batcher(Policy), ConfigurationError, "batcher: expected a cervello.Policy, got"),
    "watch a number": (lambda p: cervello.watch(3), ConfigurationError, "watch: expected the path of a policy file, got 3"),  # type: ignore[arg-type]
    "wrappers are None": (lambda p: Policy(MODEL, wrappers=None), ConfigurationError, "expected a list of wrappers or 'auto', got None"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("case", DOOR)
def test_what_does_not_fit_is_refused_at_the_door_in_words(policy: Policy, case: str) -> None:
    call, kind, message = DOOR[case]
    with pytest.raises(kind, match=message):
        call(policy)
    assert policy.infer_batch([1, 2], {"obs": X})["action"].shape == (2, 3)


def test_no_observation_at_all_is_refused_for_agents_without_inputs() -> None:
    policy = Policy(stacks.model("counter"), wrappers=[Fill("obs", 1.0), Recurrent()])
    policy.begin_agent(1)
    for nothing in (None, [], ""):
        with pytest.raises(InputError, match="agent 1: expected a mapping"):
            policy.infer({1: nothing})  # type: ignore[dict-item]
    assert policy.infer({1: {}})[1]["action"] == 1


def test_one_stream_may_be_an_array_without_axes(policy: Policy) -> None:
    policy.begin_agents([3, 4], stream=np.array(3), episode=np.array([1, 2]))
    streams, episodes = policy._core.table.streams_and_episodes(policy._core.table.slots_of([3, 4]))
    assert (streams.tolist(), episodes.tolist()) == ([3, 3], [1, 2])


def test_numpys_bools_are_bools(policy: Policy) -> None:
    expected = policy.infer_batch([1, 2], {"obs": X}, True)["action"]
    assert np.array_equal(policy.infer_batch([1, 2], {"obs": X}, np.True_)["action"], expected)  # type: ignore[arg-type]
    found = policy.infer({1: {"obs": X[0]}}, {1: np.True_})  # type: ignore[dict-item]
    assert np.array_equal(found[1]["action"], expected[0])


def test_streams_that_are_no_numbers_are_refused_by_name() -> None:
    policy = Policy(stacks.model("counter"))
    with pytest.raises(InputError, match="stream: expected 0 ≤ stream"):
        policy.begin_agents([1, 2], stream=[[1], [1, 2]])  # type: ignore[list-item]
    assert policy.agents == ()


def test_a_name_of_half_a_character_is_a_name() -> None:
    policy = Policy(stacks.model("counter"))
    policy.begin_agent("\ud800")
    state = policy.snapshot()
    policy.end_agent("\ud800")
    policy.restore(state)
    assert policy.agents == ("\ud800",)
