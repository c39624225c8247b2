"""Law 3 for membership: a begin, an end or a restart that fails."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
import stacks

from cervello import Policy, PolicySpec, Recurrent
from cervello.inferers import choose
from cervello.spec import Wrapper
from cervello.wrappers import Passive
from cervello.wrappers.testing.fakes import BreakdownError, FailingInferer

ONE = {"obs": np.ones((1, 1), np.float32)}


class Moody(Passive):
    """Notes which hooks are called and fails in one of them when told to."""

    def __init__(self) -> None:
        self.fail = ""
        self.calls: list[str] = []

    def attach(self, spec: PolicySpec) -> tuple[Wrapper, PolicySpec]:
        return self, spec

    def _note(self, hook: str, error: BaseException) -> None:
        self.calls.append(hook)
        if self.fail == hook:
            raise error

    def reserve(self, capacity: int) -> None:
        self._note("reserve", MemoryError("no room"))

    def begin(self, slots: Any) -> None:
        self._note("begin", BreakdownError("begin"))

    def end(self, slots: Any) -> None:
        self._note("end", BreakdownError("end"))


class MoodyInferer(FailingInferer):
    """The same, for the hooks of an inferer."""

    hook = ""
    alive = 0

    def begin_agent(self, slot: int) -> None:
        if self.hook == "begin" and self.alive >= 2:
            raise BreakdownError("begin")
        self.alive += 1

    def end_agent(self, slot: int) -> None:
        self.alive -= 1
        if self.hook == "end":
            raise BreakdownError("end")


@pytest.fixture
def moody() -> Moody:
    return Moody()


@pytest.fixture
def policy(moody: Moody) -> Policy:
    """Sums up observations; a wrapper on each side of the moody one."""
    found = Policy(stacks.model("counter"), wrappers=[moody, Recurrent()])
    found.begin_agents(["a", "b"])
    return found


def decide(policy: Policy, agent: str) -> float:
    return float(policy.infer_batch([agent], ONE)["action"].item())


def test_room_that_cannot_be_made_lets_nobody_begin(moody: Moody, policy: Policy) -> None:
    movable = Policy(stacks.model("counter"), wrappers=[Late(), Recurrent()])  # runs in the short way, which knows slabs by address
    movable.begin_agents(["a", "b"])
    for each in (policy, movable):
        assert [decide(each, "a") for _ in range(3)] == [1, 2, 3]
        Late.fail, moody.fail = True, "reserve"
        with pytest.raises(MemoryError):
            each.begin_agents(range(1000))
        Late.fail, moody.fail = False, ""
        assert each.agents == ("a", "b")
        assert [decide(each, agent) for agent in "abba"] == [4, 1, 2, 5]
        each.begin_agents(range(1000))
        assert [decide(each, agent) for agent in "abba"] == [6, 3, 4, 7]


class Late(Passive):
    """Fails to make room after the wrappers further in have made it."""

    fail = False

    def attach(self, spec: PolicySpec) -> tuple[Wrapper, PolicySpec]:
        return Late(), spec

    def fused_ops(self) -> Any:
        return []

    def reserve(self, capacity: int) -> None:
        if self.fail:
            raise MemoryError("no room")


def test_a_begin_hook_that_fails_lets_nobody_begin_and_no_state_is_inherited(moody: Moody, policy: Policy) -> None:
    for _ in range(5):
        decide(policy, "a")
    policy.end_agent("a")
    moody.fail = "begin"
    with pytest.raises(BreakdownError):
        policy.begin_agents(["c", "d"])
    moody.fail = ""
    assert policy.agents == ("b",)
    policy.begin_agents(["c", "d"])
    assert [decide(policy, agent) for agent in "cdb"] == [1, 1, 1]


def test_wrappers_that_were_told_of_a_begin_are_told_of_the_end() -> None:
    inner, outer = Moody(), Moody()
    policy = Policy(stacks.model("counter"), wrappers=[outer, inner, Recurrent()])
    outer.fail = "begin"
    with pytest.raises(BreakdownError):
        policy.begin_agents([1, 2])
    assert inner.calls[-2:] == ["begin", "end"]
    assert outer.calls[-1] == "begin"


def test_an_inferer_that_refuses_the_third_agent_has_none_of_them() -> None:
    model = stacks.model("counter")
    inferer = MoodyInferer(choose("basic", model))
    policy = Policy(model, inferer=inferer, wrappers=[Recurrent()])
    inferer.hook = "begin"
    with pytest.raises(BreakdownError):
        policy.begin_agents(["a", "b", "c"])
    assert (inferer.alive, policy.agents) == (0, ())
    policy.begin_agents(["a", "b"])
    assert inferer.alive == 2


def test_everyone_hears_of_an_end_and_the_first_error_is_raised() -> None:
    model = stacks.model("counter")
    inferer, inner, outer = MoodyInferer(choose("basic", model)), Moody(), Moody()
    policy = Policy(model, inferer=inferer, wrappers=[outer, inner, Recurrent()])
    policy.begin_agents(["a", "b"])
    inner.fail = inferer.hook = "end"
    with pytest.raises(BreakdownError):
        policy.end_agent("a")
    assert inner.calls[-1] == outer.calls[-1] == "end"
    assert (inferer.alive, policy.agents) == (1, ("b",))


def test_an_episode_goes_on_when_the_next_one_cannot_begin(moody: Moody, policy: Policy) -> None:
    for _ in range(3):
        decide(policy, "a")
    generations = policy._core.generations(["a", "b"])
    for fail in ("begin", "reserve"):
        moody.fail = fail
        with contextlib.suppress(BreakdownError):  # there may be room already
            policy.restart_agents(["b", "a"])
            assert fail == "reserve"
            moody.fail = ""
            assert [decide(policy, agent) for agent in "ab"] == [1, 1]
            return
        assert policy.agents == ("a", "b")
        assert policy._core.generations(["a", "b"]) == generations
        assert [decide(policy, agent) for agent in "ab"] == [4, 1]
    raise AssertionError("expected the second restart to succeed")


def test_a_restart_gives_fresh_state_and_the_next_episode_to_each(moody: Moody, policy: Policy) -> None:
    for tick in range(200):  # more restarts than there are slots
        moody.calls.clear()
        policy.restart_agents(["a"])
        assert moody.calls == ["begin", "end"]
        assert (decide(policy, "a"), decide(policy, "b")) == (1, tick + 1)
    assert policy.agents == ("b", "a")
