"""Strided copies (Transpose, Slice, Concat, Expand, Pad), fills, and Gather along an axis."""

from __future__ import annotations

from cervello.codegen.compiler import inline
from cervello.codegen.memory import copy_bytes, read_i32, read_i64, read_u8, write_i32, write_i64, write_u8
from cervello.codegen.records import reader, view
from cervello.native.kernels.schemas import COPY, COPY_DEEP, COPY_LOOP, FILL, GATHER

_copy, _copy_deep, _loop, _fill, _gather = reader(COPY), reader(COPY_DEEP), view(COPY_LOOP), reader(FILL), reader(GATHER)
_LOOP_BYTES = COPY_LOOP.n_bytes


@inline
def _run(target, target_stride, source, source_stride, count, itemsize):
    """Copies `count` elements; strides are in bytes."""
    if source_stride == itemsize and target_stride == itemsize:
        if itemsize == 4 and count <= 32:  # short rows: a loop is faster than a library call
            for i in range(count):
                write_i32(target, i, read_i32(source, i))
        else:
            copy_bytes(target, source, count * itemsize)
    elif itemsize == 4:
        for i in range(count):
            write_i32(target + i * target_stride, 0, read_i32(source + i * source_stride, 0))
    elif itemsize == 8:
        for i in range(count):
            write_i64(target + i * target_stride, 0, read_i64(source + i * source_stride, 0))
    else:
        for i in range(count):
            for k in range(itemsize):
                write_u8(target + i * target_stride, k, read_u8(source + i * source_stride, k))


@inline
def copy_strided(source, target, w):
    """Copies elements in five nested loops; w: words of a copy kernel, see `schemas._COPY`."""
    itemsize, count = w.itemsize, w.sizes[4]
    for i in range(w.sizes[0]):
        for j in range(w.sizes[1]):
            for k in range(w.sizes[2]):
                s = source + i * w.source_by[0] + j * w.source_by[1] + k * w.source_by[2]
                t = target + i * w.target_by[0] + j * w.target_by[1] + k * w.target_by[2]
                for _ in range(w.sizes[3]):
                    _run(t, w.target_by[4], s, w.source_by[4], count, itemsize)
                    s += w.source_by[3]
                    t += w.target_by[3]


def copy(step, ctx):
    w = _copy(step, ctx)
    copy_strided(w.source, w.target, w)
    return 0


def copy_deep(step, ctx):
    """A copy with more than five nested loops."""
    w = _copy_deep(step, ctx)
    source, target = w.source, w.target
    times = 1
    for d in range(w.outer):
        times *= _loop(w.loops + d * _LOOP_BYTES).size
    for iteration in range(times):
        rest, s, t = iteration, source, target
        for d in range(w.outer):
            loop = _loop(w.loops + d * _LOOP_BYTES)
            size = loop.size
            s += rest % size * loop.source_by
            t += rest % size * loop.target_by
            rest //= size
        copy_strided(s, t, w)
    return 0


def fill(step, ctx):
    """Fills contiguous elements of 1, 2, 4 or 8 bytes with one value."""
    w = _fill(step, ctx)
    target, itemsize, count, bits = w.target, w.itemsize, w.count, w.element
    for i in range(count):
        if itemsize == 4:
            write_i32(target, i, bits)
        elif itemsize == 8:
            write_i64(target, i, bits)
        elif itemsize == 2:
            write_u8(target, 2 * i, bits & 255)
            write_u8(target, 2 * i + 1, bits >> 8 & 255)
        else:
            write_u8(target, i, bits)
    return 0


@inline
def index_at(address, n_bytes, size):
    """Reads an int64 or int32 index into an axis of `size` elements; negative indices count from the end. -1 if it is out of range."""
    index = read_i64(address, 0) if n_bytes == 8 else read_i32(address, 0) + 0
    if index < 0:
        index += size
    return index if index >= 0 and index < size else -1


def gather(step, ctx):
    """Copies `count` rows of `inner` bytes from each of `outer` tables, by index.

    Negative indices count from the end; an index out of range fails with status 1.
    """
    w = _gather(step, ctx)
    source, indices, target = w.table, w.indices, w.target
    count, inner, rows, itemsize, outer = w.count, w.inner, w.size, w.index_bytes, w.outer
    for o in range(outer):
        for i in range(count):
            index = index_at(indices + i * itemsize, itemsize, rows)
            if index < 0:
                return 1
            copy_bytes(target + (o * count + i) * inner, source + (o * rows + index) * inner, inner)
    return 0
