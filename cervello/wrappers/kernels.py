"""Compiled copies between a slab, one row per slot, and a batch's column, one row per agent.

Context words: address of the slab, bytes per row, then the required properties of a column: address of its type, of its dtype, its
number of dimensions. Objects: slots (int64 array), column. A column that is not a contiguous array of the row's size returns status 1.
"""

from __future__ import annotations

from cervello.codegen.compiler import inline
from cervello.codegen.memory import copy_bytes, read_i32, read_i64, word, write_i32
from cervello.noise.layout import DATA, DTYPE, FLAGS, RANK, SHAPE, TYPE

_PLAIN = 0x101  # C-contiguous and aligned


@inline
def _fits(context, column, n_rows):
    if word(column + TYPE, 0) != word(context, 2) or word(column + DTYPE, 0) != word(context, 3):
        return False
    rank = word(context, 4)
    if read_i32(column + RANK, 0) != rank or read_i32(column + FLAGS, 0) & _PLAIN != _PLAIN:
        return False
    shape = word(column + SHAPE, 0)
    if word(shape, 0) != n_rows:
        return False
    for d in range(1, rank):
        if word(shape, d) != word(context, 4 + d):
            return False
    return True


def gather(context, n_rows, unused, objects, n_objects):
    """column[i] = slab[slots[i]]."""
    if not _fits(context, word(objects, 1), n_rows):
        return 1
    slab, row_bytes = word(context, 0), word(context, 1)
    slots, column = read_i64(word(objects, 0) + DATA, 0), read_i64(word(objects, 1) + DATA, 0)
    for i in range(n_rows):
        source, target = slab + read_i64(slots, i) * row_bytes, column + i * row_bytes
        if row_bytes == 4:
            write_i32(target, 0, read_i32(source, 0))
        else:
            copy_bytes(target, source, row_bytes)
    return 0


def scatter(context, n_rows, unused, objects, n_objects):
    """slab[slots[i]] = column[i]."""
    if not _fits(context, word(objects, 1), n_rows):
        return 1
    slab, row_bytes = word(context, 0), word(context, 1)
    slots, column = read_i64(word(objects, 0) + DATA, 0), read_i64(word(objects, 1) + DATA, 0)
    for i in range(n_rows):
        target, source = slab + read_i64(slots, i) * row_bytes, column + i * row_bytes
        if row_bytes == 4:
            write_i32(target, 0, read_i32(source, 0))
        else:
            copy_bytes(target, source, row_bytes)
    return 0
