"""Joins partly recorded columns, fills the missing rows, and makes masks of the recorded rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from cervello.recording.trees import EMPTY_DICT, EMPTY_TUPLE, Path, Tree, all_prefixes, from_leaves, masked_path, prefixes
from cervello.spec import Array

Part = tuple[int, Array]  # number of the first row, and rows [k, …]
Partial = tuple[Array, Array]  # [T, …] values and [T] bool, which of them were recorded


def common_dtype(arrays: Iterable[Array]) -> np.dtype[Any]:
    """The dtype that holds the values of all, the wider one of strings."""
    return np.result_type(*(array.dtype for array in arrays))


def fill_value(dtype: np.dtype[Any]) -> Any:
    """The fill value of a dtype: NaN, 0, False or an empty string."""
    return np.nan if dtype.kind in "fc" else dtype.type()


def join_parts(parts: list[Part], n: int, fill: Any = None) -> Array:
    """[n, …], a new array with the parts at their places and `fill` (None: the value of `fill_value`) elsewhere.

    Args:
      parts: in order, without overlap.
    """
    dtype = common_dtype(array for _, array in parts)
    whole = np.full((n, *parts[0][1].shape[1:]), fill_value(dtype) if fill is None else fill, dtype)
    for start, array in parts:
        whole[start:start + len(array)] = array
    return whole


def join_parts_with_mask(parts: list[Part], n: int) -> Partial:
    """As `join_parts`, with [n] bool, which rows were recorded."""
    recorded = np.zeros(n, np.bool_)
    for start, array in parts:
        recorded[start:start + len(array)] = True
    return join_parts(parts, n), recorded


def fill_infos(flat: Mapping[Path, Partial]) -> dict[str, Tree]:
    """Makes infos of one tree: missing rows are filled, and each key with missing rows gets a bool column `_key`.

    Args:
      flat: by path; a bool column `_key` beside a key says which rows have the key, as in Gymnasium's vector environments.
    """
    masks, values = split_masks(flat)
    present: dict[Path, Array] = {}  # by key, [T + 1] bool: rows that have the key or one below it
    filled: dict[Path, Array] = {}
    for path, (array, recorded) in values.items():
        has_value = recorded.copy()
        for key in prefixes(path):
            if key in masks:
                mask, mask_recorded = masks[key]
                has_value &= mask | ~mask_recorded
        filled[path] = array
        if not has_value.all():
            filled[path] = array.copy()
            filled[path][~has_value] = fill_value(array.dtype)
        for key in prefixes(path):
            present[key] = present[key] | has_value if key in present else has_value
    return with_masks(filled, {key: rows for key, rows in present.items() if not rows.all()})


def split_masks(flat: Mapping[Path, Any]) -> tuple[dict[Path, Any], dict[Path, Any]]:
    """Splits columns into masks and values.

    Args:
      flat: arrays, or `Partial`, by path.
    Returns:
      the columns `_key` beside an existing key, by the key's path; all other columns but empty dicts and tuples, by path.
    """
    places = all_prefixes(flat)
    masks, values = {}, {}
    for path, value in flat.items():
        key = masked_path(path)
        array = value[0] if isinstance(value, tuple) else value
        if key in places and array.dtype == np.bool_ and array.ndim == 1:
            masks[key] = value
        elif path[-1:] not in (EMPTY_DICT, EMPTY_TUPLE):
            values[path] = value
    return masks, values


def with_masks(values: Mapping[Path, Array], masks: Mapping[Path, Array]) -> dict[str, Tree]:
    """The tree of columns with masks beside their keys; elements of tuples have no masks."""
    beside = {(*path[:-1], f"_{path[-1]}"): mask for path, mask in masks.items() if isinstance(path[-1], str)}
    return from_leaves({**values, **beside}) if values else {}
