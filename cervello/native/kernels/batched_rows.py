"""Shared parts of kernels that process sixteen rows at a time, transposed so that lanes are rows: loops, and trees over vectors.

`max_vectors` and `sum_vectors` combine the same pairs in the same order as the trees between lanes in `lane_trees`, so results are bitwise
equal and do not depend on the number of rows. `fast_max_vectors` may drop NaN. Softmax uses it: a NaN reaches the result through the sum,
and the sign of a maximum of 0 has no effect.
"""

from __future__ import annotations

import operator

from cervello.codegen.compiler import inline, noinline
from cervello.codegen.memory import call_block
from cervello.codegen.records import reader
from cervello.codegen.simd import load, store
from cervello.native.kernels.lane_trees import fast_max, maximum
from cervello.native.kernels.schemas import BATCHED_ROWS

_words = reader(BATCHED_ROWS)


def _tree(combine):
    @inline
    def tree(transposed, partials):
        """Combines the 16 vectors at `transposed`; `partials`: scratch of 8 vectors."""
        for i in range(8):
            store(partials + i * 64, combine(load(transposed + i * 64), load(transposed + (i + 8) * 64)))
        for i in range(4):
            store(partials + i * 64, combine(load(partials + i * 64), load(partials + (i + 4) * 64)))
        for i in range(2):
            store(partials + i * 64, combine(load(partials + i * 64), load(partials + (i + 2) * 64)))
        return combine(load(partials), load(partials + 64))

    return tree


max_vectors, fast_max_vectors, sum_vectors = _tree(maximum), _tree(fast_max), _tree(operator.add)


def in_batches(reduce_batch):
    """A function for any number of rows, from `reduce_batch` for 2 to 16 rows and a block for a single row.

    A single row in a block has a lower latency than in sixteen lanes.
    """
    @noinline
    def reduce_rows(target, target_row, source, source_row, rows, count, scratch, parameters, block):
        while rows > 0:
            some = min(16, rows)
            if some == 1:
                call_block(block, target, source, count, parameters)
            else:
                reduce_batch(target, target_row, source, source_row, some, count, scratch, parameters)
            target, source, rows = target + some * target_row, source + some * source_row, rows - some
        return 0

    return reduce_rows


def make_kernel(reduce_rows):
    """A kernel that calls a function from `in_batches` in two outer loops."""
    def kernel(step, ctx):
        w = _words(step, ctx)
        source, target, transposed = w.source, w.target, w.transposed
        for i in range(w.sizes[0]):
            for j in range(w.sizes[1]):
                reduce_rows(target + i * w.target_by[0] + j * w.target_by[1], w.target_by[2],
                            source + i * w.source_by[0] + j * w.source_by[1], w.source_by[2],
                            w.sizes[2], w.count, transposed, w.parameters, w.block)
        return 0

    return kernel
