"""Runs resolved plans: the steps of one plan, or the chunks of a batch one after another."""

from __future__ import annotations

from cervello.codegen.compiler import noinline
from cervello.codegen.float_mode import pin_float_mode, restore_float_mode
from cervello.codegen.memory import call_c_0, call_c_1, call_kernel, word, write_i64
from cervello.native.kernels.abi import (
    ARG_BASE,
    ARG_BUFFERS,
    ARG_HEADER,
    ARG_ROW_BYTES,
    ARG_WORDS,
    CTX_ARGUMENTS,
    CTX_CLOCK,
    CTX_CLOCK_WRITES,
    CTX_ITERATIONS,
    CTX_NOW,
    CTX_RESTORE_THREAD,
    CTX_ROW,
    CTX_ROW_NS,
    CTX_ROWS,
    CTX_RUN,
    CTX_SAVE_THREAD,
    CTX_SINCE,
    CTX_SPACES,
    CTX_SURE,
    CTX_UNTIL,
    FIRST_BUFFER,
    JUMP,
    PLAN_END,
    PLAN_PARTS,
    PLAN_PROGRAM,
    PLAN_RELEASES_GIL,
    PLAN_ROWS,
    PLAN_WORDS,
    STEP_KERNEL,
    STEP_WORDS,
)


@noinline
def run_steps(program, end, ctx):
    """Runs the steps in order; returns 0, or the byte offset of the failed step * 256 + its status.

    A kernel status below 0 is a jump: JUMP + the words from this step to the next one. A jump outside [program, end) is returned as JUMP +
    the words from the start of this segment.
    """
    step = program
    while step < end:
        status = call_kernel(word(step, STEP_KERNEL), step, ctx)
        if status > 0:
            return (step - program) * 256 + status
        if status < 0:
            step += (status - JUMP) * 8
            # Fallback steps have no words, so `end` itself is already the next segment's start.
            if step < program or step >= end:
                return JUMP + (step - program) // 8
        else:
            step += word(step, STEP_WORDS) * 8
    return 0


@noinline
def piece(ctx, door, plan, first):
    """Runs a plan without parts on the arrays noted in the argument records, from row `first` on."""
    entry = door + ARG_HEADER * 8
    for i in range(word(door, ARG_BUFFERS)):
        write_i64(ctx, CTX_SPACES + FIRST_BUFFER + i, word(entry, ARG_BASE) + first * word(entry, ARG_ROW_BYTES))
        entry += ARG_WORDS * 8
    write_i64(ctx, CTX_ROWS, word(plan, PLAN_ROWS))
    write_i64(ctx, CTX_ROW, first)
    write_i64(ctx, CTX_ITERATIONS, 0)
    return run_steps(word(plan, PLAN_PROGRAM), word(plan, PLAN_END), ctx)


@noinline
def _look_at_clock(ctx):
    """Reads the clock; nanoseconds."""
    if word(ctx, CTX_CLOCK_WRITES) != 0:
        call_c_1(word(ctx, CTX_CLOCK), ctx + CTX_NOW * 8)  # returns a 32-bit int status, which is ignored: the call cannot fail
    else:
        write_i64(ctx, CTX_NOW, call_c_0(word(ctx, CTX_CLOCK)))
    return word(ctx, CTX_NOW)


@noinline
def _in_time(ctx, first, n_rows):
    """Whether a chunk is expected to end before the deadline, by the measured time per row of this batch, else by the estimate."""
    now = _look_at_clock(ctx)
    if word(ctx, CTX_SURE) == 0:
        write_i64(ctx, CTX_SURE, first)
        write_i64(ctx, CTX_SINCE, now)
    n_run, row_ns = first - word(ctx, CTX_SURE), word(ctx, CTX_ROW_NS)
    if n_run > 0:
        row_ns = (now - word(ctx, CTX_SINCE)) // n_run
    return now + row_ns * n_rows <= word(ctx, CTX_UNTIL)


@noinline
def _pieces(ctx, plan, first):
    door, n_parts, limited = word(ctx, CTX_ARGUMENTS), word(plan, PLAN_PARTS), word(ctx, CTX_UNTIL) != 0
    if n_parts == 0:
        return piece(ctx, door, plan, first)
    for p in range(n_parts):
        part = word(plan, PLAN_WORDS + 2 * p)
        for _ in range(word(plan, PLAN_WORDS + 2 * p + 1)):
            if limited and first > 0:
                n_rows = word(part, PLAN_ROWS)
                if first + n_rows > word(plan, PLAN_ROWS) or not _in_time(ctx, first, n_rows):
                    break  # the next part may have smaller chunks
            status = piece(ctx, door, part, first)
            if status != 0:
                if limited and first > 0:  # the rows before it are done; this chunk is the first of the next batch
                    write_i64(ctx, CTX_RUN, first)
                    return 0
                return status
            first += word(part, PLAN_ROWS)
    if limited:
        write_i64(ctx, CTX_RUN, first)
        _look_at_clock(ctx)
    return 0


@noinline
def execute(ctx, plan, first):
    """Runs a plan on the noted arrays from row `first` on; returns 0, or the status of `run_steps`."""
    mode = pin_float_mode()
    if word(plan, PLAN_RELEASES_GIL) != 0:  # long enough to release the GIL
        thread = call_c_0(word(ctx, CTX_SAVE_THREAD))
        status = _pieces(ctx, plan, first)
        call_c_1(word(ctx, CTX_RESTORE_THREAD), thread)
    else:
        status = _pieces(ctx, plan, first)
    restore_float_mode(mode)
    return status


def segment(ctx, program, end):
    """Runs a segment of a program between two fallback steps."""
    mode = pin_float_mode()
    status = run_steps(program, end, ctx)
    restore_float_mode(mode)
    return status
