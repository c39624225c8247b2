"""Serialized agents: ids, noise counters, and wrapper state.

    "CRVS"  u16 version  u16 0  u64 total length  u64 checksum of the rest  u32 length of the header
    header  msgpack: policy, model, wrappers, seed, whole, n, ids (a list, or null when they are a block), floor and past (null unless
            whole), blocks [[name, dtype, shape], …]
    blocks  each at the next multiple of 64 bytes from the start, rows in the order of ids

`model` is `Model.structure`, `wrappers` the names of the wrappers' classes, outermost first; they identify the agents' policy. `policy` is
a display name. `floor` and `past`, [[ids, next episodes] twice], are those of `agents.membership.episodes.PastEpisodes`.

Integers are little-endian and stored in the smallest type that holds the largest. Nothing in it is executed, so untrusted
bytes may be restored: at worst they set a wrong state of agents. The checksum detects accidental damage, not forgery.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import msgpack
import numpy as np

from cervello.agents.membership.episodes import PastEpisodes
from cervello.agents.membership.ids import noise_numbers
from cervello.errors import AgentError, SnapshotError
from cervello.spec import AgentId, Array

MAGIC, VERSION = b"CRVS", 2
_HEAD = struct.Struct("<4sHHQQI")
_ALIGNMENT = 64
_WORDS_PER_LINE = 1024  # words per line of the checksum's table
_OWN = ("streams", "episodes", "steps")
_KINDS = "fiub"


@dataclass(frozen=True, slots=True)
class Saved:
    """The content of a snapshot.

    Attributes:
      policy: a display name.
      model, wrappers, seed: identify the policy of the agents.
      whole: all agents of the policy, so that others end when it is restored.
      ids: the agents, oldest first.
      streams, episodes, steps: [n] int64, their noise counters.
      state: [n, ...] by name, wrapper state.
      past: next episodes of agents that have ended; None unless `whole`.
    """

    policy: str
    model: str
    wrappers: Sequence[str]
    seed: int
    whole: bool
    ids: Sequence[AgentId]
    streams: Array
    episodes: Array
    steps: Array
    state: Mapping[str, Array]
    past: PastEpisodes | None = None


def renamed(saved: Saved, ids: Sequence[AgentId]) -> Saved:
    """A snapshot of the same agents under other ids; others stay active when it is restored.

    Raises:
      SnapshotError: not one id for each agent.
    """
    if len(ids) != len(saved.ids):
        raise SnapshotError(f"snapshot, ids: expected {len(saved.ids)}, one for each of its agents, got {len(ids)}")
    return replace(saved, ids=ids, whole=False, past=None)


def checksum(data: memoryview) -> int:
    """A 64-bit sum that detects changed, missing and exchanged words: CRC-32 of the sums of lines and of columns of a table of words."""
    n_words = len(data) // 8
    words = np.frombuffer(data, "<u8", n_words)
    tail = bytes(data[8 * n_words:])
    n_lines = n_words // _WORDS_PER_LINE
    table = words[:n_lines * _WORDS_PER_LINE].reshape(n_lines, _WORDS_PER_LINE)
    crc = zlib.crc32(tail, zlib.crc32(words[n_lines * _WORDS_PER_LINE:].tobytes()))
    lines = zlib.crc32(table.sum(1, np.uint64).tobytes(), crc)
    columns = zlib.crc32(table.sum(0, np.uint64).tobytes(), lines)
    return columns << 32 | lines


def _smallest_type(values: Array) -> Array:
    return values.astype(np.min_scalar_type(int(values.max(initial=0))))


def _packed(past: PastEpisodes | None) -> list[list[list[Any]]] | None:
    if past is None:
        return None
    return [[[str(agent) if isinstance(agent, str) else int(agent) for agent in table], list(table.values())] for table in past.generations]


def _unpacked(floor: Any, past: Any) -> PastEpisodes:
    older, newer = (dict(zip(ids, episodes, strict=True)) for ids, episodes in past)
    for table in (older, newer):
        noise_numbers(list(table))
    if older and not newer:
        raise ValueError("older ended agents without newer ones")
    return PastEpisodes(floor, (older, newer))


def _aligned(at: int) -> int:
    return -(-at // _ALIGNMENT) * _ALIGNMENT


class SnapshotWriter:
    """A snapshot's header and the offsets of its blocks, so that blocks are written in place without a copy.

    Attributes:
      n_bytes: of the whole snapshot.
    """

    def __init__(self, saved: Saved, shapes: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]):
        numbered = set(map(type, saved.ids)) <= {int}
        own = {name: _smallest_type(getattr(saved, name)) for name in _OWN}
        if numbered:
            own = {"ids": _smallest_type(np.array(saved.ids, np.int64)), **own}
        self._own = own
        blocks = [(name, (*array.shape,), array.dtype) for name, array in own.items()]
        blocks += [(f"state {name}", shape, dtype) for name, (shape, dtype) in shapes.items()]
        self._header: bytes = msgpack.packb({
            "policy": saved.policy, "model": saved.model, "wrappers": list(saved.wrappers), "seed": saved.seed, "whole": saved.whole,
            "n": len(saved.ids), "ids": None if numbered else list(saved.ids),
            "floor": None if saved.past is None else saved.past.floor, "past": _packed(saved.past),
            "blocks": [[name, dtype.newbyteorder("<").str, list(shape)] for name, shape, dtype in blocks]}, unicode_errors="surrogatepass")
        self._blocks: dict[str, tuple[int, tuple[int, ...], np.dtype[Any]]] = {}
        at = _HEAD.size + len(self._header)
        for name, shape, dtype in blocks:
            at = _aligned(at)
            self._blocks[name] = at, shape, dtype
            at += prod(shape) * dtype.itemsize
        self.n_bytes = at

    def begin(self, target: Array) -> dict[str, Array]:
        """Writes everything but the state; returns the destinations of the state, by name.

        Args:
          target: [n_bytes] uint8.
        """
        target[_HEAD.size:_HEAD.size + len(self._header)] = np.frombuffer(self._header, np.uint8)
        at = _HEAD.size + len(self._header)
        windows = {}
        for name, (start, shape, dtype) in self._blocks.items():
            target[at:start] = 0
            at = start + prod(shape) * dtype.itemsize
            windows[name] = target[start:at].view(dtype).reshape(shape)
        for name, array in self._own.items():
            windows.pop(name)[...] = array
        return {name.removeprefix("state "): window for name, window in windows.items()}

    def finish(self, target: Array) -> None:
        """Writes the head, with the checksum of all that follows it."""
        body = memoryview(target)[_HEAD.size:]  # type: ignore[arg-type]
        target[:_HEAD.size] = np.frombuffer(_head(MAGIC, VERSION, body, len(self._header)), np.uint8)


def _head(magic: bytes, version: int, body: memoryview, n_header: int) -> bytes:
    return _HEAD.pack(magic, version, 0, _HEAD.size + len(body), checksum(body), n_header)


def sealed(magic: bytes, version: int, body: bytes) -> bytes:
    """A body with a head."""
    return _head(magic, version, memoryview(body), 0) + body


def unsealed(given: Any, magic: bytes, newest: int, source: str) -> memoryview:
    """The body of any bytes-like object.

    Raises:
      SnapshotError: it is damaged, truncated, of another version, or no snapshot at all.
    """
    body, n_header = _checked_body(given, magic, newest, source)
    if n_header:
        raise SnapshotError(f"snapshot: expected no header, got one of {n_header} bytes; it is damaged, restore another one")
    return body


def _checked_body(given: Any, magic: bytes, newest: int, source: str) -> tuple[memoryview, int]:
    """The body and the length of its header."""
    try:
        data = memoryview(given).cast("B")
    except (TypeError, ValueError) as error:
        raise SnapshotError(f"snapshot: expected the bytes that {source} returned, got {type(given).__name__}") from error
    if len(data) < _HEAD.size or bytes(data[:4]) != magic:
        raise SnapshotError(f"snapshot: expected bytes that begin with {magic!r}, got {len(data)} bytes that begin with "
                            f"{bytes(data[:4])!r}; give the bytes that {source} returned")
    _, version, reserved, length, expected, n_header = _HEAD.unpack_from(data)
    if version != newest or reserved:
        raise SnapshotError(f"snapshot: expected version {newest}, got {version}; restore it with the version of Cervello that wrote it")
    if length != len(data):
        raise SnapshotError(f"snapshot: expected {length} bytes, got {len(data)}; it was cut off or something was added")
    found = checksum(data[_HEAD.size:])
    if found != expected:
        raise SnapshotError(f"snapshot: expected the checksum {expected:#x}, got {found:#x}; it is damaged, restore another one")
    return data[_HEAD.size:], n_header


def read(given: Any) -> Saved:
    """Parses a snapshot from any bytes-like object.

    Raises:
      SnapshotError: it is damaged, truncated, of another version, or no snapshot at all.
    """
    body, n_header = _checked_body(given, MAGIC, VERSION, "Policy.snapshot()")
    try:
        return _read(body, n_header)
    except (AgentError, AttributeError, KeyError, OverflowError, TypeError, ValueError, msgpack.UnpackException) as error:
        raise SnapshotError(f"snapshot: expected a header of policy, seed and blocks, got one that fails with {type(error).__name__}: "
                            f"{error}") from error


def _read(body: memoryview, n_header: int) -> Saved:
    if n_header > len(body):
        raise ValueError("a header longer than the snapshot")
    header = msgpack.unpackb(body[:n_header], strict_map_key=True, unicode_errors="surrogatepass")
    n, at = header["n"], _HEAD.size + n_header
    if not isinstance(n, int) or not isinstance(header["policy"], str) or not isinstance(header["seed"], int) or (
            not isinstance(header["model"], str) or not isinstance(header["wrappers"], list)):
        raise ValueError("fields of other types")
    arrays: dict[str, Array] = {}
    for name, kind, shape in header["blocks"]:
        dtype = np.dtype(kind)
        sizes = tuple(shape)
        if dtype.kind not in _KINDS or not sizes or sizes[0] != n or any(type(d) is not int or d < 0 for d in sizes):
            raise ValueError(f"block {name!r} of {kind} {sizes}")
        at = _aligned(at)
        end = at + prod(sizes) * dtype.itemsize
        if end > len(body) + _HEAD.size:
            raise ValueError(f"block {name!r} beyond the end")
        arrays[name] = np.frombuffer(body[at - _HEAD.size:end - _HEAD.size], dtype).reshape(sizes)
        at = end
    ids = header["ids"] if header["ids"] is not None else arrays.pop("ids").tolist()
    own = {name: arrays.pop(name).astype(np.int64) for name in _OWN}
    if len(ids) != n or any(array.shape != (n,) or array.min(initial=0) < 0 for array in own.values()):
        raise ValueError("columns of other lengths")
    whole = bool(header["whole"])
    return Saved(header["policy"], header["model"], header["wrappers"], header["seed"], whole, ids, own["streams"], own["episodes"],
                 own["steps"], {name.removeprefix("state "): array for name, array in arrays.items()},
                 _unpacked(header["floor"], header["past"]) if whole else None)
