"""Loops around blocks: up to three outer dimensions with strides; each block call processes one contiguous run.

A block is a compiled function on contiguous memory: an activation, a softmax over a row, a reduction of a row to one element. Loops and
blocks are compiled separately, so a new op compiles only its block.
"""

from __future__ import annotations

from cervello.codegen.memory import call_block, call_block_2, call_block_3
from cervello.codegen.records import reader
from cervello.native.kernels.schemas import MAP_BINARY, MAP_BINARY_ACTIVATED, MAP_TERNARY, MAP_UNARY

_unary, _binary, _binary_activated, _ternary = reader(MAP_UNARY), reader(MAP_BINARY), reader(MAP_BINARY_ACTIVATED), reader(MAP_TERNARY)


def unary(step, ctx):
    """target = block(source)."""
    w = _unary(step, ctx)
    source, target, block, count = w.source, w.target, w.block, w.count
    for i in range(w.sizes[0]):
        for j in range(w.sizes[1]):
            s = source + i * w.source_by[0] + j * w.source_by[1]
            t = target + i * w.target_by[0] + j * w.target_by[1]
            for _ in range(w.sizes[2]):
                call_block(block, t, s, count, w.parameters)
                s += w.source_by[2]
                t += w.target_by[2]
    return 0


def binary(step, ctx):
    """target = block(a, b); the first parameter of the block is the broadcast mask of a and b."""
    w = _binary(step, ctx)
    a, b, target, block, count = w.a, w.b, w.target, w.block, w.count
    for i in range(w.sizes[0]):
        for j in range(w.sizes[1]):
            x = a + i * w.a_by[0] + j * w.a_by[1]
            y = b + i * w.b_by[0] + j * w.b_by[1]
            t = target + i * w.target_by[0] + j * w.target_by[1]
            for _ in range(w.sizes[2]):
                call_block_2(block, t, x, y, count, w.parameters)
                x += w.a_by[2]
                y += w.b_by[2]
                t += w.target_by[2]
    return 0


_CHUNK = 1024  # float32 per chunk: results are in the L1 cache when the activation reads them


def binary_activated(step, ctx):
    """target = activation(block(a, b)) on float32; `mask` is the broadcast mask of a and b."""
    w = _binary_activated(step, ctx)
    a, b, target, block, count, activation = w.a, w.b, w.target, w.block, w.count, w.activation
    a_by, b_by = 0 if w.mask & 1 else 4, 0 if w.mask & 2 else 4
    for i in range(w.sizes[0]):
        for j in range(w.sizes[1]):
            x = a + i * w.a_by[0] + j * w.a_by[1]
            y = b + i * w.b_by[0] + j * w.b_by[1]
            t = target + i * w.target_by[0] + j * w.target_by[1]
            for _ in range(w.sizes[2]):
                done = 0
                while done < count:
                    some = min(_CHUNK, count - done)
                    call_block_2(block, t + done * 4, x + done * a_by, y + done * b_by, some, w.mask_at)
                    call_block(activation, t + done * 4, t + done * 4, some, w.parameters)
                    done += some
                x += w.a_by[2]
                y += w.b_by[2]
                t += w.target_by[2]
    return 0


def ternary(step, ctx):
    """target = block(a, b, c)."""
    w = _ternary(step, ctx)
    a, b, c, target, block, count = w.a, w.b, w.c, w.target, w.block, w.count
    for i in range(w.sizes[0]):
        for j in range(w.sizes[1]):
            x = a + i * w.a_by[0] + j * w.a_by[1]
            y = b + i * w.b_by[0] + j * w.b_by[1]
            z = c + i * w.c_by[0] + j * w.c_by[1]
            t = target + i * w.target_by[0] + j * w.target_by[1]
            for _ in range(w.sizes[2]):
                call_block_3(block, t, x, y, z, count, w.parameters)
                x += w.a_by[2]
                y += w.b_by[2]
                z += w.c_by[2]
                t += w.target_by[2]
    return 0
