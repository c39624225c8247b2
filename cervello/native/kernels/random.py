"""Random ops of a graph: each row draws from its agent's stream, so results do not depend on other rows or on the batch size (law 6).

The context has the slot of each row, and by slot the noise keys and step counters. Deterministic rows get the mean or the mode. Status 2:
a row is not deterministic, and the run has no keys.
"""

from __future__ import annotations

import numpy as np

from cervello.codegen.compiler import inline
from cervello.codegen.memory import call_kernel, read_u8, write_f32
from cervello.codegen.records import reader
from cervello.codegen.simd import fma, load_masked, splat, store_masked
from cervello.native.kernels.schemas import NORMAL, UNIFORM
from cervello.native.kernels.views import Context
from cervello.noise.kernels import Fill

_normal, _uniform = reader(NORMAL), reader(UNIFORM)
_F = np.float32


@inline
def fill_rows(ctx, fill, block, target, n_rows, first):
    """Calls a kernel of `noise` for the rows of a run from `first` on; the other words of `block` are already set."""
    context, w = Context(ctx), Fill(block)
    w.out, w.n_rows, w.slots = target, n_rows, context.slots + first * 8
    w.keys, w.steps = context.keys, context.steps
    flags = context.deterministic
    w.deterministic = flags + first if flags != 0 else 0
    call_kernel(fill, block, 0)


@inline
def is_deterministic(ctx, row):
    """Whether a row of this run is deterministic."""
    context = Context(ctx)
    if context.all_deterministic != 0:
        return True
    flags = context.deterministic
    return flags != 0 and read_u8(flags, context.row + row) != 0


@inline
def draw(ctx, fill, block, target, rows, width, site):
    """Fills target [rows, width] with standard noise, zeros in deterministic rows; False if keys are needed and missing."""
    context = Context(ctx)
    if context.all_deterministic != 0 or context.keys == 0:
        for r in range(rows):
            if not is_deterministic(ctx, r):
                return False
        for i in range(rows * width):
            write_f32(target, i, _F(0.0))
        return True
    w = Fill(block)
    w.row_stride, w.width, w.site, w.scale = width * 4, width, site, 1.0
    fill_rows(ctx, fill, block, target, rows, context.row)
    return True


@inline
def _affine(target, count, scale, offset):
    """target = target * scale + offset, in place."""
    i = 0
    while i < count:
        store_masked(target + i * 4, fma(load_masked(target + i * 4, count - i), splat(scale), splat(offset)), count - i)
        i += 16


def normal(step, ctx):
    """Normal noise to target [rows, width]; deterministic rows get the mean."""
    w = _normal(step, ctx)
    target, rows, width = w.target, w.rows, w.width
    if not draw(ctx, w.fill, w.block, target, rows, width, w.site):
        return 2
    _affine(target, rows * width, w.scale, w.mean)
    return 0


def uniform(step, ctx):
    """Uniform noise on [low, low + span) to target [rows, width]; deterministic rows get the midpoint."""
    w = _uniform(step, ctx)
    target, rows, width, low, span = w.target, w.rows, w.width, w.low, w.span
    if not draw(ctx, w.fill, w.block, target, rows, width, w.site):
        return 2
    _affine(target, rows * width, span, low)
    for r in range(rows):
        if is_deterministic(ctx, r):
            for i in range(width):
                write_f32(target, r * width + i, low + span * _F(0.5))
    return 0
