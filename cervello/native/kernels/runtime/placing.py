"""Where buffers lie for one N: piles settle, and the lowest counts. See `cervello.native.memory.arena_plan`."""

from __future__ import annotations

from cervello.codegen.compiler import noinline
from cervello.codegen.memory import word, write_i64

_ALIGNMENT = 64


@noinline
def _resolve_offsets(places, sizes, pile, end):
    """Puts every buffer of a pile on the highest of those beneath it; the bytes they take in all."""
    total = 0
    while pile < end:
        buffer, count = word(pile, 0), word(pile, 1)
        offset = 0
        for k in range(count):
            below = word(pile, 2 + k)
            offset = max(offset, word(places, below + 1) + word(sizes, below))
        write_i64(places, buffer + 1, offset)
        total = max(total, offset + word(sizes, buffer))
        pile += (2 + count) * 8
    return total


def place(places, table, n_rows):
    """Offsets of all buffers for one N, after a zero for operands that lie elsewhere; the arena's bytes.

    Args:
      places: room for 1 + 2 B words, B buffers: the zero, the offsets, and sizes.
      table: B, the number of piles, (const, slope) of each size, and each pile: its words, then by buffer from the bottom up
        (buffer, how many are beneath it, those).
    """
    n_buffers, n_piles = word(table, 0), word(table, 1)
    sizes = places + (n_buffers + 1) * 8
    write_i64(places, 0, 0)
    for i in range(n_buffers):
        n_bytes = word(table, 2 + 2 * i) + word(table, 3 + 2 * i) * n_rows
        write_i64(sizes, i, (n_bytes + _ALIGNMENT - 1) // _ALIGNMENT * _ALIGNMENT)
    pile = best = table + (2 + 2 * n_buffers) * 8
    least = -1
    for _ in range(n_piles):
        end = pile + (1 + word(pile, 0)) * 8
        total = _resolve_offsets(places, sizes, pile + 8, end)
        if least < 0 or total < least:
            least, best = total, pile
        pile = end
    if n_piles > 1:
        _resolve_offsets(places, sizes, best + 8, best + (1 + word(best, 0)) * 8)
    return max(least, 0)
