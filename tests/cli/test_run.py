"""`cervello run`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def words(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def array(text: str, name: str) -> np.ndarray:
    """The numbers that `--print-input` or `--print-output` prints under a name."""
    block = re.search(rf"put {re.escape(name)} \(.*?\n(\[\[.*?\]\])", text, re.DOTALL)
    assert block is not None
    rows = block[1].strip("[]").split("]\n [")
    return np.array([[float(number) for number in row.split()] for row in rows])


def test_outputs_and_times_are_shown(scout: Path, cervello: Callable[..., Any]) -> None:
    said = cervello("run", scout, "-b", 5, "-n", 3)
    assert (said.status, said.err) == (0, "")
    assert said.out.startswith("scout, 5 agents\n")
    assert any(line[:3] == ["action", "5×2", "float32"] and line[-1] == "0" for line in words(said.out))
    assert re.search(r"^3 calls     p50 .*, p99 .*, mean ", said.out, re.MULTILINE)
    assert "agent-steps per second" in said.out


def test_arrays_are_printed_on_demand(wanderer: Path, cervello: Callable[..., Any]) -> None:
    said = cervello("run", wanderer, "-b", 2, "-n", 1, "--print-input", "--print-output", "--deterministic")
    assert "input obs (2, 3) float32" in said.out
    np.testing.assert_allclose(array(said.out, "action"), array(said.out, "obs"), rtol=1e-6)  # zeros for epsilon
    assert "h_in" not in said.out.replace("Recurrent({'h_in': 'h_out'})", "")


def test_the_same_seed_says_the_same_and_another_something_else(wanderer: Path, cervello: Callable[..., Any]) -> None:
    first, again, other = (array(cervello("run", wanderer, "-n", 1, "--print-output", "--seed", s).out, "action") for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_wrappers_can_be_named(oddly_named: Path, cervello: Callable[..., Any]) -> None:
    plain = cervello("run", oddly_named, "-n", 1, "--print-input").out
    assert "input dice" in plain
    assert "input past:0" in plain
    named = cervello("run", oddly_named, "-n", 1, "--print-input", "-w", "dice", "-r", "past:0:future:0").out
    assert "wrappers: Epsilon('dice'), Recurrent({'past:0': 'future:0'})" in named
    assert "input dice" not in named
    assert "input past:0" not in named


def test_a_wrapper_that_is_proposed_and_named_stands_once(wanderer: Path, cervello: Callable[..., Any]) -> None:
    said = cervello("run", wanderer, "-n", 1, "-w", "epsilon", "-r", "h_in:h_out")
    assert "wrappers: Epsilon('epsilon'), Recurrent({'h_in': 'h_out'})\n" in said.out


def test_a_wrapper_for_an_unknown_input_is_an_error(scout: Path, cervello: Callable[..., Any]) -> None:
    said = cervello("run", scout, "-w", "noise")
    assert (said.status, said.out) == (2, "")
    assert said.err.startswith("cervello: ")
    assert "Epsilon('noise')" in said.err


@pytest.mark.parametrize("inferer", ["basic", "fixed", "memoizing", "dynamic"])
def test_every_inferer_gives_the_same_outputs(inferer: str, scout: Path, cervello: Callable[..., Any]) -> None:
    reference = array(cervello("run", scout, "-b", 3, "-n", 1, "--print-output").out, "action")
    said = cervello("run", scout, "-b", 3, "-n", 1, "--print-output", "--inferer", inferer)
    np.testing.assert_array_equal(array(said.out, "action"), reference)


def test_numbers_that_are_not_finite_are_counted(slowpoke: Path, cervello: Callable[..., Any]) -> None:
    said = cervello("run", slowpoke, "-b", 4, "-n", 1)
    assert any(line[:2] == ["action", "4×3"] and line[-1] == "4" for line in words(said.out))


def test_a_model_for_one_row_runs_for_many_agents(mixer: Path, cervello: Callable[..., Any]) -> None:
    said = cervello("run", mixer, "-b", 3, "-n", 1, "--print-output")
    np.testing.assert_array_equal(array(said.out, "action"), np.zeros((3, 3)))  # every row is its own mean


def test_json_of_what_is_not_finite_is_json(slowpoke: Path, cervello: Callable[..., Any]) -> None:
    facts = json.loads(cervello("run", slowpoke, "-n", "1", "--json").out, parse_constant=lambda word: pytest.fail(word))
    assert facts["outputs"][0]["not_finite"] == 1
