"""What is played is recorded: by hand, by rollout and play, in rows of vector environments and by agents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import games
import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import cervello
from cervello import ConfigurationError, envs, recording
from cervello.demo import policy_path


def cartpole(steps: int = 12) -> Any:
    return gymnasium.wrappers.TimeLimit(gymnasium.make("CartPole-v1").unwrapped, steps)


@pytest.fixture
def policy() -> cervello.Policy:
    env = cartpole()
    return cervello.load(games.linear(4, 2), wrappers="auto", spaces=env, seed=3)


def test_a_game_played_by_hand_is_recorded_as_it_was(tmp_path: Path) -> None:
    env = envs.Recorder(cartpole(), tmp_path / "log")
    observations = [env.reset(seed=4)[0]]
    done = False
    while not done:
        observation, _, terminated, truncated, _ = env.step(1)
        observations.append(observation)
        done = terminated or truncated
    env.close()
    (episode,) = recording.read(tmp_path / "log")
    assert np.array_equal(episode.observations, np.array(observations))
    assert episode.actions.tolist() == [1] * (len(observations) - 1)
    assert (episode.seed, bool(episode.terminations[-1])) == (4, terminated)
    assert set(episode.source.tolist()) == {"unknown"}
    assert np.isnan(episode.log_prob).all()


def test_a_reset_in_the_midst_truncates(tmp_path: Path) -> None:
    env = envs.Recorder(cartpole(), tmp_path / "log")
    for _ in range(2):
        env.reset(seed=0)
        env.step(0)
    env.close()
    first, second = recording.read(tmp_path / "log")
    assert (bool(first.truncations[-1]), second.finished) == (True, False)


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_rollout_tells_what_was_decided_in_each_mode(policy: cervello.Policy, tmp_path: Path, mode: AutoresetMode) -> None:
    env = envs.Recorder(SyncVectorEnv([cartpole] * 3, autoreset_mode=mode), tmp_path / "log")
    with envs.rollout(env, policy, steps=30, seed=1) as run:
        steps = list(run)
    env.close()
    episodes = [e for e in recording.read(tmp_path / "log") if e.finished]
    assert len(episodes) >= 6
    total = sum(len(e) for e in recording.read(tmp_path / "log"))
    assert total == sum(int(step.valid.sum()) for step in steps)
    for episode in episodes:
        assert len(episode.observations) == len(episode) + 1
        assert set(episode.source.tolist()) == {"policy"}
        assert np.isfinite(episode.log_prob).all()
        assert not episode.overridden.any()
        assert (episode.terminations | episode.truncations).tolist() == [False] * (len(episode) - 1) + [True]
    # The recorded log-probabilities are those of the recorded actions.
    logits = cervello.Model.load(games.linear(4, 2)).run({"obs": episodes[0].observations[:-1].astype(np.float32)})["logits"]
    expected = cervello.heads.Categorical("logits").log_prob({"logits": logits}, episodes[0].actions)
    assert episodes[0].log_prob.tobytes() == expected.tobytes()


def test_play_tells_single_environments_too(policy: cervello.Policy, tmp_path: Path) -> None:
    with recording.Writer(tmp_path / "log") as writer:
        result = envs.play(lambda: envs.Recorder(cartpole(), writer), policy, episodes=6, n_envs=2, seed=2)
    episodes = {e.seed: e for e in recording.read(tmp_path / "log") if e.finished}
    assert result.seeds is not None
    for seed, played in zip(result.seeds, result[policy.name].returns.tolist(), strict=True):
        assert episodes[seed].total_reward == played
        assert set(episodes[seed].source.tolist()) == {"policy"}


def test_deterministic_rows_are_flagged(policy: cervello.Policy, tmp_path: Path) -> None:
    env = envs.Recorder(cartpole(), tmp_path / "log")
    with envs.rollout(env, policy, steps=12, deterministic=True) as run:
        list(run)
    env.close()
    episode = next(iter(recording.read(tmp_path / "log")))
    assert episode.deterministic.all()
    assert not episode.log_prob.any()


def test_an_action_that_was_changed_on_the_way_is_overridden(policy: cervello.Policy, tmp_path: Path) -> None:
    class Flipped(gymnasium.ActionWrapper[Any, Any, Any]):
        def action(self, action: Any) -> Any:
            return 1 - action

    env = envs.Recorder(cartpole(), tmp_path / "log")
    with envs.rollout(Flipped(env), policy, steps=5) as run:
        steps = list(run)
    env.close()
    episode = next(iter(recording.read(tmp_path / "log")))
    assert episode.actions.tolist() == [1 - int(step.action[0]) for step in steps]
    assert episode.overridden.all()
    assert np.isnan(episode.log_prob).all()


def test_lives_of_agents_are_episodes_of_their_match(tmp_path: Path) -> None:
    pytest.importorskip("pettingzoo")
    from cervello.demo.parallel_env import ArenaEnv

    env = envs.Recorder(ArenaEnv(40), tmp_path / "log")
    rewards: dict[str, float] = {}
    env.reset(seed=1)
    while env.agents:
        actions = {agent: np.zeros(2, np.float32) if agent[0] != "s" else 0 for agent in env.agents}
        _, given, _, _, _ = env.step(actions)
        for agent, reward in given.items():
            rewards[agent] = rewards.get(agent, 0.0) + reward
    env.close()
    episodes = list(recording.read(tmp_path / "log"))
    assert {e.match for e in episodes} == {0}
    assert len({e.agent for e in episodes}) == len(episodes)
    assert all(e.finished for e in episodes)
    for episode in episodes:
        assert episode.total_reward == pytest.approx(rewards[episode.agent])


def test_crowds_tell_what_their_policies_decided(tmp_path: Path) -> None:
    pytest.importorskip("pettingzoo")
    from cervello.demo.parallel_env import ArenaEnv

    env = ArenaEnv(20)
    policies = {}
    for species, options in (("grazer", {"box": "clip"}), ("hunter", {"box": "clip"}), ("scout", {"action": "logits"})):
        game = envs.Spaces((env.observation_space(f"{species}_0"), env.action_space(f"{species}_0")), **options)
        policies[f"{species}_*"] = cervello.load(policy_path(species), wrappers="auto", spaces=game)
    crowd = envs.Crowd(envs.Recorder(env, tmp_path / "log"), policies, seed=1)
    for _ in crowd:
        pass
    crowd.close()
    episodes = {kind: [e for e in recording.read(tmp_path / "log") if str(e.agent).startswith(kind) and len(e)] for kind in
                ("grazer", "hunter", "scout")}
    for kind, lives in episodes.items():
        assert lives
        assert all(set(e.source.tolist()) == {"policy"} for e in lives), kind
    assert all(e.deterministic.all() for e in episodes["hunter"])
    assert all(np.isfinite(e.log_prob).all() and not e.deterministic.any() for e in episodes["scout"])
    assert all(np.isnan(e.log_prob).all() for e in episodes["grazer"])  # its noise is inside the file


def test_other_things_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="expected an environment or vector environment"):
        envs.Recorder(3, tmp_path / "log")
