"""Running resolved plans: the steps of one, or the pieces of a batch one after another."""

from __future__ import annotations

from cervello.compiled.compiler import shared
from cervello.compiled.floats import pin_float_mode, restore_float_mode
from cervello.compiled.memory import call_c_0, call_c_1, call_kernel, word, write_i64
from cervello.native.abi import (
    CTX_DOOR,
    CTX_RESTORE_THREAD,
    CTX_ROW,
    CTX_ROWS,
    CTX_SAVE_THREAD,
    CTX_SPACES,
    CTX_TURNS,
    DOOR_BASE,
    DOOR_BUFFERS,
    DOOR_HEADER,
    DOOR_ROW_BYTES,
    DOOR_WORDS,
    FIRST_BUFFER,
    JUMP,
    PLAN_END,
    PLAN_LONG,
    PLAN_PARTS,
    PLAN_PROGRAM,
    PLAN_ROWS,
    PLAN_WORDS,
)


@shared
def walk(program, end, ctx):
    """Runs the steps in order; 0, or the offset of the failing step * 256 + its status.

    A status below 0 is a jump: JUMP + words from the step to the next one. One that leads out of the program is handed on, as JUMP +
    words from the program's start.
    """
    step = program
    while step < end:
        status = call_kernel(word(step, 0), step, ctx)
        if status > 0:
            return (step - program) * 256 + status
        if status < 0:
            step += (status - JUMP) * 8
            if step < program or step >= end:  # words of a slower tier's steps there are none, so the end is another stretch's beginning
                return JUMP + (step - program) // 8
        else:
            step += word(step, 1) * 8
    return 0


@shared
def piece(ctx, door, plan, first):
    """Runs a plan without parts on the arrays noted at a door, from row `first` on."""
    entry = door + DOOR_HEADER * 8
    for i in range(word(door, DOOR_BUFFERS)):
        write_i64(ctx, CTX_SPACES + FIRST_BUFFER + i, word(entry, DOOR_BASE) + first * word(entry, DOOR_ROW_BYTES))
        entry += DOOR_WORDS * 8
    write_i64(ctx, CTX_ROWS, word(plan, PLAN_ROWS))
    write_i64(ctx, CTX_ROW, first)
    write_i64(ctx, CTX_TURNS, 0)
    return walk(word(plan, PLAN_PROGRAM), word(plan, PLAN_END), ctx)


@shared
def _pieces(ctx, plan, first):
    door, n_parts = word(ctx, CTX_DOOR), word(plan, PLAN_PARTS)
    if n_parts == 0:
        return piece(ctx, door, plan, first)
    for p in range(n_parts):
        part = word(plan, PLAN_WORDS + 2 * p)
        for _ in range(word(plan, PLAN_WORDS + 2 * p + 1)):
            status = piece(ctx, door, part, first)
            if status != 0:
                return status
            first += word(part, PLAN_ROWS)
    return 0


@shared
def execute(ctx, plan, first):
    """Runs a plan on the noted arrays from row `first` on; 0, or where the program failed, as `walk` says."""
    mode = pin_float_mode()
    if word(plan, PLAN_LONG) != 0:  # long enough to let other Python threads run meanwhile
        thread = call_c_0(word(ctx, CTX_SAVE_THREAD))
        status = _pieces(ctx, plan, first)
        call_c_1(word(ctx, CTX_RESTORE_THREAD), thread)
    else:
        status = _pieces(ctx, plan, first)
    restore_float_mode(mode)
    return status


def segment(ctx, program, end):
    """Runs a stretch of a program between two steps of a slower tier."""
    mode = pin_float_mode()
    status = walk(program, end, ctx)
    restore_float_mode(mode)
    return status
