"""Compiled loops over slots."""

from __future__ import annotations

from cervello.compiled.memory import read_i64, write_i64
from cervello.noise.layout import DATA


def advance(steps, slots, n_rows):
    """Counts one more decision for every agent of a batch; `slots` is the address of an int64 array object."""
    at = read_i64(slots + DATA, 0)
    for i in range(n_rows):
        slot = read_i64(at, i)
        write_i64(steps, slot, read_i64(steps, slot) + 1)
    return 0
