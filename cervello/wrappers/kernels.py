"""Compiled copies between a slab, one row per slot, and a batch's column, one row per agent.

The context is SLAB of `words`. Objects: slots (int64 array), column. A column that is not a contiguous array of the row's size returns
status 1.
"""

from __future__ import annotations

from cervello.codegen.compiler import inline
from cervello.codegen.memory import copy_row, word
from cervello.codegen.records import view
from cervello.noise.arrays import are_equal, is_array
from cervello.noise.layout import DATA, SHAPE
from cervello.wrappers.words import SLAB

_PLAIN = 0x101  # C-contiguous and aligned
_slab = view(SLAB)


@inline
def _copy(context, n_rows, objects, gathers):
    slab, slots, column = _slab(context), word(objects, 0), word(objects, 1)
    row_bytes, rank = slab.row_bytes, slab.rank
    if not is_array(column, slab.array_type, slab.dtype, rank, _PLAIN):
        return 1
    sizes = word(column + SHAPE, 0)
    if word(sizes, 0) != n_rows or not are_equal(sizes + 8, slab.more, rank - 1):
        return 1
    first, slots, row = slab.rows, word(slots + DATA, 0), word(column + DATA, 0)
    for i in range(n_rows):
        state = first + word(slots, i) * row_bytes
        if gathers:
            copy_row(row, state, row_bytes)
        else:
            copy_row(state, row, row_bytes)
        row += row_bytes
    return 0


def gather(context, n_rows, unused, objects, n_objects):
    """column[i] = slab[slots[i]]."""
    return _copy(context, n_rows, objects, True)


def scatter(context, n_rows, unused, objects, n_objects):
    """slab[slots[i]] = column[i]."""
    return _copy(context, n_rows, objects, False)
