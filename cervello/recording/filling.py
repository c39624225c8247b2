"""Joins partly recorded columns, fills the missing rows, and makes masks of the recorded rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from cervello.recording.trees import EMPTY_DICT, EMPTY_TUPLE, Path, Tree, from_leaves
from cervello.spec import Array

Partial = tuple[Array, Array]  # [T, …] values and [T] bool, which of them were recorded


def common_dtype(arrays: Iterable[Array]) -> np.dtype[Any]:
    """The dtype that holds the values of all, the wider one of strings."""
    return np.result_type(*(array.dtype for array in arrays))


def nothing(dtype: np.dtype[Any]) -> Any:
    """The fill value of a dtype: NaN, 0, False or an empty string."""
    return np.nan if dtype.kind in "fc" else dtype.type()


def joined(parts: list[tuple[int, Array]], n: int, fill: Any = None) -> Array:
    """[n, …], a new array with the parts at their places and `fill` (None: the value of `nothing`) elsewhere.

    Args:
      parts: (start, [k, …]) in order, without overlap.
    """
    dtype = common_dtype(array for _, array in parts)
    whole = np.full((n, *parts[0][1].shape[1:]), nothing(dtype) if fill is None else fill, dtype)
    for start, array in parts:
        whole[start:start + len(array)] = array
    return whole


def gathered(parts: list[tuple[int, Array]], n: int) -> Partial:
    """As `joined`, with a mask of the rows that were recorded."""
    there = np.zeros(n, np.bool_)
    for start, array in parts:
        there[start:start + len(array)] = True
    return joined(parts, n), there


def one_tree(flat: Mapping[Path, Partial]) -> dict[str, Tree]:
    """Makes infos of one tree: missing rows are filled, and each key with missing rows gets a bool column `_key`.

    Args:
      flat: by path; a bool column `_key` beside a key says which rows have the key, as in Gymnasium's vector environments.
    """
    masks, values = split_masks(flat)
    there: dict[Path, Array] = {}
    filled: dict[Path, Array] = {}
    for path, (array, mask) in values.items():
        mask = mask.copy()
        for i in range(1, len(path) + 1):
            if path[:i] in masks:
                given, said = masks[path[:i]]
                mask &= given | ~said
        filled[path] = array
        if not mask.all():
            filled[path] = array.copy()
            filled[path][~mask] = nothing(array.dtype)
        for i in range(1, len(path) + 1):
            there[path[:i]] = there[path[:i]] | mask if path[:i] in there else mask
    return with_masks(filled, {path: mask for path, mask in there.items() if not mask.all()})


def split_masks(flat: Mapping[Path, Any]) -> tuple[dict[Path, Any], dict[Path, Any]]:
    """Splits off the columns `_key` of existing keys, by the key's path, from all other columns without empty dicts and tuples."""
    prefixes = {path[:i] for path in flat for i in range(1, len(path) + 1)}
    masks, values = {}, {}
    for path, value in flat.items():
        last = path[-1]
        of = (*path[:-1], last[1:]) if isinstance(last, str) and last.startswith("_") else ()
        array = value[0] if isinstance(value, tuple) else value
        if of and of in prefixes and array.dtype == np.bool_ and array.ndim == 1:
            masks[of] = value
        elif path[-1:] not in (EMPTY_DICT, EMPTY_TUPLE):
            values[path] = value
    return masks, values


def with_masks(values: Mapping[Path, Array], masks: Mapping[Path, Array]) -> dict[str, Tree]:
    """The tree of columns with masks beside their keys; elements of tuples have no masks."""
    beside = {(*path[:-1], f"_{path[-1]}"): mask for path, mask in masks.items() if isinstance(path[-1], str)}
    return from_leaves({**values, **beside}) if values else {}
