"""Multinomial sampling by inversion of the cumulative sum; each row draws from its agent's stream, see `random`.

A line is one distribution; a row (an agent) has one or more lines. Class i has a probability proportional to exp(logits[i]). A
deterministic row takes the first class of the largest logit. Sums add classes in order, both for sixteen transposed lines (lanes are
lines) and for a single line, so weights are bitwise equal.
"""

from __future__ import annotations

import numpy as np

from cervello.codegen import functions as f
from cervello.codegen.compiler import inline, noinline
from cervello.codegen.memory import read_f32, write_i32, write_i64
from cervello.codegen.records import reader
from cervello.codegen.simd import gather, load, load_masked, select, splat, store, store_masked
from cervello.native.kernels.lane_trees import maximum
from cervello.native.kernels.random import draw, is_deterministic
from cervello.native.kernels.reduce_last import row_max
from cervello.native.kernels.schemas import MULTINOMIAL
from cervello.native.kernels.sizes import FEW_CLASSES
from cervello.native.kernels.transpose import transpose_16x16

_words = reader(MULTINOMIAL)
_F = np.float32


@inline
def _write(target, i, itemsize, chosen):
    if itemsize == 8:
        write_i64(target, i, chosen)
    else:
        write_i32(target, i, chosen)
    return 0


@noinline
def _draw_transposed(ctx, logits, n_lines, classes, first, lines_per_row, draws, samples, target, itemsize, scratch):
    """Draws from up to 16 lines of up to 16 classes, from line `first` on; a row has `lines_per_row` lines. Scratch: 18 vectors."""
    zero, not_chosen = splat(_F(0.0)), splat(_F(-1.0))
    transpose_16x16(logits, classes * 4, scratch, 64, n_lines, classes)
    best = load(scratch)
    shift, mode = best, zero
    for c in range(1, classes):
        x = load(scratch + c * 64)
        mode, best = select(x > best, splat(_F(c)), mode), select(x > best, x, best)
        shift = maximum(shift, x)
    total = zero
    for c in range(classes):
        weight = f.exp(load(scratch + c * 64) - shift)
        store(scratch + c * 64, weight)
        total = total + weight
    store(scratch + 16 * 64, mode)
    for s in range(samples):
        threshold = gather(draws + s * 4, samples * 4, n_lines) * total
        cumulative, chosen, last = zero, not_chosen, zero
        for c in range(classes):
            weight, number = load(scratch + c * 64), splat(_F(c))
            last = select(weight > zero, number, last)
            cumulative = cumulative + weight
            chosen = select((chosen < zero) & (cumulative > threshold), number, chosen)
        # The threshold may not be reached, by rounding or for NaN; then the last class with a weight is chosen.
        store(scratch + 17 * 64, select(chosen < zero, last, chosen))
        for i in range(n_lines):
            found = read_f32(scratch, (16 if is_deterministic(ctx, (first + i) // lines_per_row) else 17) * 16 + i)
            _write(target, i * samples + s, itemsize, int(found))
    return 0


@noinline
def _draw(row, classes, deterministic, draws, samples, target, itemsize, weights):
    """Draws from one line of any number of classes."""
    shift = splat(row_max(row, classes))
    i = 0
    while i < classes:
        store_masked(weights + i * 4, f.exp(load_masked(row + i * 4, classes - i) - shift), classes - i)
        i += 16
    total = _F(0.0)
    for c in range(classes):
        total += read_f32(weights, c)
    for s in range(samples):
        chosen = 0
        if deterministic:
            for c in range(1, classes):
                if read_f32(row, c) > read_f32(row, chosen):
                    chosen = c
        else:
            threshold = read_f32(draws, s) * total
            cumulative = _F(0.0)
            chosen = -1
            last = 0
            for c in range(classes):
                weight = read_f32(weights, c)
                if weight > _F(0.0):
                    last = c
                cumulative += weight
                if chosen < 0 and cumulative > threshold:
                    chosen = c
            if chosen < 0:  # as in `_draw_transposed`
                chosen = last
        _write(target, s, itemsize, chosen)
    return 0


def multinomial(step, ctx):
    """logits [rows * lines, classes] to target [rows * lines, samples]; draws [rows * lines, samples] is scratch. A row is an agent."""
    w = _words(step, ctx)
    logits, target, scratch, draws, rows, lines = w.logits, w.target, w.weights, w.draws, w.rows, w.lines
    classes, samples, itemsize = w.classes, w.samples, w.itemsize
    if not draw(ctx, w.fill, w.block, draws, rows, lines * samples, w.site):
        return 2
    i, n_lines = 0, rows * lines
    while i < n_lines:
        row, drawn, to = logits + i * classes * 4, draws + i * samples * 4, target + i * samples * itemsize
        some = min(16, n_lines - i) if classes <= FEW_CLASSES else 1
        if some > 1:
            _draw_transposed(ctx, row, some, classes, i, lines, drawn, samples, to, itemsize, scratch)
        else:
            _draw(row, classes, is_deterministic(ctx, i // lines), drawn, samples, to, itemsize, scratch)
        i += some
    return 0
