"""Copies observations of single agents to rows of columns, and rows of columns to separate arrays, in one compiled call."""

from __future__ import annotations

from cervello.codegen.compiler import inline, noinline
from cervello.codegen.memory import (
    call_c_0,
    call_c_1,
    call_c_2,
    call_c_3,
    call_c_4,
    call_c_int_2_int,
    copy_bytes,
    read_i32,
    read_u8,
    word,
    write_i64,
)
from cervello.native.kernels.row_words import (
    ARRAY_TYPE,
    BIRTHS,
    BIRTHS_AT,
    CAPACITY,
    CLEAR,
    COLUMN,
    DECREF,
    DESCR,
    DICT_GET,
    DICT_NEXT,
    DICT_SET,
    DICT_SIZE,
    DICT_TYPE,
    DIMS,
    ELEMENTS,
    EMPTY,
    ERR_CLEAR,
    FIRST,
    HEADER,
    INCREF,
    INT_MAKE,
    INT_TYPE,
    INT_VALUE,
    KEY,
    LIST_TYPE,
    LOCK_OWNER,
    N_DIMS,
    N_INPUTS,
    NAME,
    NEW,
    OPEN,
    POSITION,
    RELEASE,
    ROW_BYTES,
    ROWS,
    SET,
    SET_ITEM,
    SINCE,
    SLOTS,
    SOLE,
    STR_TYPE,
    VALUE,
    WORDS,
    WRITER,
)
from cervello.native.kernels.storing import copy_row
from cervello.noise.layout import DATA, DTYPE, FLAGS, RANK, READABLE, SHAPE, STRIDES, TYPE

_NEEDED = READABLE | 0x1  # aligned, C-contiguous


@inline
def _fits(array, array_type, descr, n_dims, sizes):
    """Whether an object is a plain array of this type, dtype and shape; `sizes` is the address of its n_dims words."""
    if word(array + TYPE, 0) != array_type or word(array + DTYPE, 0) != descr:
        return False
    if read_i32(array + FLAGS, 0) & _NEEDED != _NEEDED or read_i32(array + RANK, 0) != n_dims:
        return False
    dims = word(array + SHAPE, 0)
    for d in range(n_dims):
        if word(dims, d) != word(sizes, d):
            return False
    return True


@inline
def _copied(reader, entry, array, row):
    """Copies an array to a row of an input's column; False if it is not a plain array of the input's dtype and shape."""
    if not _fits(array, word(reader, ARRAY_TYPE), word(entry, DESCR), word(entry, N_DIMS), entry + DIMS * 8):
        return False
    row_bytes = word(entry, ROW_BYTES)
    copy_row(word(entry, COLUMN) + row * row_bytes, word(array + DATA, 0), row_bytes)
    return True


@noinline
def _read(reader, observation, row):
    """Copies an observation; if it returns False, some of its inputs may have been copied."""
    entry = reader + HEADER * 8
    if word(observation + TYPE, 0) != word(reader, DICT_TYPE):
        return word(reader, SOLE) != 0 and _copied(reader, entry, observation, row)
    n_inputs = word(reader, N_INPUTS)
    if call_c_1(word(reader, DICT_SIZE), observation) != n_inputs:
        return False
    write_i64(reader, POSITION, 0)
    following, n_found = word(reader, DICT_NEXT), 0
    while n_found < n_inputs:  # in the inputs' order under the same str objects, as literal keys are
        if call_c_4(following, observation, reader + POSITION * 8, reader + KEY * 8, reader + VALUE * 8) == 0:
            break
        if word(reader, KEY) != word(entry, NAME):
            break
        if not _copied(reader, entry, word(reader, VALUE), row):
            return False
        entry += WORDS * 8
        n_found += 1
    if n_found == n_inputs:
        return True
    entry = reader + HEADER * 8
    write_i64(reader, POSITION, 0)
    while call_c_4(following, observation, reader + POSITION * 8, reader + KEY * 8, reader + VALUE * 8) != 0:
        if word(word(reader, KEY) + TYPE, 0) != word(reader, STR_TYPE):  # comparing a key of another type may run Python code
            return False
    for _ in range(n_inputs):
        array = call_c_2(word(reader, DICT_GET), observation, word(entry, NAME))
        if array == 0 or not _copied(reader, entry, array, row):
            return False
        entry += WORDS * 8
    return True


def read_rows(reader, first, unused, objects, n_objects):
    """Copies observations (dicts of arrays by input, or single arrays) to the rows from `first` on.

    Returns the number copied; it stops at the first observation that needs a conversion.
    """
    for i in range(n_objects):
        if not _read(reader, word(objects, i), first + i):
            return i
    return n_objects


@noinline
def _note(reader, names, agent, number):
    """names[agent] = number; False if out of memory."""
    value = call_c_1(word(reader, INT_MAKE), number)
    if value == 0:
        call_c_0(word(reader, ERR_CLEAR))
        return False
    status = call_c_3(word(reader, DICT_SET), names, agent, value)
    call_c_1(word(reader, DECREF), value)
    if status != 0:
        call_c_0(word(reader, ERR_CLEAR))
    return status == 0


def push_row(reader, unused, unused_too, objects, n_objects):
    """Appends an agent that has begun and is not waiting to the waiting agents, with its observation. If frames are counted and there is
    one input, an agent that is already waiting gets the new observation in its row.

    Nothing here runs Python code, so the call is atomic under the GIL. The agent id must be exactly of type int or str.

    Args:
      objects: the agent and its observation; if frames are counted, also the frame of the push (int) and the `threading.RLock` that guards
        the waiting agents.
    Returns:
      1; 0 if Python must take the general path, and nothing was changed then.
    """
    if word(reader, OPEN) == 0 or word(word(reader, WRITER), 0) != 0:
        return 0
    counted = n_objects == 4
    if counted and word(word(objects, 3) + LOCK_OWNER, 0) != 0:
        return 0
    agent, observation, births = word(objects, 0), word(objects, 1), word(reader, BIRTHS)
    kind = word(agent + TYPE, 0)
    if kind != word(reader, INT_TYPE) and kind != word(reader, STR_TYPE):
        return 0
    slot = call_c_2(word(reader, DICT_GET), word(reader, SLOTS), agent)
    if slot == 0:
        return 0
    waits = call_c_2(word(reader, DICT_GET), births, agent) != 0
    row = word(reader, FIRST) + call_c_1(word(reader, DICT_SIZE), births)
    if waits:
        if not counted or word(reader, N_INPUTS) != 1:
            return 0
        found = call_c_2(word(reader, DICT_GET), word(reader, ROWS), agent)
        if found == 0:
            return 0
        row = call_c_1(word(reader, INT_VALUE), found)
    if row >= word(reader, CAPACITY) or not _read(reader, observation, row):
        return 0
    if not waits:
        if not _note(reader, word(reader, ROWS), agent, row):
            return 0
        if counted and call_c_3(word(reader, DICT_SET), word(reader, SINCE), agent, word(objects, 2)) != 0:
            call_c_0(word(reader, ERR_CLEAR))
            return 0
    slot = call_c_1(word(reader, INT_VALUE), slot)
    return 1 if _note(reader, births, agent, word(word(word(reader, BIRTHS_AT), 0), slot)) else 0


def stack(context, unused, unused_too, objects, n_objects):
    """Copies separate arrays of one shape and dtype to the rows of one array.

    Args:
      context: 0 type of arrays, 1 dtype, 2 axes, 3 bytes of a part, then the sizes of its axes.
      objects: the target [N, *shape], then the N parts.
    Returns:
      1 if an array has another shape or dtype; the target is then invalid.
    """
    target, row_bytes = word(word(objects, 0) + DATA, 0), word(context, 3)
    for i in range(1, n_objects):
        part = word(objects, i)
        if not _fits(part, word(context, 0), word(context, 1), word(context, 2), context + 32):
            return 1
        copy_row(target, word(part + DATA, 0), row_bytes)
        target += row_bytes
    return 0


@inline
def _pair(column, target, array_type, m, n_rows):
    """Whether two arrays are contiguous, of one dtype, and [m, …] and [n_rows, …] with the same rows."""
    rank = read_i32(column + RANK, 0)
    if word(column + TYPE, 0) != array_type or word(target + TYPE, 0) != array_type or rank != read_i32(target + RANK, 0) or rank < 1:
        return False
    if read_i32(column + FLAGS, 0) & 1 == 0 or read_i32(target + FLAGS, 0) & 1 == 0 or word(column + DTYPE, 0) != word(target + DTYPE, 0):
        return False
    if word(word(column + SHAPE, 0), 0) != m or word(word(target + SHAPE, 0), 0) != n_rows:
        return False
    for axis in range(1, rank):
        if word(word(column + SHAPE, 0), axis) != word(word(target + SHAPE, 0), axis):
            return False
    return True


def spread(array_type, n_rows, unused, objects, n_objects):
    """Copies the rows of columns to the rows of larger arrays at which a mask is True, in order; the other rows stay as they are.

    Args:
      array_type: of arrays.
      objects: the mask, [n_rows] bool and contiguous; then columns [m, …], each followed by its target [n_rows, …]; not empty, and not of
        dtype object; m is the number of True.
    Returns:
      1 if an array is not contiguous, or a column and its target do not fit; nothing has been written then.
    """
    mask, m = word(word(objects, 0) + DATA, 0), 0
    for row in range(n_rows):
        m += read_u8(mask, row)
    if n_rows < 2:  # the stride of a single row means nothing
        return 1
    for i in range(1, n_objects, 2):
        if not _pair(word(objects, i), word(objects, i + 1), array_type, m, n_rows):
            return 1
    for i in range(1, n_objects, 2):
        source, target = word(word(objects, i) + DATA, 0), word(word(objects, i + 1) + DATA, 0)
        row_bytes = word(word(word(objects, i + 1) + STRIDES, 0), 0)
        row = 0
        while row < n_rows:  # runs of rows, of which there are few
            first = row
            while row < n_rows and read_u8(mask, row) != 0:
                row += 1
            n_bytes = (row - first) * row_bytes
            if n_bytes != 0:
                copy_bytes(target + first * row_bytes, source, n_bytes)
                source += n_bytes
            row += 1
    return 0


@inline
def _row_copy(functions, column, i, row_bytes):
    """A new array with a row of a column; 0 if out of memory."""
    descr = word(column + DTYPE, 0)
    call_c_1(word(functions, INCREF), descr)  # the next call steals a reference
    row = call_c_int_2_int(word(functions, EMPTY), read_i32(column + RANK, 0) - 1, word(column + SHAPE, 0) + 8, descr, 0)
    if row != 0:
        copy_bytes(word(row + DATA, 0), word(column + DATA, 0) + i * row_bytes, row_bytes)
    return row


def copy_rows(functions, n_rows, row_bytes, objects, n_objects):
    """Copies the rows of a column, C-contiguous and not of dtype object, to separate arrays.

    Args:
      objects: addresses of the column and of a list of n_rows.
    Returns:
      the number of list items set; fewer than n_rows if out of memory.
    """
    column, rows = word(objects, 0), word(objects, 1)
    for i in range(n_rows):
        row = _row_copy(functions, column, i, row_bytes)
        if row == 0:
            call_c_0(word(functions, CLEAR))
            return i
        call_c_3(word(functions, SET_ITEM), rows, i, row)
    return n_rows


def split_rows(functions, n_rows, unused, objects, n_objects):
    """Fills a dict with a dict for each agent, of rows by output.

    Args:
      n_rows: at least 2, so that the first stride of a contiguous array is the bytes of a row.
      objects: a tuple of n_rows agents and the dict, then for each output its name and its column: an array [n_rows, ...], C-contiguous,
        not empty and not of dtype object, whose rows are copied, or a list of rows.
    Returns:
      the number of agents in the dict; fewer than n_rows if out of memory, or if an agent cannot be hashed.
    """
    ids, target, elements = word(objects, 0) + word(functions, ELEMENTS), word(objects, 1), word(functions, ELEMENTS)
    for i in range(n_rows):
        outputs = call_c_0(word(functions, NEW))
        status = 0 if outputs != 0 else -1
        for k in range(2, n_objects, 2):
            if status == 0:
                name, column = word(objects, k), word(objects, k + 1)
                if word(column + TYPE, 0) == word(functions, LIST_TYPE):
                    status = call_c_3(word(functions, SET), outputs, name, word(word(column + elements, 0), i))
                else:
                    row = _row_copy(functions, column, i, word(word(column + STRIDES, 0), 0))
                    status = -1
                    if row != 0:
                        status = call_c_3(word(functions, SET), outputs, name, row)
                        call_c_1(word(functions, RELEASE), row)
        if status == 0:
            status = call_c_3(word(functions, SET), target, word(ids, i), outputs)
        if outputs != 0:
            call_c_1(word(functions, RELEASE), outputs)
        if status != 0:
            call_c_0(word(functions, CLEAR))
            return i
    return n_rows
