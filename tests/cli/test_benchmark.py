"""`cervello benchmark`. How long anything takes is never asserted."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cervello as package
from cervello.agents.policy.core import PolicyCore


def sizes(text: str) -> list[str]:
    return re.findall(r"^ +(\d[\d,]*) .*s  .*$", text, re.MULTILINE)


def test_every_size_is_timed(scout: Path, cervello: Callable[..., Any]) -> None:
    said = cervello("benchmark", scout, "-b", "1-3,8", "-c", 20)
    assert (said.status, said.err) == (0, "")
    assert said.out.startswith("scout\n")
    assert sizes(said.out) == ["1", "2", "3", "8"]


def test_the_json_is_that_of_cervo(scout: Path, cervello: Callable[..., Any]) -> None:
    said = cervello("benchmark", scout, "-b", "1,4", "-c", 20, "--output", "json")
    assert (said.status, said.err) == (0, "")
    records = json.loads(said.out)
    assert [list(record) for record in records] == [["batch_size", "mean", "stddev", "total"]] * 2
    assert [record["batch_size"] for record in records] == [1, 4]
    for record in records:
        assert all(type(record[key]) is float for key in ("mean", "stddev", "total"))
        assert record["total"] == pytest.approx(record["mean"] * record["batch_size"])
        assert record["mean"] > 0


def test_long_flags_and_short_ones_mean_the_same(wanderer: Path, cervello: Callable[..., Any]) -> None:
    said = cervello("benchmark", wanderer, "--batch-sizes", "2", "--recurrent", "auto", "--count", 4, "--with-epsilon", "epsilon", "--json")
    assert said.status == 0
    short = cervello("benchmark", wanderer, "-b", "2", "-r", "AUTO", "-c", 4, "-w", "epsilon", "--output", "json")
    assert [list(record) for record in json.loads(said.out)] == [list(record) for record in json.loads(short.out)]


@pytest.mark.parametrize(("count", "calls"), [(20, 5), (23, 5), (1, 1)])
def test_the_count_is_of_agent_steps(count: int, calls: int, scout: Path, cervello: Callable[..., Any],
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    infer, counted = PolicyCore.infer_batch, [0]

    def counting(self: PolicyCore, *arguments: Any, **options: Any) -> Any:
        counted[0] += 1
        return infer(self, *arguments, **options)

    monkeypatch.setattr(PolicyCore, "infer_batch", counting)
    assert cervello("benchmark", scout, "-b", 4, "-c", count).status == 0
    assert counted[0] == 10 + calls  # ten calls warm up


@pytest.mark.parametrize("columns", [(), ("--columns",)])
def test_wrappers_are_those_that_are_asked_for(columns: tuple[str, ...], oddly_named: Path, cervello: Callable[..., Any]) -> None:
    bare = cervello("benchmark", oddly_named, "-c", 2, *columns)
    assert bare.status == 0
    assert "wrappers" not in bare.out
    said = cervello("benchmark", oddly_named, "-c", 2, "-w", "dice", "-r", "past:0:future:0", *columns)
    assert "wrappers: Epsilon('dice'), Recurrent({'past:0': 'future:0'})\n" in said.out


def test_recurrence_is_found_by_name(wanderer: Path, cervello: Callable[..., Any]) -> None:
    assert "wrappers: Recurrent()\n" in cervello("benchmark", wanderer, "-c", 2, "-r", "auto").out


def test_recurrence_that_is_not_there_is_an_error(scout: Path, cervello: Callable[..., Any]) -> None:
    said = cervello("benchmark", scout, "-r", "auto")
    assert (said.status, said.out) == (2, "")
    assert "wrapper Recurrent(): expected inputs and outputs that pair by name and shape" in said.err


def test_a_model_for_one_row_and_slow_nodes_are_timed(mixer: Path, slowpoke: Path, cervello: Callable[..., Any]) -> None:
    for path in (mixer, slowpoke):
        assert sizes(cervello("benchmark", path, "-b", "1,3", "-c", 3).out) == ["1", "3"]


def test_names_from_files_are_spelled_out(hostile: Path, cervello: Callable[..., Any]) -> None:
    name = "\x1b[31mred\x1b[0m [bold]obs[/bold] \u202e"
    said = cervello("benchmark", hostile, "-c", 2, "-w", name)
    assert "\x1b" not in said.out
    assert r"Epsilon(" in said.out


@pytest.mark.parametrize(("arguments", "message"), [
    (("-b", "3-1"), "argument -b/--batch-sizes: expected ranges LOW-HIGH, got '3-1'; did you mean 1-3?"),
    (("-b", "1,x"), "argument -b/--batch-sizes: expected numbers and ranges such as 1-4,8, each from 1 to 1,000,000,000, got 'x' in '1,x'"),
    (("-b", "0"), "argument -b/--batch-sizes: expected numbers and ranges such as 1-4,8, each from 1 to 1,000,000,000, got '0'"),
    (("-b", "1-"), "got '1-'"),
    (("-b", "-4"), "argument -b/--batch-sizes: expected"),
    (("-b", "1-2-3"), "got '1-2-3'"),
    (("-b", ""), "got ''"),
    (("-b", "1-4,"), "got '' in '1-4,'"),
    (("-b", "1-1000000000"), "argument -b/--batch-sizes: expected at most 10,000 sizes, got more in '1-1000000000'"),
    (("-r", "h_in"), "argument -r/--recurrent: expected auto or IN:OUT,IN:OUT, got 'h_in'"),
    (("-r", "a:b,auto"), "argument -r/--recurrent: expected auto or IN:OUT,IN:OUT, got both in 'a:b,auto'"),
    (("-r", "a:b,a:c"), "argument -r/--recurrent: expected every input once, got 'a:b,a:c'"),
    (("-c", "0"), "argument -c/--count: expected a whole number from 1"),
    (("--output", "xml"), "argument --output: invalid choice: 'xml'"),
])
def test_wrong_arguments_are_explained_in_one_line(arguments: tuple[str, ...], message: str, cervello: Callable[..., Any]) -> None:
    said = cervello("benchmark", "x", *arguments)
    assert (said.status, said.out) == (2, "")
    assert message in said.err
    assert said.err.count("\n") == 1


def test_sizes_may_be_given_twice_and_in_any_order(scout: Path, cervello: Callable[..., Any]) -> None:
    assert sizes(cervello("benchmark", scout, "-b", "8,1-2,8", "-c", 2).out) == ["8", "1", "2", "8"]


def test_real_recurrent_policies_are_timed(shared_models: Any, cervello: Callable[..., Any]) -> None:
    path = shared_models.path("mlagents_Hallway")
    assert "recurrent_in" in package.Model.load(path).inputs
    said = cervello("benchmark", path, "-b", "1,4", "-r", "recurrent_in:recurrent_out", "-c", 8, "--json")
    assert [record["batch_size"] for record in json.loads(said.out)] == [1, 4]
