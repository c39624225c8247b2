"""The bytes of a log: golden ones, a decoder written from docs/recording-format.md alone, and bytes that are no log."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from recordings import all_the_same, write_crowd

from cervello import recording
from cervello.errors import FormatError, MissingFileError
from cervello.recording import frames

GOLDEN = bytes.fromhex("""
4352564c0100000039000000acf57d8022043b3c920083a86d6574616461746181a467616d65a56172656e61b16f62736572766174696f6e5f737061
6365c0ac616374696f6e5f7370616365c077000000d182c1a40cd7b4bc920184a7657069736f646593a33c69389102c4100000000000000000010000
0000000000ab6f62736572766174696f6e93a33c6634920201c4080000003f0000c03fa56167656e7493a33c55319102c4086100000062000000a473
65656493a33c69389102c410070000000000000007000000000000000f01000045f0bec4319834e5920289a7657069736f646593a33c69389102c410
00000000000000000100000000000000a6616374696f6e93a33c69389102c41001000000000000000000000000000000a86c6f675f70726f6293a33c
66349102c408000000bf000080bea6736f7572636593a37c75319102c4020101a672657761726493a33c66389102c410000000000000f03f00000000
0000f0bfaa7465726d696e6174656493a37c62319102c4020100a97472756e636174656493a37c62319102c4020000ab6f62736572766174696f6e93
a33c6634920201c4080000004000004040a5696e666f7382a4676f6c6493a33c69389102c41003000000000000000000000000000000a55f676f6c64
93a37c62319102c40201001c00000010eac33f5450ebec920181a7657069736f646593a33c69389101c408000000000100000082000000a96dcb82bb
bfe82f920385a7657069736f646593a33c69389101c4080000000001000000a6616374696f6e92a228299193a33c66389101c4080000000000000040
a776657273696f6e93a33c69389101c4080400000000000000a47469636b93a33c69389101c4080b00000000000000ab6f62736572766174696f6e81
a17893a37c7531920101c401094a000000d8675756cd72f504920483a7657069736f646593a33c69389101c4080000000001000000a6726577617264
93a33c66389101c408000000000000d03fa47374657093a33c69389101c408000000000000000045000000a4fdd9f3c1a0040f920583a7657069736f
646593a33c69389101c4080000000001000000aa7465726d696e6174656493a37c62319101c40100a97472756e636174656493a37c62319101c40101
""")


def write_small(path: Path) -> None:
    with recording.Writer(path, metadata={"game": "arena"}) as log:
        episodes = log.begin(observation=np.array([[0.5], [1.5]], np.float32), agent=["a", "b"], seed=7)
        log.step(episodes, np.array([[2.0], [3.0]], np.float32), np.array([1, 0], np.int64), [1.0, -1.0], terminated=[True, False],
                 log_prob=np.array([-0.5, -0.25], np.float32), source="policy",
                 infos={"gold": np.array([3, 0], np.int64), "_gold": np.array([True, False])})
        other = log.begin(1)
        log.decide(other, {"x": np.array([[9]], np.uint8)}, (np.array([2.0]),), version=4, tick=11)
        log.outcome(other, reward=[0.25])
        log.end(other, truncated=True)


def decoded(data: bytes) -> list[tuple[int, Any]]:
    """Records of a log, from the documented format alone."""
    assert data[:8] == b"CRVL\x01\x00\x00\x00"
    at, found = 8, []
    while at < len(data):
        length, crc, head = struct.unpack_from("<III", data, at)
        assert zlib.crc32(data[at:at + 8]) == head
        body = data[at + 12:at + 12 + length]
        assert zlib.crc32(body) == crc
        found.append(tuple(msgpack.unpackb(body)))
        at += 12 + length
    return found


def test_a_small_log_has_these_bytes(tmp_path: Path) -> None:
    write_small(tmp_path / "log")
    assert (tmp_path / "log").read_bytes() == GOLDEN


def test_the_golden_bytes_are_read(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(GOLDEN)
    log = recording.read(tmp_path / "log")
    first, second, third = log
    assert log.metadata == {"game": "arena"}
    assert (first.agent, first.seed, first.observations.tolist(), first.rewards.tolist()) == ("a", 7, [[0.5], [2]], [1])
    assert (first.infos["gold"].tolist(), first.infos["_gold"].tolist()) == ([0, 3], [False, True])
    assert (second.id, second.terminations.tolist(), second.version[0], second.tick[0]) == (2, [False], 4, 11)
    assert (second.observations["x"].tolist(), second.actions[0].tolist(), second.rewards.tolist()) == ([[9], [9]], [2], [0.25])
    assert second.final_obs_missing
    assert (third.agent, third.finished, third.log_prob.tolist()) == ("b", False, [-0.25])


def test_a_decoder_of_the_documented_format_reads_it() -> None:
    found = decoded(GOLDEN)
    assert [kind for kind, _ in found] == [0, 1, 2, 1, 3, 4, 5]
    assert found[1][1]["observation"] == ["<f4", [2, 1], struct.pack("<ff", 0.5, 1.5)]
    assert found[2][1]["episode"] == ["<i8", [2], struct.pack("<qq", 0, 1)]
    assert found[2][1]["source"] == ["|u1", [2], b"\1\1"]
    assert found[4][1]["action"] == ["()", [["<f8", [1], struct.pack("<d", 2)]]]


@pytest.mark.parametrize(("data", "message"), [
    (b"\x89PNG\r\n\x1a\n....", "expected bytes that begin with b'CRVL"), (b"CRVL\x02\0\0\0", "expected version 1, got 2"),
    (b"CRVS\x01\0\0\0", "is it a recording")])
def test_other_files_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "log").write_bytes(data)
    for call in (lambda: recording.read(tmp_path / "log"), lambda: recording.Writer(tmp_path / "log")):
        with pytest.raises(FormatError, match=message):
            call()
    assert (tmp_path / "log").read_bytes() == data


def test_a_missing_file_and_a_folder_of_something_else_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="expected a file or folder, found none"):
        recording.read(tmp_path / "nothing")
    with pytest.raises(FormatError, match=r"without data/metadata\.json"):
        recording.read(tmp_path)


def test_an_empty_file_is_an_empty_log(tmp_path: Path) -> None:
    for n_bytes in range(9):
        (tmp_path / "log").write_bytes(frames.FILE_HEADER[:n_bytes])
        assert list(recording.read(tmp_path / "log")) == []


ARRAY = ["<i8", [1], b"\0" * 8]
HOSTILE: dict[str, Any] = {
    "no list": 7, "another kind": [9, {}], "no map": [1, 3], "no episodes": [1, {}],
    "floats for episodes": [1, {"episode": ["<f8", [1], b"\0" * 8]}],
    "objects": [1, {"episode": ARRAY, "agent": ["|O", [1], b"\0" * 8]}],
    "records": [1, {"episode": ARRAY, "agent": ["<i4,<i4", [1], b"\0" * 8]}],
    "big-endian": [1, {"episode": [">i8", [1], b"\0" * 8]}], "too few bytes": [1, {"episode": ["<i8", [2**40], b"\0" * 8]}],
    "negative sizes": [1, {"episode": ["<i8", [-1, -1], b"\0" * 8]}], "no dtype": [1, {"episode": ["nonsense", [1], b"\0" * 8]}],
    "other rows": [1, {"episode": ARRAY, "agent": ["<i8", [2], b"\0" * 16]}], "a name that is no str": [1, {"episode": ARRAY, 3: ARRAY}],
    "a step of nobody": [2, {"episode": ARRAY, "action": ARRAY, "terminated": ["|b1", [1], b"\0"], "truncated": ["|b1", [1], b"\0"]}],
    "an end without flags": [5, {"episode": ARRAY}], "an outcome without a step": [4, {"episode": ARRAY, "step": ARRAY}],
    "nesting": [1, {"episode": ARRAY, "infos": None}], "a shape that is no list": [1, {"episode": ["<i8", 1, b"\0" * 8]}],
}


def hostile_log(*contents: Any) -> bytes:
    return frames.FILE_HEADER + b"".join(frames.frame(msgpack.packb(content)) for content in contents)


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_records_that_make_no_sense_are_refused_with_their_place(tmp_path: Path, content: Any) -> None:
    (tmp_path / "log").write_bytes(hostile_log([0, {}], content))
    with pytest.raises(FormatError, match=r"byte 23: expected a record that fits what is before it"):
        list(recording.read(tmp_path / "log"))
    log = recording.read(tmp_path / "log", until_damage=True)
    assert list(log) == []
    assert "byte 23" in log.damage


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    body = b"\x92\x01" + b"\x81\xa1a" * 100_000 + b"\xc0"
    (tmp_path / "log").write_bytes(frames.FILE_HEADER + frames.frame(body))
    with pytest.raises(FormatError, match="byte 8: "):
        list(recording.read(tmp_path / "log"))


def test_contradicting_records_are_refused(tmp_path: Path) -> None:
    begin = [1, {"episode": ARRAY, "observation": ["<f4", [1, 1], b"\0" * 4]}]
    flags = {"terminated": ["|b1", [1], b"\1"], "truncated": ["|b1", [1], b"\0"]}
    step = {"episode": ARRAY, "action": ARRAY, "reward": ["<f8", [1], b"\0" * 8], **flags}
    wide = {"observation": ["<f4", [1, 3], b"\0" * 12]}
    cases = [[begin, begin], [begin, [2, {**step, **wide}]], [[1, {"episode": ARRAY}], [2, step]],
             [begin, [2, {**step, "reward": ["<U1", [1], b"a\0\0\0"]}]], [begin, [3, {**step, **wide}]],
             [begin, [2, {**step, "surprise": ARRAY}]], [begin, [2, {**step, "terminated": ["<U1", [1], b"a\0\0\0"]}]],
             [begin, [2, {key: value for key, value in step.items() if key != "action"}]]]
    for case in cases:
        (tmp_path / "log").write_bytes(hostile_log([0, {}], *case))
        with pytest.raises(FormatError, match=r"byte \d+: expected a record that fits"):
            list(recording.read(tmp_path / "log"))


def test_flipped_and_cut_bytes_never_fail_otherwise(tmp_path: Path) -> None:
    expected = write_crowd(tmp_path / "log", n_ticks=5)
    data = bytearray((tmp_path / "log").read_bytes())
    rng = np.random.default_rng(0)
    for _ in range(300):
        mutant = bytearray(data)
        at = int(rng.integers(len(data)))
        if rng.random() < 0.3:
            del mutant[at:at + int(rng.integers(1, 40))]
        else:
            mutant[at] ^= 1 << int(rng.integers(8))
        (tmp_path / "mutant").write_bytes(mutant)
        try:
            found = list(recording.read(tmp_path / "mutant"))
        except FormatError:
            continue
        assert len(found) <= len(expected)  # damage in the last record is a torn tail
    assert all_the_same(list(recording.read(tmp_path / "log")), expected)
