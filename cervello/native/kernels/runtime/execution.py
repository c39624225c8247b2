"""Runs resolved plans: the steps of one plan, or the chunks of a batch one after another."""

from __future__ import annotations

from cervello.codegen.compiler import noinline
from cervello.codegen.float_mode import pin_float_mode, restore_float_mode
from cervello.codegen.memory import call_c_0, call_c_1, call_kernel, word, write_i64
from cervello.native.kernels.abi import FIRST_BUFFER, JUMP, SPACES, STEP_KERNEL, STEP_WORDS
from cervello.native.kernels.views import ARGUMENT_BYTES, PART_BYTES, Argument, Arguments, Context, Part, Plan, argument


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
def run_chunk(ctx, arguments, plan, first):
    """Runs a plan without parts on the arrays of the argument records, from row `first` on."""
    context, facts = Context(ctx), Plan(plan)
    entry = argument(arguments, 0)
    for i in range(Arguments(arguments).n_arrays):
        write_i64(ctx, SPACES + FIRST_BUFFER + i, Argument(entry).base + first * Argument(entry).row_bytes)
        entry += ARGUMENT_BYTES
    context.rows = facts.n_rows
    context.row = first
    context.iterations = 0
    return run_steps(facts.program, facts.end, ctx)


@noinline
def _read_clock(ctx):
    """The current time of the context's clock, in ns."""
    context = Context(ctx)
    if context.clock_writes != 0:
        call_c_1(context.clock, context.now_at)  # its 32-bit status is ignored: the call cannot fail
    else:
        context.now = call_c_0(context.clock)
    return context.now


@noinline
def _is_in_time(ctx, first, n_rows):
    """Whether a chunk that is not the first is expected to end before the deadline: by the measured time per row of this batch, if any,
    else by `row_ns`. The first call also records the rows and the end time of the first chunk."""
    context, now = Context(ctx), _read_clock(ctx)
    if context.guaranteed_rows == 0:
        context.guaranteed_rows = first
        context.first_chunk_end = now
    n_run, row_ns = first - context.guaranteed_rows, context.row_ns
    if n_run > 0:
        row_ns = (now - context.first_chunk_end) // n_run
    return now + row_ns * n_rows <= context.deadline


@noinline
def _run_chunks(ctx, plan, first):
    """Runs all chunks of a plan, or those that are expected to end before the deadline."""
    context, facts = Context(ctx), Plan(plan)
    arguments, n_parts, limited = context.arguments, facts.n_parts, context.deadline != 0
    if n_parts == 0:
        return run_chunk(ctx, arguments, plan, first)
    for p in range(n_parts):
        part = Part(facts.parts + p * PART_BYTES)
        chunk = part.plan
        for _ in range(part.repetitions):
            if limited and first > 0:
                n_rows = Plan(chunk).n_rows
                if first + n_rows > facts.n_rows or not _is_in_time(ctx, first, n_rows):
                    break  # the next part may have smaller chunks
            status = run_chunk(ctx, arguments, chunk, first)
            if status != 0:
                if limited and first > 0:  # earlier rows are complete; the next batch runs this chunk first, and reports its error
                    context.n_run = first
                    return 0
                return status
            first += Plan(chunk).n_rows
    if limited:
        context.n_run = first
        _read_clock(ctx)
    return 0


@noinline
def execute(ctx, plan, first):
    """Runs a plan on the arrays of the argument records from row `first` on; returns 0, or the status of `run_steps`."""
    mode = pin_float_mode()
    if Plan(plan).releases_gil != 0:
        thread = call_c_0(Context(ctx).save_thread)
        status = _run_chunks(ctx, plan, first)
        call_c_1(Context(ctx).restore_thread, thread)
    else:
        status = _run_chunks(ctx, plan, first)
    restore_float_mode(mode)
    return status


def segment(ctx, program, end):
    """Runs a segment of a program between two fallback steps."""
    mode = pin_float_mode()
    status = run_steps(program, end, ctx)
    restore_float_mode(mode)
    return status
