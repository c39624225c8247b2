"""Observations as rows of numbers, for models that are fitted to them."""

from __future__ import annotations

import numpy as np

from cervello.recording.trees import Tree, leaves
from cervello.spec import Array


def features(observations: Tree) -> Array:
    """[N, d] float64 of a tree of observations, its arrays side by side."""
    rows = [np.asarray(array, np.float64) for _, array in leaves(observations) if array is not None]
    return np.concatenate([each.reshape(len(each), -1) for each in rows], 1)
