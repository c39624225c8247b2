"""Columns of which parts were recorded: the parts put together, the rest filled, and masks of what was there."""

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
    """What stands where nothing was recorded: NaN, 0, False or an empty string."""
    return np.nan if dtype.kind in "fc" else dtype.type()


def joined(parts: list[tuple[int, Array]], n: int, fill: Any = None) -> Array:
    """[n, …], parts at their places, `fill` (None: what `nothing` says) elsewhere; an array of its own.

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
    """Infos of one tree: what was absent is filled, and a bool column `_key` stands beside each key that is not always there.

    Args:
      flat: by path; a bool column `_key` that stands beside a key says for which rows it was there, as Gymnasium's vector environments do.
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
    """The columns `_key` of keys that are there too, by the key's path, and all other columns, without empty dicts and tuples."""
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
    """The tree of columns with masks beside their keys; places in tuples have none."""
    beside = {(*path[:-1], f"_{path[-1]}"): mask for path, mask in masks.items() if isinstance(path[-1], str)}
    return from_leaves({**values, **beside}) if values else {}
