"""Separate arrays of one shape and type to the rows of one array.

Context words: addresses of the arrays' type and dtype, dimensions, bytes of an array, then the sizes of the dimensions.
"""

from __future__ import annotations

from cervello.codegen.memory import copy_bytes, read_i32, word
from cervello.noise.layout import DATA, DTYPE, FLAGS, RANK, SHAPE, TYPE

_PLAIN = 0x101  # C-contiguous and aligned


def stack(context, unused, unused_too, objects, n_objects):
    """objects: [N, *shape] as it was made, then the N arrays. 1 when one of them is anything else; nothing counts then."""
    rank, row_bytes = word(context, 2), word(context, 3)
    target = word(word(objects, 0) + DATA, 0)
    for i in range(1, n_objects):
        part = word(objects, i)
        if word(part + TYPE, 0) != word(context, 0) or word(part + DTYPE, 0) != word(context, 1):
            return 1
        if read_i32(part + RANK, 0) != rank or read_i32(part + FLAGS, 0) & _PLAIN != _PLAIN:
            return 1
        shape = word(part + SHAPE, 0)
        for d in range(rank):
            if word(shape, d) != word(context, 4 + d):
                return 1
        copy_bytes(target, word(part + DATA, 0), row_bytes)
        target += row_bytes
    return 0
