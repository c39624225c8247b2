"""What is recorded is read, bit for bit: crowds, pixels, trees, decisions first, late outcomes, infos of one tree."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from recordings import all_the_same, write_crowd

from cervello import recording
from cervello.errors import InputError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "play.log"


@pytest.mark.parametrize(("n_rows", "n_ticks"), [(1, 1), (1, 30), (3, 12), (64, 40)])
def test_interleaved_episodes_are_read_as_they_were_recorded(path: Path, n_rows: int, n_ticks: int) -> None:
    expected = write_crowd(path, n_rows, n_ticks)
    log = recording.read(path)
    assert all_the_same(list(log), expected)
    assert all_the_same(list(log), expected), "read twice"


def test_pixels_and_extreme_numbers_stay_as_they_are(path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (3, 2, 84, 84, 3), dtype=np.uint8)
    floats = np.array([[np.nan, np.inf, -0.0, 1e-45], [-np.inf, 3e38, 1e-310, -np.nan]], np.float32)
    with recording.Writer(path) as log:
        episodes = log.begin(observation={"camera": pixels[0], "odd": floats})
        for t in (1, 2):
            log.step(episodes, {"camera": pixels[t], "odd": floats}, floats, [0, 0], terminated=t == 2, log_prob=floats[:, 0])
    for i, episode in enumerate(recording.read(path)):
        assert recording.same(episode.observations["camera"], pixels[:, i])
        assert recording.same(episode.observations["odd"], floats[[i] * 3])
        assert recording.same(episode.actions, floats[[i] * 2])
        assert recording.same(episode.log_prob, floats[[i] * 2, 0])


@pytest.mark.parametrize("dtype", ["?", "i1", "u8", "f2", "f8", "c8", ">f4", "U3", "S4"])
def test_every_kind_of_number_and_string_is_kept(path: Path, dtype: str) -> None:
    column = np.array([0, 1, 1], np.int64).astype(dtype)
    with recording.Writer(path) as log:
        log.step(log.begin(observation=column), column, column, 0, truncated=True)
    for i, episode in enumerate(recording.read(path)):
        assert recording.same(episode.observations, column[[i, i]].astype(column.dtype.newbyteorder("<")))


def test_trees_of_all_shapes_come_back(path: Path) -> None:
    tree: dict[str, Any] = {"a": (np.ones((2, 3)), {"b": np.zeros((2, 0)), "c": ()}), "empty": {}, "": np.arange(2), "0": (np.arange(2),)}
    strided = np.arange(24.0).reshape(2, 3, 4)[:, ::-1, ::2]
    with recording.Writer(path) as log:
        log.step(log.begin(observation=tree), tree, (strided,), 1, terminated=True)
    episode = next(iter(recording.read(path)))
    zeros = np.zeros(2, np.int64)
    expected = {"a": (np.ones((2, 3)), {"b": np.zeros((2, 0)), "c": ()}), "empty": {}, "": zeros, "0": (zeros,)}
    assert recording.same(episode.observations, expected)
    assert recording.same(episode.actions, (np.ascontiguousarray(strided[:1]),))


def test_decisions_first_rewards_add_up_and_overridden_actions_lose_their_probability(path: Path) -> None:
    with recording.Writer(path) as log:
        episodes = log.begin(2, agent=[4, 5], match="m")
        log.outcome([], reward=[])
        for t in range(3):
            log.decide(episodes, np.full((2, 1), t), {"move": np.array([t, t]), "jump": np.array([0, 1])}, log_prob=np.float32([-1, -2]),
                       version=t + 1, stream=[2**63 + 1, 7], tick=[t, 10 * t], source="policy", deterministic=[False, True])
            log.outcome(episodes, reward=[1, 10])
        log.outcome(episodes[[0, 0]], reward=[100, 1000], step=[0, 0])
        log.outcome(episodes[1:], action={"move": np.array([9])}, step=[1])
        log.end(episodes[:1], np.array([[3]]), terminated=True)
        log.end(episodes[1:], truncated=True)
    first, second = recording.read(path)
    assert (first.rewards.tolist(), second.rewards.tolist()) == ([1101, 1, 1], [10, 10, 10])
    assert (first.observations.ravel().tolist(), second.observations.ravel().tolist()) == ([0, 1, 2, 3], [0, 1, 2, 2])
    assert (first.final_obs_missing, second.final_obs_missing) == (False, True)
    assert (first.terminations.tolist(), second.truncations.tolist()) == ([False, False, True], [False, False, True])
    assert second.actions["move"].tolist() == [0, 9, 2]
    assert second.actions["jump"].tolist() == [1, 1, 1]
    assert second.overridden.tolist() == [False, True, False]
    assert first.overridden is None
    np.testing.assert_array_equal(second.log_prob, [-2, np.nan, -2])
    assert (second.agent, second.match, second.stream.tolist(), second.tick.tolist()) == (5, "m", [7] * 3, [0, 10, 20])
    assert first.stream.dtype == np.uint64
    assert first.stream[0] == 2**63 + 1
    assert (first.version.tolist(), second.deterministic.tolist(), first.source.tolist()) == ([1, 2, 3], [True] * 3, ["policy"] * 3)


def test_columns_that_some_steps_lack_are_filled(path: Path) -> None:
    with recording.Writer(path) as log:
        episodes = log.begin(observation=np.zeros((1, 2)))
        log.step(episodes, np.zeros((1, 2)), np.zeros((1, 1)), 0)
        log.step(episodes, np.zeros((1, 2)), np.zeros((1, 1)), 0, log_prob=[-1.0], pre_clip=np.ones((1, 1)), version=2, stream=3, tick=4,
                 source=["policy"], deterministic=True)
    episode = next(iter(recording.read(path)))
    assert episode.log_prob.dtype == np.float64
    np.testing.assert_array_equal(episode.log_prob, [np.nan, -1])
    np.testing.assert_array_equal(episode.pre_clip, [[np.nan], [1]])
    assert (episode.version.tolist(), episode.stream.tolist(), episode.tick.tolist()) == ([0, 2], [0, 3], [-1, 4])
    assert (episode.source.tolist(), episode.deterministic.tolist()) == (["unknown", "policy"], [False, True])
    assert episode.pre_tanh is None
    assert episode.overridden is None
    assert (episode.finished, episode.final_obs_missing) == (False, False)


def test_infos_have_one_tree_with_masks_beside_keys_that_come_and_go(path: Path) -> None:
    with recording.Writer(path) as log:
        episodes = log.begin(observation=np.zeros((2, 1)), infos={"always": np.array([1, 2]), "name": np.array(["ab", "c"])})
        mask = np.array([True, False])
        log.step(episodes, np.zeros((2, 1)), np.zeros(2), 0, infos={
            "always": np.array([1.5, 2.5]), "speed": np.array([7.0, 0.0]), "_speed": mask, "name": np.array(["longer", ""]),
            "deep": {"er": np.array([3, 4])}, "_deep": mask, "_lone": np.array([5, 6])}, terminated=True)
    first, second = (episode.infos for episode in recording.read(path))
    assert set(first) == {"always", "name", "speed", "_speed", "deep", "_deep", "_lone", "__lone"}
    np.testing.assert_array_equal(first["speed"], [np.nan, 7])
    np.testing.assert_array_equal(second["speed"], [np.nan, np.nan])
    assert (first["_speed"].tolist(), second["_speed"].tolist()) == ([False, True], [False, False])
    assert (first["deep"]["er"].tolist(), second["deep"]["er"].tolist(), first["_deep"].tolist()) == ([0, 3], [0, 0], [False, True])
    assert first["deep"]["_er"].tolist() == [False, True]
    assert (first["always"].tolist(), first["name"].tolist()) == ([1, 1.5], ["ab", "longer"])


def test_an_episode_without_a_step_is_counted_and_left_out(path: Path) -> None:
    with recording.Writer(path) as log:
        log.end(log.begin(3), truncated=True)
        log.end(log.begin(observation=np.zeros((2, 1))), terminated=True)
        log.begin(1)
        assert (log.n_episodes, log.n_empty, log.n_steps) == (6, 5, 0)
    read = recording.read(path)
    assert list(read) == []
    assert read.n_empty == 6


def test_an_unknown_final_observation_is_the_last_one_repeated_and_said(path: Path) -> None:
    with recording.Writer(path) as log:
        episodes = log.begin(observation=np.array([[1], [2]]))
        log.step(episodes, None, np.zeros(2), 0, truncated=True)
    for episode in recording.read(path):
        assert episode.final_obs_missing
        assert episode.observations[0] == episode.observations[1]


def test_whole_steps_may_be_ended_afterwards(path: Path) -> None:
    with recording.Writer(path) as log:
        episodes = log.begin(observation=np.zeros((1, 1)))
        log.step(episodes, np.ones((1, 1)), [1], 1)
        log.end(episodes, truncated=True)
    episode = next(iter(recording.read(path)))
    assert (episode.truncations.tolist(), episode.final_obs_missing, len(episode.observations)) == ([True], False, 2)


def test_episodes_of_one_log_may_have_other_spaces_than_each_other(path: Path) -> None:
    with recording.Writer(path) as log:
        wide, narrow = log.begin(observation=np.zeros((1, 5)), agent="wide"), log.begin(observation={"x": np.zeros((1, 2))}, agent=3)
        log.step(wide, np.zeros((1, 5)), [0], 0, terminated=True)
        log.step(narrow, {"x": np.zeros((1, 2))}, np.zeros((1, 2)), 0, terminated=True)
    assert [episode.agent for episode in recording.read(path)] == ["wide", 3]


def test_metadata_and_spaces_come_back(path: Path) -> None:
    spaces = gymnasium.spaces
    observation = spaces.Dict({"box": spaces.Box(np.float32([-np.inf, 0]), np.float32([1.5, np.inf])),
                               "pixels": spaces.Box(0, 255, (4, 4), np.uint8),
                               "nested": spaces.Tuple([spaces.Discrete(3, start=-1), spaces.MultiBinary([2, 3])])})
    action = spaces.Tuple([spaces.MultiDiscrete([[2, 3], [4, 5]]), spaces.Text(7, min_length=2, charset="abc"), spaces.MultiBinary(4)])
    with recording.Writer(path, observation_space=observation, action_space=action, metadata={"seed": 3, "of": ["a", 1.5, None]}):
        pass
    log = recording.read(path)
    assert log.observation_space == observation
    assert log.action_space == action
    assert log.metadata == {"seed": 3, "of": ["a", 1.5, None]}
    with pytest.raises(InputError, match=r"space: expected Box, .*got Graph"):
        recording.Writer(path, observation_space=spaces.Graph(spaces.Box(0, 1), None))
    with pytest.raises(InputError, match="metadata: expected values that msgpack takes"):
        recording.Writer(path, metadata={"object": object()})


def test_a_log_is_continued_and_what_was_open_stays_unfinished(path: Path) -> None:
    first, second = write_crowd(path, seed=1), write_crowd(path, seed=2)
    found = list(recording.read(path))
    n_begun = max(each.id for each in found[:len(first)]) + 1
    assert all_the_same(found[:len(first)], first)
    assert all(map(recording.same, found[len(first):], second))
    assert [each.id - second[0].id for each in second] == [each.id - found[len(first)].id for each in found[len(first):]]
    assert min(each.id for each in found[len(first):]) >= n_begun


def test_a_writer_knows_how_many_episodes_readers_get_from_it_and_whether_there_were_others(path: Path) -> None:
    with recording.Writer(path) as log:
        episodes = log.begin(observation=np.zeros((4, 1)))
        log.step(episodes[:2], np.zeros((2, 1)), np.zeros(2), np.zeros(2), terminated=[True, False])
        log.step(episodes[1:2], np.zeros((1, 1)), np.zeros(1), np.zeros(1))
        decided = log.begin(1)
        log.decide(decided, np.zeros((1, 1)), np.zeros(1))
        assert (log.n_recorded, log.continues) == (3, False)
    assert len(list(recording.read(path))) == 3
    with recording.Writer(path) as log:
        assert (log.n_recorded, log.continues) == (0, True)


def test_threads_record_side_by_side(path: Path) -> None:
    with recording.Writer(path) as log:

        def play(agent: int) -> None:
            for episode in range(5):
                handles = log.begin(observation=np.full((2, 3), agent), agent=agent)
                for t in range(20):
                    log.step(handles, np.full((2, 3), agent), [t, t], agent, terminated=t == 10 + episode)
                    if t == 10 + episode:
                        break

        threads = [threading.Thread(target=play, args=(agent,)) for agent in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = list(recording.read(path))
    assert len(found) == 80
    assert len({episode.id for episode in found}) == 80
    for episode in found:
        assert (episode.observations == episode.agent).all()
        assert episode.actions.tolist() == list(range(len(episode)))


def test_handles_are_not_used_again_while_memory_is(path: Path) -> None:
    with recording.Writer(path) as log:
        seen: set[int] = set()
        for _ in range(100):
            handles = log.begin(50)
            seen.update(handles.tolist())
            log.end(handles, truncated=True)
        assert len(seen) == 5000
        assert len(log._open_episodes.phase) <= 64
