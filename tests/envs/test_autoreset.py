"""Environments that reset themselves in one way or another give the same episodes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import cartpole
import gymnasium
import numpy as np
import pytest
from counting_game import ACTIONS, CountingGame, drawing_policy, games, vector
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from cervello import ConfigurationError, envs

N, STEPS = 3, 40
KINDS = ("next_step", "same_step", "disabled", "VecEnv", "function")


def made(kind: str, n: int = N, **options: Any) -> Any:
    """The counting games in an environment of a kind."""
    if kind == "VecEnv":
        return pytest.importorskip("stable_baselines3.common.vec_env").DummyVecEnv(games(n, **options))
    if kind == "function":
        left = iter(range(n))
        return lambda: CountingGame(next(left), **options)
    return vector(kind, n, **options)


def rolled(kind: str, policy: Any, steps: int = STEPS, n: int = N, **options: Any) -> envs.Rollout:
    deterministic = options.pop("deterministic", False)
    n_envs = n if kind == "function" else None
    return envs.rollout(made(kind, n, **options), policy, steps=steps, deterministic=deterministic, n_envs=n_envs)


@dataclass
class Episode:
    """One episode as it was lived."""

    observations: list[Any] = field(default_factory=list)
    actions: list[int] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    final: Any = None
    terminated: bool = False


def lived(rollout: envs.Rollout, n: int = N) -> list[list[Episode]]:
    """Complete episodes of each row."""
    found: list[list[Episode]] = [[] for _ in range(n)]
    now = [Episode() for _ in range(n)]
    for step in rollout:
        for place, row in enumerate(step.env_id.tolist()):
            if not step.valid[place]:
                continue
            episode = now[row]
            episode.observations.append(step.observation[place].tolist())
            episode.actions.append(int(step.action[place]))
            episode.rewards.append(float(step.reward[place]))
            if step.terminated[place] or step.truncated[place]:
                episode.final, episode.terminated = step.next_observation[place].tolist(), bool(step.terminated[place])
                found[row].append(episode)
                now[row] = Episode()
    return found


def test_all_modes_give_the_same_episodes() -> None:
    policy = drawing_policy(CountingGame())
    expected = lived(rolled("next_step", policy, deterministic=True))
    assert all(len(row) >= 8 for row in expected)
    for kind in KINDS[1:]:
        found = lived(rolled(kind, policy, deterministic=True))
        for row, known in zip(found, expected, strict=True):
            assert row[:len(known)] == known, kind


def test_episodes_of_a_constant_game_have_the_same_length_and_return_from_the_second_on() -> None:
    for kind in KINDS:
        for row in lived(rolled(kind, drawing_policy(CountingGame()), deterministic=True)):
            for episode in row:
                number, numbered = int(episode.final[0]), int(episode.final[1])
                assert len(episode.actions) == 2 + (number + numbered) % 4
                assert episode.final[2] == len(episode.actions)
                assert episode.observations[0][2:4] == [0, 0]
                assert episode.terminated == (numbered % 2 == 0)
                assert sum(episode.rewards) == sum(1 + action for action in episode.actions)


def test_the_noise_of_environments_that_reset_themselves_does_not_depend_on_how() -> None:
    found = {kind: lived(rolled(kind, drawing_policy(CountingGame(), seed=3), 60)) for kind in ("next_step", "same_step", "VecEnv")}
    for kind in ("same_step", "VecEnv"):
        for row, known in zip(found[kind], found["next_step"], strict=True):
            assert row[:len(known)] == known, kind


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_are_decided_are_the_actions_that_the_environment_executes(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    played: list[CountingGame] = []
    made_by = CountingGame.__init__

    def remember(self: CountingGame, *arguments: Any, **options: Any) -> None:
        made_by(self, *arguments, **options)
        played.append(self)

    policy = drawing_policy(CountingGame())
    monkeypatch.setattr(CountingGame, "__init__", remember)
    rows = 0
    decide = policy.infer_batch

    def counted(ids: Any, *arguments: Any, **options: Any) -> Any:
        nonlocal rows
        rows += len(ids)
        return decide(ids, *arguments, **options)

    monkeypatch.setattr(policy, "infer_batch", counted)
    steps = list(rolled(kind, policy))
    assert rows == sum(int(step.valid.sum()) for step in steps) == sum(len(game.executed) for game in played)
    executed = [[int(step.action[i]) for step in steps if step.valid[i]] for i in range(N)]
    assert executed == [game.executed for game in sorted(played, key=lambda game: game.number) if game.resets]


@pytest.mark.parametrize("kind", KINDS)
def test_each_row_begins_again_when_its_own_episode_ends_and_no_other(kind: str) -> None:
    last: dict[int, tuple[Any, bool]] = {}  # by row: what followed its last action, and whether the episode was over
    for step in rolled(kind, drawing_policy(CountingGame())):
        ended = step.terminated | step.truncated
        for i in range(N):
            before, after = step.observation[i].tolist(), step.next_observation[i].tolist()
            if step.valid[i]:
                assert after[1] == before[1]  # of the same episode
                assert after[2] == before[2] + 1
                if i in last:
                    followed, over = last[i]
                    assert before == ([*followed[:1], followed[1] + 1, 0, 0, *followed[4:]] if over else followed)  # the next, or the same
                last[i] = after, bool(ended[i])
            assert not (ended[i] and not step.valid[i])


@pytest.mark.parametrize("kind", KINDS)
def test_the_empty_step_of_a_reset_counts_nothing(kind: str) -> None:
    steps = list(rolled(kind, drawing_policy(CountingGame())))
    empty = [(step, i) for step in steps for i in range(N) if not step.valid[i]]
    assert bool(empty) == (kind == "next_step")
    for step, i in empty:
        assert step.reward[i] == 0
        assert np.isnan(step.log_prob[i])
    assert all(np.isfinite(step.log_prob[step.valid]).all() and (step.log_prob[step.valid] < 0).all() for step in steps)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("masks", ["info", "observation"])
def test_masks_are_obeyed_in_every_mode(kind: str, masks: str) -> None:
    if kind == "VecEnv" and masks == "observation":
        made(kind)  # its buffers hold Dict observations too
    policy = drawing_policy(CountingGame(masks=masks))
    taken = [int(step.action[i]) for step in rolled(kind, policy, masks=masks) for i in range(N) if step.valid[i]]
    assert set(taken) == set(range(ACTIONS))  # the game itself refuses a forbidden one


def test_a_partial_reset_keeps_the_masks_of_rows_that_go_on() -> None:
    """Gymnasium fills their infos with zeros, which would read as nothing allowed."""
    policy = drawing_policy(CountingGame())
    rollout = rolled("disabled", policy, masks="info")
    resets = sum(bool((step.terminated | step.truncated).any()) for step in rollout)
    assert resets > 5
    assert rollout.empty_masks == 0


def test_a_mask_of_an_earlier_step_is_not_used_again() -> None:
    class Sometimes(CountingGame):
        """A mask at the first step alone."""

        def step(self, action: Any) -> Any:
            *found, _ = super().step(action)
            return *found, {}

        def allowed(self) -> Any:
            return super().allowed() if self._t == 0 else np.ones(ACTIONS, np.int8)

    env = SyncVectorEnv([lambda: Sometimes(0, masks="info")] * 2, autoreset_mode=AutoresetMode.DISABLED)
    later = [int(a) for step in envs.rollout(env, drawing_policy(CountingGame()), steps=60) for a, t in
             zip(step.action, step.observation[:, 2], strict=True) if t > 0]
    assert set(later) == set(range(ACTIONS))


def test_a_mask_that_allows_nothing_counts_as_none() -> None:
    class Stuck(CountingGame):
        def reset(self, **options: Any) -> Any:
            return super().reset(**options)[0], {"action_mask": np.zeros(ACTIONS, np.int8)}

    env = SyncVectorEnv([lambda: Stuck(0)] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    rollout = envs.rollout(env, drawing_policy(CountingGame()), steps=1)
    next(iter(rollout))
    assert rollout.empty_masks == 2


def test_the_mode_is_asked_for_where_the_metadata_do_not_say_it() -> None:
    env = vector("same_step")
    env.metadata = {}
    policy = drawing_policy(CountingGame())
    with pytest.raises(ConfigurationError, match=r"autoreset: expected a vector environment whose metadata name its mode.*give autoreset="):
        envs.rollout(env, policy, steps=3)
    told = lived(envs.rollout(env, policy, steps=STEPS, autoreset="same_step", deterministic=True))
    assert told == lived(rolled("same_step", policy, deterministic=True))


@pytest.mark.parametrize(("kind", "given", "message"), [
    ("next_step", "sometimes", "autoreset: expected one of"),
    ("next_step", "same_step", "autoreset: expected 'NextStep', as in its metadata"),
    ("VecEnv", "next_step", "autoreset: expected 'same_step', as a VecEnv does"),
    ("function", "next_step", "autoreset: expected none for single environments")])
def test_a_mode_that_cannot_be_is_refused(kind: str, given: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        envs.rollout(made(kind), drawing_policy(CountingGame()), steps=3, autoreset=given)


def test_metadata_that_name_no_mode_are_refused() -> None:
    env = vector("same_step")
    env.metadata = {"autoreset_mode": "perhaps"}
    with pytest.raises(ConfigurationError, match="the environment's metadata: expected one of"):
        envs.rollout(env, drawing_policy(CountingGame()), steps=3)


def test_the_native_vector_environment_gives_its_episodes() -> None:
    """CartPole of `make_vec` holds all rows in arrays; its episodes are those that one plays by hand."""
    env = gymnasium.make_vec("CartPole-v1", 5)
    steps = list(envs.rollout(env, cartpole.policy(lean=3.0), steps=60, seed=5, deterministic=True))
    hand = gymnasium.make_vec("CartPole-v1", 5)
    observation, _ = hand.reset(seed=5)
    for step in steps:
        assert np.array_equal(step.observation, observation)
        observation, *_ = hand.step(step.action)
        assert np.array_equal(step.next_observation, observation)
    assert any((~step.valid).any() for step in steps)
