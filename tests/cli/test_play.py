"""`cervello play`."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cartpole
import games
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
    assert f"record: {record} (10 episodes)" in said.err


DECIDING = Path(__file__).parents[2] / "examples" / "cartpole.onnx"  # outputs its best action, and logits


def test_a_log_of_drawn_actions_gives_the_true_value_and_one_without_exploration_says_so(
        tmp_path: Path, cervello: Callable[..., Any]) -> None:
    drawn, certain = tmp_path / "drawn.log", tmp_path / "certain.log"
    played = ("play", "CartPole-v1", DECIDING, "--episodes", 30, "--max-steps", 40)
    judged = (DECIDING, "--head", "categorical:logits", "--json")
    assert "actions are drawn, seed 0" in cervello(*played, "--action", "logits", "--record", drawn).out
    report = json.loads(cervello("evaluate", drawn, *judged).out)
    assert (report["verdict"], report["policies"][str(DECIDING)]["estimates"]["pdis"]["value"], report["notes"]) == ("reliable", 40.0, [])
    assert "no action is drawn, since the outputs are the actions, seed 0" in cervello(*played, "--record", certain).out
    [note] = json.loads(cervello("evaluate", certain, *judged).out)["notes"]
    assert note.startswith("all 1,200 steps were taken deterministically, so this log has no exploration; record with")
    assert "--action" in note
    assert "note: all 1,200 steps were taken deterministically" in cervello("evaluate", certain, *judged[:-1]).err


def test_environments_that_have_played_their_share_are_not_recorded_further(
        two: list[Path], tmp_path: Path, cervello: Callable[..., Any]) -> None:
    from cervello import recording

    log = tmp_path / "play.log"
    said = cervello("play", "CartPole-v1", two[0], "--episodes", 4, "--n-envs", 3, "--max-steps", 8, "--record", log)
    assert f"record: {log} (4 episodes)\n" in said.err
    assert [len(episode) for episode in recording.read(log)] == [8] * 4


def test_a_second_run_says_that_it_adds_to_the_log(two: list[Path], tmp_path: Path, cervello: Callable[..., Any]) -> None:
    log = tmp_path / "play.log"
    run = ("play", "CartPole-v1", two[0], "--max-steps", 8, "--record", log, "--episodes")
    assert f"record: {log} (3 episodes)\n" in cervello(*run, 3).err
    assert f"record: {log} (2 episodes added to those that it held)\n" in cervello(*run, 2).err
    assert "after the episodes that it holds" in " ".join(cervello("play", "--help").out.split())


def test_an_output_that_needs_an_option_names_those_of_the_command_line(cervello: Callable[..., Any]) -> None:
    said = cervello("play", "CartPole-v1", Path(__file__).parents[1] / "data" / "sb3" / "dqn.onnx")
    assert said.status == 2
    assert said.err.endswith("greedy=0.0) (on the command line: --box, --action, --greedy)\n")


def test_a_crowd_of_environments_is_bounded(two: list[Path], cervello: Callable[..., Any]) -> None:
    said = cervello("play", "CartPole-v1", two[0], "--n-envs", 10_001)
    assert said.err.startswith("cervello: argument --n-envs: expected a whole number from 1 to 10,000, got '10001'")


def test_a_box_option_without_a_box_is_refused(two: list[Path], cervello: Callable[..., Any]) -> None:
    said = cervello("play", "CartPole-v1", two[0], "--box", "clip")
    assert (said.status, said.out) == (2, "")
    assert "box: expected none for Discrete(2), which is no Box, got 'clip'; leave it out (--box on the command line)" in said.err


def test_json_has_the_numbers_that_play_gives(two: list[Path], cervello: Callable[..., Any]) -> None:
    from cervello import envs

    said = cervello("play", "CartPole-v1", two[0], "--episodes", 4, "--seed", 3, "--n-envs", 2, "--deterministic", "--json")
    found = json.loads(said.out)["policies"]["old"]
    expected = envs.play("CartPole-v1", two[0], episodes=4, seed=3, deterministic=True)["old"]
    assert found["returns"] == expected.returns.tolist()


def test_values_are_greedy_where_it_is_said(two: list[Path], cervello: Callable[..., Any]) -> None:
    said = cervello("play", "CartPole-v1", two[0], "--episodes", 3, "--greedy", 0.0, "--action", "logits", "--max-steps", 4, "--json")
    assert json.loads(said.out)["policies"]["old"]["lengths"] == [4, 4, 4]


@pytest.fixture
def players(tmp_path: Path) -> list[Path]:
    """Two players of tictactoe."""
    pytest.importorskip("pettingzoo.classic.tictactoe_v3", reason="pettingzoo's classic games")
    paths = [tmp_path / "columns.onnx", tmp_path / "poor.onnx"]
    for path, order in zip(paths, (list(range(9)), [1, 3, 8, 2, 7, 0, 4, 5, 6]), strict=True):
        path.write_bytes(games.preferring(order, (3, 3, 2)))
    return paths


TICTACTOE = "pettingzoo.classic.tictactoe_v3:env"


def test_games_of_several_are_cross_play(players: list[Path], tmp_path: Path, cervello: Callable[..., Any]) -> None:
    from cervello import envs, recording

    picture, record = tmp_path / "out.svg", tmp_path / "play.log"
    given = (TICTACTOE, *players, "--episodes", 3, "--deterministic", "--plot", picture, "--record", record)
    said = cervello("play", *given)
    assert said.status == 0, said.err
    expected = envs.play(TICTACTOE, {path.stem: path for path in players}, episodes=3, deterministic=True)
    assert f"{TICTACTOE}: without noise, seed 0, 6 games in the seats player_1 and player_2" in said.out
    assert "row's mean return against  columns  poor" in said.out
    assert "ratings" in said.out
    assert f"columns against poor: {expected.matrix['columns', 'poor']:g}" in picture.read_text(encoding="utf-8")
    lives = list(recording.read(record))
    assert len(lives) == 3 * 2 * 2
    assert all(set(life.source.tolist()) == {"policy"} and life.finished for life in lives)
    assert sorted(life.total_reward for life in lives) == sorted(r for game in expected.games for r in game.returns.values())
    numbers = json.loads(cervello("play", *given[:5], "--deterministic", "--json").out)["cross_play"]
    assert numbers["matrix"]["columns"]["poor"] == expected.matrix["columns", "poor"]
    seats = cervello("play", *given[:5], "--seat", "player_1", "--seat", "*_2")
    assert "6 games in the seats player_1 and *_2" in seats.out


@pytest.mark.parametrize(("arguments", "message"), [
    ((TICTACTOE, "POLICY"), "play, policies: expected for each another that it can share the seats ['player_1', 'player_2'] with, got"),
    ((TICTACTOE, "POLICY", "OTHER", "--video", "films"), "play, --video: expected none for an environment of PettingZoo"),
    ((TICTACTOE, "POLICY", "OTHER", "--n-envs", "4"), "play, --n-envs: expected none for an environment of PettingZoo, got 4"),
    ((TICTACTOE, "POLICY", "OTHER", "--seat", "*"), "play, seats: expected 2 to 6 different ones, got ['*']"),
    (("CartPole-v1", "POLICY", "--seat", "*"), "play, --seat: expected none for an environment in which one policy plays, got ['*']"),
    (("pettingzoo.classic.tictactoe_v3:nothing", "POLICY"), "pettingzoo.classic.tictactoe_v3 has no function 'nothing'"),
    (("nowhere:env", "POLICY"), "play, env: expected module:function of a module that can be imported, got 'nowhere:env'"),
    (("builtins:dict", "POLICY"), "expected a function that makes an environment of Gymnasium or PettingZoo, got 'builtins:dict', which")])
@pytest.mark.filterwarnings("ignore:.*moviepy")
def test_what_games_cannot_do_is_one_line_and_status_2(arguments: tuple[str, ...], message: str, players: list[Path],
                                                       cervello: Callable[..., Any]) -> None:
    if "--video" in arguments:
        pytest.importorskip("moviepy")
    files = {"POLICY": str(players[0]), "OTHER": str(players[1])}
    said = cervello("play", *(files.get(each, each) for each in arguments))
    assert said.status == 2
    assert message in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_functions_of_modules_make_environments_of_one_policy_too(two: list[Path], cervello: Callable[..., Any]) -> None:
    given = (two[0], "--episodes", 2, "--deterministic", "--max-steps", 30, "--json")
    named = cervello("play", "gymnasium.envs.classic_control.cartpole:CartPoleEnv", *given)
    known = cervello("play", "CartPole-v1", *given)
    assert json.loads(named.out)["policies"]["old"]["returns"] == json.loads(known.out)["policies"]["old"]["returns"]


def test_help_names_each_option_and_what_it_is_for(cervello: Callable[..., Any]) -> None:
    said = cervello("play", "--help")
    assert said.status == 0
    for option in ("--episodes E", "--seed S", "--deterministic", "--n-envs N", "--max-steps T", "--seat PATTERN", "--box {clip,unscale}",
                   "--action OUTPUT", "--greedy EPSILON", "--plot FILE", "--record FILE", "--video DIR", "--json"):
        assert option in said.out, option
    assert "pettingzoo.classic.tictactoe_v3:env" in said.out


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
    assert "--video: expected the package moviepy, got none; install the extra 'video'" in said.err


@pytest.mark.filterwarnings("ignore")  # of moviepy and pygame
def test_every_episode_is_filmed(two: list[Path], tmp_path: Path, cervello: Callable[..., Any]) -> None:
    pytest.importorskip("moviepy")
    pytest.importorskip("pygame")
    said = cervello("play", "CartPole-v1", *two, "--episodes", 2, "--video", tmp_path / "films", "--max-steps", 8)
    assert said.status == 0, said.err
    names = sorted(path.name for path in (tmp_path / "films").glob("*.mp4"))
    assert names == [f"{name}-episode-{k}.mp4" for name in ("new", "old") for k in (0, 1)]
