"""Compiled loops over slots and ids."""

from __future__ import annotations

from cervello.compiled.memory import read_i64, word, write_i64
from cervello.noise.layout import DATA, TYPE


def advance(steps, slots, n_rows):
    """Counts one more decision for every agent of a batch; `slots` is the address of an int64 array object."""
    at = read_i64(slots + DATA, 0)
    for i in range(n_rows):
        slot = read_i64(at, i)
        write_i64(steps, slot, read_i64(steps, slot) + 1)
    return 0


def alike(size_at, inline, unused, objects, n_objects):
    """Compares two lists, or two tuples, element by element, without asking the elements.

    Args:
      size_at: bytes from an object to its length; the elements, or the address of them, follow.
      inline: 1 for tuples, whose elements lie in the object itself.
    Returns:
      2 when they hold the same objects, 1 when they hold objects of the same types, else 0.
    """
    a, b = word(objects, 0), word(objects, 1)
    n = word(a + size_at, 0)
    if word(b + size_at, 0) != n:
        return 0
    a, b = a + size_at + 8, b + size_at + 8
    if inline == 0:
        a, b = word(a, 0), word(b, 0)
    found = 2
    for i in range(n):
        left, right = word(a, i), word(b, i)
        if left != right:
            if word(left + TYPE, 0) != word(right + TYPE, 0):
                return 0
            found = 1
    return found
