"""Trees of columns with a NaN or an infinity in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cervello.recording.trees import Tree
from cervello.spec import Array


def is_finite(tree: Tree) -> bool:
    """Whether no float in a tree of arrays is NaN or infinite."""
    if isinstance(tree, Mapping):
        return all(map(is_finite, tree.values()))
    if isinstance(tree, tuple):
        return all(map(is_finite, tree))
    array: Any = np.asarray(tree)
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def finite_rows(tree: Tree, n: int) -> Array:
    """[n] bool, the rows of a tree of [n, …] without a NaN or an infinity."""
    if isinstance(tree, Mapping | tuple):
        found: Array = np.ones(n, np.bool_)
        for part in tree.values() if isinstance(tree, Mapping) else tree:
            found &= finite_rows(part, n)
        return found
    array: Any = np.asarray(tree)
    if array.dtype.kind != "f":
        return np.ones(n, np.bool_)
    return np.asarray(np.isfinite(array).reshape(n, -1).all(1))
