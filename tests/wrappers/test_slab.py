"""State of many agents in one array."""

from __future__ import annotations

import numpy as np
import pytest

from cervello.spec import TensorSpec
from cervello.wrappers import Slab

CROWDS = {"upward": np.arange(5, 105), "downward to the first": np.arange(99, -1, -1), "downward": np.arange(150, 50, -1),
          "few": np.arange(3), "with gaps": np.arange(0, 200, 2), "mixed": np.random.default_rng(0).permutation(200)[:100],
          "nearly": np.r_[0:50, 51:101, 50]}


@pytest.mark.parametrize("crowd", CROWDS)
def test_rows_are_put_taken_and_begun_wherever_a_crowd_lies(crowd: str) -> None:
    slots = CROWDS[crowd]
    slab = Slab(TensorSpec("h", (3,), np.dtype(np.float32)), np.full(3, 7, np.float32))
    slab.reserve(200)
    slab.rows[...] = -1
    rows = np.random.default_rng(1).standard_normal((len(slots), 3)).astype(np.float32)
    slab.put(slots, rows)
    expected = np.full((200, 3), -1, np.float32)
    for row, slot in zip(rows, slots, strict=True):
        expected[slot] = row
    assert np.array_equal(slab.rows, expected)
    found = np.empty_like(rows)
    slab.take(slots, found)
    assert np.array_equal(found, rows)
    assert np.array_equal(slab.gather(slots), rows)
    slab.begin(slots)
    expected[slots] = 7
    assert np.array_equal(slab.rows, expected)
