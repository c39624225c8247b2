"""Observations with strings that no input takes: Gymnasium's Text, MiniGrid's missions, in single and in vector environments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from small_models import FLOAT, dense, graph, helper, node

import cervello
from cervello import envs, recording

N = 3


class Told(gymnasium.Env[Any, Any]):
    """Says a word that grows with each episode; episodes of two steps."""

    observation_space = spaces.Dict({"place": spaces.Discrete(4), "word": spaces.Text(200)})
    action_space = spaces.Discrete(7)

    def __init__(self) -> None:
        self._episode = 0

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self._episode, self._t = self._episode + 1, 0
        return self._seen(), {}

    def step(self, action: Any) -> Any:
        self._t += 1
        return self._seen(), 1.0, self._t == 2, False, {}

    def _seen(self) -> Any:
        return {"place": self._t, "word": "a" * self._episode + str(self._t)}


def told_policy() -> cervello.Policy:
    data = graph([node("MatMul", "place w", "logits")], {"place": (FLOAT, ("N", 4))}, {"logits": (FLOAT, ("N", 7))}, {"w": dense(4, 7)})
    return cervello.load(data, wrappers="auto", spaces=Told())


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_texts_stay_beside_what_the_policy_takes_in_each_mode(mode: AutoresetMode) -> None:
    """All rows end at once, too, so that in NEXT_STEP there is a step in which nobody decides."""
    columns = envs.rollout(SyncVectorEnv([Told] * N, autoreset_mode=mode), told_policy(), steps=30).columns()
    assert columns.observation["word"].shape == columns.next_observation["word"].shape == (30, N)
    seen = [(str(columns.observation["word"][t, 0]), str(columns.next_observation["word"][t, 0])) for t in range(30) if
            columns.valid[t, 0]]
    assert seen == [("a" * (1 + k // 2) + str(k % 2), "a" * (1 + k // 2) + str(k % 2 + 1)) for k in range(len(seen))]
    assert len(seen) >= 20
    assert envs.play(SyncVectorEnv([Told] * N, autoreset_mode=mode), told_policy(), episodes=7)["model"].returns.tolist() == [2.0] * 7


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_texts_are_recorded_whole_and_told_apart_from_those_of_the_next_episode(tmp_path: Path, mode: AutoresetMode) -> None:
    env = envs.Recorder(SyncVectorEnv([Told] * N, autoreset_mode=mode), tmp_path / "log")
    list(envs.rollout(env, told_policy(), steps=24))
    env.close()
    episodes = [each for each in recording.read(tmp_path / "log") if each.finished]
    assert len(episodes) >= 7 * N
    for episode in episodes:
        words = np.asarray(episode.observations["word"]).tolist()
        assert words == [words[0][:-1] + str(t) for t in range(3)]
    assert recording.read(tmp_path / "log").observation_space == Told.observation_space


# MiniGrid, whose missions are a space of its own -------------------------------------------------------------------------


def minigrid(steps: int = 9) -> Any:
    pytest.importorskip("minigrid", reason="minigrid")
    return gymnasium.make("MiniGrid-Fetch-5x5-N2-v0", max_steps=steps)


def looking(gain: float = 0.02) -> bytes:
    """image [N, 7, 7, 3], direction (one-hot) [N, 4] → logits [N, 7]."""
    nodes = [helper.make_node("Flatten", ["image"], ["flat"]), node("MatMul", "flat w", "seen"), node("MatMul", "direction v", "turned"),
             node("Add", "seen turned", "logits")]
    return graph(nodes, {"image": (FLOAT, ("N", 7, 7, 3)), "direction": (FLOAT, ("N", 4))}, {"logits": (FLOAT, ("N", 7))},
                 {"w": dense(147, 7) * np.float32(gain), "v": dense(4, 7)})


def missions_policy() -> cervello.Policy:
    return cervello.load(looking(), wrappers="auto", spaces=minigrid(), seed=3)


def test_missions_need_no_input() -> None:
    env, policy = minigrid(), missions_policy()
    observation, _ = env.reset(seed=1)
    logits = policy.model.run({"image": observation["image"][None].astype(np.float32), "direction": np.eye(4, dtype=np.float32)[
        [observation["direction"]]]})["logits"]
    assert int(policy.predict(observation, deterministic=True)[0]) == int(logits.argmax())


def by_hand(policy: cervello.Policy, seeds: list[int]) -> list[float]:
    env, found = minigrid(), []
    for seed in seeds:
        observation, _ = env.reset(seed=seed)
        total, over = 0.0, False
        while not over:
            observation, reward, terminated, truncated, _ = env.step(int(policy.predict(observation, deterministic=True)[0]))
            total, over = total + float(reward), terminated or truncated
        found.append(total)
    return found


def test_returns_in_minigrid_are_those_of_a_loop_by_hand() -> None:
    policy = missions_policy()
    result = envs.play(minigrid, policy, episodes=30, seed=5, n_envs=4, deterministic=True)
    assert result.seeds is not None
    assert result["model"].returns.tolist() == by_hand(policy, result.seeds)
    drawn = [envs.play(minigrid, policy, episodes=20, seed=5, n_envs=n)["model"].returns.tolist() for n in (1, 5)]
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) > 1  # something was fetched


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_minigrid_is_recorded_bit_for_bit(tmp_path: Path, mode: AutoresetMode) -> None:
    env = envs.Recorder(SyncVectorEnv([minigrid] * N, autoreset_mode=mode), tmp_path / "log")
    columns = envs.rollout(env, missions_policy(), steps=40, seed=2).columns()
    env.close()
    episodes = [each for each in recording.read(tmp_path / "log") if each.finished]
    assert len(episodes) >= 3 * N
    shown = {columns.observation["image"][t, i].tobytes() + str(columns.observation["mission"][t, i]).encode()
             for t in range(40) for i in range(N) if columns.valid[t, i]}
    for episode in episodes:
        images, said = episode.observations["image"], episode.observations["mission"]
        assert (images.dtype, images.shape) == (np.uint8, (len(episode) + 1, 7, 7, 3))
        assert len(set(said.tolist())) == 1  # a mission is that of its episode
        assert all(images[t].tobytes() + said[t].encode() in shown for t in range(len(episode)))
    assert len({str(each.observations["mission"][0]) for each in episodes}) > 3
    space = recording.read(tmp_path / "log").observation_space["mission"]
    assert isinstance(space, spaces.Text)
    assert all(space.contains(str(each.observations["mission"][0])) for each in episodes)


def test_minigrid_goes_to_minari_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("minari", reason="the extra minari")
    pytest.importorskip("h5py", reason="the extra minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    env = envs.Recorder(minigrid(), tmp_path / "log")
    list(envs.rollout(env, missions_policy(), steps=40))
    env.close()
    expected = [each for each in recording.read(tmp_path / "log") if each.finished]
    recording.to_minari(tmp_path / "log", "mini/fetch-v0")
    found = list(recording.read(minari="mini/fetch-v0"))
    assert len(found) == len(expected) > 3
    for ours, theirs in zip(expected, found, strict=True):
        assert ours.observations["image"].tobytes() == theirs.observations["image"].tobytes()
        assert ours.observations["mission"].tolist() == theirs.observations["mission"].tolist()
