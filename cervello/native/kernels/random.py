"""Random ops inside a graph: every row draws from its own agent's stream, so neighbours and batch sizes change nothing (law 6).

Words of the context name the rows' slots, and by slot the noise keys and step counters. Deterministic rows take the mean or the
mode. Status 2: a row must draw and the run has no keys.
"""

from __future__ import annotations

import numpy as np

from cervello.compiled import functions as f
from cervello.compiled.compiler import device
from cervello.compiled.lanes import fma, lane, load_first, splat, store_first
from cervello.compiled.memory import read_f32, read_u8, word, word_f32, write_f32, write_i32, write_i64
from cervello.native.abi import (
    CTX_ALL_DETERMINISTIC,
    CTX_DETERMINISTIC,
    CTX_KEYS,
    CTX_ROW,
    CTX_SLOTS,
    CTX_STEPS,
)
from cervello.native.kernels.rows import row_max
from cervello.noise.draws import normals, uniforms

_F = np.float32


@device
def _is_deterministic(ctx, row):
    if word(ctx, CTX_ALL_DETERMINISTIC) != 0:
        return True
    flags = word(ctx, CTX_DETERMINISTIC)
    return flags != 0 and read_u8(flags, word(ctx, CTX_ROW) + row) != 0


@device
def _key(ctx, row):
    slot = word(word(ctx, CTX_SLOTS), word(ctx, CTX_ROW) + row)
    keys = word(ctx, CTX_KEYS) + slot * 16
    return word(keys, 0), word(keys, 1), word(word(ctx, CTX_STEPS), slot)


@device
def _affine(values, mean, scale):
    return fma(values, splat(scale), splat(mean))


@device
def _put(target, at, width, values, mean, scale):
    if at < width:
        store_first(target + at * 4, _affine(values, mean, scale), width - at)


def normal(step, ctx):
    """Words: target [rows, width]; rows, width, mean, scale, site."""
    target = word(ctx, word(step, 2)) + word(step, 3)
    rows, width, site = word(step, 4), word(step, 5), word(step, 8)
    mean, scale = word_f32(step, 6), word_f32(step, 7)
    for r in range(rows):
        at = target + r * width * 4
        if _is_deterministic(ctx, r):
            for i in range(width):
                write_f32(at, i, mean)
            continue
        if word(ctx, CTX_KEYS) == 0:
            return 2
        key, high, count = _key(ctx, r)
        for block in range((width + 63) // 64):
            a, b, c, d = normals(key, high, count, site, block)
            first = block * 64
            _put(at, first, width, a, mean, scale)
            _put(at, first + 16, width, b, mean, scale)
            _put(at, first + 32, width, c, mean, scale)
            _put(at, first + 48, width, d, mean, scale)
    return 0


def uniform(step, ctx):
    """Words: target [rows, width]; rows, width, low, span, site. Deterministic rows take the middle."""
    target = word(ctx, word(step, 2)) + word(step, 3)
    rows, width, site = word(step, 4), word(step, 5), word(step, 8)
    low, span = word_f32(step, 6), word_f32(step, 7)
    for r in range(rows):
        at = target + r * width * 4
        if _is_deterministic(ctx, r):
            for i in range(width):
                write_f32(at, i, low + span * _F(0.5))
            continue
        if word(ctx, CTX_KEYS) == 0:
            return 2
        key, high, count = _key(ctx, r)
        for block in range((width + 63) // 64):
            a, b, c, d = uniforms(key, high, count, site, block)
            first = block * 64
            _put(at, first, width, a, low, span)
            _put(at, first + 16, width, b, low, span)
            _put(at, first + 32, width, c, low, span)
            _put(at, first + 48, width, d, low, span)
    return 0


@device
def _pick(draw, element):
    a, b, c, d = draw
    at = element % 16
    part = (element % 64) // 16
    if part == 0:
        return lane(a, at)
    if part == 1:
        return lane(b, at)
    if part == 2:
        return lane(c, at)
    return lane(d, at)


def multinomial(step, ctx):
    """Words: logits [rows, classes], target [rows, samples], weights [classes]; rows, classes, samples, itemsize, site.

    Draws class i with probability proportional to exp(logits[i]); a deterministic row takes the likeliest, the first of equals.
    """
    logits = word(ctx, word(step, 2)) + word(step, 3)
    target = word(ctx, word(step, 4)) + word(step, 5)
    weights = word(ctx, word(step, 6)) + word(step, 7)
    rows, classes, samples, itemsize, site = word(step, 8), word(step, 9), word(step, 10), word(step, 11), word(step, 12)
    for r in range(rows):
        row = logits + r * classes * 4
        deterministic = _is_deterministic(ctx, r)
        if not deterministic and word(ctx, CTX_KEYS) == 0:
            return 2
        shift = splat(row_max(row, classes))
        i = 0
        while i < classes:
            store_first(weights + i * 4, f.exp(load_first(row + i * 4, classes - i) - shift), classes - i)
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
                key, high, count = _key(ctx, r)
                goal = _pick(uniforms(key, high, count, site, s // 64), s) * total
                reached = _F(0.0)
                chosen = -1
                last = 0
                for c in range(classes):
                    weight = read_f32(weights, c)
                    if weight > _F(0.0):
                        last = c
                    reached += weight
                    if chosen < 0 and reached > goal:
                        chosen = c
                if chosen < 0:  # rounding left the goal at the very end, or the row is NaN
                    chosen = last
            if itemsize == 8:
                write_i64(target, r * samples + s, chosen)
            else:
                write_i32(target, r * samples + s, chosen)
    return 0
