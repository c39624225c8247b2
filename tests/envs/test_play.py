"""Policies compared: which episodes, whose rewards, what is said of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cartpole
import gymnasium
import numpy as np
import pytest
from counting_game import CountingGame, drawing_policy, vector
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import cervello
from cervello import ConfigurationError, InputError, envs


def falling(**options: Any) -> Any:
    """Falls after ten steps or so."""
    return cartpole.policy(lean=3.0, **options)


def by_hand(policy: Any, seeds: list[int]) -> list[float]:
    """Returns of episodes that are played one after the other with `predict`."""
    env = gymnasium.make("CartPole-v1")
    found = []
    for seed in seeds:
        observation, _ = env.reset(seed=seed)
        total, over = 0.0, False
        while not over:
            observation, reward, terminated, truncated, _ = env.step(policy.predict(observation, deterministic=True)[0])
            total, over = total + float(reward), terminated or truncated
        found.append(total)
    return found


def test_returns_are_those_of_a_loop_by_hand() -> None:
    result = envs.play("CartPole-v1", falling(), episodes=7, seed=11, deterministic=True, n_envs=3)
    assert result.seeds == [envs.episode_seed(11, k) for k in range(7)]
    (found,) = result.values()
    assert found.returns.tolist() == by_hand(falling(), result.seeds)
    assert found.lengths.tolist() == found.returns.tolist()
    assert found.terminated.all()


def test_the_number_of_environments_changes_nothing() -> None:
    """Also of draws: an episode's noise is its own."""
    one, many = (envs.play("CartPole-v1", falling(seed=5), episodes=9, seed=2, n_envs=n)["model"].returns.tolist() for n in (1, 64))
    assert one == many
    assert len(set(one)) > 1


def test_policies_play_the_same_episodes() -> None:
    result = envs.play("CartPole-v1", {"a": falling(), "b": falling(), "c": cartpole.policy(lean=-3.0)}, episodes=6, deterministic=True)
    assert result["a"].returns.tolist() == result["b"].returns.tolist() != result["c"].returns.tolist()
    assert result.difference("a", "b").mean == 0
    assert result.difference("a", "b").interval == (0, 0)
    assert result.probability_of_improvement("a", "b") == 0.5


@pytest.mark.parametrize("n_envs", [1, 3])
def test_returns_are_those_of_stable_baselines3(n_envs: int) -> None:
    evaluation = pytest.importorskip("stable_baselines3.common.evaluation")
    vec_env, monitor = pytest.importorskip("stable_baselines3.common.vec_env"), pytest.importorskip("stable_baselines3.common.monitor")
    env = vec_env.DummyVecEnv([lambda: monitor.Monitor(gymnasium.make("CartPole-v1"))] * n_envs)
    env.seed(4)
    theirs, lengths = evaluation.evaluate_policy(falling(), env, n_eval_episodes=6, return_episode_rewards=True)
    found = envs.play(env, falling(), episodes=6, seed=4, deterministic=True)["model"]
    assert sorted(found.returns.tolist()) == sorted(theirs)
    assert sorted(found.lengths.tolist()) == sorted(lengths)


def test_each_row_plays_its_share_of_the_episodes() -> None:
    """The first to end are the shortest: to count whatever ends first would prefer them."""
    for kind in ("next_step", "same_step", "disabled"):
        found = envs.play(vector(kind, 3), drawing_policy(CountingGame()), episodes=7)["model"]
        assert found.lengths.tolist() == [2 + (row + 1 + k // 3) % 4 for k, row in enumerate([0, 1, 2, 0, 1, 2, 0])], kind
    assert len(envs.play(vector("next_step", 8), drawing_policy(CountingGame()), episodes=3)["model"]) == 3


def test_every_episode_of_a_constant_game_counts_the_same_in_each_mode() -> None:
    """The second and third as the first: a step of the reset is neither counted nor left out."""
    class Constant(CountingGame):
        length = 4  # type: ignore[assignment]

        def step(self, action: Any) -> Any:
            observation, _, *rest = super().step(action)
            return observation, 0.5, *rest

    for mode in AutoresetMode:
        env = SyncVectorEnv([lambda i=i: Constant(i) for i in range(2)], autoreset_mode=mode)
        found = envs.play(env, drawing_policy(CountingGame()), episodes=8)["model"]
        assert found.lengths.tolist() == [4] * 8, mode
        assert found.returns.tolist() == [2.0] * 8, mode


def halved(env: Any) -> Any:
    return gymnasium.wrappers.TransformReward(env, lambda reward: 0.5 * reward)


def test_rewards_are_the_innermost_ones() -> None:
    makers: list[Any] = [lambda: halved(gymnasium.make("CartPole-v1")), halved(gymnasium.make("CartPole-v1"))]
    makers += [SyncVectorEnv([makers[0]] * 2, autoreset_mode=mode) for mode in AutoresetMode]
    for env in makers:
        result = envs.play(env, falling(), episodes=4)
        assert result["model"].returns.tolist() == result["model"].lengths.tolist()
        assert "the environment's own rewards, within all wrappers" in str(result)


def test_steps_that_a_wrapper_takes_at_a_reset_belong_to_no_episode() -> None:
    class Pushing(gymnasium.Wrapper[Any, Any, Any, Any]):
        def reset(self, **options: Any) -> Any:
            self.env.reset(**options)
            return self.env.step(1)[0], {}

    for mode in AutoresetMode:
        env = SyncVectorEnv([lambda: Pushing(gymnasium.make("CartPole-v1"))] * 2, autoreset_mode=mode)
        found = envs.play(env, falling(), episodes=6)["model"]
        assert found.returns.tolist() == found.lengths.tolist(), mode


def test_the_environment_is_left_as_it_was() -> None:
    env = halved(gymnasium.make("CartPole-v1"))
    envs.play(env, falling(), episodes=2)
    assert not {"step", "reset"} & vars(env.unwrapped).keys()
    env.reset(seed=0)
    assert env.step(0)[1] == 0.5


def test_wrapped_rewards_are_said_to_be_so() -> None:
    env = gymnasium.make_vec("CartPole-v1", 2)  # holds its rows in arrays
    said = str(envs.play(env, falling(), episodes=4))
    assert "rewards as they come out of wrappers, since the vector environment does not show its environments" in said
    assert "the environment was seeded once, so policies do not share episodes" in said


def test_an_environment_that_never_ends_is_cut() -> None:
    class Endless(CountingGame):
        length = 10**9  # type: ignore[assignment]

    found = envs.play(Endless, drawing_policy(CountingGame()), episodes=3, max_steps=5, n_envs=2)["model"]
    assert found.lengths.tolist() == [5, 5, 5]
    assert not found.terminated.any()
    with pytest.raises(ConfigurationError, match="max_steps: expected none for a vector environment, got 5"):
        envs.play(vector("next_step"), drawing_policy(CountingGame()), episodes=3, max_steps=5)


def test_progress_is_told_after_every_episode() -> None:
    told: list[Any] = []
    envs.play("CartPole-v1", {"a": falling(), "b": falling()}, episodes=3, progress=lambda *what: told.append(what))
    assert told == [(1, 3, "a"), (2, 3, "a"), (3, 3, "a"), (1, 3, "b"), (2, 3, "b"), (3, 3, "b")]


def test_masks_that_allow_nothing_are_counted() -> None:
    class Stuck(CountingGame):
        def reset(self, **options: Any) -> Any:
            return super().reset(**options)[0], {"action_mask": np.zeros(4, np.int8)}

    result = envs.play(Stuck, drawing_policy(CountingGame()), episodes=4)
    assert result.empty_masks == 5 - 1  # each of the four episodes begins with one
    assert "4 masks allowed nothing" in str(result)


def test_observations_that_are_not_finite_are_counted() -> None:
    class Broken(gymnasium.Wrapper[Any, Any, Any, Any]):
        n = 0

        def step(self, action: Any) -> Any:
            observation, *others = self.env.step(action)
            self.n += 1
            return (np.full_like(observation, [np.nan, np.inf][self.n % 2]) if self.n in (2, 3) else observation), *others

    policies = {"whole": cartpole.policy(), "other": cartpole.policy()}
    found = envs.play(Broken(gymnasium.make("CartPole-v1")), policies, episodes=1, max_steps=6)
    assert (found["whole"].not_finite, found["other"].not_finite) == (2, 0)
    assert found["whole"].to_dict()["not_finite"] == 2
    assert found.remarks()[0] == "whole: 2 observations not finite"
    assert "not finite" not in str(envs.play("CartPole-v1", cartpole.policy(), episodes=1))


def test_the_table_says_whose_actions_are_drawn() -> None:
    deciding = Path(__file__).parents[2] / "examples" / "cartpole.onnx"
    game = gymnasium.make("CartPole-v1")

    def loaded(**options: Any) -> cervello.Policy:
        return cervello.load(deciding, wrappers="auto", spaces=envs.Spaces(game, **options))

    def notes(**options: Any) -> str:
        return envs.play(game, {"old": loaded(), "new": loaded(action="logits")}, episodes=1, max_steps=3, **options).notes()

    assert notes().startswith("actions are drawn, except those of old, seed 0")
    assert notes(deterministic=True).startswith("without noise, seed 0")
    for policy in (loaded(), loaded(action="logits", greedy=0.0)):
        found = envs.play(game, {"own": policy}, episodes=1, max_steps=3)
        assert found.notes().startswith("no action is drawn, since the outputs are the actions")
        assert found["own"].to_dict()["drawn"] is False
    assert envs.play(game, loaded(action="logits", greedy=0.5), episodes=1, max_steps=3).notes().startswith("actions are drawn, seed 0")


def test_paths_are_loaded_for_the_environment(tmp_path: Path) -> None:
    (tmp_path / "old.onnx").write_bytes(cartpole.model(lean=3.0))
    result = envs.play("CartPole-v1", tmp_path / "old.onnx", episodes=3)
    assert list(result) == ["old"]
    assert len(result["old"]) == 3


def test_fewer_than_three_episodes_have_no_interval() -> None:
    result = envs.play("CartPole-v1", falling(), episodes=2)
    assert result["model"].interval is None
    assert " - " in str(result)


def test_the_table_the_numbers_and_the_picture_say_the_same(tmp_path: Path) -> None:
    result = envs.play("CartPole-v1", {"new": cartpole.policy(lean=1.0), "old": falling()}, episodes=12)
    said = str(result)
    assert "CartPole-v1: actions are drawn, seed 0" in said
    assert f"{result['new'].mean:.4g}" in said
    assert "new - old: " in said
    numbers = json.loads(result.to_json(tmp_path / "out.json"))
    assert numbers["policies"]["new"]["returns"] == result["new"].returns.tolist()
    assert numbers["policies"]["new"]["interval"] == list(result["new"].interval)  # type: ignore[arg-type]
    picture = result.to_svg(tmp_path / "out.svg")
    assert (tmp_path / "out.svg").read_text(encoding="utf-8") == picture
    assert picture.count("<circle") == 24
    low, high = result["new"].interval or (0, 0)
    assert low <= result["new"].mean <= high
    with pytest.raises(InputError, match=r"result: expected a policy among \['new', 'old'\], got 'best'"):
        result["best"]


def test_recorded_episodes_are_those_that_were_played(tmp_path: Path) -> None:
    from cervello import recording

    env = envs.Recorder(gymnasium.make("CartPole-v1"), tmp_path / "play.log")
    found = envs.play(env, falling(), episodes=4, seed=3)["model"]
    env.close()
    ended = [episode for episode in recording.read(tmp_path / "play.log") if episode.terminations[-1] or episode.truncations[-1]]
    assert [len(episode) for episode in ended] == found.lengths.tolist()


def test_environments_that_have_played_their_share_rest() -> None:
    made: list[CountingGame] = []

    def make() -> CountingGame:
        made.append(CountingGame(len(made), masks="info"))
        return made[-1]

    policy = drawing_policy(CountingGame(masks="info"))
    found = envs.play(make, policy, episodes=4, n_envs=3)["model"]
    assert sum(len(game.executed) for game in made) == found.lengths.sum()
    assert len(envs.play(make, policy, episodes=1, n_envs=3)["model"].returns) == 1
    assert [len(game.executed) for game in made[4:]] == [0, 0]


@pytest.mark.parametrize(("options", "message"), [
    ({"episodes": 0}, "play, episodes: expected at least 1, got 0"), ({"max_steps": 0}, "play, max_steps: expected at least 1, got 0"),
    ({"seed": 1 << 63}, "play, seed: expected a whole number"), ({"n_envs": 0}, "n_envs: expected at least 1, got 0")])
def test_options_that_make_no_sense_are_refused(options: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        envs.play("CartPole-v1", falling(), **options)


def test_an_unknown_environment_and_no_policies_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="env: expected the id of a registered environment, got 'NoSuchGame-v0'"):
        envs.play("NoSuchGame-v0", falling())
    with pytest.raises(ConfigurationError, match="play, policies: expected at least one policy, got none"):
        envs.play("CartPole-v1", {})
