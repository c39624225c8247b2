"""Stores wrapper state after a run: copies outputs to the rows of slabs and handles nonfinite state.

All columns are checked first, eight bytes at a time. If an element is nonfinite, rows are checked one by one; an agent's tensors are then
stored together or not at all.
"""

from __future__ import annotations

import numpy as np

from cervello.codegen.compiler import inline, noinline
from cervello.codegen.memory import copy_bytes, read_i32, read_u8, word, write_i32, write_i64
from cervello.native.kernels.abi import (
    ARG_BASE,
    ARG_HEADER,
    ARG_WORDS,
    CTX_ARGUMENTS,
    CTX_FUSED_OPS,
    CTX_N_FUSED_OPS,
    CTX_SLOTS,
    FUSED_ADDRESS,
    FUSED_CARRY,
    FUSED_COUNT,
    FUSED_ELEMENT,
    FUSED_EXPONENT,
    FUSED_GROUP,
    FUSED_INITIAL,
    FUSED_KIND,
    FUSED_ON_NONFINITE,
    FUSED_PORT,
    FUSED_ROW_BYTES,
    FUSED_WORDS,
    NONFINITE,
)

_SCATTER = 1


@inline
def copy_row(target, source, row_bytes):
    if row_bytes == 4:
        write_i32(target, 0, read_i32(source, 0))
    else:
        copy_bytes(target, source, row_bytes)


@inline
def _column(ctx, move):
    return word(word(ctx, CTX_ARGUMENTS) + (ARG_HEADER + word(move, FUSED_PORT) * ARG_WORDS) * 8, ARG_BASE)


@noinline
def _all_finite(column, n_bytes, exponent, carry):
    """Whether all elements are finite. Adding the lowest exponent bit carries into the sign bit only if all exponent bits are set."""
    found = np.int64(0)
    n_words = n_bytes >> 3
    for i in range(n_words):
        found |= (word(column, i) & exponent) + carry
    rest = np.int64(0)
    for k in range(n_bytes & 7):
        rest |= np.int64(read_u8(column, n_words * 8 + k)) << (8 * k)
    found |= (rest & exponent) + carry
    return found & (exponent + carry) == 0


@noinline
def _row_is_finite(row, row_bytes, exponent, element):
    """Whether a row is finite; it may be unaligned. An element's exponent is in its last two bytes."""
    top = (exponent >> (8 * element - 16)) & 0xFFFF
    at = element - 2
    while at < row_bytes:
        if ((np.int64(read_u8(row, at + 1)) << 8) | np.int64(read_u8(row, at))) & top == top:
            return False
        at += element
    return True


@noinline
def _look(ctx, n_rows):
    """0 if all new state is finite, 1 if some is not, -1 if the batch must be refused because of it."""
    found = 0
    for m in range(word(ctx, CTX_N_FUSED_OPS)):
        move = word(ctx, CTX_FUSED_OPS) + m * FUSED_WORDS * 8
        if word(move, FUSED_KIND) == _SCATTER and word(move, FUSED_EXPONENT) != 0:
            n_bytes = n_rows * word(move, FUSED_ROW_BYTES)
            if not _all_finite(_column(ctx, move), n_bytes, word(move, FUSED_EXPONENT), word(move, FUSED_CARRY)):
                if word(move, FUSED_ON_NONFINITE) == 2:
                    return -1
                found = 1
    return found


@noinline
def _store(ctx, n_rows):
    """slab[slots[i]] = column[i] for every stored output."""
    slots = word(ctx, CTX_SLOTS)
    for m in range(word(ctx, CTX_N_FUSED_OPS)):
        move = word(ctx, CTX_FUSED_OPS) + m * FUSED_WORDS * 8
        if word(move, FUSED_KIND) == _SCATTER:
            row_bytes, slab, column = word(move, FUSED_ROW_BYTES), word(move, FUSED_ADDRESS), _column(ctx, move)
            for i in range(n_rows):
                copy_row(slab + word(slots, i) * row_bytes, column + i * row_bytes, row_bytes)


@inline
def _state_is_finite(ctx, first, n_moves, row):
    for k in range(n_moves):
        move = first + k * FUSED_WORDS * 8
        row_bytes, exponent = word(move, FUSED_ROW_BYTES), word(move, FUSED_EXPONENT)
        if exponent != 0 and not _row_is_finite(_column(ctx, move) + row * row_bytes, row_bytes, exponent, word(move, FUSED_ELEMENT)):
            return False
    return True


@noinline
def _store_finite(ctx, n_rows):
    """Like `_store`, but agents with nonfinite state keep the last state or get the initial one, and are counted."""
    slots = word(ctx, CTX_SLOTS)
    for m in range(word(ctx, CTX_N_FUSED_OPS)):
        first = word(ctx, CTX_FUSED_OPS) + m * FUSED_WORDS * 8
        if word(first, FUSED_KIND) == _SCATTER and word(first, FUSED_GROUP) >= 0:
            n_moves, reset = max(word(first, FUSED_GROUP), 1), word(first, FUSED_ON_NONFINITE) == 1
            for i in range(n_rows):
                good = _state_is_finite(ctx, first, n_moves, i)
                if not good:
                    count = word(first, FUSED_COUNT)
                    write_i64(count, 0, word(count, 0) + 1)
                if good or reset:
                    for k in range(n_moves):
                        move = first + k * FUSED_WORDS * 8
                        row_bytes = word(move, FUSED_ROW_BYTES)
                        source = _column(ctx, move) + i * row_bytes if good else word(move, FUSED_INITIAL)
                        copy_row(word(move, FUSED_ADDRESS) + word(slots, i) * row_bytes, source, row_bytes)


def keep(ctx, n_rows):
    """Stores outputs as wrapper state; 0, NONFINITE if some state was not stored, or -1 if the batch is refused and nothing was stored."""
    found = _look(ctx, n_rows)
    if found < 0:
        return -1
    if found == 0:
        _store(ctx, n_rows)
    else:
        _store_finite(ctx, n_rows)
    return NONFINITE if found != 0 else 0
