"""Resolves buffer offsets for one N: tries each stacking order and keeps the smallest arena. See `cervello.native.memory.arena_plan`."""

from __future__ import annotations

from cervello.codegen.compiler import noinline
from cervello.codegen.memory import word, write_i64

_ALIGNMENT = 64


@noinline
def _stack(offsets, sizes, order, end):
    """Sets each buffer's offset to the highest end of the buffers below it; returns the arena's size in bytes."""
    total = 0
    while order < end:
        buffer, count = word(order, 0), word(order, 1)
        offset = 0
        for k in range(count):
            below = word(order, 2 + k)
            offset = max(offset, word(offsets, below + 1) + word(sizes, below))
        write_i64(offsets, buffer + 1, offset)
        total = max(total, offset + word(sizes, buffer))
        order += (2 + count) * 8
    return total


def resolve_layout(offsets, table, n_rows):
    """Writes the offsets of all buffers for one N; returns the arena's size in bytes.

    Args:
      offsets: address of [1 + 2 B] words for B buffers: a zero for operands outside the arena, the offsets, and the sizes; all are written.
      table: address of the words of `Layout.table`: B, the number of stacking orders, (const, slope) of each size, then for each order its
        number of words and for each buffer in order (buffer, number of buffers below it, their indices).
    """
    n_buffers, n_orders = word(table, 0), word(table, 1)
    sizes = offsets + (n_buffers + 1) * 8
    write_i64(offsets, 0, 0)
    for i in range(n_buffers):
        n_bytes = word(table, 2 + 2 * i) + word(table, 3 + 2 * i) * n_rows
        write_i64(sizes, i, (n_bytes + _ALIGNMENT - 1) // _ALIGNMENT * _ALIGNMENT)
    order = best = table + (2 + 2 * n_buffers) * 8
    smallest = -1
    for _ in range(n_orders):
        end = order + (1 + word(order, 0)) * 8
        total = _stack(offsets, sizes, order + 8, end)
        if smallest < 0 or total < smallest:
            smallest, best = total, order
        order = end
    if n_orders > 1:
        _stack(offsets, sizes, best + 8, best + (1 + word(best, 0)) * 8)
    return max(smallest, 0)
