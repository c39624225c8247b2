"""What is played is recorded: by hand, by rollout and play, in rows of vector environments and by agents."""

from __future__ import annotations

import itertools
import warnings
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


@pytest.mark.parametrize("mode", [None, *AutoresetMode])
def test_infos_that_differ_between_reset_and_step_have_one_tree(tmp_path: Path, mode: AutoresetMode | None) -> None:
    """Of one environment (None) and of rows. Minari's own collector refuses them."""
    n = 2 if mode else 1

    class Telling(gymnasium.Wrapper[Any, Any, Any, Any]):
        step_number = 0

        def reset(self, **options: Any) -> Any:
            self.step_number = 0
            return self.env.reset(**options)[0], {"level": 7, "map": np.arange(3)}

        def step(self, action: Any) -> Any:
            self.step_number += 1
            return *self.env.step(action)[:4], {"speed": 0.5 * self.step_number} if self.step_number % 2 else {}

    def made() -> Any:
        return Telling(cartpole(next(lengths)))

    lengths = itertools.cycle([5, 3])  # rows end apart
    env = envs.Recorder(SyncVectorEnv([made] * n, autoreset_mode=mode) if mode else made(), tmp_path / "log")
    for _ in range(2):
        env.reset(seed=0)
        for _ in range(5):
            _, _, terminated, truncated, _ = env.step(np.ones(n, np.int64) if mode else 1)
            ended = terminated | truncated
            if mode is AutoresetMode.DISABLED and ended.any():
                env.reset(options={"reset_mask": ended})
    env.close()
    episodes = [episode for episode in recording.read(tmp_path / "log") if len(episode)]
    assert len(episodes) >= 2 * n
    assert len({str({key: np.asarray(column).dtype for key, column in sorted(episode.infos.items())}) for episode in episodes}) == 1
    for episode in episodes:
        assert episode.infos["level"][0] == 7
        assert episode.infos["map"][0].tolist() == [0, 1, 2]
        assert episode.infos["_level"].tolist() == [True] + [False] * len(episode)
        assert episode.infos["_speed"].tolist() == [t % 2 == 1 for t in range(len(episode) + 1)]
        assert episode.infos["speed"][1] == 0.5
        assert np.isnan(episode.infos["speed"][0])


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


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_loop_of_predict_records_what_was_decided(policy: cervello.Policy, tmp_path: Path, deterministic: bool) -> None:
    env = envs.Recorder(cartpole(), tmp_path / "log")
    told, plain = envs.RecordedPolicy(policy, env), cervello.load(games.linear(4, 2), wrappers="auto", spaces=cartpole(), seed=3)
    observation, _ = env.reset(seed=1)
    state = other = None
    done = False
    while not done:
        expected, other = plain.predict(observation, other, deterministic=deterministic)
        action, state = told.predict(observation, state, deterministic=deterministic)
        assert np.array_equal(action, expected)
        observation, _, terminated, truncated, _ = env.step(int(action))
        done = terminated or truncated
    env.close()
    (episode,) = recording.read(tmp_path / "log")
    assert set(episode.source.tolist()) == {"policy"}
    assert episode.deterministic.all() == episode.deterministic.any() == deterministic
    assert not episode.overridden.any()
    logits = cervello.Model.load(games.linear(4, 2)).run({"obs": episode.observations[:-1].astype(np.float32)})["logits"]
    expected_log_prob = cervello.heads.Categorical("logits").log_prob({"logits": logits}, episode.actions)
    assert episode.log_prob.tobytes() == (np.zeros(len(episode), np.float32) if deterministic else expected_log_prob).tobytes()


def test_clipped_actions_are_recorded_as_drawn_and_as_executed(tmp_path: Path) -> None:
    """Also in a vector environment."""
    spaces = (gymnasium.spaces.Box(-1, 1, (3,), np.float32), gymnasium.spaces.Box(-0.1, 0.1, (2,), np.float32))

    class Still(gymnasium.Env[Any, Any]):
        observation_space, action_space = spaces

        def reset(self, **options: Any) -> Any:
            super().reset(**options)
            return self.observation_space.sample(), {}

        def step(self, action: Any) -> Any:
            return self.observation_space.sample(), float(action[0]), False, False, {}

    env = envs.Recorder(SyncVectorEnv([Still, Still], autoreset_mode=AutoresetMode.NEXT_STEP), tmp_path / "log")
    head = cervello.Sample(cervello.heads.Gaussian("mean", log_std="log_std"))
    gaussian = cervello.load(games.gaussian(3, 2), wrappers=[head], spaces=envs.Spaces(spaces, box="clip"), seed=2)
    told = envs.RecordedPolicy(gaussian, env)
    observation, _ = env.reset(seed=1)
    state, drawn = None, []
    for _ in range(6):
        action, state = told.predict(observation, state)
        assert told.decision is not None
        drawn.append(told.decision.sampled.copy())
        observation = env.step(action)[0]
    env.close()
    for row, episode in enumerate(recording.read(tmp_path / "log")):
        sampled = np.stack(drawn)[:, row]
        assert np.array_equal(episode.pre_clip, sampled)
        assert np.array_equal(episode.actions, sampled.clip(-0.1, 0.1))
        assert (episode.actions != sampled).any()
        assert np.isfinite(episode.log_prob).all()


def test_evaluate_policy_records_through_it(policy: cervello.Policy, tmp_path: Path) -> None:
    evaluation = pytest.importorskip("stable_baselines3.common.evaluation")
    monitor = pytest.importorskip("stable_baselines3.common.monitor")
    env = envs.Recorder(monitor.Monitor(cartpole()), tmp_path / "log")
    returns, _ = evaluation.evaluate_policy(envs.RecordedPolicy(policy, env), env, n_eval_episodes=3, deterministic=False,
                                            return_episode_rewards=True)
    env.close()
    episodes = [e for e in recording.read(tmp_path / "log") if e.finished]
    assert [e.total_reward for e in episodes] == returns
    assert all(set(e.source.tolist()) == {"policy"} and np.isfinite(e.log_prob).all() for e in episodes)


def tictactoe() -> Any:
    return pytest.importorskip("pettingzoo.classic.tictactoe_v3", reason="pettingzoo's classic games").env()


def test_a_recorder_around_a_game_is_an_environment_of_pettingzoo_and_takes_its_wrappers(tmp_path: Path) -> None:
    module = pytest.importorskip("pettingzoo")
    utils = pytest.importorskip("pettingzoo.utils")
    test = pytest.importorskip("pettingzoo.test", reason="pettingzoo's tests need its classic games")
    turns = envs.Recorder(tictactoe(), tmp_path / "turns.log")
    assert isinstance(turns, module.AECEnv)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the test of PettingZoo warns of masks in observations
        test.api_test(utils.OrderEnforcingWrapper(turns), num_cycles=30)
    turns.close()
    assert sum(1 for _ in recording.read(tmp_path / "turns.log")) > 2
    from scripted_games import ScriptedGame

    assert isinstance(envs.Recorder(ScriptedGame(), tmp_path / "parallel.log"), module.ParallelEnv)


def test_turns_are_recorded_with_what_they_lead_to(tmp_path: Path) -> None:
    env = envs.Recorder(tictactoe(), tmp_path / "log")
    for cells in ([0, 3, 1, 4, 2], [0, 3]):  # the first wins; a game that is broken off
        env.reset(seed=5)
        seen: dict[str, list[Any]] = {"player_1": [], "player_2": []}
        moves = iter(cells)
        for agent in env.agent_iter():
            observation, _, terminated, truncated, _ = env.last()
            seen[agent].append(observation["observation"].copy())
            action = None if terminated or truncated else next(moves, -1)
            if action == -1:
                break
            env.step(action)
        if len(cells) == 5:
            whole = seen
    env.close()
    lives = {(e.match, e.agent): e for e in recording.read(tmp_path / "log")}
    assert set(lives) == {(match, agent) for match in (0, 1) for agent in whole}
    one, two = lives[0, "player_1"], lives[0, "player_2"]
    assert (one.actions.tolist(), two.actions.tolist()) == ([0, 1, 2], [3, 4])
    assert (one.rewards.tolist(), two.rewards.tolist()) == ([0, 0, 1], [0, -1])
    assert (one.terminations.tolist(), two.terminations.tolist()) == ([False, False, True], [False, True])
    for agent, life in (("player_1", one), ("player_2", two)):
        assert np.array_equal(life.observations["observation"], np.stack(whole[agent]))
        assert life.seed == 5
        assert set(life.source.tolist()) == {"unknown"}
    assert lives[1, "player_1"].actions.tolist() == [0]  # its second turn was never taken
    assert lives[1, "player_2"].actions.tolist() == [3]
    assert not lives[1, "player_2"].finished


def test_crowds_opponents_and_predict_tell_what_was_decided_in_turns(tmp_path: Path) -> None:
    model = tmp_path / "player.onnx"
    model.write_bytes(games.preferring(list(range(9)), (3, 3, 2)))
    with recording.Writer(tmp_path / "log") as writer:
        crowd = envs.Crowd(envs.Recorder(tictactoe(), writer), {"*": model})
        for _ in crowd:
            pass
        crowd.close()
        inner = envs.Recorder(tictactoe(), writer)
        env = envs.Opponents(inner, "player_1", {"player_2": model}, deterministic=True)
        learner = envs.RecordedPolicy(cervello.load(model, wrappers="auto", spaces=env), inner)
        observation, _ = env.reset(seed=0)
        done, state = False, None
        while not done:
            action, state = learner.predict(observation, state, agents="player_1")
            observation, _, terminated, truncated, _ = env.step(int(action))
            done = terminated or truncated
        env.close()
    lives = list(recording.read(tmp_path / "log"))
    assert len(lives) == 4
    for life in lives:
        assert set(life.source.tolist()) == {"policy"}
        assert np.isfinite(life.log_prob).all()
        assert not life.overridden.any()
    # Opponents end the game with the learner, before the loser's last turn: what it did is recorded all the same.
    assert [bool(life.deterministic.all()) for life in lives].count(True) == 1
    assert sum(life.total_reward for life in lives[:2]) == sum(life.total_reward for life in lives[2:]) == 0
    assert all(life.finished for life in lives)


def test_environments_that_share_a_writer_have_matches_of_their_own(tmp_path: Path) -> None:
    with recording.Writer(tmp_path / "x.log") as writer:
        games = [envs.Recorder(tictactoe(), writer) for _ in range(2)]
        for _ in range(2):
            for game in games:
                game.reset(seed=1)
                for agent, move in zip(game.agent_iter(), (0, 1, 3, 4, 6, None, None), strict=False):
                    game.last(agent)
                    game.step(move)
        for game in games:
            game.close()
    lives = [(each.match, each.agent) for each in recording.read(tmp_path / "x.log")]
    assert sorted(lives) == [(match, f"player_{k}") for match in range(4) for k in (1, 2)]


def test_a_policy_to_record_needs_a_recorder_and_names(policy: cervello.Policy, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="RecordedPolicy, env: expected an environment with a Recorder, got TimeLimit without one"):
        envs.RecordedPolicy(policy, cartpole())
    with pytest.raises(ConfigurationError, match="expected the spaces of an environment, got none"):
        envs.RecordedPolicy(cervello.load(games.linear(4, 2)), envs.Recorder(cartpole(), tmp_path / "a"))
    told = envs.RecordedPolicy(policy, envs.Recorder(cartpole(), tmp_path / "b"))
    with pytest.raises(cervello.InputError, match="predict, agents: expected none in an environment of one agent, got 'me'"):
        told.predict(np.zeros(4, np.float32), agents="me")
    assert told.decision is None


def test_other_things_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="expected an environment or vector environment"):
        envs.Recorder(3, tmp_path / "log")
