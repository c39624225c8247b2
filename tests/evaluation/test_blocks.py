"""Data that do not fit in memory: blocks change no number, and memory does not grow with the data."""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import offline_logs as logs
import pytest

import cervello
from cervello import evaluation, heads, recording
from cervello.errors import ConfigurationError, InputError
from cervello.evaluation import blocks, column_store, scored, scoring
from cervello.evaluation.column_store import ColumnStore
from cervello.evaluation.moments import Columns
from cervello.evaluation.registry import INFOS, EstimatorInputs
from cervello.evaluation.table import BlockedTable, Table
from cervello.recording import Episode
from cervello.statistics import resampling

HEAD = heads.Categorical("logits")
EVERY = [name for name in evaluation.ESTIMATORS if name != "kis"]


def policy(scale: float, d: int = 3, K: int = 3) -> cervello.Policy:
    return cervello.load(logs.logits_policy(logs.behaviour_weights(d, K, scale), np.zeros(K)))


def in_matches(episodes: list[Episode]) -> list[Episode]:
    """Lives of three agents each, in any order."""
    match = np.random.default_rng(4).permutation(len(episodes)) // 3
    return [replace(e, match=int(m), agent=i, tick=np.arange(len(e)) + i % 3) for i, (e, m) in enumerate(zip(episodes, match, strict=True))]


def gaussian(n: int) -> list[Episode]:
    found = []
    for e in logs.walks(n):
        a = np.random.default_rng(e.id).normal(size=(len(e), 1)).astype(np.float32)
        found.append(replace(e, actions=a, log_prob=-0.5 * a[:, 0].astype(np.float64) ** 2 - 0.5 * np.log(2 * np.pi)))
    return found


def value(observations: Any, actions: Any) -> Any:
    return np.asarray(observations)[:, 0] + 0.1 * np.asarray(actions).reshape(len(actions))


CASES: dict[str, tuple[Callable[[], list[Episode]], dict[str, Any]]] = {
    "every estimator": (lambda: logs.walks(60, truncated=True), {"estimators": EVERY, "gamma": 0.9}),
    "Student's t": (lambda: logs.walks(1200), {"estimators": ["pdis", "wis", "cwpdis", "wdr"], "gamma": 0.9, "q": value}),
    "alive only": (lambda: logs.walks(60), {"estimators": ["cwpdis"], "ragged": "alive-only"}),
    "bounds": (lambda: logs.walks(60), {"estimators": ["is"], "interval": "hoeffding", "reward_range": (-9, 9), "max_weight": 1e6,
                                        "horizon": 8}),
    "few integers": (lambda: [replace(e, observations=np.round(e.observations / 2)) for e in logs.walks(60)],
                     {"estimators": ["mis"], "gamma": 0.9}),
    "matches": (lambda: in_matches(logs.walks(90)), {"estimators": EVERY, "gamma": 0.9}),
    "joint": (lambda: in_matches(logs.walks(90)), {"estimators": ["is", "pdis", "wis", "cwpdis"], "weights": "joint"}),
}


def small_blocks(patch: pytest.MonkeyPatch, cells: int) -> None:
    patch.setattr(blocks, "_CELLS", cells)
    patch.setattr(column_store, "_MEMORY_BYTES", 1000)
    patch.setattr(scoring, "_ROWS", 40)


def assert_close(found: Any, expected: Any, place: str = "") -> None:
    if isinstance(expected, dict):
        assert set(found) == set(expected)
        for key, each in expected.items():
            assert_close(found[key], each, f"{place}, {key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for i, (a, b) in enumerate(zip(found, expected, strict=True)):
            assert_close(a, b, f"{place}, {i}")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-12, abs=1e-12), place
    else:
        assert found == expected, place


@pytest.mark.parametrize("case", CASES)
def test_the_report_does_not_depend_on_the_size_of_blocks(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make, options = CASES[case]
    both = {"a": policy(0.4), "b": policy(0.2)}
    options = {"head": HEAD, "resamples": 199, **options}
    whole = evaluation.evaluate(make(), both, **options)
    small_blocks(monkeypatch, 160)
    blocks = evaluation.evaluate(make(), both, **options)
    assert_close(blocks.as_dict(), whole.as_dict())
    name = whole.estimators[-1]
    assert_close(list(blocks.difference("a", "b", name).interval or ()), list(whole.difference("a", "b", name).interval or ()))
    assert_close(list(blocks.regret_at(1, name).interval), list(whole.regret_at(1, name).interval))
    wide = [each.moments.columns for each in blocks["a"].values() if each.estimator in ("cwpdis", "wdr", "magic")]
    assert all(isinstance(columns, Columns) for columns in wide)
    assert all(len(list(columns)) > 1 for columns in wide)


@pytest.mark.parametrize("case", CASES)
def test_the_report_does_not_depend_on_the_number_of_threads(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make, options = CASES[case]
    both = {"a": policy(0.4), "b": policy(0.2)}
    options = {"head": HEAD, "resamples": 199, **options}
    monkeypatch.setattr(scoring, "_ROWS", 80)
    one = evaluation.evaluate(make(), both, **options)
    seen: list[int] = []
    several = evaluation.evaluate(make(), both, threads=3, progress=seen.append, **options)
    np.testing.assert_equal(several.as_dict(), one.as_dict())  # every bit
    assert seen[-1] == one.n_episodes
    assert seen == sorted(seen)


def test_one_candidate_shares_its_rows_among_threads_without_a_change() -> None:
    episodes = logs.walks(60, truncated=True)
    options: dict[str, Any] = {"head": HEAD, "estimators": EVERY, "gamma": 0.9, "q": value, "resamples": 99}
    one = evaluation.evaluate(episodes, {"a": policy(0.4)}, **options)
    for threads in (2, 3):
        np.testing.assert_equal(evaluation.evaluate(episodes, {"a": policy(0.4)}, threads=threads, **options).as_dict(), one.as_dict())


def test_the_first_error_of_the_data_is_raised_whatever_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "_ROWS", 1)
    monkeypatch.setattr(scoring, "_check_target", failing := Failing())
    episodes = logs.walks(12)
    episodes[7] = replace(episodes[7], rewards=np.full(len(episodes[7]), np.nan))
    for index, message in ((6, "target 6"), (99, "episode 7, step 0, rewards")):  # found while scoring, and by the reader
        for threads in (1, 3):
            failing.index = index
            with pytest.raises(InputError, match=message):
                evaluation.evaluate(episodes, {"a": policy(0.4), "b": policy(0.2)}, head=HEAD, threads=threads)
    with pytest.raises(ConfigurationError, match="evaluation, threads: expected"):
        evaluation.evaluate(episodes, {"a": policy(0.4)}, head=HEAD, threads=0)


class Failing:
    """A check of the scores that fails at one episode."""

    index = -1

    def __call__(self, logs: Any, some: Any, candidate: Any, cuts: Any) -> None:
        if some[0].index == self.index:
            raise InputError(f"target {self.index}")


def test_kernels_over_actions_do_not_depend_on_the_size_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    file = cervello.load(logs.logits_policy(np.full((3, 1), 0.1), np.zeros(1), "mean"))
    options: dict[str, Any] = {"head": heads.Gaussian("mean", std=1.0), "estimators": ["kis", "dr", "agreement"], "gamma": 0.9}
    whole = evaluation.evaluate(gaussian(60), {"a": file}, q=value, **options)
    small_blocks(monkeypatch, 160)
    assert_close(evaluation.evaluate(gaussian(60), {"a": file}, q=value, **options).as_dict(), whole.as_dict())


def test_memory_does_not_grow_with_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_CELLS", 1 << 13)
    monkeypatch.setattr(column_store, "_MEMORY_BYTES", 1 << 16)
    monkeypatch.setattr(scoring, "_ROWS", 1 << 11)
    monkeypatch.setattr(resampling, "_CHUNK", 1 << 14)
    candidates = {"a": policy(0.03, 4, 2), "b": policy(0.05, 4, 2)}
    estimators = ["is", "pdis", "wis", "cwpdis", "dm", "dr", "wdr", "mis", "agreement"]

    def peak(steps: int) -> tuple[int, int]:
        gc.collect()
        tracemalloc.start()
        report = evaluation.evaluate(lambda: logs.generated(steps), candidates, head=HEAD, estimators=estimators, gamma=0.99, q=value,
                                     interval="student-t", resamples=99)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert report.n_steps == steps
        return most, report.n_episodes

    peak(2_000)  # what is compiled and kept
    (few, n_few), (many, n_many) = peak(20_000), peak(200_000)
    per_episode = (many - few) / (n_many - n_few)
    assert per_episode < 1200, f"{few:,} bytes for {n_few} episodes, {many:,} for {n_many}"  # one episode's columns alone are 10,000


@pytest.fixture
def few_objects() -> Iterator[None]:
    """Collections look at the test's own objects only; in a long session each would take half a second."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("few_objects")
@pytest.mark.parametrize("name", ["is", "pdis", "wis", "cwpdis", "dm", "fqe", "dr", "wdr", "magic"])
def test_no_estimate_keeps_a_block(name: str) -> None:
    info, blocks = INFOS[name], list[weakref.ref]()

    def make() -> Iterator[Table]:
        for seed in range(6):
            gc.collect()
            assert sum(each() is not None for each in blocks) <= 6  # all arrays of one block: the one that the caller just had
            block = random_table(seed)
            blocks.extend(weakref.ref(array) for array in (block, block.log_ratio, block.reward, block.length, block.q, block.v))
            yield block
            del block

    moments = info.function(EstimatorInputs(BlockedTable(make, 24, 24, 9, 0.9, np.arange(24)), None, 0, np.zeros(0), 24, True))
    assert moments.value is not None
    gc.collect()
    assert [each() for each in blocks if each() is not None] == []


@pytest.mark.usefixtures("few_objects")
@pytest.mark.parametrize("name", ["is", "pdis", "wis", "cwpdis", "dm", "fqe", "dr", "wdr", "magic"])
def test_no_estimate_keeps_a_table_that_is_in_memory_as_a_whole(name: str) -> None:
    table = random_table(0)
    kept = weakref.ref(table)
    moments = INFOS[name].function(EstimatorInputs(table, None, 0, np.zeros(0), 4, True))
    del table
    gc.collect()
    assert kept() is None
    assert moments.value is not None


def random_table(seed: int, n: int = 4, L: int = 9) -> Table:
    rng = np.random.default_rng(seed)
    return Table(0.1 * rng.normal(size=(n, L)), rng.normal(size=(n, L)), np.full(n, L), 0.9, q=rng.normal(size=(n, L)),
                 v=np.concatenate([rng.normal(size=(n, L)), np.zeros((n, 1))], 1))


def test_a_function_that_gives_episodes_is_a_data_set() -> None:
    episodes = logs.walks(20)
    given = evaluation.evaluate(lambda: iter(episodes), {"a": policy(0.4)}, head=HEAD)
    assert given.to_json() == evaluation.evaluate(episodes, {"a": policy(0.4)}, head=HEAD).to_json()
    with pytest.raises(InputError, match=r"evaluation, dataset: expected .* a function that gives them, got int"):
        evaluation.evaluate(lambda: 3, {"a": policy(0.4)}, head=HEAD)


def test_value_functions_that_need_more_memory_than_allowed_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "_ROWS", 500)

    def endless() -> Iterator[Episode]:
        while True:
            yield from logs.walks(100)

    with pytest.raises(InputError, match=r"memory_bytes: expected data .* at most 1,000,000 bytes, got about .* after \d+ episodes.*q= a"):
        evaluation.evaluate(endless, {"a": policy(0.4)}, head=HEAD, estimators=["dr"], memory_bytes=1_000_000)
    fits = evaluation.evaluate(logs.walks(100), {"a": policy(0.4)}, head=HEAD, estimators=["dr"], gamma=0.9, memory_bytes=4_000_000)
    assert fits["a"]["dr"].value is not None


def test_functions_of_values_are_asked_for_some_episodes_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "_ROWS", 40)
    asked: list[int] = []

    def q(observations: Any, actions: Any) -> Any:
        asked.append(len(actions))
        return value(observations, actions)

    episodes = logs.walks(60, truncated=True)
    report = evaluation.evaluate(episodes, {"a": policy(0.4)}, head=HEAD, estimators=["dm", "dr"], gamma=0.9, q=q, memory_bytes=1)
    assert max(asked) < 60 < len(episodes) * 4
    monkeypatch.undo()
    whole = evaluation.evaluate(episodes, {"a": policy(0.4)}, head=HEAD, estimators=["dm", "dr"], gamma=0.9, q=value)
    assert_close(report.as_dict(), whole.as_dict())


@pytest.mark.parametrize("held", [0, 100, 1 << 20])
def test_columns_give_back_their_rows_from_memory_and_from_the_file(held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(column_store, "_MEMORY_BYTES", held)
    rng, kept = np.random.default_rng(0), ColumnStore()
    parts = [rng.normal(size=(n, 3)).astype(np.float32) for n in (1, 7, 30, 2)]
    for part in parts:
        kept.append("x", part)
        kept.append(("y", 1), np.arange(len(part)))
    rows = np.concatenate(parts)
    for start, stop in ((0, 40), (0, 1), (1, 8), (5, 39), (38, 40), (12, 13)):
        np.testing.assert_array_equal(kept.read("x", start, stop), rows[start:stop])
    chosen = rng.permutation(40)[:25]
    np.testing.assert_array_equal(kept.take("x", chosen), rows[chosen])
    assert kept.read("x", 0, 40).dtype == np.float32
    assert "x" in kept
    assert "z" not in kept


def test_a_temporary_folder_without_room_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**options: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(column_store.tempfile, "TemporaryFile", full)
    monkeypatch.setattr(column_store, "_MEMORY_BYTES", 1000)
    with pytest.raises(ConfigurationError, match=r"temporary file: expected room in .*No space left.*TMPDIR"):
        evaluation.evaluate(logs.walks(60), {"a": policy(0.4)}, head=HEAD)


def test_a_log_is_read_as_a_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with recording.Writer(tmp_path / "log") as log:
        for e in logs.walks(60):
            handle = log.begin(observation=e.observations[:1])
            for t in range(len(e)):
                log.step(handle, e.observations[t + 1:t + 2], e.actions[t:t + 1], e.rewards[t:t + 1], terminated=e.terminations[t:t + 1],
                         log_prob=e.log_prob[t:t + 1])
    monkeypatch.setattr(scoring, "_ROWS", 40)
    done: list[int] = []
    added: list[int] = []
    plain = scored.Scored.add
    monkeypatch.setattr(scored.Scored, "add", lambda self, data, *more: (added.append(data.n), plain(self, data, *more))[1])
    evaluation.evaluate(tmp_path / "log", {"a": policy(0.4)}, head=HEAD, progress=done.append)
    assert max(added) < 40
    assert done == np.cumsum(added).tolist()


def test_a_column_keeps_its_type_whatever_comes_and_is_read_from_the_file_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(column_store, "_MEMORY_BYTES", 0)
    columns = ColumnStore()
    columns.append("actions", np.array([[0.1], [0.2]]))
    columns.append("actions", np.array([[0.5], [0.25]], np.float32))
    assert columns.read("actions", 0, 4).tolist() == [[0.1], [0.2], [0.5], [0.25]]


def test_a_part_of_the_file_is_read_in_as_many_calls_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        """A file that gives 7 bytes at a time, as Linux gives 2 GiB."""

        def __init__(self, file: Any):
            self.seek, self._readinto = file.seek, file.readinto

        def readinto(self, room: memoryview) -> int:
            return self._readinto(room[:7])

    monkeypatch.setattr(column_store, "_MEMORY_BYTES", 0)
    columns, rows = ColumnStore(), np.arange(20.0).reshape(10, 2)
    columns.append("rows", rows)
    monkeypatch.setattr(columns, "_file", Slow(columns._file))
    assert np.array_equal(columns.read("rows", 0, 10), rows)
