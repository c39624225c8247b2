"""Softmax and log-sum-exp of many rows of at most 16 numbers: sixteen rows at a time, turned, so that lanes are rows.

Maximum and sum go through the tree of `rows.softmax`, pair by pair, between vectors instead of lanes: not a bit differs, and a row's
result does not depend on how many rows there are.
"""

from __future__ import annotations

import numpy as np

from cervello.compiled import functions as f
from cervello.compiled.compiler import device, shared
from cervello.compiled.lanes import absolute, load, select, splat, store
from cervello.compiled.memory import call_block, read_f32, word, write_f32
from cervello.native.kernels.rows import larger
from cervello.native.kernels.transpose import turn

_F = np.float32
MOST = 16  # numbers in a row


@device
def _maximum(turned, pairs):
    """The tree over 16 vectors of `turned`; `pairs` has room for 8."""
    for i in range(8):
        store(pairs + i * 64, larger(load(turned + i * 64), load(turned + (i + 8) * 64)))
    for i in range(4):
        store(pairs + i * 64, larger(load(pairs + i * 64), load(pairs + (i + 4) * 64)))
    for i in range(2):
        store(pairs + i * 64, larger(load(pairs + i * 64), load(pairs + (i + 2) * 64)))
    return larger(load(pairs), load(pairs + 64))


@device
def _sum(turned, pairs):
    for i in range(8):
        store(pairs + i * 64, load(turned + i * 64) + load(turned + (i + 8) * 64))
    for i in range(4):
        store(pairs + i * 64, load(pairs + i * 64) + load(pairs + (i + 4) * 64))
    for i in range(2):
        store(pairs + i * 64, load(pairs + i * 64) + load(pairs + (i + 2) * 64))
    return load(pairs) + load(pairs + 64)


@shared
def softmax_of(target, target_row, source, source_row, rows, count, scratch):
    """Up to 16 rows of `count` numbers; scratch: 24 vectors."""
    pairs = scratch + 16 * 64
    turn(source, source_row, scratch, 64, rows, count)
    for j in range(count, 16):
        store(scratch + j * 64, splat(_F(-np.inf)))
    shift = _maximum(scratch, pairs)
    zero = splat(_F(0.0))
    for j in range(count):
        store(scratch + j * 64, f.exp_of_fall(load(scratch + j * 64) - shift))
    for j in range(count, 16):
        store(scratch + j * 64, zero)
    factor = splat(_F(1.0)) / _sum(scratch, pairs)
    for j in range(count):
        store(scratch + j * 64, load(scratch + j * 64) * factor)
    turn(scratch, 64, target, target_row, count, rows)
    return 0


@shared
def softmax_rows(target, target_row, source, source_row, rows, count, scratch, block):
    """Any number of rows; a single one goes to the block for one row."""
    done = 0
    while done < rows:
        some = min(16, rows - done)
        if some == 1:
            call_block(block, target + done * target_row, source + done * source_row, count, scratch)
        else:
            softmax_of(target + done * target_row, target_row, source + done * source_row, source_row, some, count, scratch)
        done += some
    return 0


def softmax(step, ctx):
    """Words: source, target, scratch; block for one row, count, 3 sizes, 3 source strides, 3 target strides; the last size is rows."""
    source = word(ctx, word(step, 2)) + word(step, 3)
    target = word(ctx, word(step, 4)) + word(step, 5)
    scratch = word(ctx, word(step, 6)) + word(step, 7)
    for i in range(word(step, 10)):
        for j in range(word(step, 11)):
            softmax_rows(target + i * word(step, 16) + j * word(step, 17), word(step, 18), source + i * word(step, 13) + j * word(step, 14),
                         word(step, 15), word(step, 12), word(step, 9), scratch, word(step, 8))
    return 0


@shared
def _log_sum_exp_of(target, target_row, source, source_row, rows, count, scratch):
    """Up to 16 rows of `count` numbers to one each; scratch: 24 vectors."""
    pairs = scratch + 16 * 64
    turn(source, source_row, scratch, 64, rows, count)
    for j in range(count, 16):
        store(scratch + j * 64, splat(_F(-np.inf)))
    best, zero = _maximum(scratch, pairs), splat(_F(0.0))
    shift = select((absolute(best) < splat(_F(np.inf))) | (best != best), best, zero)
    for j in range(count):
        store(scratch + j * 64, f.exp(load(scratch + j * 64) - shift))
    for j in range(count, 16):
        store(scratch + j * 64, zero)
    store(pairs, f.log(_sum(scratch, pairs)) + shift)
    for r in range(rows):
        write_f32(target + r * target_row, 0, read_f32(pairs, r))
    return 0


def log_sum_exp(step, ctx):
    """As `softmax`; a row gives one number."""
    source = word(ctx, word(step, 2)) + word(step, 3)
    target = word(ctx, word(step, 4)) + word(step, 5)
    scratch = word(ctx, word(step, 6)) + word(step, 7)
    for i in range(word(step, 10)):
        for j in range(word(step, 11)):
            s, t = source + i * word(step, 13) + j * word(step, 14), target + i * word(step, 16) + j * word(step, 17)
            done = 0
            while done < word(step, 12):
                rows = min(16, word(step, 12) - done)
                if rows == 1:
                    call_block(word(step, 8), t, s, word(step, 9), scratch)
                else:
                    _log_sum_exp_of(t, word(step, 18), s, word(step, 15), rows, word(step, 9), scratch)
                s, t, done = s + rows * word(step, 15), t + rows * word(step, 18), done + rows
    return 0
