"""The compiled argument check: checks the caller's arrays and calls the kernel without a Python call.

Arguments that need conversion (a subclass, another dtype, a wrong shape, a slot out of range) return status 1 and change nothing;
Python then converts them or raises the error. `layout` determines whether this file may be used. The context is CHECK of `words`.
"""

from __future__ import annotations

from cervello.codegen.compiler import inline
from cervello.codegen.memory import call_kernel, read_f64, read_i32, read_i64
from cervello.codegen.records import view
from cervello.noise.arrays import is_array
from cervello.noise.kernels import Derive, Fill
from cervello.noise.lane_ops import stack_words
from cervello.noise.layout import DATA, FLOAT_VALUE, RANK, READABLE, SHAPE, STRIDES, TYPE, WRITEABLE
from cervello.noise.words import CHECK, DERIVE, FILL

_WRITEABLE = READABLE | WRITEABLE
_FILL_WORDS, _DERIVE_WORDS = FILL.n_words, DERIVE.n_words
Check = view(CHECK)


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
        is_array(thing, Check(context).array_type, dtype, 1, READABLE)
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
    check = Check(context)
    kernel = read_i64(check.kernels_at, kind)
    if kernel == 0:
        return 2
    if not is_array(out, check.array_type, check.float32, 2, _WRITEABLE):
        return 1
    n, width, row_stride = _shape(out, 0), _shape(out, 1), _stride(out, 0)
    if _stride(out, 1) != 4 and width > 1:
        return 1
    if not _is_column(slots, context, check.int64, n, 8) or read_i64(scale + TYPE, 0) != check.float_type:
        return 1
    zeroed = 0
    if deterministic != check.none:
        if not _is_column(deterministic, context, check.bool, n, 1):
            return 1
        zeroed = read_i64(deterministic + DATA, 0)
    slots = read_i64(slots + DATA, 0)
    if site < 0 or site >> 32 != 0 or not _are_slots(slots, n, check.capacity):
        return 1
    block = stack_words(_FILL_WORDS)
    w = Fill(block)
    w.out, w.row_stride, w.n_rows, w.width = read_i64(out + DATA, 0), row_stride, n, width
    w.slots, w.keys, w.steps, w.site = slots, check.keys, check.steps, site
    w.scale, w.deterministic = read_f64(scale + FLOAT_VALUE, 0), zeroed
    return call_kernel(kernel, block, 0)


@inline
def _numbers(thing: int, context: int, n: int) -> bool:
    return _is_column(thing, context, Check(context).int64, n, 8) or _is_column(thing, context, Check(context).uint64, n, 8)


def derive(context: int, seed: int, unused: int, objects: int, count: int) -> int:
    """Derives keys of (numbers, streams, episodes, slots, keys). Returns 0 if done, 1 if Python must check."""
    check = Check(context)
    slots, keys = read_i64(objects, 3), read_i64(objects, 4)
    if not is_array(keys, check.array_type, check.uint64, 2, _WRITEABLE):
        return 1
    if _shape(keys, 1) != 2 or _stride(keys, 1) != 8 or (_stride(keys, 0) != 16 and _shape(keys, 0) > 1):
        return 1
    if read_i64(slots + TYPE, 0) != check.array_type or read_i32(slots + RANK, 0) != 1:
        return 1
    n = _shape(slots, 0)
    if not _is_column(slots, context, check.int64, n, 8):
        return 1
    for i in range(3):
        if not _numbers(read_i64(objects, i), context, n):
            return 1
    if not _are_slots(read_i64(slots + DATA, 0), n, _shape(keys, 0)):
        return 1
    block = stack_words(_DERIVE_WORDS)
    w = Derive(block)
    w.seed, w.numbers = seed, read_i64(read_i64(objects, 0) + DATA, 0)
    w.streams, w.episodes = read_i64(read_i64(objects, 1) + DATA, 0), read_i64(read_i64(objects, 2) + DATA, 0)
    w.slots, w.n, w.keys = read_i64(slots + DATA, 0), n, read_i64(keys + DATA, 0)
    return call_kernel(check.kernels[0], block, 0)
