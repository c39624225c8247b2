"""A policy that follows a file."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import small_models

import cervello
from cervello.errors import ConfigurationError, GraphError, MissingFileError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "policy.onnx"
    file.write_bytes(small_models.feed_forward())
    return file


def write(path: Path, data: bytes) -> None:
    beside = path.with_suffix(".new")
    beside.write_bytes(data)
    os.replace(beside, path)


def act(policy: cervello.Policy) -> Any:
    return policy.infer_batch([1], {"obs": np.ones((1, 6), np.float32)})["action"]


def test_a_new_file_is_taken_once(path: Path) -> None:
    swapped: list[int] = []
    watch = cervello.watch(path, settle_s=0, on_swap=lambda policy: swapped.append(policy.version))
    watch.policy.begin_agent(1)
    before = act(watch.policy)
    assert not watch.check()
    write(path, small_models.scaled(small_models.feed_forward(), 0.5))
    assert watch.check()
    assert not watch.check()
    assert swapped == [2]
    assert not np.array_equal(act(watch.policy), before)


def test_a_bad_file_keeps_the_old_policy_and_is_told_once(path: Path) -> None:
    errors: list[Exception] = []
    watch = cervello.watch(path, settle_s=0, on_error=errors.append)
    watch.policy.begin_agent(1)
    before = act(watch.policy)
    for data in (small_models.feed_forward()[:200], b"", small_models.feed_forward(width=9)):
        path.write_bytes(data)
        assert not watch.check()
        assert not watch.check()
        assert watch.error is errors[-1]
    assert len(errors) == 3
    assert np.array_equal(act(watch.policy), before)
    write(path, small_models.scaled(small_models.feed_forward(), 0.5))
    assert watch.check()
    assert watch.error is None


def test_a_model_is_taken_when_its_external_data_arrive(path: Path) -> None:
    errors: list[Exception] = []
    watch = cervello.watch(path, settle_s=0, on_error=errors.append)
    proto = onnx.load_from_string(small_models.scaled(small_models.feed_forward(), 0.5))
    onnx.save(proto, path, save_as_external_data=True, location="late.bin", size_threshold=0)
    data = path.with_name("late.bin").read_bytes()
    path.with_name("late.bin").unlink()
    for _ in range(3):
        assert not watch.check()
        assert watch.error is errors[0]
    assert len(errors) == 1
    assert isinstance(errors[0], MissingFileError)
    path.with_name("late.bin").write_bytes(data)
    assert watch.check()
    assert watch.error is None


def test_a_file_that_is_still_being_written_is_left_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = cervello.watch(path, settle_s=0.01)
    whole = small_models.scaled(small_models.feed_forward(), 0.5)
    path.write_bytes(whole[:300])

    monkeypatch.setattr(time, "sleep", lambda seconds: path.write_bytes(whole))
    assert not watch.check()
    assert watch.error is None
    monkeypatch.undo()
    assert watch.check()


def test_a_file_that_changes_while_it_is_read_is_read_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = cervello.watch(path, settle_s=0)
    write(path, small_models.feed_forward()[:300])
    loaded = cervello.Model.loaded

    def late(self: cervello.Model, source: Any) -> cervello.Model:
        write(path, small_models.scaled(small_models.feed_forward(), 0.5))
        return loaded(self, source)

    monkeypatch.setattr(cervello.Model, "loaded", late)
    assert not watch.check()
    monkeypatch.undo()
    assert watch.check()
    assert watch.policy.version == 2


def test_a_missing_file_is_an_error_at_first_and_a_remark_later(path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"watch .*: expected a file, found none"):
        cervello.watch(path.with_name("nothing.onnx"))
    watch = cervello.watch(path, settle_s=0)
    path.unlink()
    assert not watch.check()
    assert isinstance(watch.error, MissingFileError)
    path.write_bytes(small_models.feed_forward())
    assert watch.check()
    assert watch.error is None


def test_a_policy_that_is_there_follows_a_file(path: Path) -> None:
    policy = cervello.load(small_models.scaled(small_models.feed_forward(), 2.0))
    watch = cervello.watch(path, policy, settle_s=0)
    assert watch.check()
    assert watch.policy is policy
    assert policy.version == 2
    with pytest.raises(ConfigurationError, match="expected options of load only without a policy"):
        cervello.watch(path, policy, seed=3)


@pytest.mark.parametrize("options", [{"interval_s": -1}, {"settle_s": "soon"}, {"interval_s": True}])
def test_times_must_be_seconds(path: Path, options: Any) -> None:
    with pytest.raises(ConfigurationError, match="expected seconds of at least 0"):
        cervello.watch(path, **options)


def test_a_thread_follows_the_file_until_the_watch_ends(path: Path) -> None:
    with cervello.watch(path, interval_s=0.01, settle_s=0.01, wrappers=()) as watch:
        write(path, small_models.scaled(small_models.feed_forward(), 0.5))
        deadline = time.monotonic() + 20
        while watch.policy.version == 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert watch.policy.version == 2
        write(path, b"nonsense")
        while watch.error is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert isinstance(watch.error, cervello.ModelError)
    write(path, small_models.feed_forward())
    time.sleep(0.05)
    assert watch.policy.version == 2


def test_a_callback_that_fails_does_not_end_the_watch(path: Path) -> None:
    calls: list[int] = []

    def fail(policy: cervello.Policy) -> None:
        calls.append(policy.version)
        raise GraphError("a callback's own")

    with cervello.watch(path, interval_s=0.01, settle_s=0, on_swap=fail) as watch:
        deadline = time.monotonic() + 20
        for version in (2, 3):
            write(path, small_models.scaled(small_models.feed_forward(), 1 / version))
            while watch.policy.version < version and time.monotonic() < deadline:
                time.sleep(0.01)
    assert calls == [2, 3]


def test_a_callback_may_end_the_watch(path: Path) -> None:
    watch = cervello.watch(path, interval_s=0.01, settle_s=0, on_swap=lambda policy: watch.stop())
    watch.start()
    write(path, small_models.scaled(small_models.feed_forward(), 0.5))
    assert watch._thread is not None
    watch._thread.join(20)
    assert not watch._thread.is_alive()
    assert watch.policy.version == 2


def test_a_file_that_is_back_is_no_longer_missing(path: Path) -> None:
    errors: list[Exception] = []
    watch = cervello.watch(path, settle_s=0, on_error=errors.append)
    for count in (1, 2):
        path.rename(path.with_suffix(".away"))
        watch.check()
        assert isinstance(watch.error, MissingFileError)
        path.with_suffix(".away").rename(path)
        watch.check()
        assert watch.error is None
        assert len(errors) == count
