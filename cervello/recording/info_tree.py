"""One tree of infos for many episodes. Minari needs it: its readers use the first episode's tree for all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from cervello.errors import InputError
from cervello.recording.filling import fill_value, split_masks, with_masks
from cervello.recording.trees import Path, Tree, all_prefixes, format_path, leaves


class InfoTree:
    """The union of trees of infos."""

    def __init__(self) -> None:
        self._n = 0
        self._seen: Counter[Path] = Counter()
        self._masked: set[Path] = set()
        self._values: dict[Path, tuple[np.dtype[Any], tuple[int, ...]]] = {}

    def add(self, infos: Mapping[str, Tree], where: str) -> None:
        """Adds an episode's infos to the union.

        Raises:
          InputError: a key has rows of another shape than in an episode before.
        """
        masks, values = split_masks(dict(leaves(infos)) if infos else {})
        for path, array in values.items():
            dtype, shape = self._values.get(path, (array.dtype, array.shape[1:]))
            if shape != array.shape[1:] or (dtype.kind in "US") != (array.dtype.kind in "US"):
                raise InputError(f"{where}, infos {format_path(path)!r}: expected rows of {shape} {dtype} as in the episodes before, got "
                                 f"{array.shape[1:]} {array.dtype}; convert such episodes to a dataset of their own")
            self._values[path] = np.result_type(dtype, array.dtype), shape
        self._n += 1
        self._seen.update(all_prefixes(values))
        self._masked.update(masks)

    def unify(self, infos: Mapping[str, Tree], n_rows: int) -> dict[str, Tree]:
        """An episode's infos with the keys of all: NaN, 0 or empty strings and a bool column `_key` where one was absent.

        Args:
          n_rows: T + 1.
        """
        masks, values = split_masks(dict(leaves(infos)) if infos else {})
        found = {}
        for path, (dtype, shape) in self._values.items():
            found[path] = values[path].astype(dtype, copy=False) if path in values else np.full((n_rows, *shape), fill_value(dtype), dtype)
        there = all_prefixes(values)
        partial = self._masked | {path for path, count in self._seen.items() if count < self._n}
        return with_masks(found, {path: masks[path] if path in masks else np.full(n_rows, path in there) for path in partial})
