"""What kernels share that take sixteen rows at a time, turned so that lanes are rows: the loop, and trees between vectors.

`maximum` and `total` are the trees between lanes in `reduce_last`, pair by pair: not a bit differs, and a row's result does not depend
on how many there are. `highest` passes over NaN, for softmax, where one comes through the sum and the sign of a largest 0 does not show.
"""

from __future__ import annotations

from cervello.codegen.compiler import inline, noinline
from cervello.codegen.memory import call_block, word
from cervello.codegen.simd import load, store
from cervello.native.kernels.reduce_last import larger, peak


def _tree(combine):
    @inline
    def tree(turned, pairs):
        """Of 16 vectors at `turned`; `pairs` has room for 8."""
        for i in range(8):
            store(pairs + i * 64, combine(load(turned + i * 64), load(turned + (i + 8) * 64)))
        for i in range(4):
            store(pairs + i * 64, combine(load(pairs + i * 64), load(pairs + (i + 4) * 64)))
        for i in range(2):
            store(pairs + i * 64, combine(load(pairs + i * 64), load(pairs + (i + 2) * 64)))
        return combine(load(pairs), load(pairs + 64))

    return tree


@inline
def _plus(a, b):
    return a + b


maximum, highest, total = _tree(larger), _tree(peak), _tree(_plus)


def in_groups(group):
    """A function over any number of rows around `group`, which takes up to 16 and no block.

    A single row goes to the block for one: it waits less than sixteen lanes of which one is needed.
    """
    @noinline
    def rows_of(target, target_row, source, source_row, rows, count, scratch, parameters, block):
        while rows > 0:
            some = min(16, rows)
            if some == 1:
                call_block(block, target, source, count, parameters)
            else:
                group(target, target_row, source, source_row, some, count, scratch, parameters)
            target, source, rows = target + some * target_row, source + some * source_row, rows - some
        return 0

    return rows_of


def over_rows(rows_of):
    """A kernel around a function from `in_groups`.

    Words: source, target, scratch; block, count, 3 sizes, 3 source strides, 3 target strides, parameters. The last size is rows.
    """
    def kernel(step, ctx):
        source = word(ctx, word(step, 2)) + word(step, 3)
        target = word(ctx, word(step, 4)) + word(step, 5)
        scratch = word(ctx, word(step, 6)) + word(step, 7)
        for i in range(word(step, 10)):
            for j in range(word(step, 11)):
                rows_of(target + i * word(step, 16) + j * word(step, 17), word(step, 18),
                        source + i * word(step, 13) + j * word(step, 14), word(step, 15),
                        word(step, 12), word(step, 9), scratch, step + 19 * 8, word(step, 8))
        return 0

    return kernel
