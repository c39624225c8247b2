"""Stores wrapper state after a run: copies outputs to the rows of slabs and handles nonfinite state.

All columns are checked first, eight bytes at a time. If an element is nonfinite, rows are checked one by one; either all tensors of an
agent are stored, or none.
"""

from __future__ import annotations

import numpy as np

from cervello.codegen.compiler import inline, noinline
from cervello.codegen.memory import copy_row, read_u8, word, write_i64
from cervello.native.kernels.abi import FUSED_SCATTER, FUSED_WORDS, NONFINITE
from cervello.native.kernels.views import Context, FusedOp, Scatter, column, fused_op

_OP_BYTES = FUSED_WORDS * 8


@noinline
def _all_finite(column, n_bytes, exponent, carry):
    """Whether all elements are finite. Adding the lowest exponent bit carries into the sign bit only if all exponent bits are set."""
    status = np.int64(0)
    n_words = n_bytes >> 3
    for i in range(n_words):
        status |= (word(column, i) & exponent) + carry
    rest = np.int64(0)
    for k in range(n_bytes & 7):
        rest |= np.int64(read_u8(column, n_words * 8 + k)) << (8 * k)
    status |= (rest & exponent) + carry
    return status & (exponent + carry) == 0


@noinline
def _row_is_finite(row, row_bytes, exponent, element):
    """Whether a row is finite; it may be unaligned. The exponent of an element is in its last two bytes."""
    top = (exponent >> (8 * element - 16)) & 0xFFFF
    at = element - 2
    while at < row_bytes:
        if ((np.int64(read_u8(row, at + 1)) << 8) | np.int64(read_u8(row, at))) & top == top:
            return False
        at += element
    return True


@noinline
def _check_state(ctx, n_rows):
    """0 if all new state is finite, 1 if some is not, -1 if the batch must therefore be refused."""
    status = 0
    for m in range(Context(ctx).n_fused_ops):
        at = fused_op(ctx, m)
        op = FusedOp(at)
        scatter = Scatter(op.settings)
        if op.kind != FUSED_SCATTER or scatter.exponent == 0:
            continue
        if not _all_finite(column(ctx, at), n_rows * op.row_bytes, scatter.exponent, scatter.carry):
            if scatter.on_nonfinite == 2:
                return -1
            status = 1
    return status


@noinline
def _store(ctx, n_rows):
    """slab[slots[i]] = column[i] for every stored output."""
    slots = Context(ctx).slots
    for m in range(Context(ctx).n_fused_ops):
        at = fused_op(ctx, m)
        op = FusedOp(at)
        if op.kind == FUSED_SCATTER:
            row_bytes, slab, source = op.row_bytes, op.address, column(ctx, at)
            for i in range(n_rows):
                copy_row(slab + word(slots, i) * row_bytes, source + i * row_bytes, row_bytes)


@inline
def _state_is_finite(ctx, first, n_ops, row):
    for k in range(n_ops):
        at = first + k * _OP_BYTES
        op = FusedOp(at)
        scatter, row_bytes = Scatter(op.settings), op.row_bytes
        if scatter.exponent != 0 and not _row_is_finite(column(ctx, at) + row * row_bytes, row_bytes, scatter.exponent, scatter.element):
            return False
    return True


@noinline
def _store_finite(ctx, n_rows):
    """Like `_store`, but agents with nonfinite state keep the last state or get the initial one, and are counted."""
    slots = Context(ctx).slots
    for m in range(Context(ctx).n_fused_ops):
        first = fused_op(ctx, m)
        group = Scatter(FusedOp(first).settings)
        if FusedOp(first).kind == FUSED_SCATTER and group.group >= 0:
            n_ops, reset = max(group.group, 1), group.on_nonfinite == 1
            for i in range(n_rows):
                is_finite = _state_is_finite(ctx, first, n_ops, i)
                if not is_finite:
                    count = group.count
                    write_i64(count, 0, word(count, 0) + 1)
                if is_finite or reset:
                    for k in range(n_ops):
                        at = first + k * _OP_BYTES
                        op = FusedOp(at)
                        row_bytes = op.row_bytes
                        source = column(ctx, at) + i * row_bytes if is_finite else Scatter(op.settings).initial
                        copy_row(op.address + word(slots, i) * row_bytes, source, row_bytes)


def store_state(ctx, n_rows):
    """Stores wrapper state. Returns 0, NONFINITE if some state was not stored, or -1 if the batch is refused; nothing is stored then."""
    status = _check_state(ctx, n_rows)
    if status < 0:
        return -1
    if status == 0:
        _store(ctx, n_rows)
    else:
        _store_finite(ctx, n_rows)
    return NONFINITE if status != 0 else 0
