"""Games of several agents at their edges: masks in two places, births that are deaths, steps out of order."""

from __future__ import annotations

from functools import partial
from typing import Any

import games
import gymnasium
import numpy as np
import pytest

import cervello
from cervello import AgentError, ConfigurationError, InputError, envs

pytest.importorskip("pettingzoo")
from scripted_games import SEEN, ScriptedGame, ScriptedTurns


def policy(name: str = "obs", spaces: Any = None) -> cervello.Policy:
    return cervello.load(games.linear(4, 3, name), wrappers="auto", spaces=spaces or (SEEN, gymnasium.spaces.Discrete(3)))


def opponents(learner: Any = "a", **options: Any) -> Any:
    game = ScriptedGame(**options)
    agent = game.observation_space("b"), game.action_space("b")
    return envs.Opponents(game, learner=learner, policies={"b": policy("observation" if options.get("seen_mask") else "obs", agent)})


@pytest.mark.parametrize(("info", "seen", "allowed"), [
    ([1, 1, 0], [0, 1, 1], [False, True, False]), ([1, 0, 0], None, [True, False, False]), (None, [0, 0, 1], [False, False, True]),
    (None, None, [True, True, True]), ([0, 0, 0], None, [True, True, True]), ([1, 0, 0], [0, 0, 1], [True, True, True])])
def test_a_learner_s_action_must_be_allowed_by_both_masks_and_one_that_allows_nothing_counts_as_none(
        info: Any, seen: Any, allowed: list[bool]) -> None:
    env = opponents(info_mask=info, seen_mask=seen)
    env.reset(seed=0)
    assert env.action_masks().tolist() == allowed
    env.step(int(np.argmax(allowed)))
    assert env.action_masks().tolist() == allowed


def test_a_learner_s_mask_that_does_not_fit_is_refused() -> None:
    env = opponents(info_mask=[1, 1])
    env.reset(seed=0)
    with pytest.raises(InputError, match=r"mask: expected \(1, 3\), got \(2,\)"):
        env.action_masks()


def test_one_of_several_learners_has_the_same_masks() -> None:
    env = opponents(["a"], info_mask=[1, 1, 0], seen_mask=[0, 1, 1])
    env.reset(seed=0)
    assert env.action_masks("a").tolist() == [False, True, False]


def test_the_reward_of_an_agent_that_is_born_and_dies_in_one_step_is_dropped_and_counted() -> None:
    crowd = envs.Crowd(ScriptedGame(flashes={2: ["f"]}), {"*": policy()}, seed=0)
    for step in crowd:
        assert "f" not in step.rewards
        assert "f" not in step.terminated
    assert crowd.returns == {"a": 10.0, "b": 10.0}
    assert crowd.dropped_rewards == 2.0
    assert (crowd.begun, crowd.ended) == (2, 2)


def test_such_an_agent_has_a_turn_without_a_decision_in_a_turn_based_game() -> None:
    crowd = envs.Crowd(ScriptedTurns(6, flash=3), {"*": policy()}, seed=0)
    steps = list(crowd)
    assert len(steps) == 6 + 3
    assert not any("f" in step.rewards or "f" in step.terminated for step in steps)
    assert (crowd.begun, crowd.ended, crowd.dropped_rewards) == (2, 2, 2.0)
    assert set(crowd.returns) == {"a", "b"}


def test_rewards_that_a_game_pays_the_dead_are_theirs() -> None:
    class Paying(ScriptedGame):
        def step(self, actions: Any) -> Any:
            observations, rewards, over, cut, infos = super().step(actions)
            if self._t == 2:
                self.agents.remove("b")
            return observations, {**rewards, "b": 1.0}, {**over, "b": self._t >= 2}, {**cut, "b": False}, infos

    crowd = envs.Crowd(Paying(), {"*": policy()}, seed=0)
    for _ in crowd:
        pass
    assert (crowd.returns, crowd.dropped_rewards) == ({"a": 10.0, "b": 4.0}, 0.0)


def test_such_an_agent_earns_nothing_for_its_seat() -> None:
    game = ScriptedGame(("a1", "b1"), flashes={2: ["a2"]})
    result = envs.play(game, {"x": policy(), "y": policy()}, episodes=1, seats=["a*", "b*"])
    assert [dict(each.seat_returns) for each in result.games] == [{"a*": 10.0, "b*": 10.0}] * 2


def test_an_agent_is_observed_once_for_each_decision_and_not_when_it_is_dead() -> None:
    game = ScriptedTurns(6)
    steps = list(envs.Crowd(game, {"*": policy()}, seed=0))
    assert len(steps) == 8  # six moves, and a turn for each of the dead
    assert game.observed == 6


@pytest.mark.parametrize("game", [ScriptedGame, ScriptedTurns])
def test_a_crowd_is_reset_before_it_steps_and_after_its_end(game: Any) -> None:
    crowd = envs.Crowd(game(), {"*": policy()}, seed=0)
    with pytest.raises(AgentError, match="expected agents that are alive, got no reset so far; reset it"):
        crowd.step()
    for _ in crowd:
        pass
    with pytest.raises(AgentError, match="expected agents that are alive, got none; reset it"):
        crowd.step()


def test_many_games_take_an_action_and_a_seed_for_each() -> None:
    env = envs.VectorOpponents(partial(ScriptedGame), 2, learner="a", policies={"b": policy()})
    numpys: tuple[Any, Any] = np.int64(3), np.array([3, 4])
    env.reset(seed=numpys[0])
    for wrong in ([0], [0, 1, 2]):
        with pytest.raises(InputError, match=f"expected 2 actions, one for each game, got {len(wrong)}"):
            env.step(np.array(wrong))
    env.step(np.array([0, 1]))
    env.reset(seed=numpys[1])
    with pytest.raises(ConfigurationError, match="expected 2 seeds, got 3"):
        env.reset(seed=[1, 2, 3])


def test_a_game_in_place_of_an_environment_is_refused_with_what_takes_it() -> None:
    with pytest.raises(ConfigurationError, match=r"got ScriptedGame; envs\.Opponents"):
        envs.rollout(ScriptedGame(), policy(), steps=1)
