"""Loops around blocks: up to three outer dimensions with strides of their own, then one contiguous run handed to a block.

A block is a compiled function on contiguous memory: an activation, a softmax over a row, a reduction of a row to one element.
Keeping loop and block apart means that a new op compiles only its block.
"""

from __future__ import annotations

from cervello.codegen.memory import call_block, call_block_2, call_block_3, word


def map1(step, ctx):
    """Words: source, target; block, count, 3 sizes, 3 source strides, 3 target strides, parameters."""
    source = word(ctx, word(step, 2)) + word(step, 3)
    target = word(ctx, word(step, 4)) + word(step, 5)
    block, count, parameters = word(step, 6), word(step, 7), step + 17 * 8
    for i in range(word(step, 8)):
        for j in range(word(step, 9)):
            s = source + i * word(step, 11) + j * word(step, 12)
            t = target + i * word(step, 14) + j * word(step, 15)
            for _ in range(word(step, 10)):
                call_block(block, t, s, count, parameters)
                s += word(step, 13)
                t += word(step, 16)
    return 0


def map2(step, ctx):
    """Words: a, b, target; block, count, 3 sizes, 3 strides each of a, b, target, parameters (the first: how a and b advance)."""
    a = word(ctx, word(step, 2)) + word(step, 3)
    b = word(ctx, word(step, 4)) + word(step, 5)
    target = word(ctx, word(step, 6)) + word(step, 7)
    block, count, parameters = word(step, 8), word(step, 9), step + 22 * 8
    for i in range(word(step, 10)):
        for j in range(word(step, 11)):
            x = a + i * word(step, 13) + j * word(step, 14)
            y = b + i * word(step, 16) + j * word(step, 17)
            t = target + i * word(step, 19) + j * word(step, 20)
            for _ in range(word(step, 12)):
                call_block_2(block, t, x, y, count, parameters)
                x += word(step, 15)
                y += word(step, 18)
                t += word(step, 21)
    return 0


_CHUNK = 1024  # float32 that are still in the first-level cache when the activation reads them


def map2_then(step, ctx):
    """target = activation(block(a, b)), on float32.

    Words: a, b, target; block, count, 3 sizes, 3 strides each of a, b, target, how a and b advance, activation, its parameters.
    """
    a = word(ctx, word(step, 2)) + word(step, 3)
    b = word(ctx, word(step, 4)) + word(step, 5)
    target = word(ctx, word(step, 6)) + word(step, 7)
    block, count, activation, parameters = word(step, 8), word(step, 9), word(step, 23), step + 24 * 8
    a_by, b_by = 0 if word(step, 22) & 1 else 4, 0 if word(step, 22) & 2 else 4
    for i in range(word(step, 10)):
        for j in range(word(step, 11)):
            x = a + i * word(step, 13) + j * word(step, 14)
            y = b + i * word(step, 16) + j * word(step, 17)
            t = target + i * word(step, 19) + j * word(step, 20)
            for _ in range(word(step, 12)):
                done = 0
                while done < count:
                    some = min(_CHUNK, count - done)
                    call_block_2(block, t + done * 4, x + done * a_by, y + done * b_by, some, step + 22 * 8)
                    call_block(activation, t + done * 4, t + done * 4, some, parameters)
                    done += some
                x += word(step, 15)
                y += word(step, 18)
                t += word(step, 21)
    return 0


def map3(step, ctx):
    """Words: a, b, c, target; block, count, 3 sizes, 3 strides each of a, b, c, target, parameters."""
    a = word(ctx, word(step, 2)) + word(step, 3)
    b = word(ctx, word(step, 4)) + word(step, 5)
    c = word(ctx, word(step, 6)) + word(step, 7)
    target = word(ctx, word(step, 8)) + word(step, 9)
    block, count, parameters = word(step, 10), word(step, 11), step + 27 * 8
    for i in range(word(step, 12)):
        for j in range(word(step, 13)):
            x = a + i * word(step, 15) + j * word(step, 16)
            y = b + i * word(step, 18) + j * word(step, 19)
            z = c + i * word(step, 21) + j * word(step, 22)
            t = target + i * word(step, 24) + j * word(step, 25)
            for _ in range(word(step, 14)):
                call_block_3(block, t, x, y, z, count, parameters)
                x += word(step, 17)
                y += word(step, 20)
                z += word(step, 23)
                t += word(step, 26)
    return 0
