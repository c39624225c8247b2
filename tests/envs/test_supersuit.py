"""SuperSuit: the agents of PettingZoo games as rows of a vector environment, of Gymnasium's kind and of Stable-Baselines3's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import games
import numpy as np
import players
import pytest

import cervello
from cervello import ConfigurationError, envs

supersuit = pytest.importorskip("supersuit")
simple_spread = pytest.importorskip("mpe2.simple_spread_v3", reason="mpe2")
CYCLES, AGENTS, GAMES = 9, 3, 2
FORMS = ("one game", "gymnasium", "stable_baselines3")


def game() -> Any:
    return simple_spread.parallel_env(max_cycles=CYCLES)


def made(form: str) -> Any:
    rows = supersuit.pettingzoo_env_to_vec_env_v1(game())
    if form == "stable_baselines3":
        pytest.importorskip("stable_baselines3")
    return rows if form == "one game" else supersuit.concat_vec_envs_v1(rows, GAMES, num_cpus=0, base_class=form)


def policy_of() -> cervello.Policy:
    return cervello.load(games.linear(18, 5), wrappers="auto", spaces=game(), seed=2)


@pytest.mark.parametrize("form", FORMS)
def test_rows_live_as_the_agents_of_the_game(form: str) -> None:
    """The same actions in the game itself, reset with the same seed and then without one, show the same to the last bit."""
    columns = envs.rollout(made(form), policy_of(), steps=3 * CYCLES, seed=4).columns()
    twins = [game() for _ in range(1 if form == "one game" else GAMES)]
    for g, twin in enumerate(twins):
        observations, _ = twin.reset(seed=4 + g)
        for t in range(3 * CYCLES):
            rows = range(g * AGENTS, (g + 1) * AGENTS)
            agents = list(twin.agents)
            for row, agent in zip(rows, agents, strict=True):
                assert columns.observation[t, row].tobytes() == observations[agent].tobytes()
            actions = {agent: int(columns.action[t, row]) for row, agent in zip(rows, agents, strict=True)}
            observations, rewards, terminated, truncated, _ = twin.step(actions)
            for row, agent in zip(rows, agents, strict=True):
                assert columns.next_observation[t, row].tobytes() == observations[agent].tobytes()
                assert columns.reward[t, row] == np.float32(rewards[agent])
                assert (columns.terminated[t, row], columns.truncated[t, row]) == (terminated[agent], truncated[agent])
            if not twin.agents:
                observations, _ = twin.reset()
    assert columns.truncated.sum() == 3 * AGENTS * len(twins)
    assert not columns.terminated.any()  # time-outs are no terminations, in the form for Stable-Baselines3 neither


def test_both_forms_give_the_same_episodes() -> None:
    found = [envs.rollout(made(form), policy_of(), steps=2 * CYCLES, seed=1).columns() for form in FORMS[1:]]
    assert found[0].observation.tobytes() == found[1].observation.tobytes()
    assert found[0].action.tolist() == found[1].action.tolist()


def test_play_says_whose_rewards_these_are() -> None:
    result = envs.play(made("gymnasium"), policy_of(), episodes=12, seed=3)
    again = envs.play(made("stable_baselines3"), policy_of(), episodes=12, seed=3)
    assert result["model"].returns.tolist() == again["model"].returns.tolist()
    assert result["model"].lengths.tolist() == [CYCLES] * 12
    assert "SuperSuit does not show the environments of its rows" in str(result)
    assert result.seeds is None


@pytest.mark.filterwarnings("ignore:The `render_mode` attribute is not defined")  # of SuperSuit's form for Stable-Baselines3
def test_wrappers_of_stable_baselines3_around_it_are_seeded_too() -> None:
    vec_env = pytest.importorskip("stable_baselines3.common.vec_env")
    found = [envs.play(vec_env.VecMonitor(made("stable_baselines3")), policy_of(), episodes=6, seed=seed)["model"].returns.tolist()
             for seed in (5, 5, 6)]
    assert found[0] == found[1] != found[2]


def test_another_mode_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="autoreset: expected 'same_step', as SuperSuit does"):
        envs.rollout(made("gymnasium"), policy_of(), steps=3, autoreset="next_step")


def test_rows_of_the_dead_are_refused() -> None:
    """Their observations are those of nobody, and their last one is not told."""
    knights = pytest.importorskip("pettingzoo.butterfly.knights_archers_zombies_v11", reason="pettingzoo's butterfly games")
    from supersuit.vector import MarkovVectorEnv

    env = knights.parallel_env(spawn_delay=2, max_zombies=40, line_death=True, max_cycles=200)
    data = players.model(env.observation_space("archer_0"), env.action_space("archer_0"), gain=5)
    policy = cervello.load(data, wrappers="auto", spaces=env)
    with pytest.raises(ConfigurationError, match=r"expected agents that live as long as their game.*play such games with envs.Opponents"):
        list(envs.rollout(MarkovVectorEnv(env, black_death=True), policy, steps=200))
    assert len(policy) == 0


def test_such_rows_cannot_be_recorded_but_the_game_can(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"expected a vector environment that tells the spaces of one row.*Crowd\(Recorder"):
        envs.Recorder(made("gymnasium"), tmp_path / "log")
    assert not (tmp_path / "log").exists()
