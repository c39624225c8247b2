"""`cervello profile`. How long anything takes is never asserted."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cervello as package
from cervello.native.report.leaks import Growth

FIELDS = ["name", "n_rows", "rounds", "whole_s", "steps_s", "limit_s", "limit_share", "machine", "arena_bytes", "peak_bytes",
          "weight_bytes", "shared_bytes", "slow", "one_row", "fused", "tiers", "kinds", "steps", "leaks"]
STEP_FIELDS = ["node", "op", "runs", "tier", "times", "seconds", "share", "multiply_adds", "elements", "read_bytes", "weight_bytes",
               "written_bytes", "rounds_s", "limit_s", "limit_share"]
KIND_FIELDS = ["kind", "steps", "seconds", "share", "multiply_adds", "elements", "read_bytes", "written_bytes"]


def test_the_profile_shows_steps_kinds_and_managed_bytes(wanderer: Path, cervello: Callable[..., Any]) -> None:
    plan = package.Model.load(wanderer).plan(64)
    said = cervello("profile", wanderer, "-b", 64, "--rounds", 2)
    assert (said.status, said.err) == (0, "")
    assert said.out.startswith("wanderer, 64 rows\n")
    for word in ("run ", "limit ", "GFLOP/s", "GB/s", "arena ", "weights ", "2 planned (100% of the time)"):
        assert word in said.out
    for step in plan.steps:
        assert step.node in said.out
        assert step.runs in said.out
    assert "\nkind " in said.out
    assert "\nAdd " in said.out


def test_one_row_is_the_default(scout: Path, cervello: Callable[..., Any]) -> None:
    assert cervello("profile", scout, "--rounds", 1).out.startswith("scout, 1 row\n")


@pytest.mark.parametrize("flags", [("--json",), ("--output", "json")])
def test_the_json_says_everything(flags: tuple[str, ...], scout: Path, cervello: Callable[..., Any]) -> None:
    plan = package.Model.load(scout).plan(5)
    facts = json.loads(cervello("profile", scout, "-b", 5, "--rounds", 3, *flags).out)
    assert list(facts) == FIELDS
    assert (facts["name"], facts["n_rows"], facts["rounds"]) == ("scout", 5, 3)
    assert (facts["arena_bytes"], facts["peak_bytes"], facts["weight_bytes"]) == (plan.arena_bytes, plan.peak_bytes, plan.weight_bytes)
    assert all(list(step) == STEP_FIELDS for step in facts["steps"])
    assert all(list(kind) == KIND_FIELDS for kind in facts["kinds"] + facts["tiers"])
    assert [step["node"] for step in facts["steps"]] == [step.node for step in plan.steps]
    assert all(len(step["rounds_s"]) == 3 for step in facts["steps"])
    for parts in ("steps", "kinds", "tiers"):
        assert sum(part["share"] for part in facts[parts]) == pytest.approx(1)
    assert facts["limit_share"] == pytest.approx(facts["limit_s"] / facts["whole_s"])
    assert list(facts["machine"]) == ["flops", "weight_bandwidth"]
    assert facts["leaks"] is None


def test_slow_nodes_are_named_with_their_share(slowpoke: Path, cervello: Callable[..., Any]) -> None:
    said = cervello("profile", slowpoke, "--rounds", 1)
    assert "Hardmax 'pick': " in said.out
    tiers = {tier["kind"]: tier["steps"] for tier in json.loads(cervello("profile", slowpoke, "--rounds", 1, "--json").out)["tiers"]}
    assert tiers["planned"] >= 1
    assert sum(tiers.values()) > tiers["planned"]


def test_a_model_for_one_row_says_so(mixer: Path, cervello: Callable[..., Any]) -> None:
    said = cervello("profile", mixer, "-b", 64, "--rounds", 1)
    assert said.out.startswith("mixer, 1 row\n")
    assert "rows run one after another: node ReduceMean 'centre'" in said.out


def test_the_trace_is_written(scout: Path, tmp_path: Path, cervello: Callable[..., Any]) -> None:
    path = tmp_path / "scout.json"
    said = cervello("profile", scout, "--rounds", 2, "--trace", path)
    assert said.err == f"trace: {path}\n"
    trace = json.loads(path.read_text(encoding="utf-8"))
    events = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert len(events) == 2 * len(package.Model.load(scout).plan(1).steps)
    for before, after in itertools.pairwise(events):
        assert after["ts"] == pytest.approx(before["ts"] + before["dur"])
    assert {"name", "ts", "dur", "pid", "tid"} <= set(events[0])


def test_a_trace_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path, cervello: Callable[..., Any]) -> None:
    path = tmp_path / "nowhere" / "scout.json"
    assert cervello("profile", tmp_path / "no such policy", "--trace", path) == (
        2, "", f"cervello: argument --trace: expected a file that can be written, got {str(path)!r}: no such folder; "
        "see cervello profile --help\n")


def test_the_leak_check_gives_a_verdict(scout: Path, cervello: Callable[..., Any]) -> None:
    said = cervello("profile", scout, "--rounds", 1, "--leaks", 300)
    assert "\nleak check\ncalls    300, growth per 1000 of them:\narrays   0 bytes\n" in said.out
    assert "verdict  no leak found" in said.out
    facts = json.loads(cervello("profile", scout, "--rounds", 1, "--leaks", 300, "--json").out)["leaks"]
    assert list(facts) == ["calls", "array_bytes", "blocks", "resident_bytes", "leaks"]
    assert (facts["calls"], facts["array_bytes"], facts["leaks"]) == (300, 0, False)


def test_a_leak_is_shown_per_1000_calls(scout: Path, cervello: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cervello.native.report.leaks.growth", lambda call, calls: Growth(calls, 800, 1000, None))
    said = cervello("profile", scout, "--rounds", 1, "--leaks", 500)
    for line in ("arrays   1,600 bytes", "objects  2,000 blocks", "process  not known on this system", "verdict  runs keep memory"):
        assert f"\n{line}\n" in said.out


def test_a_policy_that_leaks_is_found(scout: Path, cervello: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    run, kept = package.Model.run, []

    def leaking(self: package.Model, *arguments: Any, **options: Any) -> Any:
        kept.append(run(self, *arguments, **options))
        return kept[-1]

    monkeypatch.setattr(package.Model, "run", leaking)
    assert "verdict  runs keep memory" in cervello("profile", scout, "--rounds", 1, "--leaks", 300).out


def test_names_from_files_are_spelled_out(hostile: Path, tmp_path: Path, cervello: Callable[..., Any]) -> None:
    said = cervello("profile", hostile, "--rounds", 1, "--trace", tmp_path / "trace.json")
    assert not {"\x1b", "\x07", "\u202e"} & set(said.out + said.err)


@pytest.mark.parametrize(("arguments", "message"), [
    (("--rounds", "0"), "argument --rounds: expected a whole number from 1 to 1,000,000, got '0'"),
    (("--leaks", "few"), "argument --leaks: expected a whole number from 1"),
    (("-b", "1-4"), "argument -b/--batch: expected a whole number from 1 to 1,000,000,000, got '1-4'"),
])
def test_wrong_arguments_are_explained_in_one_line(arguments: tuple[str, ...], message: str, cervello: Callable[..., Any]) -> None:
    said = cervello("profile", "x", *arguments)
    assert (said.status, said.out) == (2, "")
    assert message in said.err
    assert said.err.count("\n") == 1


def test_real_policies_that_draw_random_numbers_are_profiled(shared_models: Any, cervello: Callable[..., Any]) -> None:
    facts = json.loads(cervello("profile", shared_models.path("mlagents_3DBall"), "-b", 64, "--rounds", 1, "--json").out)
    assert {"Gemm", "RandomNormalLike"} <= {kind["kind"] for kind in facts["kinds"]}


def test_a_leak_is_an_answer_of_no(scout: Path, cervello: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cervello.native.report.leaks.growth", lambda call, calls: Growth(calls, 1 << 20, 1000, None))
    assert cervello("profile", scout, "--rounds", 1, "--leaks", 100).status == 1
