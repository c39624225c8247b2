"""`cervello play`."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cartpole
import pytest


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    """Two policies that fall soon."""
    paths = [tmp_path / "old.onnx", tmp_path / "new.onnx"]
    for path, lean in zip(paths, (3.0, 1.0), strict=True):
        path.write_bytes(cartpole.model(lean=lean))
    return paths


def test_a_table_a_picture_and_a_record(two: list[Path], tmp_path: Path, cervello: Callable[..., Any]) -> None:
    from cervello import recording

    picture, record = tmp_path / "out.svg", tmp_path / "play.log"
    said = cervello("play", "CartPole-v1", *two, "--episodes", 5, "--plot", picture, "--record", record)
    assert said.status == 0, said.err
    assert "CartPole-v1: actions are drawn, seed 0" in said.out
    assert "old - new: " in said.out
    assert picture.read_text(encoding="utf-8").count("<circle") == 10
    assert len([episode for episode in recording.read(record) if len(episode)]) >= 10
    assert f"record: {record}" in said.err


def test_json_has_the_numbers_that_play_gives(two: list[Path], cervello: Callable[..., Any]) -> None:
    from cervello import envs

    said = cervello("play", "CartPole-v1", two[0], "--episodes", 4, "--seed", 3, "--n-envs", 2, "--deterministic", "--json")
    found = json.loads(said.out)["policies"]["old"]
    expected = envs.play("CartPole-v1", two[0], episodes=4, seed=3, deterministic=True)["old"]
    assert found["returns"] == expected.returns.tolist()


def test_values_are_greedy_where_it_is_said(two: list[Path], cervello: Callable[..., Any]) -> None:
    said = cervello("play", "CartPole-v1", two[0], "--episodes", 3, "--greedy", 0.0, "--action", "logits", "--max-steps", 4, "--json")
    assert json.loads(said.out)["policies"]["old"]["lengths"] == [4, 4, 4]


@pytest.mark.parametrize(("arguments", "message"), [
    (("NoSuchGame-v0", "POLICY"), "play, ENV: expected the id of an environment that can be made here, got 'NoSuchGame-v0'"),
    (("CartPole-v1", "POLICY", "POLICY"), "play, POLICY: expected every file once"),
    (("CartPole-v1", "POLICY", "--action", "actions"), "spaces, action: expected an output among ['logits'], got 'actions'"),
    (("CartPole-v1", "POLICY", "--episodes", "0"), "argument --episodes: expected a whole number from 1 to 1,000,000, got '0'")])
def test_what_cannot_be_played_is_one_line_and_status_2(arguments: tuple[str, ...], message: str, two: list[Path],
                                                        cervello: Callable[..., Any]) -> None:
    said = cervello("play", *(str(two[0]) if each == "POLICY" else each for each in arguments))
    assert said.status == 2
    assert message in said.err
    assert said.err.count("\n") == 1


def test_films_need_moviepy(two: list[Path], tmp_path: Path, cervello: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "moviepy" else find(name, *rest))
    said = cervello("play", "CartPole-v1", two[0], "--video", tmp_path / "films")
    assert said.status == 2
    assert "--video: expected the package moviepy, got none; pip install 'cervello[video]'" in said.err


@pytest.mark.filterwarnings("ignore")  # of moviepy and pygame
def test_every_episode_is_filmed(two: list[Path], tmp_path: Path, cervello: Callable[..., Any]) -> None:
    pytest.importorskip("moviepy")
    pytest.importorskip("pygame")
    said = cervello("play", "CartPole-v1", *two, "--episodes", 2, "--video", tmp_path / "films", "--max-steps", 8)
    assert said.status == 0, said.err
    names = sorted(path.name for path in (tmp_path / "films").glob("*.mp4"))
    assert names == [f"{name}-episode-{k}.mp4" for name in ("new", "old") for k in (0, 1)]
