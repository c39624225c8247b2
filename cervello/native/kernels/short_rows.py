"""Softmax and log-sum-exp of many rows of at most 16 numbers: sixteen rows at a time, turned, so that lanes are rows.

Every bit is that of the blocks in `rows`.
"""

from __future__ import annotations

import numpy as np

from cervello.compiled import functions as f
from cervello.compiled.compiler import shared
from cervello.compiled.lanes import absolute, load, select, splat, store
from cervello.compiled.memory import read_f32, write_f32
from cervello.native.kernels.sixteen import in_groups, maximum, over_rows, total
from cervello.native.kernels.transpose import turn

_F = np.float32
MOST = 16  # numbers in a row


@shared
def _softmax_of(target, target_row, source, source_row, rows, count, scratch, parameters):
    pairs = scratch + 16 * 64
    turn(source, source_row, scratch, 64, rows, count)
    for j in range(count, 16):
        store(scratch + j * 64, splat(_F(-np.inf)))
    shift = maximum(scratch, pairs)
    zero = splat(_F(0.0))
    for j in range(count):
        store(scratch + j * 64, f.exp_of_fall(load(scratch + j * 64) - shift))
    for j in range(count, 16):
        store(scratch + j * 64, zero)
    factor = splat(_F(1.0)) / total(scratch, pairs)
    for j in range(count):
        store(scratch + j * 64, load(scratch + j * 64) * factor)
    turn(scratch, 64, target, target_row, count, rows)
    return 0


softmax_rows = in_groups(_softmax_of)
softmax = over_rows(softmax_rows)


@shared
def _log_sum_exp_of(target, target_row, source, source_row, rows, count, scratch, parameters):
    """A row gives one number."""
    pairs = scratch + 16 * 64
    turn(source, source_row, scratch, 64, rows, count)
    for j in range(count, 16):
        store(scratch + j * 64, splat(_F(-np.inf)))
    best, zero = maximum(scratch, pairs), splat(_F(0.0))
    shift = select((absolute(best) < splat(_F(np.inf))) | (best != best), best, zero)
    for j in range(count):
        store(scratch + j * 64, f.exp(load(scratch + j * 64) - shift))
    for j in range(count, 16):
        store(scratch + j * 64, zero)
    store(pairs, f.log(total(scratch, pairs)) + shift)
    for r in range(rows):
        write_f32(target + r * target_row, 0, read_f32(pairs, r))
    return 0


log_sum_exp = over_rows(in_groups(_log_sum_exp_of))
