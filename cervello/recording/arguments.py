"""Checks the arguments of a writer and makes columns of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from cervello.errors import InputError
from cervello.recording.trees import EMPTY_DICT, EMPTY_TUPLE, Path, Tree, all_prefixes, as_columns, format_path, from_leaves, masked_path
from cervello.spec import Array

SOURCES = {"unknown": 0, "policy": 1}
Schema = tuple[tuple[Path, str, tuple[int, ...]], ...]  # path, dtype and row shape of each leaf

DECISION_SCALARS: dict[str, Any] = {  # columns of decisions with a scalar per row
    "deterministic": np.bool_, "overridden": np.bool_, "version": np.int64, "stream": np.uint64, "tick": np.int64,
}
_ACCEPTED_KINDS = {"f": "fiub", "i": "iu", "u": "iu", "b": "b"}  # kinds of dtypes that each kind of column accepts


def decision_columns(n: int, action: Tree, log_prob: Any, deterministic: Any, pre_tanh: Tree, pre_clip: Tree, source: Any, overridden: Any,
             version: Any, stream: Any, tick: Any) -> dict[Path, Array]:
    """The columns of n decisions, by path; those that are None are left out.

    Raises:
      InputError: columns that do not fit.
    """
    found = as_columns(action, n, ("action",))
    for name, tree in (("pre_tanh", pre_tanh), ("pre_clip", pre_clip)):
        if tree is not None:
            found |= as_columns(tree, n, (name,))
    if log_prob is not None:
        dtype = _as_array("log_prob", log_prob).dtype
        found["log_prob",] = scalar_column("log_prob", log_prob, n, dtype if dtype in (np.float32, np.float64) else np.float64)
    if source is not None:
        given = source.tolist() if isinstance(source, np.ndarray) else source
        is_column = isinstance(given, Iterable) and not isinstance(given, str)
        numbers = [_source(each) for each in given] if is_column else _source(given)
        found["source",] = scalar_column("source", numbers, n, np.uint8)
    given_scalars = {"deterministic": deterministic, "overridden": overridden, "version": version, "stream": stream, "tick": tick}
    for name, value in given_scalars.items():
        if value is not None:
            found[name,] = scalar_column(name, value, n, DECISION_SCALARS[name])
    return found


def count_rows(observation: Tree) -> int:
    """Rows of the first leaf of a tree of columns.

    Raises:
      InputError: the tree has no leaf.
    """
    first = observation
    while isinstance(first, Mapping | tuple) and first:
        first = next(iter(first.values())) if isinstance(first, Mapping) else first[0]
    if first is None or np.ndim(first) < 1:
        raise InputError(f"recording, begin: expected n= or observations of [n, …], got {type(first).__name__}; say how many begin")
    return len(first)


def check_count(n: Any) -> int:
    """A number of episodes.

    Raises:
      InputError: it is no whole number of at least 0.
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 0:
        raise InputError(f"recording, 'n': expected a number from 0, got {n!r}; say how many begin")
    return int(n)


def as_handles(episodes: Any) -> Array:
    """[n] int64.

    Raises:
      InputError: an element is no handle.
    """
    try:
        found = np.asarray(episodes)
    except ValueError as error:
        raise InputError("recording, 'episodes': expected the handles that begin gave, [n] int64, got a ragged sequence") from error
    if found.ndim != 1 or (found.dtype.kind not in "iu" and found.size):
        raise InputError(f"recording, 'episodes': expected the handles that begin gave, [n] int64, got {found.shape} {found.dtype}")
    return np.ascontiguousarray(found, "<i8")


def scalar_column(name: str, value: Any, n: int, dtype: Any) -> Array:
    """A column of one scalar per row; one scalar for all is repeated.

    Args:
      dtype: of the column; None keeps ints or strings.
    Raises:
      InputError: another number of rows, or another kind of values.
    """
    array = _as_array(name, value)
    if array.dtype.kind in "fO" and dtype is np.uint64 and all(type(each) is int for each in np.ravel(np.array(value, object))):
        array = np.array(value, object)  # numpy takes a list of ints for floats when only some are above 2**63
        array = array.astype(np.uint64 if array.size and array.min() >= 0 and array.max() < 2**64 else object)
    if dtype is None and array.ndim and array.dtype.kind == "U" and not all(isinstance(each, str) for each in value):
        raise InputError(f"recording, {name!r}: expected ints or strings, got both; begin them in two calls")
    wanted = array.dtype if dtype is None else np.dtype(dtype)
    fits = array.dtype.kind in ("iuU" if dtype is None else _ACCEPTED_KINDS[wanted.kind])
    if array.shape not in ((), (n,)) or (not fits and array.size):
        what = "ints or strings" if dtype is None else wanted
        raise InputError(f"recording, {name!r}: expected ({n},) {what}, got {array.shape} {array.dtype}; give a scalar per row")
    if wanted.kind == "u" and array.dtype.kind == "i" and (array < 0).any():
        raise InputError(f"recording, {name!r}: expected numbers of at least 0, got {array.min()}")
    if wanted.kind == "i" and array.dtype.kind == "u" and (array > np.iinfo(wanted).max).any():
        raise InputError(f"recording, {name!r}: expected numbers that {wanted} holds, got {array.max()}")
    repeated = array if array.ndim else np.full(n, array)
    return np.ascontiguousarray(repeated, wanted.newbyteorder("<"))


def _as_array(name: str, value: Any) -> Array:
    try:
        return np.asarray(value)
    except ValueError as error:
        raise InputError(f"recording, {name!r}: expected one scalar per row, got a ragged sequence") from error


def _source(given: Any) -> int:
    if not isinstance(given, str) or given not in SOURCES:
        raise InputError(f"recording, 'source': expected one of {sorted(SOURCES)}, got {given!r}")
    return SOURCES[given]


def schema_dtype(array: Array) -> str:
    """The dtype, without the width of strings."""
    return str(array.dtype.kind if array.dtype.kind in "US" else array.dtype.str)


def info_kind(array: Array) -> str:
    """The part of a dtype that must not change between records of infos."""
    return "bools" if array.dtype.kind == "b" else "strings" if array.dtype.kind in "US" else "numbers"


def check_infos(known: Mapping[Path, Any], given: Mapping[Path, Any], where: str) -> None:
    """Checks that all infos make one tree, with room for a mask `_key` beside each key.

    Args:
      known, given: kind and row shape by path, of the infos before and of these.
    Raises:
      InputError: a key that is an array here and a dict or tuple there, or a key `_key` that is no mask.
    """
    if given.keys() <= known.keys():
        return
    together = {**known, **given}
    try:
        from_leaves({path: None for path in together if path[-1:] not in (EMPTY_DICT, EMPTY_TUPLE)})
    except ValueError as error:
        raise InputError(f"{where}, 'infos': expected keys that are always an array or always a dict, got {error}; rename one") from error
    places = all_prefixes(together)
    for place in places:
        key = masked_path(place)
        if key in places and together.get(place) != ("bools", ()):
            raise InputError(f"{where}, {format_path(place)!r}: expected [n] bool beside {format_path(key)!r}, a mask of rows, got "
                             "something else; rename it")


def format_schema(rows: Any) -> str:
    """Formats a schema for messages."""
    return ", ".join(f"{format_path(path)} {shape} {kind}" for path, kind, shape in sorted(rows, key=str))
