"""Numbers that must not reach the game."""

from __future__ import annotations

import re
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import stacks

from cervello import Clip, Fill, Guard, Policy, PreviousAction, Recurrent, WrapperError
from cervello.wrappers.testing.fakes import FailingWrapper

GOOD, BAD, OTHER = [1.0, np.e], [1.0, 0.0], [np.e, np.e]


def playing(*wrappers: Any) -> Any:
    policy = Policy(stacks.model("fragile"), wrappers=wrappers)
    policy.begin_agents([1, 2])
    return lambda *rows, agents=(1, 2): policy.infer_batch(list(agents), {"obs": np.float32(rows)})


def test_a_row_that_is_not_finite_gets_the_fallback_in_all_its_floats_and_no_other_row_does() -> None:
    found = playing(Guard(0.25), Fill("h_in", 3))(GOOD, BAD)
    assert found["action"].tolist() == [[0, 1], [0.25, 0.25]]
    assert found["h_out"].tolist() == [[3, 4], [0.25, 0.25]]
    assert found["count"].tolist() == [[1], [0]]


def test_fallbacks_may_be_rows_by_name() -> None:
    found = playing(Guard({"action": [7, 8]}), Fill("h_in", 3))(GOOD, BAD)
    assert found["action"].tolist() == [[0, 1], [7, 8]]
    assert found["h_out"].tolist() == [[3, 4], [0, 0]]


@pytest.mark.parametrize("row", [np.array([7.0, 8.0]), [7, 8], (7, 8)])
def test_one_row_may_be_the_fallback_of_outputs_that_it_fits(row: Any) -> None:
    found = playing(Guard(row, ["action"]), Fill("h_in", 3))(GOOD, BAD)
    assert found["action"].tolist() == [[0, 1], [7, 8]]


def test_only_the_named_outputs_are_looked_at_and_replaced() -> None:
    found = playing(Guard(0.0, outputs=["action"]), Fill("h_in", 3))(GOOD, BAD)
    assert found["action"].tolist() == [[0, 1], [0, 0]]
    assert found["h_out"].tolist() == [[3, 4], [3, -np.inf]]


def test_the_last_good_value_is_each_agents_own_and_zero_before() -> None:
    play = playing(Guard("last", ["action"]), Fill("h_in"))
    assert play(BAD, GOOD)["action"].tolist() == [[0, 0], [0, 1]]
    assert play(OTHER, BAD)["action"].tolist() == [[1, 1], [0, 1]]
    assert play(BAD, agents=[1])["action"].tolist() == [[1, 1]]
    assert play(BAD, BAD, agents=[2, 1])["action"].tolist() == [[0, 1], [1, 1]]


def test_what_is_remembered_does_not_change_further_out() -> None:
    class Doubled(FailingWrapper):
        def outward(self, view: Any) -> None:
            view.outputs["action"] *= 2  # in place

    play = playing(Doubled(), Guard("last", ["action"]), Fill("h_in"))
    play(OTHER, OTHER)
    for _ in range(2):
        assert play(BAD, BAD)["action"].tolist() == [[2, 2], [2, 2]]


def test_inside_recurrent_state_stays_finite() -> None:
    for wrappers, expected in (([Recurrent()], 2.0), ([Recurrent(), Guard()], 1.0), ([Recurrent(), Guard("last")], 2.0)):
        policy = Policy(stacks.model("fragile"), wrappers=wrappers)
        policy.begin_agent(1)
        with nullcontext() if len(wrappers) == 2 else pytest.warns(RuntimeWarning):  # what a guard inside has replaced is finite
            for row in (OTHER, BAD, OTHER):
                policy.infer_single(1, {"obs": row})
        assert policy._core.engine.stack.outer_first[0].slabs["h_in"].rows[0, 1] == expected  # type: ignore[attr-defined]


def test_infinities_and_nan_both_trip() -> None:
    play = playing(Guard(0.5), Fill("h_in"))
    found = play([0.0, 1.0], [-1.0, 1.0])
    assert (found["action"] == 0.5).all()


def test_rows_are_counted_when_their_batch_succeeds() -> None:
    guard, failing = Guard(), FailingWrapper()
    play = playing(failing, guard, Fill("h_in"))
    other = playing(guard, Fill("h_in"))
    play(GOOD, BAD)
    play(BAD, BAD)
    assert guard.replaced_rows == 3
    failing.fail = "outward"
    with pytest.raises(Exception, match=r"^$"):
        play(BAD, BAD)
    assert guard.replaced_rows == 3
    other(BAD, BAD)
    assert guard.replaced_rows == 5  # of all policies that it serves


def test_the_bound_wrapper_counts_for_its_own_policy() -> None:
    guard = Guard()
    policies = [Policy(stacks.model("fragile"), wrappers=[guard, Fill("h_in")]) for _ in range(2)]
    for n, policy in enumerate(policies, 1):
        policy.begin_agents(range(n))
        policy.infer_batch(list(range(n)), {"obs": np.zeros((n, 2), np.float32)})
    assert [policy._core.engine.stack.outer_first[0].replaced_rows for policy in policies] == [1, 2]  # type: ignore[attr-defined]


def test_the_last_good_action_is_what_is_fed_back() -> None:
    wrappers = [PreviousAction("prev_action", "action"), Guard("last"), Recurrent(), Clip("action", -1, 1)]
    policy = Policy(stacks.model("full"), wrappers=wrappers)
    policy.begin_agent(1)
    given = {name: np.ones(spec.shape, spec.dtype) for name, spec in policy.inputs.items()}
    first = policy.infer_single(1, given)["action"]
    broken = policy.infer_single(1, {**given, "epsilon": np.full(3, np.nan)})["action"]
    assert broken.tolist() == first.tolist()


@pytest.mark.parametrize(("make", "message"), [
    (lambda: Guard("first"), "Guard: expected a number, rows by name or 'last', got 'first'"),
    (lambda: Guard(0, "action"), "Guard: expected a list of at least one output, got 'action'"),
    (lambda: Guard(0, []), "Guard: expected a list of at least one output, got []"),
    (lambda: playing(Guard(np.nan)), "expected finite fallbacks, got nan for 'action'"),
    (lambda: playing(Guard({"move": 0})), "expected fallbacks for ['action', 'h_out'], got ['move']"),
    (lambda: playing(Guard(0, ["count"])), "expected outputs of floats with a row for every agent, got"),
    (lambda: playing(Guard(0, ["move"])), "expected an output among ['action', 'h_out', 'count'], got 'move'"),
    (lambda: Policy(stacks.model("lookup"), wrappers=[Guard([1, 2, 3])]), "expected a value that fits action: (N, 2) float32, got (3,)"),
    (lambda: Policy(stacks.model("masked_argmax"), wrappers=[Guard()]), "expected outputs of floats")])
def test_guards_that_make_no_sense_are_refused(make: Any, message: str) -> None:
    with pytest.raises(WrapperError, match=re.escape(message)):
        make()
