"""Links: steps before, between and after the chained graphs that run after a program in the same compiled call."""

from __future__ import annotations

import numpy as np

from cervello.codegen.compiler import inline, noinline
from cervello.codegen.memory import call_kernel, copy_bytes, read_f32, read_i32, read_u8, word, write_i64, write_u8
from cervello.native.kernels.abi import (
    CTX_DETERMINISTIC,
    CTX_KEYS,
    CTX_LINKS,
    CTX_N_LINKS,
    CTX_SLOTS,
    CTX_STEPS,
    LINK_ALLOWED,
    LINK_BYTES,
    LINK_COPY,
    LINK_ELEMENT,
    LINK_FLAGS,
    LINK_FLOAT,
    LINK_INT8,
    LINK_KIND,
    LINK_N_SIZES,
    LINK_NOISE,
    LINK_NOISE_FILL,
    LINK_REPEAT,
    LINK_SAME,
    LINK_SIZES,
    LINK_SOURCE,
    LINK_TARGET,
    LINK_WORDS,
)
from cervello.native.kernels.runtime.execution import execute
from cervello.native.kernels.storing import copy_row


@inline
def _fill(ctx, link, target, n_rows):
    """Fills the target with noise of the agents' current steps."""
    block = link + LINK_NOISE * 8
    write_i64(block, 0, target)
    write_i64(block, 2, n_rows)
    write_i64(block, 4, word(ctx, CTX_SLOTS))
    write_i64(block, 5, word(ctx, CTX_KEYS))
    write_i64(block, 6, word(ctx, CTX_STEPS))
    write_i64(block, 9, word(ctx, CTX_DETERMINISTIC))
    call_kernel(word(link, LINK_SOURCE), block, 0)


@inline
def _allows(source, i, element, is_float):
    """Whether an element of a mask is nonzero; NaN is."""
    if element == 1:
        return read_u8(source, i) != 0
    if element == 8:
        return word(source, i) != 0
    if is_float:
        return read_f32(source, i) != np.float32(0.0)
    return read_i32(source, i) != 0


@noinline
def _allowed(link, target, source, n_rows):
    """Writes a mask as bytes of 0 and 1; returns whether every choice of every row allows an element, if checked."""
    width, element, is_float = word(link, LINK_BYTES), word(link, LINK_ELEMENT), word(link, LINK_FLOAT) != 0
    for i in range(n_rows * width):
        write_u8(target, i, np.uint8(1) if _allows(source, i, element, is_float) else np.uint8(0))
    n_sizes = word(link, LINK_N_SIZES)
    if n_sizes == 0:
        return True
    at = 0
    for _ in range(n_rows):
        for k in range(n_sizes):
            end, found = at + word(word(link, LINK_SIZES), k), 0
            while at < end:
                found |= read_u8(target, at)
                at += 1
            if found == 0:
                return False
    return True


@noinline
def _as_int8(target, source, count):
    """Casts small integers from float32 to int8."""
    for i in range(count):
        write_u8(target, i, np.uint8(np.int64(read_f32(source, i)) & 0xFF))


def follow(ctx, n_rows):
    """Runs all links in order; returns 0, or -1 if the batch must take the general path, which reports the error."""
    for k in range(word(ctx, CTX_N_LINKS)):
        link = word(ctx, CTX_LINKS) + k * LINK_WORDS * 8
        kind, to, where, row_bytes = word(link, LINK_KIND), word(link, LINK_TARGET), word(link, LINK_SOURCE), word(link, LINK_BYTES)
        if kind == LINK_SAME:
            write_i64(to, 0, word(where, 0))
        elif kind == LINK_COPY:
            copy_bytes(word(to, 0), word(where, 0), n_rows * row_bytes)
        elif kind == LINK_REPEAT:
            for i in range(n_rows):
                copy_row(word(to, 0) + i * row_bytes, word(where, 0), row_bytes)
        elif kind == LINK_NOISE_FILL:
            _fill(ctx, link, word(to, 0), n_rows)
        elif kind == LINK_FLAGS:
            flags = word(ctx, CTX_DETERMINISTIC)
            write_i64(to, 0, flags if flags != 0 else where)
        elif kind == LINK_ALLOWED:
            if not _allowed(link, word(to, 0), word(where, 0), n_rows):
                return -1
        elif kind == LINK_INT8:
            _as_int8(word(to, 0), word(where, 0), n_rows * row_bytes)
        elif execute(to, where, 0) != 0:
            return -1
    return 0
