"""Picking and placing elements by computed indices: GatherElements, GatherND, ScatterElements, ScatterND, TopK.

A negative index counts from the end; one outside fails with status 1, before or after other elements were written.
"""

from __future__ import annotations

import numpy as np

from cervello.codegen.compiler import inline, noinline
from cervello.codegen.memory import copy_bytes, read_f32, read_i32, read_i64, word, write_f32, write_i32, write_i64

_F = np.float32


@inline
def _index(address, itemsize):
    return read_i64(address, 0) if itemsize == 8 else read_i32(address, 0) + 0


@inline
def _move(target, source, n_bytes):
    if n_bytes == 4:
        write_i32(target, 0, read_i32(source, 0))
    elif n_bytes == 8:
        write_i64(target, 0, read_i64(source, 0))
    else:
        copy_bytes(target, source, n_bytes)


@inline
def _combined(old, new, mode):  # NaN wins from either side
    if mode == 1:
        return old + new
    if mode == 2:
        return old * new
    if mode == 3:
        return old if old != old or old > new else new
    return old if old != old or old < new else new


@noinline
def _put(target, source, n_bytes, mode, kind):
    """Writes a block of elements, or combines it with what is there; mode 0: write; kind 0: float32, 1: int64, 2: int32."""
    if mode == 0:
        _move(target, source, n_bytes)
    elif kind == 0:
        for i in range(n_bytes // 4):
            write_f32(target, i, _combined(read_f32(target, i), read_f32(source, i), mode))
    elif kind == 1:
        for i in range(n_bytes // 8):
            write_i64(target, i, _combined(read_i64(target, i), read_i64(source, i), mode))
    else:
        for i in range(n_bytes // 4):
            write_i32(target, i, np.int32(_combined(read_i32(target, i), read_i32(source, i), mode)))
    return 0


@noinline
def _elements(step, named, indices, other, mode, kind):
    """Walks over all indices; each names an element of `named`, which is moved to `other` when the mode is below 0, else put from there.

    Words from 8: itemsize, index itemsize, axis size, axis stride, 5 sizes, 5 strides each of named (0 on the axis), indices, other.
    """
    itemsize, index_bytes, size, stride = word(step, 8), word(step, 9), word(step, 10), word(step, 11)
    for i in range(word(step, 12)):
        for j in range(word(step, 13)):
            for k in range(word(step, 14)):
                for m in range(word(step, 15)):
                    d = named + i * word(step, 17) + j * word(step, 18) + k * word(step, 19) + m * word(step, 20)
                    x = indices + i * word(step, 22) + j * word(step, 23) + k * word(step, 24) + m * word(step, 25)
                    t = other + i * word(step, 27) + j * word(step, 28) + k * word(step, 29) + m * word(step, 30)
                    for _ in range(word(step, 16)):
                        at = _index(x, index_bytes)
                        if at < 0:
                            at += size
                        if at < 0 or at >= size:
                            return 1
                        if mode < 0:
                            _move(t, d + at * stride, itemsize)
                        else:
                            _put(d + at * stride, t, itemsize, mode, kind)
                        d += word(step, 21)
                        x += word(step, 26)
                        t += word(step, 31)
    return 0


@inline
def _operand(step, ctx, i):
    return word(ctx, word(step, 2 + 2 * i)) + word(step, 3 + 2 * i)


def gather_elements(step, ctx):
    """Words: data, indices, target; see `_elements`."""
    return _elements(step, _operand(step, ctx, 0), _operand(step, ctx, 1), _operand(step, ctx, 2), -1, 0)


def scatter_elements(step, ctx):
    """Words: updates, indices, target, which holds the data already; see `_elements`; mode, kind."""
    return _elements(step, _operand(step, ctx, 2), _operand(step, ctx, 1), _operand(step, ctx, 0), word(step, 32), word(step, 33))


@inline
def _offset(indices, depth, index_bytes, sizes, strides):
    """Bytes to the block that a tuple of indices names; -1 when it is outside."""
    offset = 0
    for q in range(depth):
        at = _index(indices + q * index_bytes, index_bytes)
        if at < 0:
            at += word(sizes, q)
        if at < 0 or at >= word(sizes, q):
            return -1
        offset += at * word(strides, q)
    return offset


@noinline
def _blocks(step, named, indices, other, mode, kind):
    """Walks over all tuples of indices; each names a block of `named`, moved to `other` when the mode is below 0, else put from there.

    Words from 8: batches, tuples per batch, depth, index itemsize, block bytes, bytes of a batch of `named`, 5 sizes, 5 strides of the
    indexed axes.
    """
    tuples, depth, index_bytes, block, batch = word(step, 9), word(step, 10), word(step, 11), word(step, 12), word(step, 13)
    for _ in range(word(step, 8)):
        for _ in range(tuples):
            offset = _offset(indices, depth, index_bytes, step + 14 * 8, step + 19 * 8)
            if offset < 0:
                return 1
            if mode < 0:
                copy_bytes(other, named + offset, block)
            else:
                _put(named + offset, other, block, mode, kind)
            indices += depth * index_bytes
            other += block
        named += batch
    return 0


def gather_nd(step, ctx):
    """Words: data, indices, target; see `_blocks`."""
    return _blocks(step, _operand(step, ctx, 0), _operand(step, ctx, 1), _operand(step, ctx, 2), -1, 0)


def scatter_nd(step, ctx):
    """Words: updates, indices, target, which holds the data already; see `_blocks`; mode, kind."""
    return _blocks(step, _operand(step, ctx, 2), _operand(step, ctx, 1), _operand(step, ctx, 0), word(step, 24), word(step, 25))


@inline
def _before(a, b, largest):
    """Whether a comes before b; NaN is the largest of all."""
    if a != a or b != b:
        return (b == b) if largest else (a == a)
    return a > b if largest else a < b


def top_k(step, ctx):
    """Words: source [rows, n], values [rows, k], places [rows, k] int64; rows, n, k, largest. Sorted; of equals the first comes first."""
    source = word(ctx, word(step, 2)) + word(step, 3)
    values = word(ctx, word(step, 4)) + word(step, 5)
    places = word(ctx, word(step, 6)) + word(step, 7)
    n, k, largest = word(step, 9), word(step, 10), word(step, 11) != 0
    for _ in range(word(step, 8)):
        kept = 0
        for i in range(n):
            x = read_f32(source, i)
            if kept == k and (k == 0 or not _before(x, read_f32(values, k - 1), largest)):
                continue
            at = kept if kept < k else k - 1
            while at > 0 and _before(x, read_f32(values, at - 1), largest):
                write_f32(values, at, read_f32(values, at - 1))
                write_i64(places, at, read_i64(places, at - 1))
                at -= 1
            write_f32(values, at, x)
            write_i64(places, at, i)
            kept = min(kept + 1, k)
        source += n * 4
        values += k * 4
        places += k * 8
    return 0
