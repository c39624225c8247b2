"""What a recorder does when it cannot record: a full disk, a step before the first reset, a vector environment that names no mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cartpole
import games
import gymnasium
import numpy as np
import pytest
from counting_game import CountingGame, drawing_policy, vector
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from cervello import ConfigurationError, RecordingError, envs, recording

resource = pytest.importorskip("resource", reason="limits of file sizes are POSIX")
AGENTS = ["fox_0", "fox_1", "hen_0"]
REFUSED = r"expected episodes of which every step is recorded, got one that could not be; reset the environment to record again"


@contextmanager
def no_room(path: Path) -> Iterator[None]:
    """Files of this process may not become larger than this one is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def full() -> Any:
    return pytest.raises(RecordingError, match=r"expected room for .*what was recorded before is whole")


def test_an_environment_on_a_full_disk_says_so_and_no_episode_has_a_gap(tmp_path: Path) -> None:
    game = CountingGame()
    env = envs.Recorder(game, tmp_path / "log")
    env.reset(seed=0)
    env.step(1)
    with no_room(tmp_path / "log"), full():
        env.step(2)
    taken = len(game.executed)
    with pytest.raises(RecordingError, match=REFUSED):
        env.step(3)
    assert len(game.executed) == taken  # it is refused before anything happens
    with no_room(tmp_path / "log"), full():
        env.reset(seed=1)
    with pytest.raises(RecordingError, match=REFUSED):
        env.step(3)
    env.reset(seed=2)
    over = False
    while not over:
        *_, terminated, truncated, _ = env.step(0)
        over = terminated or truncated
    env.close()
    first, second = recording.read(tmp_path / "log")
    assert (first.actions.tolist(), first.truncations.tolist(), first.observations[:, 2].tolist()) == ([1], [True], [0, 1])
    assert (second.seed, second.finished) == (2, True)
    assert second.observations[:, 2].tolist() == list(range(len(second) + 1))


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_rows_on_a_full_disk_end_where_they_were_recorded(tmp_path: Path, mode: AutoresetMode) -> None:
    env = envs.Recorder(vector(mode.name.lower()), tmp_path / "log")
    policy = drawing_policy(CountingGame())
    steps = iter(envs.rollout(env, policy, steps=40))
    for _ in range(6):
        next(steps)
    with no_room(tmp_path / "log"), full():
        next(steps)
    with pytest.raises(RecordingError, match=REFUSED):
        env.step(np.zeros(3, np.int64))
    list(envs.rollout(env, policy, steps=12, seed=1))
    env.close()
    for episode in recording.read(tmp_path / "log"):
        assert episode.observations[:, 2].tolist() == list(range(len(episode) + 1))
        assert len(set(episode.observations[:, 1].tolist())) == 1
        assert episode.observations[1:, 3].tolist() == (10 * episode.actions).tolist()


class Farm:
    """A parallel game of PettingZoo's interface that counts its steps; it lasts six."""

    metadata = {"name": "farm"}  # noqa: RUF012
    possible_agents = AGENTS
    render_mode = None
    steps = 0

    def observation_space(self, agent: str) -> Any:
        return gymnasium.spaces.Box(-1, 9, (2,))

    def action_space(self, agent: str) -> Any:
        return gymnasium.spaces.Discrete(3)

    def reset(self, seed: Any = None, options: Any = None) -> Any:
        self.agents, self.steps = list(AGENTS), 0
        return self._seen(), {agent: {} for agent in AGENTS}

    def step(self, actions: Any) -> Any:
        self.steps += 1
        there, over = list(self.agents), self.steps == 6
        self.agents = [] if over else there
        no = dict.fromkeys(there, False)
        return self._seen(), dict.fromkeys(there, 1.0), no, dict.fromkeys(there, over), {agent: {} for agent in there}

    def close(self) -> None: ...

    def _seen(self) -> Any:
        return {agent: np.array([self.steps, i], np.float32) for i, agent in enumerate(AGENTS)}


@pytest.mark.parametrize("form", ["parallel", "in turns"])
def test_lives_on_a_full_disk_end_together(tmp_path: Path, form: str) -> None:
    game: Any = Farm()
    if form != "parallel":
        game = pytest.importorskip("pettingzoo.utils", reason="pettingzoo").parallel_to_aec(game)
    (tmp_path / "model.onnx").write_bytes(games.linear(2, 3))
    crowd = envs.Crowd(envs.Recorder(game, tmp_path / "log"), {"*": tmp_path / "model.onnx"})
    crowd.reset(seed=0)
    for _ in range(2 if form == "parallel" else 7):
        crowd.step()
    with no_room(tmp_path / "log"), full():
        for _ in range(4):
            crowd.step()
    with pytest.raises(RecordingError, match=REFUSED):
        crowd.step()
    for _ in crowd:  # another match
        pass
    crowd.close()
    lives = list(recording.read(tmp_path / "log"))
    assert {(each.match, each.agent) for each in lives} == {(match, agent) for match in (0, 1) for agent in AGENTS}
    for life in lives:
        assert life.observations[:, 0].tolist() == list(range(len(life) + 1))
        assert len(life) == 6 if life.match else 1 <= len(life) <= 3
        assert life.finished


@pytest.mark.parametrize("form", ["single", "vector", "parallel"])
def test_a_recording_is_closed_where_its_environment_fails_to_close(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("gone")

    game: Any = {"single": CountingGame, "vector": lambda: vector("same_step"), "parallel": Farm}[form]()
    env = envs.Recorder(game, tmp_path / "log")
    env.reset(seed=0)
    monkeypatch.setattr(game, "close", fail)
    with pytest.raises(OSError, match="gone"):
        env.close()
    recording.Writer(tmp_path / "log").close()  # nobody else has it open


def test_a_match_whose_last_actions_find_no_room_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    game = pytest.importorskip("pettingzoo.utils", reason="pettingzoo").parallel_to_aec(Farm())
    env = envs.Recorder(game, tmp_path / "log")
    closed: list[bool] = []
    monkeypatch.setattr(game, "close", lambda: closed.append(True))
    env.reset(seed=0)
    env.step(0)
    with no_room(tmp_path / "log"), full():
        env.close()
    assert closed == [True]
    recording.Writer(tmp_path / "log").close()


def test_a_step_before_the_first_reset_is_refused(tmp_path: Path) -> None:
    env = envs.Recorder(SyncVectorEnv([lambda: gymnasium.make("CartPole-v1").unwrapped]), tmp_path / "log")
    env.env.reset(seed=0)  # beneath the recorder
    with pytest.raises(RecordingError, match="expected a step of an episode that has begun, got one of 0; reset the environment first"):
        env.step(np.zeros(1, np.int64))


def test_the_mode_of_recorded_rows_is_asked_for_where_the_metadata_do_not_say_it(tmp_path: Path) -> None:
    def silent() -> Any:
        env = vector("same_step")
        env.metadata = {}
        return env

    with pytest.raises(ConfigurationError, match=r"autoreset: expected a vector environment whose metadata name its mode.*give autoreset="):
        envs.Recorder(silent(), tmp_path / "a")
    for name, env in (("b", envs.Recorder(vector("same_step"), tmp_path / "b")),
                      ("c", envs.Recorder(silent(), tmp_path / "c", autoreset="same_step"))):
        env.reset(seed=0)
        for k in range(15):
            env.step(np.full(3, k % 4))
        env.close()
        for episode in recording.read(tmp_path / name):
            assert episode.observations[:, 2].tolist() == list(range(len(episode) + 1))
    assert (tmp_path / "c").stat().st_size == (tmp_path / "b").stat().st_size


def test_the_noise_s_stream_is_recorded(tmp_path: Path) -> None:
    """Of agents that rollout and play begin it is the seed; of rows of predict the call without a state; else it is unknown."""
    policy = cartpole.policy()
    env = envs.Recorder(gymnasium.make("CartPole-v1"), tmp_path / "log")
    list(envs.rollout(env, policy, steps=5, seed=9))
    told, state = envs.RecordedPolicy(policy, env), None
    observation, _ = env.reset(seed=0)
    for _ in range(3):
        action, state = told.predict(observation, state)
        observation, *_ = env.step(int(action))
    env.reset(seed=1)
    env.step(0)
    env.close()
    found = [None if each.stream is None else each.stream.tolist() for each in recording.read(tmp_path / "log")]
    assert found == [[9] * 5, [state.stream] * 3, None]


class OddReward(CountingGame):
    """Its second step gives a reward that is no number."""

    def step(self, action: Any) -> Any:
        observation, reward, *rest = super().step(action)
        return observation, "x" if len(self.executed) == 2 else reward, *rest


def test_a_step_whose_reward_cannot_be_recorded_ends_the_episode(tmp_path: Path) -> None:
    env = envs.Recorder(OddReward(), tmp_path / "log")
    env.reset(seed=0)
    env.step(1)
    with pytest.raises(ValueError, match="could not convert"):
        env.step(2)
    with pytest.raises(RecordingError, match=REFUSED):
        env.step(3)
    env.reset(seed=1)
    env.step(0)
    env.close()
    assert len(next(iter(recording.read(tmp_path / "log")))) == 1


def test_a_failing_disk_at_an_episodes_end_does_not_stop_recording_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env = envs.Recorder(CountingGame(), tmp_path / "log", durable=True)
    env.reset(seed=0)

    def fails(_: int) -> None:
        raise OSError(5, "input/output error")

    def play() -> None:
        over = False
        while not over:
            *_, terminated, truncated, _ = env.step(0)
            over = terminated or truncated

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fails)
        with pytest.raises((OSError, RecordingError)):
            play()
    for seed in (1, 2):
        env.reset(seed=seed)
        env.step(0)
    env.close()


def test_a_refused_step_takes_its_decision_with_it(tmp_path: Path) -> None:
    env = envs.Recorder(OddReward(), tmp_path / "log")
    env.reset(seed=0)
    env.step(1)
    with pytest.raises(ValueError, match="could not convert"):
        env.step(2)
    env._log._decision = object()  # as a policy's that was told before
    with pytest.raises(RecordingError, match=REFUSED):
        env.step(3)
    env.reset(seed=1)
    env.step(0)  # of unknown source: it would fail on the decision that was left behind
    env.close()
