"""Minari datasets: what a log says comes back bit for bit, other people's datasets are read, and what Minari would take wrongly is refused.

Skipped by name where the extra `minari` is not installed.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from recordings import write_crowd

from cervello import recording
from cervello.errors import FormatError, InputError, MissingFileError, RecordingError

minari = pytest.importorskip("minari", reason="the extra minari is not installed")
pytest.importorskip("h5py", reason="the extra minari is not installed")
from minari.data_collector import EpisodeBuffer  # noqa: E402

spaces = gymnasium.spaces
CROWD = {"observation_space": spaces.Box(-np.inf, np.inf, (4,), np.float32), "action_space": spaces.Discrete(5)}


@pytest.fixture(autouse=True)
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of datasets of the test's own."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    return tmp_path / "datasets"


def without(episode: recording.Episode, *keys: str) -> recording.Episode:
    return replace(episode, infos={key: value for key, value in episode.infos.items() if key not in keys})


def test_a_crowd_comes_back_bit_for_bit(tmp_path: Path) -> None:
    recorded = write_crowd(tmp_path / "log", n_ticks=20, **CROWD)
    expected = [each for each in recorded if each.finished]
    made = recording.to_minari(tmp_path / "log", "crowd/walk-v0", description="a crowd", author="tests")
    assert (made.n_episodes, made.n_steps, made.n_unfinished) == (len(expected), sum(map(len, expected)), len(recorded) - len(expected))
    for found in (recording.read(minari="crowd/walk-v0"), recording.read(made.path), recording.read(made.path / "data")):
        assert found.observation_space == CROWD["observation_space"]
        assert found.action_space == CROWD["action_space"]
        read = list(found)
        assert len(read) == len(expected)
        for ours, theirs in zip(expected, read, strict=True):
            # an episode that had no speed at all has the column of the others
            assert recording.same(without(ours, "speed", "_speed"), without(theirs, "speed", "_speed"))
            T = len(ours)
            assert recording.same(theirs.infos["speed"], ours.infos.get("speed", np.full(T + 1, np.nan)))
            assert recording.same(theirs.infos["_speed"], ours.infos.get("_speed", np.zeros(T + 1, np.bool_)))


def test_minari_itself_reads_the_columns_where_the_conventions_say(tmp_path: Path) -> None:
    expected = [each for each in write_crowd(tmp_path / "log", n_ticks=20, **CROWD) if each.finished]
    recording.to_minari(tmp_path / "log", "crowd/walk-v0")
    dataset = minari.load_dataset("crowd/walk-v0")
    assert dataset.total_episodes == len(expected)
    for ours, theirs in zip(expected, dataset.iterate_episodes(), strict=True):
        T = len(ours)
        assert len(theirs.observations) == T + 1
        np.testing.assert_array_equal(theirs.infos["behavior_logp"][1:], ours.log_prob)
        assert theirs.infos["behavior_logp"].dtype == np.float32
        assert np.isnan(theirs.infos["behavior_logp"][0])
        assert theirs.infos["final_obs_missing"].tolist() == [False] * (T + 1)
        assert recording.same(recording.as_episode(theirs).log_prob, ours.log_prob)
    assert dataset.sample_episodes(1)


def everything() -> tuple[recording.Episode, Any, Any]:
    """An episode with every column, in Dict and Tuple spaces with pixels and text."""
    rng = np.random.default_rng(0)
    T = 5
    episode = recording.Episode(
        0, {"camera": rng.integers(0, 256, (T + 1, 3, 64, 48), dtype=np.uint8),
            "gray": rng.integers(0, 256, (T + 1, 84, 84, 1), dtype=np.uint8),
            "pair": (rng.normal(size=(T + 1, 2)), rng.integers(0, 3, T + 1)), "said": np.array(["hi", "ho", "", "é", "hello", "hi"])},
        (rng.normal(size=(T, 2)).astype(np.float32), rng.integers(0, 2, (T, 3)).astype(np.int8)), rng.normal(size=T),
        np.zeros(T, np.bool_), np.arange(T) == T - 1,
        {"deep": {"er": rng.normal(size=(T + 1, 2))}, "word": np.array(["a", "bc", "", "d", "e", "f"]), "count": np.arange(T + 1)},
        log_prob=rng.normal(size=T), deterministic=rng.random(T) < 0.5, pre_tanh=rng.normal(size=(T, 2)).astype(np.float32),
        pre_clip=(rng.normal(size=(T, 2)), rng.normal(size=(T, 3))), source=np.array(["policy", "unknown"])[rng.integers(0, 2, T)],
        overridden=rng.random(T) < 0.5, version=np.arange(T), stream=np.full(T, 2**64 - 1, np.uint64), tick=np.arange(T) - 1,
        final_obs_missing=True, agent="hunter", match=12, seed=99)
    observation = spaces.Dict({
        "camera": spaces.Box(0, 255, (3, 64, 48), np.uint8), "gray": spaces.Box(0, 255, (84, 84, 1), np.uint8),
        "pair": spaces.Tuple([spaces.Box(-9, 9, (2,), np.float64), spaces.Discrete(3)]), "said": spaces.Text(9, min_length=0)})
    return episode, observation, spaces.Tuple([spaces.Box(-9, 9, (2,)), spaces.MultiBinary(3)])


def test_every_column_pixel_and_string_comes_back_bit_for_bit() -> None:
    episode, observation, action = everything()
    recording.to_minari([episode], "all/of-it-v1", observation_space=observation, action_space=action)
    found = next(iter(recording.read(minari="all/of-it-v1")))
    for name in recording.Episode.__dataclass_fields__:
        ours, theirs = getattr(episode, name), getattr(found, name)
        if name == "source":
            assert ours.tolist() == theirs.tolist()
        else:
            assert recording.same(ours, theirs), name


def test_columns_that_only_some_episodes_have_come_back_as_they_were() -> None:
    full, _, _ = everything()
    full = replace(full, observations=np.zeros((6, 1)), actions=np.zeros(5), infos={}, pre_clip={"a": np.ones(5), "b": np.ones(5)})
    given = [full, episode_of(id=1), episode_of(id=2, tick=np.array([3, 4]), match=0, pre_clip={"a": np.ones(2), "b": np.ones(2)})]
    recording.to_minari(given, "aa/some-v0", **SPACES)
    for ours, theirs in zip(given, recording.read(minari="aa/some-v0"), strict=True):
        assert theirs.infos == {}
        for name in ("log_prob", "deterministic", "pre_tanh", "pre_clip", "overridden", "version", "stream", "tick", "agent", "match"):
            assert recording.same(getattr(ours, name), getattr(theirs, name)), (ours.id, name)
        assert (theirs.source is None) == (ours.source is None)


def test_infos_that_come_and_go_between_episodes_have_one_tree() -> None:
    def episode(number: int, infos: dict[str, Any]) -> recording.Episode:
        return recording.Episode(number, np.zeros((3, 1)), np.zeros(2), np.zeros(2), np.arange(2) == 1, np.zeros(2, np.bool_), infos)

    given = [episode(0, {"a": np.ones(3)}), episode(1, {"b": {"c": np.arange(3)}, "a": np.array([1, 2, 3])}),
             episode(2, {"w": np.array(["x"] * 3)})]
    recording.to_minari(given, "aa/tree-v0", **SPACES)
    first, second, third = (each.infos for each in recording.read(minari="aa/tree-v0"))
    assert set(first) == set(second) == set(third) == {"a", "_a", "b", "_b", "w", "_w"}
    assert (first["a"].tolist(), second["a"].tolist(), first["a"].dtype) == ([1] * 3, [1, 2, 3], second["a"].dtype)
    np.testing.assert_array_equal(third["a"], [np.nan] * 3)
    assert [infos["_b"].all() for infos in (first, second, third)] == [False, True, False]
    assert first["b"]["_c"].tolist() == [False] * 3
    assert (third["w"].tolist(), first["w"].tolist()) == (["x"] * 3, [""] * 3)


def test_unfinished_episodes_are_left_out_and_counted_or_truncated(tmp_path: Path) -> None:
    with recording.Writer(tmp_path / "log", **CROWD) as log:
        row = np.zeros((1, 4), np.float32)
        for finished in (True, False):
            at = log.begin(observation=row)
            log.step(at, row, [0], 1)
            log.step(at, row, [0], 1, terminated=finished)
    skipped = recording.to_minari(tmp_path / "log", "xx/skip-v0")
    assert (skipped.n_episodes, skipped.n_unfinished) == (1, 1)
    cut = recording.to_minari(tmp_path / "log", "xx/cut-v0", unfinished="truncate")
    assert (cut.n_episodes, cut.n_unfinished) == (2, 1)
    whole, truncated = recording.read(minari="xx/cut-v0")
    assert (whole.terminations.tolist(), whole.truncations.tolist()) == ([False, True], [False, False])
    assert (truncated.terminations.tolist(), truncated.truncations.tolist()) == ([False, False], [False, True])


def test_agents_of_several_kinds_are_converted_one_kind_at_a_time(tmp_path: Path) -> None:
    with recording.Writer(tmp_path / "log") as log:
        for agent, width in (("cat", 2), ("mouse", 3)):
            row = np.zeros((1, width))
            log.step(log.begin(observation=row, agent=agent, match=1), row, [0], 1, terminated=True)
    options: dict[str, Any] = {"action_space": spaces.Discrete(2), "observation_space": spaces.Box(-1, 1, (3,), np.float64)}
    with pytest.raises(InputError, match=r"episode 0, observations: expected \(2, 3\) for Box.*got \(2, 2\); give the right"):
        recording.to_minari(tmp_path / "log", "xx/mice-v0", **options)
    made = recording.to_minari(tmp_path / "log", "xx/mice-v0", agents=["mouse"], **options)
    assert (made.n_episodes, made.n_other_agents) == (1, 1)
    assert [(each.agent, each.match) for each in recording.read(minari="xx/mice-v0")] == [("mouse", 1)]


@pytest.mark.filterwarnings("ignore:(`.*` is set to|env_spec is) None:UserWarning")
def test_datasets_of_others_are_read_also_without_their_last_observation() -> None:
    buffers = [EpisodeBuffer(observations=np.arange(n, dtype=np.float64)[:, None], actions=np.zeros(3), rewards=[1.0, 2.0, 3.0],
                             terminations=[False] * 3, truncations=[False, False, True], infos={"k": np.arange(4)}) for n in (4, 3)]
    minari.create_dataset_from_buffers("other/one-v0", buffers, observation_space=spaces.Box(0, 9, (1,), np.float64),
                                       action_space=spaces.Box(0, 1, (), np.float64))
    whole, short = recording.read(minari="other/one-v0")
    assert (whole.final_obs_missing, short.final_obs_missing) == (False, True)
    assert (whole.observations.ravel().tolist(), short.observations.ravel().tolist()) == ([0, 1, 2, 3], [0, 1, 2, 2])
    assert (whole.total_reward, whole.log_prob, whole.infos["k"].tolist()) == (6, None, [0, 1, 2, 3])


def episode_of(**changes: Any) -> recording.Episode:
    return replace(recording.Episode(7, np.zeros((3, 1)), np.zeros(2), np.zeros(2), np.arange(2) == 1, np.zeros(2, np.bool_)), **changes)


SPACES: dict[str, Any] = {"observation_space": spaces.Box(0, 1, (1,), np.float64), "action_space": spaces.Box(0, 1, (), np.float64)}
MISTAKES: dict[str, tuple[Any, type[Exception], str]] = {
    "T observations": (lambda: recording.to_minari([episode_of(observations=np.zeros((2, 1)))], "xx/x-v0", **SPACES), InputError,
                       r"episode 7, observations: expected \(3, 1\) .*got \(2, 1\)"),
    "another action": (lambda: recording.to_minari([episode_of(actions={"a": np.zeros(2)})], "xx/x-v0", **SPACES), InputError,
                       r"episode 7, actions: expected \(2,\) .*got dict"),
    "another structure": (lambda: recording.to_minari([episode_of()], "xx/x-v0", action_space=SPACES["action_space"],
                                                      observation_space=spaces.Dict({"a": spaces.Discrete(2)})), InputError,
                          r"observations: expected a Dict of \['a'\], got ndarray"),
    "no spaces": (lambda: recording.to_minari([episode_of()], "xx/x-v0"), InputError, "observations: expected a space, got none recorded"),
    "no episode": (lambda: recording.to_minari([], "xx/x-v0", **SPACES), InputError, "expected at least one episode, got none"),
    "an iterator": (lambda: recording.to_minari(iter([episode_of()]), "xx/x-v0", **SPACES), InputError, "got an iterator; give a list"),
    "no id": (lambda: recording.to_minari([episode_of()], "no id", **SPACES), InputError, "dataset_id: expected 'namespace/name-v0'"),
    "a key of the recorder": (lambda: recording.to_minari([episode_of(infos={"match": np.zeros(3)})], "xx/x-v0", **SPACES), InputError,
                              r"episode 7, infos: expected keys other than the recorder's own, got \['match'\]"),
    "infos that differ": (lambda: recording.to_minari([episode_of(infos={"k": np.zeros(3)}), episode_of(infos={"k": np.zeros((3, 2))})],
                                                      "xx/x-v0", **SPACES), InputError, "infos 'k': expected rows of .* as in"),
    "another choice": (lambda: recording.to_minari([], "xx/x-v0", unfinished="keep"), InputError, "expected 'skip' or 'truncate'"),
    "no such dataset": (lambda: recording.read(minari="xx/none-v0"), MissingFileError, "expected a local dataset, found none"),
    "a missing log": (lambda: recording.to_minari("nowhere.log", "xx/x-v0"), MissingFileError, "found none"),
}


@pytest.mark.parametrize(("call", "error", "message"), MISTAKES.values(), ids=MISTAKES)
def test_what_minari_would_take_wrongly_is_refused_and_leaves_nothing(
        datasets: Path, call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
    assert not list(datasets.rglob("*.hdf5"))


def test_a_dataset_that_is_there_is_kept() -> None:
    made = recording.to_minari([episode_of()], "xx/x-v0", **SPACES)
    before = (made.path / "data" / "main_data.hdf5").read_bytes()
    with pytest.raises(RecordingError, match="expected a new dataset, got one that is there"):
        recording.to_minari([episode_of(), episode_of()], "xx/x-v0", **SPACES)
    assert (made.path / "data" / "main_data.hdf5").read_bytes() == before


def test_a_dataset_that_cannot_be_finished_is_removed(tmp_path: Path, datasets: Path) -> None:
    write_crowd(tmp_path / "log", n_ticks=20, **CROWD)
    with pytest.raises(RecordingError, match=r"to_minari 'xx/x-v0': expected to write"):
        recording.to_minari(tmp_path / "log", "xx/x-v0", code_permalink=object())
    assert not (datasets / "xx" / "x-v0").exists()


def test_a_log_that_grows_meanwhile_is_not_converted_half(datasets: Path) -> None:
    class Growing:
        def __init__(self) -> None:
            self.n = 0

        def __iter__(self) -> Any:
            self.n += 1
            return iter([episode_of()] * self.n)

    with pytest.raises(RecordingError, match="expected 1 episodes of 2 steps, got 2 of 4; convert a log when no writer has it open"):
        recording.to_minari(Growing(), "xx/x-v0", **SPACES)
    assert not list(datasets.rglob("*.hdf5"))


def test_a_damaged_log_is_not_converted(tmp_path: Path, datasets: Path) -> None:
    write_crowd(tmp_path / "log", n_ticks=20, **CROWD)
    data = bytearray((tmp_path / "log").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "log").write_bytes(data)
    with pytest.raises(FormatError, match="byte"):
        recording.to_minari(tmp_path / "log", "xx/x-v0")
    assert not list(datasets.rglob("*.hdf5"))


def collected(form: str, infos: Any) -> str:
    """A dataset of one episode of three steps in a format of Minari's."""
    pytest.importorskip("pyarrow", reason="Parquet and Arrow need pyarrow")
    buffer = EpisodeBuffer(observations=np.arange(4, dtype=np.float64)[:, None], actions=np.zeros(3), rewards=[1.0, 2.0, 3.0],
                           terminations=[False] * 3, truncations=[False, False, True], infos=infos)
    name = f"form/{form}-v0"
    minari.create_dataset_from_buffers(name, [buffer], observation_space=spaces.Box(0, 9, (1,), np.float64), data_format=form,
                                       action_space=spaces.Box(0, 1, (), np.float64))
    return name


@pytest.mark.filterwarnings("ignore:(`.*` is set to|env_spec is) None:UserWarning")
@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_parquet_and_arrow_give_what_hdf5_gives(form: str) -> None:
    infos = {"behavior_logp": [float("nan"), -1.0, -2.0, -3.0], "k": np.arange(8.0).reshape(4, 2), "deep": {"er": [0, 1, 2, 3]}}
    found = next(iter(recording.read(minari=collected(form, infos))))
    assert (found.rewards.tolist(), found.observations.ravel().tolist(), found.truncations.tolist()) == (
        [1, 2, 3], [0, 1, 2, 3], [False, False, True])
    assert found.log_prob.tolist() == [-1, -2, -3]
    assert found.infos["k"].tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert found.infos["deep"]["er"].tolist() == [0, 1, 2, 3]


@pytest.mark.filterwarnings("ignore:(`.*` is set to|env_spec is) None:UserWarning")
def test_what_minari_writes_to_parquet_and_does_not_load_is_refused_with_the_remedy() -> None:
    name = collected("parquet", {"behavior_logp": np.zeros(4)})
    with pytest.raises(FormatError, match=r"episode 0: expected an episode that Minari loads, got ValueError.*lists of numbers, or HDF5"):
        list(recording.read(minari=name))


@pytest.mark.filterwarnings("ignore:(`.*` is set to|env_spec is) None:UserWarning")
def test_parquet_without_pyarrow_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    name = collected("parquet", {})
    for module in [key for key in sys.modules if key.startswith("pyarrow") or key.endswith("arrow_storage")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(RecordingError, match="pip install pyarrow"):
        recording.read(minari=name)
