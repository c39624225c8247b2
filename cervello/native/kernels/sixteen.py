"""Shared parts of kernels that process sixteen rows at a time, transposed so that lanes are rows: the loop, and trees between vectors.

`maximum` and `total` are the trees between lanes in `lane_trees`, pair by pair: not a bit differs, and a row's result does not depend
on how many there are. `highest` passes over NaN, for softmax, where one comes through the sum and the sign of a largest 0 does not show.
"""

from __future__ import annotations

from cervello.codegen.compiler import inline, noinline
from cervello.codegen.memory import call_block
from cervello.codegen.records import reader
from cervello.codegen.simd import load, store
from cervello.native.kernels.lane_trees import add, larger, peak
from cervello.native.kernels.schemas import SIXTEEN

_words = reader(SIXTEEN)


def _tree(combine):
    @inline
    def tree(transposed, pairs):
        """Of 16 vectors at `transposed`; `pairs` has room for 8."""
        for i in range(8):
            store(pairs + i * 64, combine(load(transposed + i * 64), load(transposed + (i + 8) * 64)))
        for i in range(4):
            store(pairs + i * 64, combine(load(pairs + i * 64), load(pairs + (i + 4) * 64)))
        for i in range(2):
            store(pairs + i * 64, combine(load(pairs + i * 64), load(pairs + (i + 2) * 64)))
        return combine(load(pairs), load(pairs + 64))

    return tree


maximum, highest, total = _tree(larger), _tree(peak), _tree(add)


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
    """A kernel around a function from `in_groups`."""
    def kernel(step, ctx):
        w = _words(step, ctx)
        source, target, transposed = w.source, w.target, w.transposed
        for i in range(w.sizes[0]):
            for j in range(w.sizes[1]):
                rows_of(target + i * w.target_by[0] + j * w.target_by[1], w.target_by[2],
                        source + i * w.source_by[0] + j * w.source_by[1], w.source_by[2],
                        w.sizes[2], w.count, transposed, w.more, w.block)
        return 0

    return kernel
