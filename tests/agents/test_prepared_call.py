"""A batch of the agents of the batch before is one compiled call: it does what the call through Python does, and nothing after a change."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import stacks

from cervello import AgentError, Policy, Recurrent

X = np.ones((2, 1), np.float32)


def prepared(ids: Any = ("a", "b")) -> Policy:
    """A policy whose next batch of these agents is the compiled call; each has decided four times."""
    policy = Policy(stacks.model("counter"), wrappers=[Recurrent()])
    policy.begin_agents(["a", "b"])
    for _ in range(4):
        policy.infer_batch(ids, {"obs": X})
    assert policy._core._prepared is not None
    return policy


def counts(policy: Policy, ids: Any = ("a", "b"), **more: Any) -> list[float]:
    return policy.infer_batch(ids, {"obs": X[:len(ids)]}, **more)["action"].ravel().tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("form", [list, tuple])
def test_it_decides_as_the_general_call_does(form: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    policy, plain = prepared(form("ab")), prepared(form("ab"))
    monkeypatch.setattr(policy._core, "_infer_batch", None)  # no call through Python
    plain._core._prepared = plain._core._call = None
    out = {"action": np.zeros((2, 1), np.float32)}
    for more in ({}, {"deterministic": True}, {"out": out}):
        assert counts(policy, form("ab"), **more) == counts(plain, form("ab"), **more)
    assert policy._core.table.steps.tolist() == plain._core.table.steps.tolist()


def test_other_agents_or_an_order_of_their_own_are_looked_up() -> None:
    policy = prepared()
    assert counts(policy, ("b",)) == [5]
    assert counts(policy, ("b", "a")) == [6, 5]
    with pytest.raises(AgentError, match="got 'c'"):
        counts(policy, ("a", "c"))
    assert counts(policy) == [6, 7]


def test_an_agent_that_ends_or_restarts_is_noticed() -> None:
    policy = prepared()
    policy.restart_agents(["b"])
    assert counts(policy) == [5, 1]
    policy.end_agents(["a"])
    with pytest.raises(AgentError, match="got 'a'"):
        counts(policy)
    policy.begin_agents(["a"])
    assert counts(policy) == [1, 2]


def test_tables_that_grow_and_models_that_are_replaced_are_noticed() -> None:
    policy = prepared()
    policy.begin_agents(range(1000))
    assert counts(policy) == [5, 5]
    counts(policy)
    policy.replace(stacks.model("counter"))
    found = policy.infer_batch(("a", "b"), {"obs": X})
    assert (found["action"].ravel().tolist(), found.version) == ([7, 7], 2)
    for _ in range(3):
        found = policy.infer_batch(("a", "b"), {"obs": X})
    assert (found["action"].ravel().tolist(), found.version) == ([10, 10], 2)


def test_it_decides_nothing_for_a_caller_that_looked_its_agents_up_before_a_change() -> None:
    policy = prepared()
    core = policy._core
    version = core.membership_version
    assert core.infer_batch(("a", "b"), {"obs": X}, expected_version=version)["action"].ravel().tolist() == [5, 5]
    policy.restart_agents(["b"])
    with pytest.raises(AgentError, match=f"expected membership version {version}, got {version + 1}; agents have begun or ended since"):
        core.infer_batch(("a", "b"), {"obs": X}, expected_version=version)
    assert counts(policy) == [6, 1]


def test_it_does_nothing_while_the_lock_is_taken() -> None:
    policy = prepared()
    call, found = policy._core._prepared, []
    assert call is not None
    policy._core.lock.try_exclusive(lambda: found.append(call.decide(-1, 0, ("a", "b"), {"obs": X}, {"action": X.copy()})))
    assert found == [-1]
    assert counts(policy) == [5, 5]
