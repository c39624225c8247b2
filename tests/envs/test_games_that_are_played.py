"""`play` and `rollout` in games against policies: whose rewards count, and which episodes these are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import players
import pytest
from players import Players

import cervello
from cervello import envs, recording

simple_adversary = pytest.importorskip("mpe2.simple_adversary_v3", reason="mpe2")
CYCLES = 8


def game() -> Any:
    return simple_adversary.parallel_env(max_cycles=CYCLES)


@pytest.fixture
def learner() -> cervello.Policy:
    env = game()
    data = players.model(env.observation_space("agent_0"), env.action_space("agent_0"))
    return cervello.load(data, wrappers="auto", spaces=envs.Spaces(env, agent="agent_0"), seed=4)


def options(others: Players) -> dict[str, Any]:
    return {"learner": "agent_0", "policies": others, "seed": 1}


@pytest.mark.parametrize("mode", ["next_step", "same_step"])
def test_rewards_in_many_games_are_the_innermost_ones(learner: cervello.Policy, mode: str) -> None:
    def made() -> envs.VectorOpponents:
        return envs.VectorOpponents(game, 3, **options(Players(game())), autoreset=mode)

    wrapped = gymnasium.wrappers.vector.TransformReward(made(), lambda reward: 0 * reward)
    result = envs.play(wrapped, learner, episodes=6, seed=2)
    plain = envs.play(made(), learner, episodes=6, seed=2)
    assert result["model"].returns.tolist() == plain["model"].returns.tolist()
    assert "the environment's own rewards, within all wrappers" in str(result)
    assert all(plain["model"].returns != 0)
    columns = envs.rollout(made(), learner, steps=2 * CYCLES + 1, seed=2, deterministic=True).columns()
    again = envs.play(made(), learner, episodes=6, seed=2, deterministic=True)["model"].returns
    np.testing.assert_allclose(columns.reward[:CYCLES].sum(axis=0), again[:3], rtol=1e-12)


def test_an_episode_is_the_same_for_one_game_and_for_many_with_the_same_policies(learner: cervello.Policy) -> None:
    """Its opponents' noise is its own, also where the games share the policies."""
    others = Players(game())
    one, many = (envs.play(lambda: envs.Opponents(game(), **options(others)), learner, episodes=9, seed=3, n_envs=n)["model"]
                 .returns.tolist() for n in (1, 5))
    assert one == many
    assert len(set(one)) == 9


def test_a_game_that_was_left_open_changes_nothing_of_another_one(learner: cervello.Policy) -> None:
    others = Players(game())
    first = envs.play(envs.Opponents(game(), **options(others)), learner, episodes=4, seed=3)["model"].returns.tolist()
    left = envs.Opponents(game(), **options(others))
    left.reset(seed=99)
    assert others.alive > 0
    assert envs.play(envs.Opponents(game(), **options(others)), learner, episodes=4, seed=3)["model"].returns.tolist() == first
    left.close()


def test_many_games_are_recorded_with_what_the_learner_decided(learner: cervello.Policy, tmp_path: Path) -> None:
    env = envs.Recorder(envs.VectorOpponents(game, 3, **options(Players(game()))), tmp_path / "log")
    columns = envs.rollout(env, learner, steps=3 * (CYCLES + 1), seed=2).columns()
    env.close()
    episodes = [each for each in recording.read(tmp_path / "log") if each.finished]
    assert len(episodes) == 9
    assert sum(each.total_reward for each in episodes) == pytest.approx(float(columns.reward.sum()))
    for each in episodes:
        assert (len(each), set(each.source.tolist())) == (CYCLES, {"policy"})
        assert np.isfinite(each.log_prob).all()
    assert sorted(np.concatenate([each.log_prob for each in episodes]).tolist()) == sorted(columns.log_prob[columns.valid].tolist())


def test_a_recorder_around_the_game_knows_which_agents_policies_played(learner: cervello.Policy, tmp_path: Path) -> None:
    env = envs.Opponents(envs.Recorder(game(), tmp_path / "log"), **options(Players(game())))
    list(envs.rollout(env, learner, steps=2 * CYCLES))
    env.close()
    lives = [each for each in recording.read(tmp_path / "log") if len(each) == CYCLES]
    assert len(lives) == 2 * 3
    for life in lives:
        assert set(life.source.tolist()) == {"unknown" if life.agent == "agent_0" else "policy"}
