"""Links: steps before, between and after the chained graphs, which run after a program in the same compiled call."""

from __future__ import annotations

import numpy as np

from cervello.codegen.compiler import inline, noinline
from cervello.codegen.memory import copy_bytes, copy_row, read_f32, read_i32, read_u8, word, write_i64, write_u8
from cervello.native.kernels.abi import (
    LINK_ALIAS,
    LINK_COPY,
    LINK_FLAGS,
    LINK_INT8,
    LINK_MASK,
    LINK_NOISE_FILL,
    LINK_REPEAT,
    LINK_WORDS,
)
from cervello.native.kernels.random import fill_rows
from cervello.native.kernels.runtime.execution import execute
from cervello.native.kernels.views import Context, Link, Mask

_LINK_BYTES = LINK_WORDS * 8


@inline
def _is_nonzero(source, i, element, is_float):
    """Whether an element of a mask is nonzero; true for NaN."""
    if element == 1:
        return read_u8(source, i) != 0
    if element == 8:
        return word(source, i) != 0
    if is_float:
        return read_f32(source, i) != np.float32(0.0)
    return read_i32(source, i) != 0


@noinline
def _convert_mask(link, target, source, n_rows):
    """Writes a mask as bytes of 0 and 1. Returns False if choices are checked and one of a row allows no element."""
    width, mask = Link(link).row_bytes, Mask(Link(link).settings)
    element, is_float = mask.element, mask.is_float != 0
    for i in range(n_rows * width):
        write_u8(target, i, np.uint8(1) if _is_nonzero(source, i, element, is_float) else np.uint8(0))
    n_sizes = mask.n_sizes
    if n_sizes == 0:
        return True
    at = 0
    for _ in range(n_rows):
        for k in range(n_sizes):
            end, found = at + word(mask.sizes, k), 0
            while at < end:
                found |= read_u8(target, at)
                at += 1
            if found == 0:
                return False
    return True


@noinline
def _as_int8(target, source, count):
    """Casts integral float32 in the range of int8 to int8."""
    for i in range(count):
        write_u8(target, i, np.uint8(np.int64(read_f32(source, i)) & 0xFF))


def run_links(ctx, n_rows):
    """Runs all links in order; returns 0, or -1 if the batch must take the general path, which reports the error."""
    context = Context(ctx)
    for k in range(context.n_links):
        at = context.links + k * _LINK_BYTES
        link = Link(at)
        kind, target, source, row_bytes = link.kind, link.target, link.source, link.row_bytes
        if kind == LINK_ALIAS:
            write_i64(target, 0, word(source, 0))
        elif kind == LINK_COPY:
            copy_bytes(word(target, 0), word(source, 0), n_rows * row_bytes)
        elif kind == LINK_REPEAT:
            for i in range(n_rows):
                copy_row(word(target, 0) + i * row_bytes, word(source, 0), row_bytes)
        elif kind == LINK_NOISE_FILL:
            fill_rows(ctx, source, link.settings, word(target, 0), n_rows, 0)
        elif kind == LINK_FLAGS:
            flags = context.deterministic
            write_i64(target, 0, flags if flags != 0 else source)
        elif kind == LINK_MASK:
            if not _convert_mask(at, word(target, 0), word(source, 0), n_rows):
                return -1
        elif kind == LINK_INT8:
            _as_int8(word(target, 0), word(source, 0), n_rows * row_bytes)
        elif execute(target, source, 0) != 0:
            return -1
    return 0
