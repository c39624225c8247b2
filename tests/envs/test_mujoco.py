"""MuJoCo: float64 observations, and Box actions that are clipped (PPO, A2C) or unscaled (SAC, TD3, DDPG)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from small_models import FLOAT, dense, graph, node

import cervello
from cervello import envs, recording

pytest.importorskip("mujoco", reason="gymnasium[mujoco]")
GAMES = ("InvertedPendulum-v5", "Hopper-v5")
Array = np.ndarray[Any, Any]


def game(name: str) -> Any:
    return gymnasium.make(name, max_episode_steps=40)


def model(width: int, actions: int) -> bytes:
    """obs → mean [N, actions] of about ±2 and log_std, so that draws leave any of the bounds."""
    nodes = [node("MatMul", "obs w", "mean"), node("Identity", "s", "log_std")]
    return graph(nodes, {"obs": (FLOAT, ("N", width))}, {"mean": (FLOAT, ("N", actions)), "log_std": (FLOAT, (actions,))},
                 {"w": dense(width, actions), "s": np.full(actions, 0.3, np.float32)})


def policy_of(name: str, box: str, **options: Any) -> cervello.Policy:
    env = game(name)
    head: Any = cervello.heads.Gaussian if box == "clip" else cervello.heads.TanhGaussian
    sample = cervello.Sample(head("mean", log_std="log_std"), extra={} if box == "clip" else {"pre_tanh": "pre_tanh"})
    data = model(env.observation_space.shape[0], env.action_space.shape[0])
    return cervello.load(data, wrappers=[sample], spaces=envs.Spaces(env, box=box), **options)


def executed(box: str, space: Any, sampled: Array) -> Array:
    """What the trainer's library makes of a sampled action."""
    low, high = space.low, space.high
    return np.clip(sampled, low, high) if box == "clip" else (low + 0.5 * (sampled + 1.0) * (high - low)).astype(space.dtype)


@pytest.mark.parametrize("box", ["clip", "unscale"])
@pytest.mark.parametrize("name", GAMES)
def test_draws_enter_the_bounds_as_their_trainer_had_them(name: str, box: str) -> None:
    columns = envs.rollout(lambda: game(name), policy_of(name, box), steps=60, n_envs=3, seed=1).columns()
    space = game(name).action_space
    assert columns.observation.dtype == np.float64
    assert columns.action.tobytes() == executed(box, space, columns.sampled_action).tobytes()
    assert all(space.contains(action) for step in columns.action for action in step)
    beyond = np.abs(columns.sampled_action) > space.high
    assert beyond.any() == (box == "clip" or space.high[0] < 1)
    assert np.isfinite(columns.log_prob).all()


@pytest.mark.parametrize("box", ["clip", "unscale"])
def test_the_recorded_actions_play_the_same_episodes_again(tmp_path: Path, box: str) -> None:
    """Each observation of the record is what the environment gives for the executed actions, to the last bit."""
    name = "Hopper-v5"
    policy = policy_of(name, box)
    with recording.Writer(tmp_path / "log") as writer:
        result = envs.play(lambda: envs.Recorder(game(name), writer), policy, episodes=4, n_envs=2, seed=2)
    episodes = {each.seed: each for each in recording.read(tmp_path / "log") if each.finished}
    env = game(name)
    assert result.seeds is not None
    for seed, total in zip(result.seeds, result["model"].returns.tolist(), strict=True):
        episode = episodes[seed]
        observation, _ = env.reset(seed=seed)
        assert episode.observations[0].tobytes() == observation.tobytes()
        rewards = 0.0
        for t, action in enumerate(episode.actions):
            observation, reward, terminated, truncated, _ = env.step(action)
            assert episode.observations[t + 1].tobytes() == observation.tobytes()
            assert (bool(episode.terminations[t]), bool(episode.truncations[t])) == (terminated, truncated)
            rewards += float(reward)
        assert len(episode.observations) == len(episode) + 1
        assert rewards == total
        drawn = episode.pre_clip if box == "clip" else np.tanh(episode.pre_tanh.astype(np.float64))
        np.testing.assert_allclose(episode.actions, executed(box, env.action_space, drawn), rtol=0, atol=1e-6)
    env.close()


def test_rewards_are_the_innermost_ones_beneath_normalisation() -> None:
    def wrapped() -> Any:
        return gymnasium.wrappers.NormalizeReward(gymnasium.wrappers.TransformReward(game("Hopper-v5"), lambda reward: -3 * reward))

    policy = policy_of("Hopper-v5", "clip")
    plain, through = (envs.play(make, policy, episodes=3, seed=4) for make in (lambda: game("Hopper-v5"), wrapped))
    assert through["model"].returns.tolist() == plain["model"].returns.tolist()
    assert "the environment's own rewards" in str(through)


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_last_observations_are_the_true_ones_in_each_mode(mode: AutoresetMode) -> None:
    """What follows the last step of an episode is beyond the bounds that end it, never the first of the next one."""
    env = SyncVectorEnv([lambda: game("InvertedPendulum-v5")] * 3, autoreset_mode=mode)
    ends = 0
    for step in envs.rollout(env, policy_of("InvertedPendulum-v5", "clip"), steps=60, seed=3):
        fallen = np.abs(step.next_observation[:, 1]) > 0.2
        assert (step.terminated == (fallen & step.valid)).all()
        ends += int(step.terminated.sum())
    assert ends > 5


@pytest.mark.parametrize("name", GAMES)
def test_the_same_seed_is_the_same_play_for_any_number_of_environments(name: str) -> None:
    found = [envs.play(lambda: game(name), policy_of(name, "clip", seed=5), episodes=6, seed=7, n_envs=n)["model"] for n in (1, 4)]
    assert found[0].returns.tolist() == found[1].returns.tolist()
    assert len(set(found[0].returns.tolist())) > 3


def test_a_hopper_s_bounds_must_be_said() -> None:
    head = cervello.heads.Gaussian("mean", log_std="log_std")
    with pytest.raises(cervello.ConfigurationError, match=r"Spaces\(env, box='clip'\) for a policy of PPO or A2C"):
        cervello.load(model(11, 3), wrappers=[cervello.Sample(head)], spaces=game("Hopper-v5"))
