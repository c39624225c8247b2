"""The run itself: checking arrays at the door, resolving a program for N rows, walking its steps.

The door reads numpy's array struct directly (data, nd, dimensions, descr and flags are part of numpy's stable binary interface),
because asking an array for its address from Python costs 1 µs. What it does not recognise it reports, and Python takes over.
"""

from __future__ import annotations

from cervello.compiled.compiler import device, shared
from cervello.compiled.floats import pin_float_mode, restore_float_mode
from cervello.compiled.memory import call_c_0, call_c_1, call_kernel, read_i32, word, write_i64
from cervello.native.abi import (
    CTX_DOOR,
    CTX_RESTORE_THREAD,
    CTX_ROW,
    CTX_ROWS,
    CTX_SAVE_THREAD,
    CTX_SPACES,
    DOOR_ARRAY_TYPE,
    DOOR_BASE,
    DOOR_BUFFERS,
    DOOR_DESCR,
    DOOR_DIMS,
    DOOR_FLAGS,
    DOOR_HEADER,
    DOOR_NDIM,
    DOOR_INPUTS,
    DOOR_ROW_BYTES,
    DOOR_WORDS,
    FIRST_BUFFER,
    PLAN_END,
    PLAN_LONG,
    PLAN_PROGRAM,
    PLAN_ROWS,
)
from cervello.noise.layout import DATA, DTYPE, FLAGS, RANK, SHAPE, TYPE


@device
def _fits(entry, array, array_type, n_rows):
    """Whether an object is a plain array of the described type and shape; dims of -1 mean n_rows."""
    if word(array + TYPE, 0) != array_type or word(array + DTYPE, 0) != word(entry, DOOR_DESCR):
        return False
    flags = word(entry, DOOR_FLAGS)
    if read_i32(array + FLAGS, 0) & flags != flags:
        return False
    n_dims = word(entry, DOOR_NDIM)
    if read_i32(array + RANK, 0) != n_dims:
        return False
    dims = word(array + SHAPE, 0)
    for d in range(n_dims):
        expected = word(entry, DOOR_DIMS + d)
        if word(dims, d) != (n_rows if expected < 0 else expected):
            return False
    return True


@device
def _apart(door, output, n_rows):
    """Whether an output shares no memory with the arrays before it: a program may write early and read late."""
    entry = door + (DOOR_HEADER + output * DOOR_WORDS) * 8
    start = word(entry, DOOR_BASE)
    end = start + n_rows * word(entry, DOOR_ROW_BYTES)
    for i in range(output):
        other = door + (DOOR_HEADER + i * DOOR_WORDS) * 8
        begin = word(other, DOOR_BASE)
        if begin < end and start < begin + n_rows * word(other, DOOR_ROW_BYTES):
            return False
    return True


@shared
def walk(program, end, ctx):
    """Runs the steps in order; 0, or the offset of the failing step * 256 + its status."""
    step = program
    while step < end:
        status = call_kernel(word(step, 0), step, ctx)
        if status != 0:
            return (step - program) * 256 + status
        step += word(step, 1) * 8
    return 0


def run(ctx, plan, n, objects, n_objects):
    """Checks arrays, runs a plan, or both.

    Args:
      plan: address of a plan's facts; 0 only checks the arrays.
      n: with arrays, the rows they must have; without, the first row of the checked arrays to run.
      objects: addresses of n_objects arrays, inputs then outputs.
    Returns:
      0; -1 - i when array i does not fit as it is; else where the program failed, as `walk` says.
    """
    door = word(ctx, CTX_DOOR)
    first = n
    if n_objects != 0:
        first = 0
        if n_objects != word(door, DOOR_BUFFERS):
            return -1 - n_objects
        array_type, n_inputs = word(door, DOOR_ARRAY_TYPE), word(door, DOOR_INPUTS)
        entry = door + DOOR_HEADER * 8
        for i in range(n_objects):
            array = word(objects, i)
            if not _fits(entry, array, array_type, n):
                return -1 - i
            write_i64(entry, DOOR_BASE, word(array + DATA, 0))
            if i >= n_inputs and not _apart(door, i, n):
                return -1 - i
            entry += DOOR_WORDS * 8
    if plan == 0:
        return 0
    entry = door + DOOR_HEADER * 8
    for i in range(word(door, DOOR_BUFFERS)):
        write_i64(ctx, CTX_SPACES + FIRST_BUFFER + i, word(entry, DOOR_BASE) + first * word(entry, DOOR_ROW_BYTES))
        entry += DOOR_WORDS * 8
    write_i64(ctx, CTX_ROWS, word(plan, PLAN_ROWS))
    write_i64(ctx, CTX_ROW, first)
    mode = pin_float_mode()
    if word(plan, PLAN_LONG) != 0:  # long enough to let other Python threads run meanwhile
        thread = call_c_0(word(ctx, CTX_SAVE_THREAD))
        status = walk(word(plan, PLAN_PROGRAM), word(plan, PLAN_END), ctx)
        call_c_1(word(ctx, CTX_RESTORE_THREAD), thread)
    else:
        status = walk(word(plan, PLAN_PROGRAM), word(plan, PLAN_END), ctx)
    restore_float_mode(mode)
    return status


def segment(ctx, program, end):
    """Runs a stretch of a program between two steps of a slower tier."""
    mode = pin_float_mode()
    status = walk(program, end, ctx)
    restore_float_mode(mode)
    return status


def resolve(target, const, by_row, by_padded, n_words, n_rows, padded):
    """target[i] = const[i] + by_row[i] * n_rows + by_padded[i] * padded: a program's words for one N."""
    for i in range(n_words):
        write_i64(target, i, word(const, i) + word(by_row, i) * n_rows + word(by_padded, i) * padded)
    return 0
