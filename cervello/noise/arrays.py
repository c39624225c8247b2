"""Compiled checks of numpy arrays, which read the array's struct in place; see `layout`."""

from __future__ import annotations

from typing import Any

from cervello.codegen.compiler import inline
from cervello.codegen.memory import read_i32, word
from cervello.noise.layout import DTYPE, FLAGS, RANK, TYPE


@inline
def is_array(thing: int, array_type: int, dtype: int, rank: int, flags: int) -> Any:
    """Whether an object is an array of exactly this type, dtype and rank whose `flags` are set."""
    return (
        word(thing + TYPE, 0) == array_type
        and word(thing + DTYPE, 0) == dtype
        and read_i32(thing + RANK, 0) == rank
        and (read_i32(thing + FLAGS, 0) & flags) == flags
    )


@inline
def are_equal(words: int, others: int, count: int) -> Any:
    """Whether two rows of `count` words are equal."""
    for i in range(count):
        if word(words, i) != word(others, i):
            return False
    return True
