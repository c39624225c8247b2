"""Infos as columns of a recording: dicts, strings, and values that have no place in one tree."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from counting_game import CountingGame
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from cervello import envs, recording

MODES = [None, *AutoresetMode]


class Telling(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Tells what a function of the episode's step says."""

    def __init__(self, env: Any, tell: Callable[[int], dict[str, Any]]):
        super().__init__(env)
        self._tell, self._t = tell, 0

    def reset(self, **options: Any) -> Any:
        self._t = 0
        return self.env.reset(**options)[0], self._tell(0)

    def step(self, action: Any) -> Any:
        self._t += 1
        return *self.env.step(action)[:4], self._tell(self._t)


def recorded(path: Path, mode: AutoresetMode | None, tell: Callable[[int], dict[str, Any]], outer: Any = lambda env: env) -> list[Any]:
    """Finished episodes of one environment (None) or of two, which end apart."""
    numbers = itertools.count()

    def made() -> Any:
        return outer(Telling(CountingGame(next(numbers)), tell))

    env = envs.Recorder(SyncVectorEnv([made] * 2, autoreset_mode=mode) if mode else made(), path)
    env.reset(seed=0)
    for _ in range(14):
        _, _, terminated, truncated, _ = env.step(np.ones(2, np.int64) if mode else 1)
        ended = np.asarray(terminated | truncated)
        if mode is AutoresetMode.DISABLED and ended.any():
            env.reset(options={"reset_mask": ended})
        elif mode is None and ended:
            env.reset()
    env.close()
    return [episode for episode in recording.read(path) if episode.finished]


@pytest.mark.parametrize("mode", MODES)
def test_dicts_and_strings_are_recorded(tmp_path: Path, mode: AutoresetMode | None) -> None:
    def tell(t: int) -> dict[str, Any]:
        return {"deep": {"er": np.arange(2) + t, "odd": {"t": float(t)} if t % 2 else {}}, "name": "x" * (t + 1)}

    episodes = recorded(tmp_path / "log", mode, tell)
    assert len(episodes) >= 3
    for episode in episodes:
        steps = np.arange(len(episode) + 1)
        assert episode.infos["deep"]["er"].tolist() == [[t, t + 1] for t in steps]
        assert episode.infos["name"].tolist() == ["x" * (t + 1) for t in steps]
        odd = episode.infos["deep"]["odd"]
        assert odd["_t"].tolist() == (steps % 2 == 1).tolist()
        np.testing.assert_array_equal(odd["t"], np.where(steps % 2, steps, np.nan))


@pytest.mark.parametrize("mode", MODES)
def test_gymnasium_s_statistics_of_an_episode_are_recorded_with_its_last_step(tmp_path: Path, mode: AutoresetMode | None) -> None:
    for episode in recorded(tmp_path / "log", mode, lambda t: {}, gymnasium.wrappers.RecordEpisodeStatistics):
        assert episode.infos["_episode"].tolist() == [False] * len(episode) + [True]
        assert (episode.infos["episode"]["l"][-1], episode.infos["episode"]["r"][-1]) == (len(episode), episode.total_reward)


@pytest.mark.parametrize(("tell", "named"), [
    (lambda t: {"x": np.arange(t + 1)}, r"infos 'x': .* \(1,\) numbers as at first, got \(2,\) numbers"),
    (lambda t: {"x": "text" if t else 1}, r"infos 'x': .* \(\) numbers as at first, got \(\) strings"),
    (lambda t: {"x": {"y": 1} if t else 1}, r"infos 'x': .* \(\) numbers as at first, got dict"),
    (lambda t: {"x": {"y": np.ones(t + 1)}}, r"infos 'x\.y': ")])
def test_rows_of_another_kind_or_shape_than_at_first_are_left_out_with_a_warning(tmp_path: Path, tell: Any, named: str) -> None:
    """Of one environment: Gymnasium's vector environments fail where rows differ."""
    with pytest.warns(RuntimeWarning, match=named) as said:
        episodes = recorded(tmp_path / "log", None, tell)
    assert len(said) == 1
    assert len(episodes) >= 3
    for episode in episodes:
        assert episode.infos["_x"].tolist() == [True] + [False] * len(episode)


@pytest.mark.parametrize("mode", MODES)
def test_what_is_no_column_is_left_out(tmp_path: Path, mode: AutoresetMode | None) -> None:
    episodes = recorded(tmp_path / "log", mode, lambda t: {"ragged": [[1], [2, 3]], "object": object(), "none": None, "empty": {}})
    assert [episode.infos for episode in episodes] == [{}] * len(episodes)


@pytest.mark.parametrize("mode", MODES)
def test_keys_that_are_no_names_are_left_out(tmp_path: Path, mode: AutoresetMode | None) -> None:
    for episode in recorded(tmp_path / "log", mode, lambda t: {"scores": {0: 1.0, "best": t}, 7: t}):
        assert episode.infos.keys() == {"scores"}
        assert {key: column.tolist() for key, column in episode.infos["scores"].items()} == {"best": list(range(len(episode) + 1))}


@pytest.mark.parametrize("mode", MODES)
def test_masks_of_choices_of_several_numbers_are_recorded_as_a_tuple(tmp_path: Path, mode: AutoresetMode | None) -> None:
    def tell(t: int) -> dict[str, Any]:
        return {"action_mask": (np.array([1, t % 2], np.int8), np.array([t % 2, 1, 0], np.int8))} if t % 3 else {}

    for episode in recorded(tmp_path / "log", mode, tell):
        assert episode.infos["_action_mask"].tolist() == [t % 3 != 0 for t in range(len(episode) + 1)]
        first, second = episode.infos["action_mask"]
        for t in range(len(episode) + 1):
            expected = tell(t).get("action_mask", (np.zeros(2), np.zeros(3)))
            assert (first[t].tolist(), second[t].tolist()) == (expected[0].tolist(), expected[1].tolist())
