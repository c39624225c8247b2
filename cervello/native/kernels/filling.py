"""Fills the inputs that wrappers supply, before a run: state from slabs, constants, starts of episodes, noise."""

from __future__ import annotations

import numpy as np

from cervello.codegen.memory import copy_row, word, write_f32
from cervello.native.kernels.abi import FUSED_FILL, FUSED_GATHER, FUSED_NOISE, FUSED_START
from cervello.native.kernels.random import fill_rows
from cervello.native.kernels.views import Context, FusedOp, column, fused_op


def fill_inputs(ctx, n_rows):
    """Runs the fused ops that fill inputs."""
    context = Context(ctx)
    slots, steps = context.slots, context.steps
    for m in range(context.n_fused_ops):
        at = fused_op(ctx, m)
        op, target = FusedOp(at), column(ctx, at)
        kind, row_bytes, address = op.kind, op.row_bytes, op.address
        if kind == FUSED_GATHER:
            for i in range(n_rows):
                copy_row(target + i * row_bytes, address + word(slots, i) * row_bytes, row_bytes)
        elif kind == FUSED_FILL:
            for i in range(n_rows):
                copy_row(target + i * row_bytes, address, row_bytes)
        elif kind == FUSED_START:
            for i in range(n_rows):
                write_f32(target, i, np.float32(1.0) if word(steps, word(slots, i)) == 0 else np.float32(0.0))
        elif kind == FUSED_NOISE:
            fill_rows(ctx, address, op.settings, target, n_rows, 0)
    return 0
