"""MAgent2's battle: two teams whose fighters die in any order, pictures as observations, one policy for each team."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import players
import pytest
from players import Players, checked_step, checked_turn

from cervello import envs

battle = pytest.importorskip("magent2.environments.battle_v4", reason="magent2")
ATTACK = {"red": (7, 17), "blue": (6,)}  # red walks to the right and strikes, blue stands


def game(form: str = "parallel_env", cycles: int = 100) -> Any:
    return getattr(battle, form)(map_size=16, max_cycles=cycles)


def test_the_fallen_are_not_decided_for_through_two_resets() -> None:
    env = game()
    team = Players(env, favour=ATTACK)
    crowd = envs.Crowd(env, team, seed=1)
    sizes = set()
    for seed in (1, None, 7):
        crowd.reset(seed=seed)
        while crowd.agents:
            sizes.add(checked_step(crowd, team))
    assert sizes >= {0, 10, 11, 12}
    assert len(team.policies) == 2
    assert crowd.begun == crowd.ended == 36


def test_turns_of_the_fallen_are_passed_without_a_decision() -> None:
    env = game("env")
    team = Players(env, favour=ATTACK)
    crowd = envs.Crowd(env, team, seed=1)
    crowd.reset(seed=1)
    passed, sizes = 0, set()
    while crowd.agents:
        passed += checked_turn(crowd, team)
        sizes.add(team.alive)
    assert passed == crowd.begun == 12
    assert sizes == set(range(13))


@pytest.fixture
def teams(tmp_path: Path) -> dict[str, Path]:
    """The policy of each team in a file."""
    env = game()
    spaces = env.observation_space("red_0"), env.action_space("red_0")
    for name, favoured in ATTACK.items():
        (tmp_path / f"{name}.onnx").write_bytes(players.model(*spaces, favoured=favoured))
    return {f"{name}_*": tmp_path / f"{name}.onnx" for name in ATTACK}


def trace(make: Callable[[], Any]) -> list[Any]:
    crowd = make()
    found = []
    for seed in (3, None):
        crowd.reset(seed=seed)
        while crowd.agents:
            step = crowd.step()
            found.append((step.agents, step.rewards, step.terminated))
    crowd.close()
    return found


def test_the_same_seed_is_the_same_game_through_deaths_and_a_second_reset(teams: dict[str, Path]) -> None:
    found = trace(lambda: envs.Crowd(game(), teams, seed=5))
    assert {len(agents) for agents, _, _ in found} >= {0, 11, 12}
    assert trace(lambda: envs.Crowd(game(), teams, seed=5)) == found
    assert trace(lambda: envs.Crowd(game(), teams, seed=6)) != found


def test_rows_are_single_games_bit_for_bit_through_deaths(teams: dict[str, Path]) -> None:
    """The learner is one of those who stand and are struck."""
    options: dict[str, Any] = {"learner": "blue_0", "policies": teams}
    vector = envs.VectorOpponents(lambda: game(cycles=60), 3, seed=2, **options)
    singles = [envs.Opponents(game(cycles=60), seed=(2, i), **options) for i in range(3)]
    observations, _ = vector.reset(seed=9)
    for i, single in enumerate(singles):
        assert observations[i].tobytes() == single.reset(seed=9 + i)[0].tobytes()
    ended, ends, sizes = [False] * 3, 0, set()
    for _ in range(150):
        observations, rewards, terminated, truncated, _ = vector.step(np.full(3, 6))
        for i, (single, row) in enumerate(zip(singles, vector.envs, strict=True)):
            if ended[i]:
                expected, ended[i] = single.reset()[0], False
            else:
                expected, reward, over, cut, _ = single.step(6)
                assert (rewards[i], terminated[i], truncated[i]) == (reward, over, cut)
                ended[i] = over or cut
                ends += ended[i]
            assert observations[i].tobytes() == expected.tobytes()
            assert row.begun - row.ended == single.begun - single.ended
            sizes.add(row.begun - row.ended)
    assert ends >= 6
    assert sizes >= {0, 10, 11}
    vector.close()
    for single in singles:
        single.close()


def test_gymnasium_finds_nothing_to_complain_about(teams: dict[str, Path]) -> None:
    from gymnasium.utils.env_checker import check_env

    check_env(envs.Opponents(game(cycles=20), learner="red_0", policies=teams), skip_render_check=True)
