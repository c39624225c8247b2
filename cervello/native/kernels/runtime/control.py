"""The compiled entry of a run: checks arrays, resolves a program for N rows, and executes it.

The check reads numpy's array struct directly (data, nd, dimensions, descr and flags are part of numpy's stable ABI), because getting an
array's address in Python costs 1 µs. An array that it does not accept is reported, and Python takes the general path.
"""

from __future__ import annotations

import numpy as np

from cervello.codegen.compiler import inline, noinline
from cervello.codegen.memory import (
    call_c_0,
    call_c_1,
    call_c_2,
    call_c_3,
    call_c_4,
    call_c_int_2_int,
    call_kernel,
    read_i32,
    word,
    write_f32,
    write_i64,
)
from cervello.native.kernels.abi import (
    ARG_ALSO,
    ARG_ARRAY_TYPE,
    ARG_BASE,
    ARG_BUFFERS,
    ARG_DESCR,
    ARG_DIMS,
    ARG_FIXED_BYTES,
    ARG_FLAGS,
    ARG_GIVEN_INPUTS,
    ARG_GIVEN_OUTPUTS,
    ARG_HEADER,
    ARG_HIDDEN,
    ARG_MOST_DIMS,
    ARG_NAME,
    ARG_NDIM,
    ARG_OUTPUT,
    ARG_ROW_BYTES,
    ARG_WORDS,
    CTX_ALL_DETERMINISTIC,
    CTX_ARGUMENTS,
    CTX_ARRAY_EMPTY,
    CTX_DECREF,
    CTX_DETERMINISTIC,
    CTX_DICT_GET,
    CTX_DICT_NEXT,
    CTX_DICT_SET,
    CTX_DICT_SIZE,
    CTX_DICT_TYPE,
    CTX_ERR_CLEAR,
    CTX_FOLLOW,
    CTX_FUSED_OPS,
    CTX_INCREF,
    CTX_KEEP,
    CTX_KEY,
    CTX_KEYS,
    CTX_N_FUSED_OPS,
    CTX_POSITION,
    CTX_RESULTS_TYPE,
    CTX_RUN,
    CTX_SLOTS,
    CTX_STEPS,
    CTX_STR_TYPE,
    CTX_UNTIL,
    CTX_VALUE,
    FUSED_ADDRESS,
    FUSED_KIND,
    FUSED_NOISE,
    FUSED_PORT,
    FUSED_ROW_BYTES,
    FUSED_WORDS,
    PLAN_RELEASES_GIL,
)
from cervello.native.kernels.runtime.execution import execute
from cervello.native.kernels.storing import copy_row
from cervello.noise.lane_ops import stack_words
from cervello.noise.layout import DATA, DTYPE, FLAGS, RANK, SHAPE, TYPE


@inline
def _fits(entry, array, array_type, n_rows):
    """Whether an object is a plain array of the record's dtype and shape; a dim of -1 means n_rows."""
    if word(array + TYPE, 0) != array_type:
        return False
    dtype = word(array + DTYPE, 0)
    if dtype != word(entry, ARG_DESCR) and dtype != word(entry, ARG_ALSO):
        return False
    flags = word(entry, ARG_FLAGS)
    if read_i32(array + FLAGS, 0) & flags != flags:
        return False
    n_dims = word(entry, ARG_NDIM)
    if read_i32(array + RANK, 0) != n_dims:
        return False
    dims = word(array + SHAPE, 0)
    for d in range(n_dims):
        expected = word(entry, ARG_DIMS + d)
        if word(dims, d) != (n_rows if expected < 0 else expected):
            return False
    return True


@inline
def _apart(door, port, n_rows):
    """Whether this array and the arrays before it do not alias, if one of the pair is an output: a program may write before it reads."""
    entry = door + (ARG_HEADER + port * ARG_WORDS) * 8
    start, output = word(entry, ARG_BASE), word(entry, ARG_OUTPUT)
    end = start + n_rows * word(entry, ARG_ROW_BYTES) + word(entry, ARG_FIXED_BYTES)
    for i in range(port):
        other = door + (ARG_HEADER + i * ARG_WORDS) * 8
        if output + word(other, ARG_OUTPUT) == 0:
            continue
        begin = word(other, ARG_BASE)
        if begin < end and start < begin + n_rows * word(other, ARG_ROW_BYTES) + word(other, ARG_FIXED_BYTES):
            return False
    return True


@noinline
def _door(ctx, objects, n_rows):
    """Checks arrays and stores their addresses; returns 0, or -1 - i if array i cannot be used in place: wrong type, dtype, shape or flags,
    or memory shared with an output."""
    door = word(ctx, CTX_ARGUMENTS)
    array_type = word(door, ARG_ARRAY_TYPE)
    entry, written = door + ARG_HEADER * 8, 0
    for i in range(word(door, ARG_BUFFERS)):
        if word(entry, ARG_HIDDEN) == 0:
            array = word(objects, i)
            if not _fits(entry, array, array_type, n_rows):
                return -1 - i
            write_i64(entry, ARG_BASE, word(array + DATA, 0))
            written |= word(entry, ARG_OUTPUT)
            if written != 0 and not _apart(door, i, n_rows):
                return -1 - i
        entry += ARG_WORDS * 8
    return 0


def run(ctx, plan, n, objects, n_objects):
    """Checks arrays, runs a plan, or both.

    Args:
      plan: address of a plan's facts; 0 only checks the arrays.
      n: with arrays, their expected number of rows; without, the first row of the checked arrays to run.
      objects: addresses of n_objects arrays, inputs then outputs.
    Returns:
      0; -1 - i if array i cannot be used in place; -1 - n_objects if their number is wrong; else the status of `run_steps`.
    """
    first = n
    if n_objects != 0:
        first = 0
        if n_objects != word(word(ctx, CTX_ARGUMENTS), ARG_BUFFERS):
            return -1 - n_objects
        status = _door(ctx, objects, n)
        if status != 0:
            return status
    return execute(ctx, plan, first) if plan != 0 else 0


@noinline
def _inward(ctx, n_rows):
    """Runs the wrappers' fused ops on inputs before a run."""
    first = word(ctx, CTX_ARGUMENTS) + ARG_HEADER * 8
    slots, steps = word(ctx, CTX_SLOTS), word(ctx, CTX_STEPS)
    for m in range(word(ctx, CTX_N_FUSED_OPS)):
        move = word(ctx, CTX_FUSED_OPS) + m * FUSED_WORDS * 8
        kind, row_bytes, address = word(move, FUSED_KIND), word(move, FUSED_ROW_BYTES), word(move, FUSED_ADDRESS)
        column = word(first + word(move, FUSED_PORT) * ARG_WORDS * 8, ARG_BASE)
        if kind == 0:
            for i in range(n_rows):
                copy_row(column + i * row_bytes, address + word(slots, i) * row_bytes, row_bytes)
        elif kind == 2:
            for i in range(n_rows):
                copy_row(column + i * row_bytes, address, row_bytes)
        elif kind == 3:
            for i in range(n_rows):
                write_f32(column, i, np.float32(1.0) if word(steps, word(slots, i)) == 0 else np.float32(0.0))
        elif kind == 4:
            block = move + FUSED_NOISE * 8
            write_i64(block, 0, column)
            write_i64(block, 2, n_rows)
            write_i64(block, 4, slots)
            write_i64(block, 5, word(ctx, CTX_KEYS))
            write_i64(block, 6, steps)
            write_i64(block, 9, word(ctx, CTX_DETERMINISTIC))
            call_kernel(address, block, 0)
    return 0


@noinline
def _commit(ctx, n_rows):
    """Stores wrapper state from outputs after a successful run and advances each agent's step counter; returns the result of
    `storing.keep`."""
    slots, steps = word(ctx, CTX_SLOTS), word(ctx, CTX_STEPS)
    kept = 0
    if word(ctx, CTX_KEEP) != 0:
        kept = call_kernel(word(ctx, CTX_KEEP), ctx, n_rows)
        if kept < 0:
            return -1
    for i in range(n_rows):
        slot = word(slots, i)
        write_i64(steps, slot, word(steps, slot) + 1)
    return kept


@noinline
def _has_plain_keys(ctx, names):
    """Whether all keys of a dict are exactly of type str: comparing a key of another type may run Python code."""
    write_i64(ctx, CTX_POSITION, 0)
    while call_c_4(word(ctx, CTX_DICT_NEXT), names, ctx + CTX_POSITION * 8, ctx + CTX_KEY * 8, ctx + CTX_VALUE * 8) != 0:
        if word(word(ctx, CTX_KEY) + TYPE, 0) != word(ctx, CTX_STR_TYPE):
            return False
    return True


@noinline
def _found_in_order(ctx, names, output, arrays):
    """Stores the arrays of a dict whose keys are the records' own str objects in the same order; compares by identity only."""
    door, following = word(ctx, CTX_ARGUMENTS), word(ctx, CTX_DICT_NEXT)
    write_i64(ctx, CTX_POSITION, 0)
    entry = door + ARG_HEADER * 8
    for i in range(word(door, ARG_BUFFERS)):
        if word(entry, ARG_HIDDEN) == 0 and word(entry, ARG_OUTPUT) == output:
            if call_c_4(following, names, ctx + CTX_POSITION * 8, ctx + CTX_KEY * 8, ctx + CTX_VALUE * 8) == 0:
                return False
            if word(ctx, CTX_KEY) != word(entry, ARG_NAME):
                return False
            write_i64(arrays, i, word(ctx, CTX_VALUE))
        entry += ARG_WORDS * 8
    return True


@noinline
def _found_by_name(ctx, names, output, arrays):
    """Looks up the arrays of a dict and stores them; returns 0, or -1 - i if array i is missing or the dict has unsafe keys."""
    if not _has_plain_keys(ctx, names):
        return -1
    door, get = word(ctx, CTX_ARGUMENTS), word(ctx, CTX_DICT_GET)
    entry = door + ARG_HEADER * 8
    for i in range(word(door, ARG_BUFFERS)):
        if word(entry, ARG_HIDDEN) == 0 and word(entry, ARG_OUTPUT) == output:
            found = call_c_2(get, names, word(entry, ARG_NAME))
            if found == 0:
                return -1 - i
            write_i64(arrays, i, found)
        entry += ARG_WORDS * 8
    return 0


@noinline
def _made(ctx, names, arrays, n_rows):
    """Allocates arrays of n_rows rows into an empty dict and stores them; False if out of memory."""
    door, sizes = word(ctx, CTX_ARGUMENTS), stack_words(ARG_MOST_DIMS)
    entry = door + ARG_HEADER * 8
    for i in range(word(door, ARG_BUFFERS)):
        if word(entry, ARG_HIDDEN) == 0 and word(entry, ARG_OUTPUT) != 0:
            n_dims, descr = word(entry, ARG_NDIM), word(entry, ARG_DESCR)
            for d in range(n_dims):
                size = word(entry, ARG_DIMS + d)
                write_i64(sizes, d, n_rows if size < 0 else size)
            call_c_1(word(ctx, CTX_INCREF), descr)  # the next call steals a reference
            array = call_c_int_2_int(word(ctx, CTX_ARRAY_EMPTY), n_dims, sizes, descr, 0)
            status = 1
            if array != 0:
                status = call_c_3(word(ctx, CTX_DICT_SET), names, word(entry, ARG_NAME), array)
                call_c_1(word(ctx, CTX_DECREF), array)
            if status != 0:
                call_c_0(word(ctx, CTX_ERR_CLEAR))
                return False
            write_i64(arrays, i, array)
        entry += ARG_WORDS * 8
    return True


@noinline
def _count_references(ctx, function):
    """Calls Py_IncRef or Py_DecRef for every array found in a dict."""
    door = word(ctx, CTX_ARGUMENTS)
    n_buffers = word(door, ARG_BUFFERS)
    arrays = door + (ARG_HEADER + n_buffers * ARG_WORDS) * 8
    for i in range(n_buffers):
        if word(door + (ARG_HEADER + i * ARG_WORDS) * 8, ARG_HIDDEN) == 0:
            call_c_1(function, word(arrays, i))


@noinline
def _run_found(ctx, plan, n, objects, n_objects):
    """The part of `run_named` that follows the check of arrays."""
    door = word(ctx, CTX_ARGUMENTS)
    moves = n_objects != 2 and n_objects != 6
    if n_objects != 2:
        write_i64(ctx, CTX_SLOTS, word(word(objects, 2) + DATA, 0))
        write_i64(ctx, CTX_STEPS, word(word(objects, 3) + DATA, 0))
        write_i64(ctx, CTX_KEYS, word(word(objects, 4) + DATA, 0))
        write_i64(ctx, CTX_ALL_DETERMINISTIC, 0)
        flags = 0
        if n_objects > 5 and word(word(objects, 5) + TYPE, 0) == word(door, ARG_ARRAY_TYPE):
            flags = word(word(objects, 5) + DATA, 0)
        write_i64(ctx, CTX_DETERMINISTIC, flags)
    if moves:
        _inward(ctx, n)
    status = execute(ctx, plan, 0) if plan != 0 else 0
    if moves:
        if status == 0 and word(ctx, CTX_FOLLOW) != 0:
            status = call_kernel(word(ctx, CTX_FOLLOW), ctx, n)
        if status == 0:
            status = _commit(ctx, n if word(ctx, CTX_UNTIL) == 0 else word(ctx, CTX_RUN))
    return status


def run_named(ctx, plan, n, objects, n_objects):
    """Like `run`, with arrays looked up by name in two dicts, inputs and outputs. The compiled lookup instead of one in Python halves the
    time of a small policy.

    A plan of 0 only checks the arrays and stores the agent arrays. Fused wrapper ops need a plan.

    An empty outputs dict of the type in CTX_RESULTS_TYPE is filled with new arrays.

    Two objects, the dicts, are a run without agents; `ExecutionContext.set_noise` sets the noise source before.

    Three more objects describe the agents: slots (int64 by row), step counters (int64 by slot), noise keys. A fourth is the deterministic
    flags (bool by row, or None). Without a fourth, no row is deterministic, the fused wrapper ops and the chained graphs run, and each
    agent's step counter is advanced on success. A fifth object of any kind enables the same with the fourth. In these two forms,
    nonfinite state gives the status NONFINITE, or -1 if a wrapper refuses it. A chunked plan may then stop at the deadline CTX_UNTIL;
    CTX_RUN is the number of rows that ran.
    """
    door = word(ctx, CTX_ARGUMENTS)
    inputs, outputs = word(objects, 0), word(objects, 1)
    size, dict_type = word(ctx, CTX_DICT_SIZE), word(ctx, CTX_DICT_TYPE)
    kind = word(outputs + TYPE, 0)
    makes = kind == word(ctx, CTX_RESULTS_TYPE) and call_c_1(size, outputs) == 0
    if word(inputs + TYPE, 0) != dict_type or (kind != dict_type and not makes):
        return -1
    if call_c_1(size, inputs) != word(door, ARG_GIVEN_INPUTS):
        return -1
    if not makes and call_c_1(size, outputs) != word(door, ARG_GIVEN_OUTPUTS):
        return -1
    arrays = door + (ARG_HEADER + word(door, ARG_BUFFERS) * ARG_WORDS) * 8
    status = 0
    for output in range(1 if makes else 2):  # a loop: one call site is compiled once
        names = inputs if output == 0 else outputs
        if status == 0 and not _found_in_order(ctx, names, output, arrays):
            status = _found_by_name(ctx, names, output, arrays)
    if status != 0:
        return status
    if makes and not _made(ctx, outputs, arrays, n):
        return -1
    status = _door(ctx, arrays, n)
    if status != 0:
        return status
    lets_others_run = plan != 0 and word(plan, PLAN_RELEASES_GIL) != 0  # other threads may remove arrays from the dicts
    if lets_others_run:
        _count_references(ctx, word(ctx, CTX_INCREF))
    status = _run_found(ctx, plan, n, objects, n_objects)
    if lets_others_run:
        _count_references(ctx, word(ctx, CTX_DECREF))
    return status


def resolve(target, const, by_row, owners, places, n_words, n_rows):
    """Computes a program's words for one N: target[i] = const[i] + by_row[i] * n_rows + places[owners[i]]."""
    for i in range(n_words):
        write_i64(target, i, word(const, i) + word(by_row, i) * n_rows + word(places, word(owners, i)))
    return 0
