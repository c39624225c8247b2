"""Bounds."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import stacks

from cervello import Clip, Policy, Recurrent, WrapperError
from cervello.inferers.testing import same_bits
from cervello.wrappers.clip import clipped


def summed(*wrappers: Any, obs: float = 1.0) -> Any:
    policy = Policy(stacks.model("counter"), wrappers=wrappers)
    policy.begin_agent(1)
    return [policy.infer_single(1, {"obs": [obs]})["action"].item() for _ in range(4)]


def test_outputs_and_inputs_stay_within_bounds() -> None:
    assert summed(Recurrent(), Clip("action", 0, 2.5)) == [1, 2, 2.5, 2.5]
    assert summed(Recurrent(), Clip("h_out", None, 2)) == [1, 2, 3, 3]  # the state is clipped, and not the action
    assert summed(Clip("obs", -0.5, 0.5), Recurrent()) == [0.5, 1, 1.5, 2]
    assert summed(Clip("action", low=3), Recurrent()) == [3, 3, 3, 4]


def test_where_chooses_between_an_input_and_an_output_of_one_name() -> None:
    model = stacks.model("state_named", "state", "state.1")
    for where, expected in (("input", [2, 2]), (None, [2, 2])):
        policy = Policy(model, wrappers=[Clip("state", -1, 1, where=where)])
        policy.begin_agent(1)
        assert policy.infer_single(1, {"obs": [1, 1], "state": [5, 5]})["action"].tolist() == expected
    with pytest.raises(WrapperError, match="expected an output among"):
        Policy(model, wrappers=[Clip("state", -1, 1, where="output")])


@pytest.mark.parametrize("n", range(1, 40))
def test_zeros_keep_their_sign_and_nan_stays(n: int) -> None:
    column = np.tile(np.float32([-0.0, 0.0, np.nan, -5, 5]), n)[:n]
    zero, minus = np.float32(0), np.float32(-0.0)
    assert same_bits(clipped(column, zero, None), np.tile(np.float32([-0.0, 0.0, np.nan, 0, 5]), n)[:n])
    assert same_bits(clipped(column, minus, np.array(3, np.float32)), np.tile(np.float32([-0.0, 0.0, np.nan, -0.0, 3]), n)[:n])


@pytest.mark.parametrize(("make", "message"), [
    (lambda: Clip(3, 0, 1), "Clip: expected the name of an output or input, got 3"),  # type: ignore[arg-type]
    (lambda: Clip("x"), "Clip('x'): expected a bound, got neither low nor high"),
    (lambda: Clip("x", 0, where="inside"), "Clip('x'): expected where='output' or 'input', got 'inside'"),
    (lambda: Policy(stacks.model("counter"), wrappers=[Clip("x", 0)]), "expected an output among ['action', 'h_out'], got 'x'"),
    (lambda: Policy(stacks.model("counter"), wrappers=[Clip("action", 2, 1)]), "expected low ≤ high, got low > high"),
    (lambda: Policy(stacks.model("counter"), wrappers=[Clip("action", np.nan)]), "expected a bound that is a number, got NaN"),
    (lambda: Policy(stacks.model("counter"), wrappers=[Clip("action", [1, 2])]), "expected a value that fits action: (N, 1) float32")])
def test_bounds_that_make_no_sense_are_refused(make: Any, message: str) -> None:
    with pytest.raises(WrapperError, match=re.escape(message)):
        make()
