"""Infos of environments as columns of a recording: numbers, bools, strings, arrays of one shape, and dicts of them. A tuple of arrays of
several shapes, as a mask of several choices, is a tuple of columns.

Beside a key that some row lacks stands the bool column `_key`. Other values are left out.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cervello.recording.arguments import info_kind
from cervello.recording.trees import KINDS, Path, Tree, format_path
from cervello.spec import Array

_OF_THE_EPISODE_BEFORE = ("final_obs", "final_info")  # SAME_STEP's, beside the infos of the next episode


def info_columns(infos: Sequence[Any]) -> dict[str, Tree]:
    """Columns of separate infos, a row for each; an info may be None."""
    known = [info or {} for info in infos]
    columns: dict[str, Tree] = {}
    for key in dict.fromkeys(key for info in known for key in info if _has_column(key)):
        there = np.array([key in info for info in known])
        column = _column([info.get(key) for info in known], there)
        if column is not None:
            columns[key] = column
            if not there.all():
                columns[f"_{key}"] = there
    return columns


def _has_column(key: Any) -> bool:
    """Whether a key is a name, and not that of a mask."""
    return isinstance(key, str) and not key.startswith("_")


def _column(values: Sequence[Any], there: Array) -> Tree:
    """The rows that are there, with zeros elsewhere; None where their kinds or shapes differ, or cannot be recorded."""
    given = [value for value, has in zip(values, there, strict=True) if has]
    if all(isinstance(value, Mapping) for value in given):
        return info_columns(values) or None
    if any(isinstance(value, Mapping) for value in given):
        return None
    try:
        rows = [np.asarray(value) for value in given]
    except ValueError:  # arrays of several lengths
        return _tuple_of_columns(values, given, there)
    first = rows[0]
    if first.dtype.kind not in KINDS or any((row.shape, row.dtype) != (first.shape, first.dtype) for row in rows):
        return None
    column: Array = np.zeros((len(values), *first.shape), first.dtype)
    column[there] = rows
    return column


def _tuple_of_columns(values: Sequence[Any], given: Sequence[Any], there: Array) -> Tree:
    """A column for each place of tuples of one length; None for other values."""
    if not all(isinstance(value, tuple) and len(value) == len(given[0]) for value in given):
        return None
    found = tuple(_column([value[i] if has else None for value, has in zip(values, there, strict=True)], there)
                  for i in range(len(given[0])))
    return None if any(column is None or isinstance(column, Mapping) for column in found) else found


def _layout(column: Tree) -> Any:
    """What must not change of a column: "dict", kind and row shape of an array, or those of each column of a tuple."""
    if isinstance(column, tuple):
        return tuple(map(_layout, column))
    return "dict" if isinstance(column, Mapping) else f"{column.shape[1:]} {info_kind(column)}"


class InfoLayout:
    """The kind and shape of each key's rows, as they were first. Mutable. Later rows that differ do not fit into one tree of infos."""

    def __init__(self) -> None:
        self._first: dict[Path, Any] = {}
        self._told: set[Path] = set()

    def fitting(self, infos: Mapping[str, Tree], path: Path = ()) -> dict[str, Tree]:
        """The columns that fit the first ones. A warning names a key with others, once."""
        found: dict[str, Tree] = {}
        for key, column in infos.items():
            if key.startswith("_"):
                continue  # the mask of a key, which comes with it
            place = (*path, key)
            is_dict, layout = isinstance(column, Mapping), _layout(column)
            if self._first.setdefault(place, layout) != layout:
                self._tell(place, layout)
                continue
            rows = self.fitting(column, place) if is_dict else column
            if not is_dict or rows:
                found |= {key: rows} | {mask: infos[mask] for mask in (f"_{key}",) if mask in infos}
        return found

    def _tell(self, place: Path, layout: Any) -> None:
        if place not in self._told:
            self._told.add(place)
            warnings.warn(f"Recorder, infos {format_path(place)!r}: expected rows of one kind and shape, {self._first[place]} as at first, "
                          f"got {layout}; such rows are left out", RuntimeWarning, stacklevel=2)


def vector_info_columns(infos: Mapping[str, Any], rows: Array, n: int) -> dict[str, Tree]:
    """Columns of some rows of a vector environment's infos, {key: [N, …], _key: [N] bool}."""
    found: dict[str, Tree] = {}
    for key, value in infos.items():
        if not _has_column(key) or key in _OF_THE_EPISODE_BEFORE:
            continue
        flags = infos.get(f"_{key}")
        there = np.ones(len(rows), np.bool_) if flags is None else np.asarray(flags, np.bool_)[rows]
        column = vector_info_columns(value, rows, n) if isinstance(value, Mapping) else _rows_of_column(value, rows, n, there)
        if column is None or (isinstance(value, Mapping) and not column):
            continue
        found[key] = column
        if not there.all():
            found[f"_{key}"] = there
    return found


def _rows_of_column(value: Any, rows: Array, n: int, there: Array) -> Tree:
    """Some rows of a column; None for one that cannot be recorded. Strings and tuples are objects in Gymnasium's vector environments."""
    column = np.asarray(value)
    if column.ndim < 1 or len(column) != n:
        return None
    column = column[rows]
    if column.dtype.kind == "O" and column.ndim == 1 and there.any() and all(isinstance(each, str) for each in column[there]):
        column = np.array([each if has else "" for each, has in zip(column.tolist(), there.tolist(), strict=True)])
    if column.dtype.kind == "O" and column.ndim == 1 and there.any() and all(isinstance(each, tuple) for each in column[there]):
        return _column(column.tolist(), there)
    return column if column.dtype.kind in KINDS else None


def infos_of_the_step(infos: Mapping[str, Any], ended: Array) -> dict[str, Any]:
    """What SAME_STEP says of the steps themselves: rows that have ended have it in `final_info`, beside the next episode's infos.

    Args:
      infos: of a vector environment; ended: [N] bool.
    """
    final = infos.get("final_info")
    return _joined(infos, final if isinstance(final, Mapping) else {}, ended)


def _joined(going: Mapping[str, Any], over: Mapping[str, Any], ended: Array) -> dict[str, Any]:
    """The rows of `over` that have ended, and the others of `going`."""
    found: dict[str, Any] = {}
    for key in dict.fromkeys([*going, *over]):
        if not _has_column(key) or key in _OF_THE_EPISODE_BEFORE:
            continue
        sources = [(source, source[key], rows) for source, rows in ((going, ~ended), (over, ended)) if source.get(key) is not None]
        given = sources[-1][1] if sources else None
        column: Any
        if isinstance(given, Mapping):
            inner_going, inner_over = (source[key] if isinstance(source.get(key), Mapping) else {} for source in (going, over))
            column = _joined(inner_going, inner_over, ended)
        elif isinstance(given, np.ndarray) and given.shape[:1] == ended.shape:
            sources = [each for each in sources if isinstance(each[1], np.ndarray) and (each[1].shape, each[1].dtype) == (
                given.shape, given.dtype)]
            column = np.zeros_like(given)
            for _, values, rows in sources:
                column[rows] = values[rows]
        else:
            continue
        there = np.zeros(len(ended), np.bool_)
        for source, _, rows in sources:
            there[rows] = np.asarray(source.get(f"_{key}", rows), np.bool_)[rows]
        if there.any():
            found[key], found[f"_{key}"] = column, there
    return found
