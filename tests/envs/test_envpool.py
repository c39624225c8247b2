"""EnvPool, synchronous and asynchronous."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cartpole
import gymnasium
import numpy as np
import pytest

from cervello import ConfigurationError, envs, recording

envpool = pytest.importorskip("envpool")
pytestmark = pytest.mark.filterwarnings("ignore:.*precision lowered by casting")  # of EnvPool's own spaces
N, BATCH = 4, 2
Row = list[tuple[Any, ...]]


def pool(batch: int | None = None, kind: str = "gymnasium") -> Any:
    return envpool.make("CartPole-v1", env_type=kind, num_envs=N, batch_size=N if batch is None else batch, seed=3, num_threads=1)


def by_row(steps: Any) -> list[Row]:
    """What each environment was given and gave, in its order: the empty steps left out."""
    found: list[Row] = [[] for _ in range(N)]
    for step in steps:
        for i, row in enumerate(step.env_id.tolist()):
            if step.valid[i]:
                found[row].append((step.observation[i].tolist(), int(step.action[i]), float(step.reward[i]), bool(step.terminated[i]),
                                   bool(step.truncated[i]), step.next_observation[i].tolist()))
    return found


def weak(**options: Any) -> Any:
    """Falls after ten steps or so."""
    return cartpole.policy(lean=3.0, **options)


def prefixes(found: list[Row], expected: list[Row]) -> None:
    """Both go on for different numbers of steps."""
    for row, known in zip(found, expected, strict=True):
        length = min(len(row), len(known))
        assert length > 20
        assert row[:length] == known[:length]


@pytest.mark.parametrize("deterministic", [True, False])
def test_the_asynchronous_form_gives_the_episodes_of_the_other(deterministic: bool) -> None:
    synchronous = by_row(envs.rollout(pool(), weak(), steps=60, deterministic=deterministic))
    asynchronous = by_row(envs.rollout(pool(BATCH), weak(), steps=120, deterministic=deterministic))
    prefixes(asynchronous, synchronous)
    assert any(terminated for row in synchronous for _, _, _, terminated, _, _ in row)


def test_steps_of_the_asynchronous_form_have_the_rows_that_are_ready() -> None:
    for step in envs.rollout(pool(BATCH), weak(), steps=30):
        assert len(step.env_id) == len(step.action) == len(step.observation) == BATCH


def test_each_episode_is_one_of_gymnasium_s_cartpole() -> None:
    """From the same first observation, the same actions lead to the same end."""
    game: Any = gymnasium.make("CartPole-v1").unwrapped
    episodes = 0
    for row in by_row(envs.rollout(pool(), weak(), steps=60)):
        begins = True
        for observation, action, reward, terminated, truncated, following in row:
            if begins:
                game.reset()
                game.state = np.array(observation, np.float64)
            mine, mine_reward, mine_terminated, *_ = game.step(action)
            np.testing.assert_allclose(following, mine, atol=1e-4)
            assert (mine_reward, mine_terminated) == (reward, terminated)
            begins = terminated or truncated
            episodes += begins
    assert episodes >= 8


def test_a_pool_that_is_used_again_pays_what_it_owes_first() -> None:
    """Answers to actions from before the second reset do not count as steps or resets of the new episodes."""
    env = pool(BATCH)
    first = envs.rollout(env, weak(), steps=7)
    list(first)
    again = list(envs.rollout(env, weak(), steps=120))
    for row in by_row(again):
        before: Any = None
        for observation, _, _, terminated, truncated, following in row:
            if before is not None:
                assert observation == before
            else:
                assert np.abs(observation).max() <= 0.05  # CartPole begins within these bounds, all of it
            before = None if terminated or truncated else following
    result = envs.play(env, {"a": weak(), "b": weak()}, episodes=6)
    assert all((each.lengths == each.returns).all() and (each.lengths >= 5).all() for each in result.values())


def test_play_says_that_rewards_are_the_environment_s_own() -> None:
    result = envs.play(pool(), weak(), episodes=5)
    assert "EnvPool's environments run outside Python" in str(result)
    assert result.seeds is None


def test_a_pool_of_another_interface_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="make it with env_type='gymnasium'"):
        envs.rollout(pool(kind="dm"), weak(), steps=3)


@pytest.mark.filterwarnings("ignore:EnvPool seeds are fixed")
def test_steps_of_all_rows_are_recorded_and_those_of_some_are_refused(tmp_path: Path) -> None:
    env = envs.Recorder(pool(), tmp_path / "pool.log")
    steps = envs.rollout(env, weak(), steps=40).columns()
    env.close()
    episodes = list(recording.read(tmp_path / "pool.log"))
    assert sum(map(len, episodes)) == steps.valid.sum()
    assert {episode.seed for episode in episodes} == {None}  # the pool has ignored the seed of its reset
    with pytest.raises(ConfigurationError, match="Recorder, env: expected a pool whose steps have all rows"):
        envs.Recorder(pool(2), tmp_path / "other.log")
