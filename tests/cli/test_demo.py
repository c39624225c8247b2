"""`cervello demo`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SPECIES = ["grazer", "hunter", "scout"]


def test_the_tables_and_the_picture(tmp_path: Path, cervello: Callable[..., Any]) -> None:
    picture = tmp_path / "arena.png"
    said = cervello("demo", "--ticks", 20, "--picture", picture)
    assert (said.status, said.err) == (0, "")
    assert said.out.startswith("20 ticks, seed 0, up to ")
    for heading in ("agent-steps per second", "tick latency    p50 ", "batch sizes", "births", "deaths", "mean return [95%]",
                    "random policy [95%]"):
        assert heading in said.out
    lines = [line.split() for line in said.out.splitlines() if line]
    assert [line[0] for line in lines if line[0] in SPECIES] == SPECIES * 3
    assert [line[1] for line in lines if line[0] in SPECIES][:3] == ["Epsilon", "Recurrent", "none"]
    assert said.out.endswith(f"picture: {picture}\n")
    assert picture.read_bytes().startswith(b"\x89PNG\r\n")


def test_json_without_a_picture(tmp_path: Path, cervello: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    facts = json.loads(cervello("demo", "--ticks", 8, "--seed", 5, "--no-picture", "--json").out)
    assert (facts["ticks"], facts["seed"], facts["picture"]) == (8, 5, None)
    assert facts["most_agents"] >= 300
    assert list(facts["species"]) == SPECIES
    for part in facts["species"].values():
        assert part["batch"]["min"] <= part["batch"]["median"] <= part["batch"]["max"]
        for returns in (part["mean_return"], part["random_mean_return"]):
            assert returns["low"] <= returns["mean"] <= returns["high"]
    assert facts["agent_steps"] == sum(part["agent_steps"] for part in facts["species"].values())
    assert not list(tmp_path.iterdir())


def test_the_picture_goes_to_the_current_folder_by_default(tmp_path: Path, cervello: Callable[..., Any],
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cervello("demo", "--ticks", 1).status == 0
    assert [path.name for path in tmp_path.iterdir()] == ["cervello-demo.png"]


def test_the_same_seed_plays_the_same_match(cervello: Callable[..., Any]) -> None:
    matches = [json.loads(cervello("demo", "--ticks", 12, "--seed", seed, "--no-picture", "--json").out) for seed in (3, 3, 4)]
    returns = [[(part["mean_return"], part["random_mean_return"]) for part in match["species"].values()] for match in matches]
    assert returns[0] == returns[1]
    assert returns[0] != returns[2]


def test_a_picture_that_cannot_be_written_is_refused_before_the_match(tmp_path: Path, cervello: Callable[..., Any],
                                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cervello.cli.demo._play", lambda *_: pytest.fail("the match was played"))
    folder = tmp_path / "nowhere"
    for path, where, message in (
            (folder / "arena.png", folder, "expected a path that is there, found none; check its spelling, and make its folder first where "
                                           "it is to be written"),
            (tmp_path, tmp_path, "expected a file, got a folder; name a file in it")):
        assert cervello("demo", "--picture", path) == (2, "", f"cervello: {str(where)!r}: {message}\n")


def test_progress_is_drawn_on_stderr_of_a_terminal(tmp_path: Path, cervello: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    said = cervello("demo", "--ticks", 5, "--no-picture")
    assert "playing" in said.err
    assert "20/20" in said.err
    assert "playing" not in said.out
    assert cervello("-q", "demo", "--ticks", 5, "--no-picture").err == ""
