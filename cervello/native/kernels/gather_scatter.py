"""Gather and scatter by computed indices: GatherElements, GatherND, ScatterElements, ScatterND, TopK.

Negative indices count from the end. An index out of range fails with status 1; other elements may have been written.
"""

from __future__ import annotations

import numpy as np

from cervello.codegen.compiler import inline, noinline
from cervello.codegen.memory import copy_bytes, read_f32, read_i32, read_i64, word, write_f32, write_i32, write_i64
from cervello.codegen.records import reader
from cervello.native.kernels.copies import index_at
from cervello.native.kernels.schemas import GATHER_ELEMENTS, GATHER_ND, SCATTER_ELEMENTS, SCATTER_ND, TOP_K

_gather_elements, _scatter_elements = reader(GATHER_ELEMENTS), reader(SCATTER_ELEMENTS)
_gather_nd, _scatter_nd, _top_k = reader(GATHER_ND), reader(SCATTER_ND), reader(TOP_K)


@inline
def _copy_element(target, source, n_bytes):
    if n_bytes == 4:
        write_i32(target, 0, read_i32(source, 0))
    elif n_bytes == 8:
        write_i64(target, 0, read_i64(source, 0))
    else:
        copy_bytes(target, source, n_bytes)


@inline
def _reduce(old, new, mode):  # a NaN in either operand gives NaN
    if mode == 1:
        return old + new
    if mode == 2:
        return old * new
    if mode == 3:
        return old if old != old or old > new else new
    return old if old != old or old < new else new


@noinline
def _write(target, source, n_bytes, mode, kind):
    """Writes a block of elements, or reduces it into the target, by `mode` and `kind` of `schemas`."""
    if mode == 0:
        _copy_element(target, source, n_bytes)
    elif kind == 0:
        for i in range(n_bytes // 4):
            write_f32(target, i, _reduce(read_f32(target, i), read_f32(source, i), mode))
    elif kind == 1:
        for i in range(n_bytes // 8):
            write_i64(target, i, _reduce(read_i64(target, i), read_i64(source, i), mode))
    else:
        for i in range(n_bytes // 4):
            write_i32(target, i, np.int32(_reduce(read_i32(target, i), read_i32(source, i), mode)))
    return 0


@noinline
def _elements(w, data, indices, values, mode, kind):
    """For all indices into `data`: with a mode below 0, copies the element to `values`; otherwise writes the element of `values` to it."""
    itemsize, index_bytes, size, stride = w.itemsize, w.index_bytes, w.size, w.axis_by
    for i in range(w.sizes[0]):
        for j in range(w.sizes[1]):
            for k in range(w.sizes[2]):
                for m in range(w.sizes[3]):
                    d = data + i * w.data_by[0] + j * w.data_by[1] + k * w.data_by[2] + m * w.data_by[3]
                    x = indices + i * w.indices_by[0] + j * w.indices_by[1] + k * w.indices_by[2] + m * w.indices_by[3]
                    t = values + i * w.values_by[0] + j * w.values_by[1] + k * w.values_by[2] + m * w.values_by[3]
                    for _ in range(w.sizes[4]):
                        at = index_at(x, index_bytes, size)
                        if at < 0:
                            return 1
                        if mode < 0:
                            _copy_element(t, d + at * stride, itemsize)
                        else:
                            _write(d + at * stride, t, itemsize, mode, kind)
                        d += w.data_by[4]
                        x += w.indices_by[4]
                        t += w.values_by[4]
    return 0


def gather_elements(step, ctx):
    w = _gather_elements(step, ctx)
    return _elements(w, w.data, w.indices, w.target, -1, 0)


def scatter_elements(step, ctx):
    """Scatters into the target, which already holds the data."""
    w = _scatter_elements(step, ctx)
    return _elements(w, w.target, w.indices, w.updates, w.mode, w.kind)


@inline
def _offset(indices, depth, index_bytes, sizes, strides):
    """The byte offset of the block at an index tuple; -1 if an index is out of range."""
    offset = 0
    for q in range(depth):
        at = index_at(indices + q * index_bytes, index_bytes, word(sizes, q))
        if at < 0:
            return -1
        offset += at * word(strides, q)
    return offset


@noinline
def _blocks(w, data, indices, values, mode, kind):
    """For all index tuples into `data`: with a mode below 0, copies the block to `values`; otherwise writes the block of `values` to it."""
    tuples, depth, index_bytes, block, batch = w.tuples, w.depth, w.index_bytes, w.block, w.batch_by
    for _ in range(w.batches):
        for _ in range(tuples):
            offset = _offset(indices, depth, index_bytes, w.sizes_at, w.strides_at)
            if offset < 0:
                return 1
            if mode < 0:
                copy_bytes(values, data + offset, block)
            else:
                _write(data + offset, values, block, mode, kind)
            indices += depth * index_bytes
            values += block
        data += batch
    return 0


def gather_nd(step, ctx):
    w = _gather_nd(step, ctx)
    return _blocks(w, w.data, w.indices, w.target, -1, 0)


def scatter_nd(step, ctx):
    """Scatters into the target, which already holds the data."""
    w = _scatter_nd(step, ctx)
    return _blocks(w, w.target, w.indices, w.updates, w.mode, w.kind)


@inline
def _precedes(a, b, largest):
    """Whether a comes before b in the order of TopK; NaN is larger than any number."""
    if a != a or b != b:
        return (b == b) if largest else (a == a)
    return a > b if largest else a < b


def top_k(step, ctx):
    """source [rows, n] to values [rows, k] and indices [rows, k] int64, sorted by value; equal elements in order of their indices."""
    w = _top_k(step, ctx)
    source, values, indices, n, k, largest = w.source, w.values, w.indices, w.n, w.k, w.largest != 0
    for _ in range(w.rows):
        n_kept = 0
        for i in range(n):
            x = read_f32(source, i)
            if n_kept == k and (k == 0 or not _precedes(x, read_f32(values, k - 1), largest)):
                continue
            at = n_kept if n_kept < k else k - 1
            while at > 0 and _precedes(x, read_f32(values, at - 1), largest):
                write_f32(values, at, read_f32(values, at - 1))
                write_i64(indices, at, read_i64(indices, at - 1))
                at -= 1
            write_f32(values, at, x)
            write_i64(indices, at, i)
            n_kept = min(n_kept + 1, k)
        source += n * 4
        values += k * 4
        indices += k * 8
    return 0
