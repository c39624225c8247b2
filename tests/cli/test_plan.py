"""`cervello plan`."""

from __future__ import annotations

import importlib.util
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cervello as package


def test_the_plan_shows_what_the_model_plans(wanderer: Path, cervello: Callable[..., Any]) -> None:
    plan = package.Model.load(wanderer).plan(64)
    said = cervello("plan", wanderer, "-b", 64)
    assert (said.status, said.err) == (0, "")
    assert said.out.startswith("wanderer, 64 rows\n")
    assert f"({plan.arena_bytes:,} bytes)" in said.out
    for step in plan.steps:
        assert step.node in said.out
        assert step.runs in said.out
    for buffer in plan.buffers:
        assert buffer.name in said.out


def test_one_row_is_the_default(scout: Path, cervello: Callable[..., Any]) -> None:
    assert cervello("plan", scout).out.startswith("scout, 1 row\n")


def test_a_model_for_one_row_says_so(mixer: Path, cervello: Callable[..., Any]) -> None:
    said = cervello("plan", mixer, "-b", 64)
    assert said.out.startswith("mixer, 1 row\n")
    assert "rows run one after another: node ReduceMean 'centre'" in said.out


def test_slow_nodes_are_marked(slowpoke: Path, cervello: Callable[..., Any]) -> None:
    said = cervello("plan", slowpoke)
    assert "Hardmax 'pick': no kernel for this op" in said.out


def test_json_is_the_plan(wanderer: Path, cervello: Callable[..., Any]) -> None:
    plan = package.Model.load(wanderer).plan(64)
    facts = json.loads(cervello("plan", wanderer, "-b", 64, "--json").out)
    assert (facts["n_rows"], facts["arena_bytes"], facts["usage"]) == (64, plan.arena_bytes, plan.usage)
    assert [step["node"] for step in facts["steps"]] == [step.node for step in plan.steps]
    assert [buffer["offset"] for buffer in facts["buffers"]] == [buffer.offset for buffer in plan.buffers]


def test_a_picture_is_written(wanderer: Path, tmp_path: Path, cervello: Callable[..., Any]) -> None:
    picture = tmp_path / "arena.svg"
    said = cervello("plan", wanderer, "-b", 64, "--svg", picture)
    assert said.err == f"picture: {picture}\n"
    assert ElementTree.parse(picture).getroot().tag.endswith("}svg")


def test_json_and_picture_go_together(wanderer: Path, tmp_path: Path, cervello: Callable[..., Any]) -> None:
    picture = tmp_path / "arena.svg"
    assert json.loads(cervello("plan", wanderer, "--svg", picture, "--json").out)["n_rows"] == 1
    assert picture.exists()


def test_a_picture_that_cannot_be_written_is_an_error(wanderer: Path, tmp_path: Path, cervello: Callable[..., Any]) -> None:
    picture = tmp_path / "nowhere" / "arena.svg"
    said = cervello("plan", wanderer, "--svg", picture)
    assert (said.status, said.out) == (2, "")
    assert f"expected a file that can be written, got {str(picture)!r}: no such folder" in said.err


def test_a_png_without_its_extra_is_refused_before_the_work(wanderer: Path, tmp_path: Path, cervello: Callable[..., Any],
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    said = cervello("plan", wanderer, "--picture", tmp_path / "arena.png")
    assert (said.status, said.out) == (2, "")
    assert "install the extra 'png'" in said.err
