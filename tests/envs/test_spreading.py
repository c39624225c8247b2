"""Rows of those that act go to their places among all rows, whatever their type and layout."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cervello.envs.spreading import spread


def columns(m: int) -> list[Any]:
    rng = np.random.default_rng(m)
    wide = rng.standard_normal((m, 3, 2)).astype(np.float32)
    return [rng.integers(0, 9, m), wide, rng.random(m) < 0.5, np.array([f"word {i}" for i in range(m)] or [""], "U9")[:m],
            np.asfortranarray(wide), wide[:, ::2], rng.standard_normal((m, 0)), np.array([[i] * i for i in range(m)] + [None], object)[:m]]


@pytest.mark.parametrize("n", [1, 2, 5, 64, 257])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.9, 1.0])
def test_rows_go_where_numpy_puts_them_and_the_others_stay(n: int, share: float) -> None:
    acts = np.random.default_rng(n).random(n) < share
    given = columns(int(acts.sum()))
    fill: Any
    found, expected = [], []
    for column in given:
        fill = "-" if column.dtype.kind == "U" else 7
        found.append(np.full((n, *column.shape[1:]), fill, column.dtype))
        expected.append(found[-1].copy())
        expected[-1][acts] = column
    for column, target, wanted in zip(given, found, expected, strict=True):  # one after the other, then all at once
        alone = target.copy()
        spread(acts, column, alone)
        assert alone.tolist() == wanted.tolist()
    spread(acts, *(array for pair in zip(given, found, strict=True) for array in pair))
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.tolist() == theirs.tolist()


def test_a_column_of_another_number_of_rows_or_another_row_is_refused_and_another_type_converted() -> None:
    acts = np.array([True, False, True, True])
    for column in (np.ones(2), np.ones(4), np.ones((3, 2)), np.ones((1, 3))):
        with pytest.raises((ValueError, TypeError)):
            spread(acts, column, np.zeros(4))
    target = np.zeros(4, np.float32)
    spread(acts, np.array([1, 2, 3]), target)
    assert target.tolist() == [1, 0, 2, 3]
