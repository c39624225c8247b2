"""MPE2: agents of different spaces, discrete and continuous actions, the same game in parallel and in turns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from players import Players

import cervello
from cervello import envs, recording

pytest.importorskip("mpe2")
GAMES = ("simple_v3", "simple_adversary_v3", "simple_crypto_v3", "simple_push_v3", "simple_reference_v3", "simple_speaker_listener_v4",
         "simple_tag_v3", "simple_world_comm_v3")
CYCLES = 8


def game(name: str, form: str = "parallel_env", **options: Any) -> Any:
    return getattr(pytest.importorskip(f"mpe2.{name}", reason="mpe2"), form)(max_cycles=CYCLES, **options)


@pytest.mark.parametrize("name", GAMES)
def test_a_game_in_parallel_and_in_turns_is_the_same_game(name: str) -> None:
    """Deterministic policies give the same returns in both forms, and nobody is decided for after the end."""
    found = []
    for form in ("parallel_env", "env"):
        env = game(name, form)
        players = Players(env, gain=3.0)
        crowd = envs.Crowd(env, players, seed=1, deterministic=True)
        returns = []
        for seed in (1, 2):
            crowd.reset(seed=seed)
            n = len(env.possible_agents)
            assert crowd.begun - crowd.ended == players.alive == n
            while crowd.agents:
                crowd.step()
                assert crowd.begun - crowd.ended == players.alive
            assert players.heard() == CYCLES * n
            returns.append({agent: pytest.approx(total, abs=1e-9) for agent, total in crowd.returns.items()})
        assert crowd.begun == crowd.ended == 2 * n
        found.append(returns)
        crowd.close()
    assert [{a: v.expected for a, v in each.items()} for each in found[0]] == found[1]


@pytest.mark.parametrize("box", ["clip", "unscale"])
def test_continuous_actions_enter_their_bounds(box: str, tmp_path: Path) -> None:
    env = envs.Recorder(game("simple_tag_v3", continuous_actions=True), tmp_path / "log")
    crowd = envs.Crowd(env, Players(env, gain=5.0, box=box), seed=3)
    for seed in (1, 2):
        crowd.reset(seed=seed)
        while crowd.agents:
            crowd.step()
    space = env.action_space("agent_0")
    crowd.close()
    lives = list(recording.read(tmp_path / "log"))
    assert len(lives) == 2 * 4
    for life in lives:
        assert life.actions.dtype == np.float32
        assert all(space.contains(action) for action in life.actions)
        assert len(life.observations) == CYCLES + 1
    actions = np.concatenate([life.actions for life in lives])
    cut = float(np.isin(actions, (0, 1)).mean())
    assert cut > 0.2 if box == "clip" else cut < 0.2
    assert actions.min() < 0.1 < 0.9 < actions.max()


def test_float_actions_need_to_be_told_how_they_enter() -> None:
    env = game("simple_tag_v3", continuous_actions=True)
    crowd = envs.Crowd(env, Players(env), seed=3)
    with pytest.raises(cervello.ConfigurationError, match=r"give Spaces\(env, box='clip'\)"):
        crowd.reset(seed=0)
    assert crowd.begun == crowd.ended == 0


@pytest.mark.parametrize("form", ["parallel_env", "env"])
@pytest.mark.parametrize(("name", "learner"), [("simple_adversary_v3", "adversary_0"), ("simple_speaker_listener_v4", "listener_0")])
def test_gymnasium_finds_nothing_to_complain_about(name: str, learner: str, form: str) -> None:
    from gymnasium.utils.env_checker import check_env

    env = game(name, form)
    with pytest.warns(UserWarning, match="infinity"):  # unbounded observations
        check_env(envs.Opponents(env, learner=learner, policies=Players(env)), skip_render_check=True)


@pytest.mark.parametrize(("name", "learner"), [("simple_adversary_v3", "adversary_0"), ("simple_world_comm_v3", "leadadversary_0")])
def test_the_learner_s_rewards_are_the_same_in_parallel_and_in_turns(name: str, learner: str) -> None:
    found = []
    for form in ("parallel_env", "env"):
        env = game(name, form)
        played = envs.Opponents(env, learner=learner, policies=Players(env, gain=3.0), deterministic=True)
        rewards = []
        for seed in (1, 2):
            played.reset(seed=seed)
            over = False
            while not over:
                _, reward, terminated, truncated, _ = played.step(len(rewards) % 5)
                rewards.append(reward)
                over = terminated or truncated
        found.append(rewards)
    assert len(found[0]) == 2 * CYCLES
    np.testing.assert_allclose(found[0], found[1], rtol=0, atol=1e-9)


def test_a_recorded_game_passes_the_test_of_pettingzoo(tmp_path: Path) -> None:
    """A recorder around a parallel environment is one itself."""
    test = pytest.importorskip("pettingzoo.test", reason="pettingzoo's tests need its classic games")
    env = envs.Recorder(game("simple_tag_v3"), tmp_path / "log")
    test.parallel_api_test(env, num_cycles=30)
    env.close()
    lives = list(recording.read(tmp_path / "log"))
    assert len(lives) >= 2 * 4
    assert all(len(life.observations) == len(life) + 1 for life in lives)


def test_vector_rows_fit_the_spaces_that_they_name() -> None:
    env = game("simple_adversary_v3")
    for mode in ("next_step", "same_step"):
        vector = envs.VectorOpponents(lambda: game("simple_adversary_v3"), 3, learner="agent_0", policies=Players(env), autoreset=mode)
        observations, infos = vector.reset(seed=1)
        assert vector.observation_space.contains(observations)
        assert isinstance(infos, dict)
        vector.action_space.seed(0)
        for _ in range(2 * CYCLES + 2):
            observations, rewards, terminated, truncated, infos = vector.step(vector.action_space.sample())
            assert vector.observation_space.contains(observations)
            assert rewards.shape == terminated.shape == truncated.shape == (3,)
            assert (rewards.dtype, terminated.dtype, truncated.dtype) == (np.float64, np.bool_, np.bool_)
            if mode == "same_step" and truncated.any():
                assert all(env.observation_space("agent_0").contains(last) for last in infos["final_obs"])
        vector.close()
