"""The compiled argument check: checks the caller's arrays and calls the kernel without a Python call.

Arguments that need conversion (a subclass, another dtype, a wrong shape, a slot out of range) return status 1 and change nothing;
Python then converts them or raises the error. `layout` determines whether this file may be used.

The context, int64 words, mostly addresses of Python objects:

    0 ndarray type   1 dtype float32   2 dtype int64   3 dtype uint64   4 dtype bool   5 float type   6 None
    7 keys           8 steps           9 capacity      10 + kind: kernels, 0 until linked
"""

from __future__ import annotations

from cervello.codegen.compiler import inline
from cervello.codegen.memory import call_kernel, read_i32, read_i64, write_i64
from cervello.noise.lane_ops import stack_words
from cervello.noise.layout import DATA, DTYPE, FLAGS, FLOAT_VALUE, RANK, READABLE, SHAPE, STRIDES, TYPE, WRITEABLE

_WRITEABLE = READABLE | WRITEABLE


@inline
def _is_array(thing: int, array_type: int, dtype: int, rank: int, flags: int) -> bool:
    return (
        read_i64(thing + TYPE, 0) == array_type
        and read_i64(thing + DTYPE, 0) == dtype
        and read_i32(thing + RANK, 0) == rank
        and (read_i32(thing + FLAGS, 0) & flags) == flags
    )


@inline
def _shape(thing: int, axis: int) -> int:
    return read_i64(read_i64(thing + SHAPE, 0), axis)


@inline
def _stride(thing: int, axis: int) -> int:
    return read_i64(read_i64(thing + STRIDES, 0), axis)


@inline
def _is_column(thing: int, context: int, dtype: int, n: int, item_bytes: int) -> bool:
    """Whether this is a contiguous vector of n items."""
    return (
        _is_array(thing, read_i64(context, 0), dtype, 1, READABLE)
        and _shape(thing, 0) == n
        and (_stride(thing, 0) == item_bytes or n < 2)
    )


@inline
def _are_slots(slots: int, n: int, capacity: int) -> bool:
    outside = 0
    for row in range(n):
        slot = read_i64(slots, row)
        outside |= slot | (capacity - 1 - slot)
    return outside >= 0


def fill(context: int, kind: int, site: int, objects: int, count: int) -> int:
    """Fills (out, slots, scale, deterministic or None). Returns 0 if done, 1 if Python must check, 2 if the kernel is not linked."""
    out, slots = read_i64(objects, 0), read_i64(objects, 1)
    scale, deterministic = read_i64(objects, 2), read_i64(objects, 3)
    kernel = read_i64(context, 10 + kind)
    if kernel == 0:
        return 2
    if not _is_array(out, read_i64(context, 0), read_i64(context, 1), 2, _WRITEABLE):
        return 1
    n, width, row_stride = _shape(out, 0), _shape(out, 1), _stride(out, 0)
    if _stride(out, 1) != 4 and width > 1:
        return 1
    if not _is_column(slots, context, read_i64(context, 2), n, 8) or read_i64(scale + TYPE, 0) != read_i64(context, 5):
        return 1
    zeroed = 0
    if deterministic != read_i64(context, 6):
        if not _is_column(deterministic, context, read_i64(context, 4), n, 1):
            return 1
        zeroed = read_i64(deterministic + DATA, 0)
    slots = read_i64(slots + DATA, 0)
    if site < 0 or site >> 32 != 0 or not _are_slots(slots, n, read_i64(context, 9)):
        return 1
    block = stack_words(10)
    write_i64(block, 0, read_i64(out + DATA, 0))
    write_i64(block, 1, row_stride)
    write_i64(block, 2, n)
    write_i64(block, 3, width)
    write_i64(block, 4, slots)
    write_i64(block, 5, read_i64(context, 7))
    write_i64(block, 6, read_i64(context, 8))
    write_i64(block, 7, site)
    write_i64(block, 8, read_i64(scale + FLOAT_VALUE, 0))
    write_i64(block, 9, zeroed)
    return call_kernel(kernel, block, 0)


@inline
def _numbers(thing: int, context: int, n: int) -> bool:
    signed, unsigned = read_i64(context, 2), read_i64(context, 3)
    return _is_column(thing, context, signed, n, 8) or _is_column(thing, context, unsigned, n, 8)


def derive(context: int, seed: int, unused: int, objects: int, count: int) -> int:
    """Derives keys of (numbers, streams, episodes, slots, keys). Returns 0 if done, 1 if Python must check."""
    slots, keys = read_i64(objects, 3), read_i64(objects, 4)
    if not _is_array(keys, read_i64(context, 0), read_i64(context, 3), 2, _WRITEABLE):
        return 1
    if _shape(keys, 1) != 2 or _stride(keys, 1) != 8 or (_stride(keys, 0) != 16 and _shape(keys, 0) > 1):
        return 1
    if read_i64(slots + TYPE, 0) != read_i64(context, 0) or read_i32(slots + RANK, 0) != 1:
        return 1
    n = _shape(slots, 0)
    if not _is_column(slots, context, read_i64(context, 2), n, 8):
        return 1
    block = stack_words(7)
    for i in range(3):
        column = read_i64(objects, i)
        if not _numbers(column, context, n):
            return 1
        write_i64(block, 1 + i, read_i64(column + DATA, 0))
    if not _are_slots(read_i64(slots + DATA, 0), n, _shape(keys, 0)):
        return 1
    write_i64(block, 0, seed)
    write_i64(block, 4, read_i64(slots + DATA, 0))
    write_i64(block, 5, n)
    write_i64(block, 6, read_i64(keys + DATA, 0))
    return call_kernel(read_i64(context, 10), block, 0)
