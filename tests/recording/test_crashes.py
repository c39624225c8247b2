"""What a log survives: torn tails, damage, killed processes, full disks, second writers; and logs larger than memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from recordings import all_the_same, write_crowd

from cervello import recording
from cervello.errors import FormatError, RecordingError
from cervello.recording import frames

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals, limits and locks of POSIX")


def ends_of_frames(path: Path) -> list[int]:
    with open(path, "rb") as file:
        assert frames.check_file_header(file, path)
        return [end for end, _ in frames.read_bodies(file, path, path.stat().st_size)]


def record_steps(path: Path, n_steps: int) -> None:
    """One episode, a record per step."""
    with recording.Writer(path) as log:
        episode = log.begin(observation=np.zeros((1, 1)))
        for t in range(n_steps):
            log.step(episode, np.full((1, 1), t + 1.0), [t], t)


def test_a_log_cut_anywhere_loses_at_most_the_record_that_was_cut(tmp_path: Path) -> None:
    record_steps(tmp_path / "log", 4)
    data, ends = (tmp_path / "log").read_bytes(), ends_of_frames(tmp_path / "log")
    for n_bytes in range(len(data) + 1):
        (tmp_path / "cut").write_bytes(data[:n_bytes])
        whole = sum(end <= n_bytes for end in ends) - 2  # the session and the begin
        found = list(recording.read(tmp_path / "cut"))
        assert [len(episode) for episode in found] == ([whole] if whole > 0 else [])
        assert all(not episode.finished and len(episode.observations) == whole + 1 for episode in found)


@pytest.mark.parametrize("tail", ["cut", "zeros", "half"])
def test_a_writer_cuts_a_torn_tail_and_goes_on(tmp_path: Path, tail: str) -> None:
    path = tmp_path / "log"
    record_steps(path, 3)
    data, ends = path.read_bytes(), ends_of_frames(path)
    torn = {"cut": data[:-5], "zeros": data + bytes(5000), "half": data[:ends[-2] + 20] + bytes(len(data) - ends[-2] - 20)}[tail]
    path.write_bytes(torn)
    with recording.Writer(path) as log:
        assert log.cut_bytes == len(torn) - (len(data) if tail == "zeros" else ends[-2])
        log.step(log.begin(observation=np.zeros((1, 1))), np.zeros((1, 1)), [0], 0, terminated=True)
    first, second = recording.read(path)
    assert (len(first), first.finished) == (3 if tail == "zeros" else 2, False)
    assert second.finished


def test_a_damaged_byte_anywhere_in_the_midst_is_found_with_its_place(tmp_path: Path) -> None:
    expected = write_crowd(tmp_path / "log", n_rows=2, n_ticks=6)
    data, ends = (tmp_path / "log").read_bytes(), ends_of_frames(tmp_path / "log")
    starts = [len(frames.FILE_HEADER), *ends[:-1]]
    for at in range(len(frames.FILE_HEADER), ends[-2]):
        damaged = bytearray(data)
        damaged[at] ^= 0x41
        (tmp_path / "damaged").write_bytes(damaged)
        place = max(start for start in starts if start <= at)
        log = recording.read(tmp_path / "damaged")
        with pytest.raises(FormatError, match=f"byte {place}: expected"):
            list(log)
        if at % 7 == 0:
            (tmp_path / "before").write_bytes(data[:place])
            until = recording.read(tmp_path / "damaged", until_damage=True)
            assert all_the_same(list(until), list(recording.read(tmp_path / "before")))
            assert f"byte {place}" in (until.damage or "")
    assert all_the_same(list(recording.read(tmp_path / "log", until_damage=True)), expected)


def test_a_writer_does_not_append_to_a_log_with_a_damaged_head(tmp_path: Path) -> None:
    record_steps(tmp_path / "log", 3)
    data = bytearray((tmp_path / "log").read_bytes())
    data[ends_of_frames(tmp_path / "log")[1] + 1] ^= 1
    (tmp_path / "log").write_bytes(data)
    with pytest.raises(FormatError, match=r"byte .*: expected the head of a record"):
        recording.Writer(tmp_path / "log")
    assert (tmp_path / "log").read_bytes() == data


KILLED = """
import sys, numpy as np
from cervello import recording
log = recording.Writer(sys.argv[1])
episodes = log.begin(observation=np.zeros((5, 100)))
t = 0
while True:
    log.step(episodes, np.full((5, 100), t + 1.0), np.full(5, t), t)
    t += 1
    print(t, flush=True)
"""


@posix
def test_a_killed_process_loses_at_most_its_last_step(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = 0
    for line in process.stdout:
        said = int(line)
        if said == 200:
            process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    process.stdout.close()
    found = list(recording.read(tmp_path / "log"))
    assert [len(episode) for episode in found] == [len(found[0])] * 5
    assert said <= len(found[0]) <= said + 1
    assert found[4].observations[:, 7].tolist() == list(range(len(found[0]) + 1))


FULL = """
import resource, sys, numpy as np
from cervello import recording
from cervello.errors import RecordingError
log = recording.Writer(sys.argv[1])
episodes = log.begin(observation=np.zeros((2, 1000)))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
n = 0
try:
    while True:
        log.step(episodes, np.full((2, 1000), n + 1.0), np.full(2, n), n)
        n += 1
except RecordingError as error:
    print(error)
print(len(list(recording.read(sys.argv[1]))[0]) == n)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.getrlimit(resource.RLIMIT_FSIZE)[1],) * 2)
log.step(episodes, np.full((2, 1000), n + 1.0), np.full(2, n), n, terminated=True)
print([(len(each), each.finished) == (n + 1, True) for each in recording.read(sys.argv[1])])
"""


@posix
def test_a_full_disk_is_said_loses_nothing_and_recording_goes_on_when_there_is_room(tmp_path: Path) -> None:
    found = subprocess.run([sys.executable, "-c", FULL, str(tmp_path / "log")], capture_output=True, text=True, check=True, timeout=60)
    message, whole, after = found.stdout.splitlines()
    assert "expected room for" in message
    assert "what was recorded before is whole" in message
    assert (whole, after) == ("True", "[True, True]")


def test_half_a_record_that_could_not_be_cut_is_cut_before_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_write, real_cut = os.write, os.ftruncate
    with recording.Writer(tmp_path / "log") as log:
        episodes = log.begin(observation=np.zeros((1, 100)))
        calls: list[int] = []

        def fail(file: int, data: memoryview) -> int:
            calls.append(len(data))
            if len(calls) > 1:
                raise OSError(28, "No space left on device")
            return real_write(file, data[:300])

        def refuse(file: int, n_bytes: int) -> None:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(os, "write", fail)
        monkeypatch.setattr(os, "ftruncate", refuse)
        with pytest.raises(RecordingError, match="No space left on device; what was recorded before is whole"):
            log.step(episodes, np.zeros((1, 100)), [0], 0)
        monkeypatch.setattr(os, "write", real_write)
        monkeypatch.setattr(os, "ftruncate", real_cut)
        log.end(episodes, truncated=True)
        after = log.begin(observation=np.zeros((1, 1)))
        log.step(after, np.zeros((1, 1)), [0], 0, terminated=True)
    assert [len(episode) for episode in recording.read(tmp_path / "log")] == [1]


@posix
def test_a_second_writer_is_kept_away(tmp_path: Path) -> None:
    with recording.Writer(tmp_path / "log"), pytest.raises(RecordingError, match="no other writer has open"):
        recording.Writer(tmp_path / "log")
    recording.Writer(tmp_path / "log").close()


def test_a_durable_writer_waits_for_the_disk_when_an_episode_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append(file), real(file)))
    for durable, expected in ((False, 0), (True, 2)):
        synced.clear()
        with recording.Writer(tmp_path / str(durable), durable=durable) as log:
            episodes = log.begin(observation=np.zeros((2, 1)))
            log.step(episodes, np.zeros((2, 1)), [0, 0], 0)
            log.step(episodes, np.zeros((2, 1)), [0, 0], 0, terminated=[True, False])
            log.end(episodes[1:], truncated=True)
        assert len(synced) == expected


def test_a_log_is_read_while_it_is_written(tmp_path: Path) -> None:
    with recording.Writer(tmp_path / "log") as log:
        episodes = log.begin(observation=np.zeros((1, 1)))
        for t in range(5):
            log.step(episodes, np.zeros((1, 1)), [0], 0)
            assert [len(episode) for episode in recording.read(tmp_path / "log")] == [t + 1]


def test_reading_holds_open_episodes_only_not_the_rows_beside_them(tmp_path: Path) -> None:
    """One agent lives on while others come and go; their steps are in the same records."""
    with recording.Writer(tmp_path / "log") as log:
        episodes = log.begin(observation=np.zeros((64, 200)))
        for t in range(400):
            ends = np.arange(64) > 0
            log.step(episodes, np.zeros((64, 200)), np.zeros(64), 0, truncated=ends if t % 5 == 4 else False)
            if t % 5 == 4:
                episodes[1:] = log.begin(observation=np.zeros((63, 200)))
    n_bytes = (tmp_path / "log").stat().st_size
    tracemalloc.start()
    try:
        n_episodes = sum(1 for _ in recording.read(tmp_path / "log"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert n_episodes == 63 * 80 + 1
    assert peak < n_bytes / 10
