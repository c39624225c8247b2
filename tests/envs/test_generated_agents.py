"""PettingZoo's own test games, in which agents of new kinds are born all the time and every reset draws new spaces."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import games
import numpy as np
import pytest
from players import Players, checked_step, checked_turn

from cervello import ConfigurationError, envs, recording

pytest.importorskip("pettingzoo.test", reason="pettingzoo's tests need its classic games")
TURNS = 400


def module(name: str) -> Any:
    return importlib.import_module(f"pettingzoo.test.example_envs.generated_agents_{name}_v0")


def test_births_and_deaths_of_a_parallel_game_are_followed_through_a_second_reset() -> None:
    env = module("parallel").parallel_env()
    players = Players(env)
    crowd = envs.Crowd(env, players, seed=3)
    for seed in (1, None):
        crowd.reset(seed=seed)
        born = crowd.begun
        for _ in range(TURNS // 2):  # the game truncates everybody and goes on without an end
            checked_step(crowd, players)
        assert crowd.begun - born > 20
        assert crowd.ended > 20
    assert len(players.policies) > 6  # another kind of agent for each type that was drawn
    crowd.close()
    assert players.alive == 0


@pytest.mark.parametrize("make", [
    pytest.param(lambda: module("env").env(), id="turn-based"),
    pytest.param(lambda: module("parallel").env(max_cycles=40), id="parallel as turn-based")])
def test_the_turn_of_a_dead_agent_is_passed_without_a_decision(make: Any) -> None:
    env = make()
    players = Players(env)
    crowd = envs.Crowd(env, players, seed=3)
    passed = 0
    for seed in (1, 2):
        crowd.reset(seed=seed)
        for _ in range(TURNS * 2):
            passed += checked_turn(crowd, players)
    assert passed > 10


class Shown:
    """Beside a game with masks: no action may be taken that the mask last shown forbids."""

    forbidden = 0
    empty = 0

    def observe(self, agent: str) -> Any:
        self.observation = super().observe(agent)  # type: ignore[misc]
        return self.observation

    def step(self, action: Any) -> None:
        agent = self.agent_selection  # type: ignore[attr-defined]
        dict_of_mask = self.infos[agent] if not isinstance(self.observation, dict) else self.observation  # type: ignore[attr-defined]
        mask = dict_of_mask.get("action_mask")
        if action is not None and mask is not None:
            self.empty += not mask.any()
            self.forbidden += mask.any() and not mask[action]
        super().step(action)  # type: ignore[misc]


@pytest.mark.parametrize("place", ["info", "obs"])
def test_both_styles_of_masks_are_obeyed(place: str) -> None:
    """Each look at this game draws another mask: to look twice for one decision would break the first."""
    base = module(f"env_action_mask_{place}").raw_env

    class Game(Shown, base):  # type: ignore[misc, valid-type]
        pass

    env = Game()
    players = Players(env)
    crowd = envs.Crowd(env, players, seed=3)
    for seed in (1, 2):
        crowd.reset(seed=seed)
        for _ in range(TURNS):
            crowd.step()
            assert crowd.begun - crowd.ended == players.alive
    assert env.forbidden == 0
    assert env.empty == crowd.empty_masks
    assert players.heard() > TURNS


def trace(seeds: tuple[int, ...], noise: int) -> Iterator[Any]:
    env = module("parallel").parallel_env()
    crowd = envs.Crowd(env, Players(env), seed=noise)
    for seed in seeds:
        crowd.reset(seed=seed)
        for _ in range(80):
            step = crowd.step()
            yield step.agents, step.rewards, sorted(a for a, dead in step.terminated.items() if dead)


def test_the_same_seeds_are_the_same_game_through_births_deaths_and_a_second_reset() -> None:
    first = list(trace((5, 6), 1))
    assert list(trace((5, 6), 1)) == first
    assert any(dead for _, _, dead in first[:80])
    assert list(trace((6, 5), 1)) == first[80:] + first[:80]  # nothing of an episode is left in the next one


def test_a_learner_whose_spaces_change_is_refused() -> None:
    env = module("parallel").parallel_env()
    learner = envs.Opponents(env, learner="type0_0", policies=Players(env))
    for _ in range(2):  # and again: nothing is taken for the next reset
        with pytest.raises(ConfigurationError, match="expected the same spaces after each reset, got"):
            learner.reset(seed=1)
    learner.close()


def test_a_policy_that_does_not_fit_the_spaces_of_a_birth_is_refused_and_nobody_is_left(tmp_path: Path) -> None:
    path = tmp_path / "narrow.onnx"
    path.write_bytes(games.linear(3, 3))
    crowd = envs.Crowd(module("parallel").parallel_env(), {"*": path})
    with pytest.raises(ConfigurationError, match="expected an input of"):
        crowd.reset(seed=0)
    assert crowd.begun - crowd.ended == 0


def test_every_life_is_recorded_with_one_observation_more_than_steps(tmp_path: Path) -> None:
    env = envs.Recorder(module("parallel").parallel_env(), tmp_path / "log")
    crowd = envs.Crowd(env, Players(env), seed=3)
    rewards: dict[tuple[int, str], float] = {}
    for match, seed in enumerate((1, 2)):
        crowd.reset(seed=seed)
        for _ in range(60):
            acted = set(env.agents)
            for agent, reward in crowd.step().rewards.items():
                if agent in acted:  # what is paid at a birth is paid for no action
                    rewards[match, agent] = rewards.get((match, agent), 0.0) + reward
    crowd.close()
    lives = [each for each in recording.read(tmp_path / "log") if each.finished]
    assert len({(each.match, each.agent) for each in lives}) == len(lives) > 20
    for life in lives:
        assert len(life.observations) == len(life) + 1
        assert set(life.source.tolist()) == {"policy"}
        assert np.isfinite(life.log_prob).all()
        assert life.total_reward == rewards[life.match, str(life.agent)]
    assert sum(len(life) < 60 for life in lives) > 5  # born later, or dead before the end
    assert len({np.shape(life.observations)[1:] for life in lives}) > 3
