"""Accessors of the records of `abi`, for kernels: `Context(ctx).rows` is one load."""

from __future__ import annotations

from cervello.codegen.compiler import inline
from cervello.codegen.records import view
from cervello.native.kernels.abi import (
    ARGUMENT,
    ARGUMENTS,
    CONTEXT,
    FUSED_OP,
    FUSED_WORDS,
    JOB,
    JOB_WORKER,
    LINK,
    MASK,
    PART,
    PLAN,
    SCATTER,
    WORKER,
)

Context, Plan, Part, Job, JobWorker, Worker = (view(each) for each in (CONTEXT, PLAN, PART, JOB, JOB_WORKER, WORKER))
Arguments, Argument, FusedOp, Scatter, Link, Mask = (view(each) for each in (ARGUMENTS, ARGUMENT, FUSED_OP, SCATTER, LINK, MASK))
ARGUMENT_BYTES, PART_BYTES, JOB_WORKER_BYTES = ARGUMENT.n_bytes, PART.n_bytes, JOB_WORKER.n_bytes
_FUSED_BYTES = FUSED_WORDS * 8


@inline
def argument(arguments, port):
    """The address of an array's record."""
    return Arguments(arguments).arrays + port * ARGUMENT_BYTES


@inline
def fused_op(ctx, i):
    """The address of a fused op."""
    return Context(ctx).fused_ops + i * _FUSED_BYTES


@inline
def column(ctx, op):
    """The address of the array that a fused op reads or writes."""
    return Argument(argument(Context(ctx).arguments, FusedOp(op).port)).base
