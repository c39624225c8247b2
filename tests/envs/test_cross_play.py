"""Policies against each other: who meets whom, in which seat, with which returns and ratings."""

from __future__ import annotations

import builtins
import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import games
import gymnasium
import numpy as np
import pytest

import cervello
from cervello import ConfigurationError, InputError, envs

pettingzoo: Any = pytest.importorskip("pettingzoo")

ORDERS = {"columns": list(range(9)), "diagonals": [4, 0, 8, 2, 6, 1, 3, 5, 7], "poor": [1, 3, 8, 2, 7, 0, 4, 5, 6]}
"""Orders in which cells of a tictactoe board are taken, as long as they are free. Cells count down columns."""


def tictactoe() -> Any:
    return pytest.importorskip("pettingzoo.classic.tictactoe_v3", reason="pettingzoo's classic games").env()


@pytest.fixture
def players(tmp_path: Path) -> dict[str, Path]:
    found = {name: tmp_path / f"{name}.onnx" for name in ORDERS}
    for name, path in found.items():
        path.write_bytes(games.preferring(ORDERS[name], (3, 3, 2)))
    return found


def winner(first: str, second: str) -> int:
    """1 if the first to move wins a game of tictactoe between two orders, -1 if it loses, 0 for a draw: without any library."""
    lines = [(0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6)]
    owner = dict.fromkeys(range(9), 0)
    for turn in range(9):
        side = 1 if turn % 2 == 0 else -1
        owner[next(cell for cell in ORDERS[first if side == 1 else second] if not owner[cell])] = side
        if any(all(owner[cell] == side for cell in line) for line in lines):
            return side
    return 0


def by_hand(env: Any, cast: dict[str, Any], seed: int) -> dict[str, float]:
    crowd = envs.Crowd(env, cast, seed=0, deterministic=True)
    crowd.reset(seed=seed)
    while crowd.agents:
        crowd.step()
    return crowd.returns


def test_a_cell_is_the_mean_of_separate_games_in_both_seats(players: dict[str, Path]) -> None:
    result = envs.play(tictactoe(), players, episodes=2, deterministic=True)
    assert set(result.matrix) == {(a, b) for a in ORDERS for b in ORDERS if a != b}
    for (a, b), mean in result.matrix.items():
        assert mean == (winner(a, b) - winner(b, a)) / 2, (a, b)
    assert result.seeds is not None
    for game in result.games:
        assert game.seed == result.seeds[game.episode]
        assert game.seat_returns == by_hand(tictactoe(), {seat: players[name] for seat, name in game.seats.items()}, game.seed)
        assert game.returns == {name: game.seat_returns[seat] for seat, name in game.seats.items()}
        assert game.terminated
    assert len(result.games) == 2 * 3 * 2
    for name in ORDERS:
        assert result[name].mean == sum(result.matrix[name, other] for other in ORDERS if other != name) / 2


class Blinding(pettingzoo.ParallelEnv):  # type: ignore[misc,name-defined]
    """Three steps, before the last of which agent x sees NaN."""

    def __init__(self) -> None:
        self.metadata = {"name": "blinding"}
        self.possible_agents = ["x", "y"]

    def observation_space(self, agent: str) -> Any:
        return gymnasium.spaces.Box(-1, 1, (2,))

    def action_space(self, agent: str) -> Any:
        return gymnasium.spaces.Discrete(2)

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.agents, self.t = ["x", "y"], 0
        return dict.fromkeys(self.agents, np.zeros(2, np.float32)), {agent: {} for agent in self.agents}

    def step(self, actions: Any) -> Any:
        self.t += 1
        agents = self.agents
        seen = {agent: np.full(2, np.nan if agent == "x" and self.t == 2 else 0.0, np.float32) for agent in agents}
        self.agents = [] if self.t == 3 else agents
        return seen, dict.fromkeys(agents, 1.0), dict.fromkeys(agents, self.t == 3), dict.fromkeys(agents, False), {a: {} for a in agents}


def test_observations_that_are_not_finite_are_counted_and_draws_are_told(tmp_path: Path) -> None:
    path = tmp_path / "linear.onnx"
    path.write_bytes(games.linear(2, 2))
    result = envs.play(Blinding(), {"one": path, "other": path}, episodes=2)
    assert sum(each.not_finite for each in result.values()) == 2 * 2  # games, each of which has one such observation
    assert all(each.drawn for each in result.values())
    assert any("not finite" in line for line in result.remarks())
    assert not any(each.drawn for each in envs.play(Blinding(), {"one": path, "other": path}, episodes=1, deterministic=True).values())


def test_other_entrants_change_no_cell(players: dict[str, Path]) -> None:
    """Noise depends on the episode and the seat, not on who else is compared."""
    all_three = envs.play(tictactoe(), players, episodes=4, seed=3)
    two = envs.play(tictactoe(), {name: players[name] for name in ("diagonals", "poor")}, episodes=4, seed=3)
    assert [g for g in all_three.games if set(g.returns) == {"diagonals", "poor"}] == list(two.games)


def test_the_strong_are_rated_above_the_weak(players: dict[str, Path]) -> None:
    pytest.importorskip("openskill")
    assert winner("diagonals", "poor") - winner("poor", "diagonals") > 0
    result = envs.play(tictactoe(), players, episodes=5, deterministic=True)
    order = sorted(result.ratings, key=lambda name: -result.ratings[name].ordinal)
    totals = {a: sum(winner(a, b) - winner(b, a) for b in ORDERS if b != a) for a in ORDERS}
    assert order == sorted(ORDERS, key=lambda name: -totals[name])
    for name, rating in result.ratings.items():
        assert rating.ordinal == rating.mu - 3 * rating.sigma
        assert rating.sigma < 25 / 3, name
    assert "ratings (mu ± sigma): diagonals " in str(result)


def test_equal_policies_draw(players: dict[str, Path]) -> None:
    pytest.importorskip("openskill")
    result = envs.play(tictactoe(), {"one": players["poor"], "other": players["poor"]}, episodes=3, deterministic=True)
    assert [margin for _, _, margin in result.cross_play.outcomes] == [0.0] * 3  # type: ignore[union-attr]
    assert result.ratings["one"].mu == pytest.approx(result.ratings["other"].mu, abs=0.5)  # a tie of a later player moves both together


def test_ratings_without_their_extra_are_refused_by_name(players: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    result = envs.play(tictactoe(), players, episodes=1, deterministic=True)
    imported = builtins.__import__
    for name in [name for name in sys.modules if name.split(".")[0] == "openskill"]:
        monkeypatch.delitem(sys.modules, name)

    def without(name: str, *rest: Any, **options: Any) -> Any:
        if name.split(".")[0] == "openskill":
            raise ModuleNotFoundError("No module named 'openskill'")
        return imported(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigurationError, match=r"ratings: expected the extra 'league', got .*; install the extra 'league'"):
        result.ratings  # noqa: B018
    assert "ratings: none, since openskill is missing; install the extra 'league'" in str(result)
    assert json.loads(result.to_json())["cross_play"]["ratings"] is None


def test_seats_are_groups_of_agents_with_policies_of_their_own() -> None:
    """The arena has no possible agents, and its species have spaces of their own."""
    from arena_policies import arena_policies

    from cervello.demo.parallel_env import ArenaEnv

    env = ArenaEnv(12)
    good = arena_policies(env)
    shape = env.observation_space("hunter_0").shape
    lazy = {**good, "hunter_*": cervello.load(games.motionless(shape, 2), wrappers="auto", spaces=envs.Spaces(
        (env.observation_space("hunter_0"), env.action_space("hunter_0")), box="clip"))}
    result = envs.play(env, {"good": good, "lazy": lazy}, seats=list(good), episodes=2, deterministic=True)
    assert len(result.games) == 2 * (2**3 - 2)
    for game in result.games:
        cast = {seat: {"good": good, "lazy": lazy}[name][seat] for seat, name in game.seats.items()}
        returns = by_hand(ArenaEnv(12), cast, game.seed)
        for seat in good:
            assert game.seat_returns[seat] == pytest.approx(sum(each for agent, each in returns.items() if agent[0] == seat[0]))
        assert game.length == 12
    assert sum(map(len, good.values())) + len(lazy["hunter_*"]) == 0  # all agents have ended
    pairs = {tuple(sorted(game.seats.items())) for game in result.games}
    assert len(pairs) == 6


def test_policies_of_one_role_meet_those_of_the_other_only(players: dict[str, Path]) -> None:
    result = envs.play(tictactoe(), {"a": {"player_1": players["diagonals"]}, "b": {"player_2": players["columns"]},
                                     "c": {"player_2": players["poor"]}}, episodes=2, deterministic=True)
    assert set(result.matrix) == {("a", "b"), ("b", "a"), ("a", "c"), ("c", "a")}
    assert result.matrix["a", "c"] == winner("diagonals", "poor")
    assert "-" in str(result)
    numbers = json.loads(result.to_json())["cross_play"]
    assert numbers["matrix"]["b"] == {"a": result.matrix["b", "a"], "b": None, "c": None}
    assert [sorted(pair) for *pair, _ in result.cross_play.outcomes] == [["a", "b"], ["a", "c"]] * 2  # type: ignore[union-attr]


def test_the_table_the_numbers_and_the_picture_say_the_same(players: dict[str, Path], tmp_path: Path) -> None:
    result = envs.play("pettingzoo.classic.tictactoe_v3:env", players, episodes=3, deterministic=True)
    said = str(result)
    assert said.startswith("tictactoe_v3: without noise, seed 0, 18 games in the seats player_1 and player_2")
    assert "row's mean return against" in said
    numbers = json.loads(result.to_json(tmp_path / "out.json"))["cross_play"]
    assert numbers["matrix"]["diagonals"]["poor"] == result.matrix["diagonals", "poor"]
    assert len(numbers["games"]) == 18
    picture = ElementTree.fromstring(result.to_svg(tmp_path / "out.svg"))
    tips = [tip.text for tip in picture.iter("{http://www.w3.org/2000/svg}title")]
    for (a, b), mean in result.matrix.items():
        assert f"{a} against {b}: {mean:g}" in tips


def test_games_that_never_end_are_cut_and_progress_is_told(players: dict[str, Path]) -> None:
    told: list[Any] = []
    two = {name: players[name] for name in ("columns", "poor")}
    result = envs.play(tictactoe, two, episodes=2, max_steps=3, progress=lambda *what: told.append(what))
    assert [(game.length, game.terminated) for game in result.games] == [(3, False)] * 4
    assert told == [(k, 4, name) for k, name in enumerate(["columns and poor", "poor and columns"] * 2, 1)]


@pytest.mark.parametrize(("options", "message"), [
    ({"n_envs": 2}, "play, n_envs: expected none for an environment of PettingZoo"),
    ({"autoreset": "next_step"}, "play, autoreset: expected none for an environment of PettingZoo"),
    ({"seats": "player_1"}, "play, seats: expected a list of patterns"),
    ({"seats": 2}, "play, seats: expected a list of patterns of agents' names, got 2"),
    ({"seats": ["*"]}, "play, seats: expected 2 to 6 different ones, got"),
    ({"seats": ["player_1", "nobody_*"]}, "play, seats, policies: expected one pattern that matches agent 'player_2', got none of|"
                                          "expected patterns that match an agent, got 'nobody_\\*'"),
    ({"policies": {"a": "columns"}}, "expected for each another that it can share the seats .* with, got none for 'a'"),
    ({"policies": {"a": {"player_9": "columns"}, "b": "poor"}}, "play, policy 'a': expected policies for seats among .*, got 'player_9'")])
def test_what_makes_no_sense_is_refused(players: dict[str, Path], options: dict[str, Any], message: str) -> None:
    def path(given: Any) -> Any:
        return {seat: path(each) for seat, each in given.items()} if isinstance(given, dict) else players[given]

    policies = {name: path(given) for name, given in options.pop("policies", {"columns": "columns", "poor": "poor"}).items()}
    with pytest.raises(ConfigurationError, match=message):
        envs.play(tictactoe(), policies, **options)


def test_environments_of_one_policy_have_no_matrix_and_no_seats() -> None:
    import cartpole

    result = envs.play("CartPole-v1", cartpole.policy(lean=3.0), episodes=1)
    with pytest.raises(InputError, match="result: expected a game of several policies, got CartPole-v1"):
        result.matrix  # noqa: B018
    with pytest.raises(ConfigurationError, match="play, seats: expected none for an environment in which one policy plays"):
        envs.play("CartPole-v1", cartpole.policy(lean=3.0), episodes=1, seats=["a", "b"])
    with pytest.raises(ConfigurationError, match="play, env: expected module:function of a module that can be imported, got 'nowhere:env'"):
        envs.play("nowhere:env", cartpole.policy(lean=3.0))
