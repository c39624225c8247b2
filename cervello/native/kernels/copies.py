"""Moving elements without changing them: strided copies (Transpose, Slice, Concat, Expand, Pad), and fills."""

from __future__ import annotations

from cervello.codegen.compiler import inline
from cervello.codegen.memory import copy_bytes, read_i32, read_i64, read_u8, word, write_i32, write_i64, write_u8


@inline
def _run(target, target_stride, source, source_stride, count, itemsize):
    """Copies `count` elements, strides in bytes."""
    if source_stride == itemsize and target_stride == itemsize:
        if itemsize == 4 and count <= 32:  # short rows: a loop beats the library call
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
def copy_strided(source, target, words):
    """Words: itemsize, 5 sizes, 5 source strides, 5 target strides."""
    itemsize, count = word(words, 0), word(words, 5)
    for i in range(word(words, 1)):
        for j in range(word(words, 2)):
            for k in range(word(words, 3)):
                s = source + i * word(words, 6) + j * word(words, 7) + k * word(words, 8)
                t = target + i * word(words, 11) + j * word(words, 12) + k * word(words, 13)
                for _ in range(word(words, 4)):
                    _run(t, word(words, 15), s, word(words, 10), count, itemsize)
                    s += word(words, 9)
                    t += word(words, 14)


def copy(step, ctx):
    """Words: source, target; then see `copy_strided`."""
    copy_strided(word(ctx, word(step, 2)) + word(step, 3), word(ctx, word(step, 4)) + word(step, 5), step + 6 * 8)
    return 0


def copy_deep(step, ctx):
    """A copy of more than five loops. Words: source, target; see `copy_strided`; then the number of outer loops, and size, source stride
    and target stride of each."""
    source, target = word(ctx, word(step, 2)) + word(step, 3), word(ctx, word(step, 4)) + word(step, 5)
    words = step + 6 * 8
    outer = words + 16 * 8
    times = 1
    for d in range(word(outer, 0)):
        times *= word(outer, 1 + 3 * d)
    for turn in range(times):
        rest, s, t = turn, source, target
        for d in range(word(outer, 0)):
            size = word(outer, 1 + 3 * d)
            s += rest % size * word(outer, 2 + 3 * d)
            t += rest % size * word(outer, 3 + 3 * d)
            rest //= size
        copy_strided(s, t, words)
    return 0


def fill(step, ctx):
    """Words: target; itemsize (1, 2, 4 or 8), count, the element's bits."""
    target = word(ctx, word(step, 2)) + word(step, 3)
    itemsize, count, bits = word(step, 4), word(step, 5), word(step, 6)
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


def gather(step, ctx):
    """Rows of a table by index: words: source, indices, target; count, inner bytes, table rows, index itemsize, outer count.

    A negative index counts from the end; one outside the table fails with status 1.
    """
    source = word(ctx, word(step, 2)) + word(step, 3)
    indices = word(ctx, word(step, 4)) + word(step, 5)
    target = word(ctx, word(step, 6)) + word(step, 7)
    count, inner, rows, itemsize, outer = word(step, 8), word(step, 9), word(step, 10), word(step, 11), word(step, 12)
    for o in range(outer):
        for i in range(count):
            index = read_i64(indices, i) if itemsize == 8 else read_i32(indices, i) + 0
            if index < 0:
                index += rows
            if index < 0 or index >= rows:
                return 1
            copy_bytes(target + (o * count + i) * inner, source + (o * rows + index) * inner, inner)
    return 0
