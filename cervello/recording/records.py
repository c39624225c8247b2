"""Records: events of several episodes, as columns with a row for each episode, and their encoding in msgpack.

    body     [kind, columns]
    columns  {name: tree}
    tree     [dtype, shape, bytes] an array; {key: tree} a dict; ["()", [tree, …]] a tuple
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from math import prod
from typing import Any

import msgpack
import numpy as np

from cervello.recording.trees import EMPTY_DICT, EMPTY_TUPLE, KINDS, Path, from_leaves, leaves
from cervello.spec import Array

_TUPLE = "()"

TREES = frozenset({"observation", "action", "pre_tanh", "pre_clip", "infos"})  # columns that may have more than a scalar per row
_DTYPES = {  # of the columns that have a scalar per row
    "episode": ("<i8",), "reward": ("<f8",), "terminated": ("|b1",), "truncated": ("|b1",), "step": ("<i8",), "seed": ("<i8",),
    "log_prob": ("<f4", "<f8"), "deterministic": ("|b1",), "source": ("|u1",), "overridden": ("|b1",), "version": ("<i8",),
    "stream": ("<u8",), "tick": ("<i8",),
}
_NAMES = ("agent", "match")  # ints or strings


class Kind(IntEnum):
    """Kinds of records; the numbers are part of the file format."""

    SESSION = 0  # a writer has opened the file: metadata and spaces; episodes of earlier sessions are over
    BEGIN = 1  # episodes begin
    STEP = 2  # a step each: action, outcome, and the observation after it
    DECIDE = 3  # a step each: the observation before the action, the action; its outcome comes in other records
    OUTCOME = 4  # rewards to add, or executed actions, of steps recorded before
    END = 5  # episodes end


_FLAGS = frozenset({"terminated", "truncated"})
_REQUIRED = {  # required columns of each kind
    Kind.BEGIN: frozenset({"episode"}), Kind.STEP: frozenset({"episode", "action", "reward"}) | _FLAGS,
    Kind.DECIDE: frozenset({"episode", "observation", "action"}), Kind.OUTCOME: frozenset({"episode", "step"}),
    Kind.END: frozenset({"episode"}) | _FLAGS,
}


@dataclass(frozen=True, slots=True)
class Record:
    """A record of n rows.

    Attributes:
      kind: of the record.
      columns: [n, …] arrays by path, the first element of which is the column's name; each kind but SESSION has "episode" [n] int64.
      metadata: of a SESSION, else empty.
    """

    kind: Kind
    columns: Mapping[Path, Array]
    metadata: Mapping[str, Any]


def encode_record(kind: Kind, columns: Mapping[Path, Array], metadata: Mapping[str, Any] | None = None) -> bytes:
    """Encodes the body of a record.

    Args:
      columns: as `Record.columns`, little-endian and C-contiguous.
      metadata: of a SESSION: values that msgpack can encode.
    """
    if kind is Kind.SESSION:
        return msgpack.packb([int(kind), dict(metadata or {})])  # type: ignore[no-any-return]
    return msgpack.packb([int(kind), _encode(from_leaves(columns))])  # type: ignore[no-any-return]


def _encode(tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return {key: _encode(value) for key, value in tree.items()}
    if isinstance(tree, tuple):
        return [_TUPLE, [_encode(value) for value in tree]]
    return encode_array(tree)


def encode_array(array: Array) -> list[Any]:
    """Encodes an array as [dtype, shape, bytes]."""
    return [array.dtype.str, list(array.shape), array.tobytes()]


def decode_record(body: bytes) -> Record:
    """Decodes the record of a body. Arrays are read-only views of it.

    Raises:
      ValueError: the body is no record. Decoding executes nothing and allocates nothing larger than the body.
    """
    try:
        kind, content = msgpack.unpackb(body, strict_map_key=True)
        kind = Kind(kind)
        if not isinstance(content, dict):
            raise ValueError(f"content of type {type(content).__name__}")
        if kind is Kind.SESSION:
            return Record(kind, {}, content)
        flat = dict(leaves(_decode(content)))
    except (msgpack.UnpackException, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    columns: dict[Path, Array] = {path: np.empty((0,), np.uint8) if array is None else array for path, array in flat.items()}
    missing = _REQUIRED[kind] - {str(path[0]) for path in columns if path}
    if missing:
        raise ValueError(f"a record of kind {kind.name} without {sorted(missing)}")
    n = len(columns.get(("episode",), ()))
    for path, array in columns.items():
        if path[-1:] in (EMPTY_DICT, EMPTY_TUPLE):
            columns[path] = array = np.empty((n, 0), np.uint8)
        _check(path, array, n)
    return Record(kind, columns, {})


def _check(path: Path, array: Array, n: int) -> None:
    name = str(path[0])
    if array.ndim < 1 or len(array) != n:
        raise ValueError(f"expected {n} rows in {path!r}, got shape {array.shape}")
    if name in TREES:
        return
    known = array.dtype.str in _DTYPES[name] if name in _DTYPES else name in _NAMES and array.dtype.kind in "iuU"
    if len(path) > 1 or array.ndim > 1 or not known:
        raise ValueError(f"an unknown column {path!r} of {array.shape[1:]} {array.dtype.str}")


def _decode(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _decode(value) for key, value in node.items()}
    if isinstance(node, list) and len(node) == 2 and node[0] == _TUPLE:
        return tuple(_decode(value) for value in node[1])
    return decode_array(node)


def decode_array(node: Any) -> Array:
    """Decodes the array of [dtype, shape, bytes].

    Raises:
      ValueError: the value is no array.
    """
    if not isinstance(node, list) or len(node) != 3:
        raise ValueError(f"expected [dtype, shape, bytes], got {type(node).__name__}")
    name, shape, data = node
    if not isinstance(name, str) or not isinstance(data, bytes) or any(type(size) is not int or size < 0 for size in shape):
        raise ValueError(f"expected [dtype, shape, bytes], got {name!r}, {shape!r}, {type(data).__name__}")
    dtype = np.dtype(name)
    if dtype.kind not in KINDS or dtype.byteorder == ">" or prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"expected the bytes of {shape} {name}, got {len(data)}")
    if not len(data):
        return np.empty(shape, dtype)
    return np.frombuffer(data, dtype).reshape(shape)
