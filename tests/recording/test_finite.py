"""Trees of columns that are not finite."""

from __future__ import annotations

import numpy as np

from cervello.recording.finite import finite_rows, is_finite


def test_rows_of_trees_are_not_finite_where_any_of_their_leaves_is() -> None:
    tree = {"a": (np.array([[1.0], [np.nan], [2.0]]), np.array([1, 2, 3])), "b": np.array([np.inf, 0.0, 0.0], np.float32),
            "c": np.array(["x"] * 3)}
    assert finite_rows(tree, 3).tolist() == [False, False, True]
    assert not is_finite(tree)
    assert is_finite({"a": tree["c"], "b": np.ones((2, 0)), "d": 7})
    assert finite_rows(np.ones((2, 0)), 2).tolist() == [True, True]
