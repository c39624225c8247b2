"""Copies observations of single agents into rows of columns, and rows of columns into separate arrays, in one compiled call."""

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
    copy_row,
    read_i32,
    read_u8,
    word,
)
from cervello.codegen.records import view
from cervello.native.kernels.row_words import COPY_ROWS, INPUT, LOCK_OWNER, READER, STACK
from cervello.noise.arrays import are_equal, is_array
from cervello.noise.layout import DATA, DTYPE, FLAGS, RANK, READABLE, SHAPE, STRIDES, TYPE

Reader, Input, _functions, _stack = view(READER), view(INPUT), view(COPY_ROWS), view(STACK)
_NEEDED = READABLE | 0x1  # aligned, C-contiguous
_INPUT_BYTES = INPUT.n_bytes


@inline
def _fits(array, array_type, dtype, rank, sizes):
    """Whether an object is an aligned, C-contiguous array of this type, dtype and shape; `sizes`: address of the expected sizes."""
    return is_array(array, array_type, dtype, rank, _NEEDED) and are_equal(word(array + SHAPE, 0), sizes, rank)


@inline
def _copy(reader, entry, array, row):
    """Copies an array to a row of an input's column; False if the array needs a conversion."""
    this = Input(entry)
    if not _fits(array, Reader(reader).array_type, this.dtype, this.rank, this.sizes_at):
        return False
    row_bytes = this.row_bytes
    copy_row(this.column + row * row_bytes, word(array + DATA, 0), row_bytes)
    return True


@noinline
def _read(reader, observation, row):
    """Copies an observation to a row. False if it needs a conversion; some of its inputs may have been copied."""
    r = Reader(reader)
    entry = r.more
    if word(observation + TYPE, 0) != r.dict_type:
        return r.single_input != 0 and _copy(reader, entry, observation, row)
    n_inputs = r.n_inputs
    if call_c_1(r.dict_size, observation) != n_inputs:
        return False
    r.position, n_found = 0, 0
    while n_found < n_inputs:  # fast path: keys in the inputs' order and identical str objects, as for literals
        if call_c_4(r.dict_next, observation, r.position_at, r.key_at, r.value_at) == 0:
            break
        if r.key != Input(entry).name:
            break
        if not _copy(reader, entry, r.value, row):
            return False
        entry += _INPUT_BYTES
        n_found += 1
    if n_found == n_inputs:
        return True
    entry = r.more
    r.position = 0
    while call_c_4(r.dict_next, observation, r.position_at, r.key_at, r.value_at) != 0:
        if word(r.key + TYPE, 0) != r.str_type:  # comparing a key of another type may run Python code
            return False
    for _ in range(n_inputs):
        array = call_c_2(r.dict_get, observation, Input(entry).name)
        if array == 0 or not _copy(reader, entry, array, row):
            return False
        entry += _INPUT_BYTES
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
def _set_item(reader, names, agent, number):
    """names[agent] = number, as an int; False if out of memory."""
    r = Reader(reader)
    value = call_c_1(r.int_from_word, number)
    if value == 0:
        call_c_0(r.err_clear)
        return False
    status = call_c_3(r.dict_set, names, agent, value)
    call_c_1(r.decref, value)
    if status != 0:
        call_c_0(r.err_clear)
    return status == 0


@inline
def _record_row(reader, agent, row):
    """Records the row of an agent; False if out of memory. Nearly always it is recorded already: a crowd comes in the same order again."""
    r = Reader(reader)
    found = call_c_2(r.dict_get, r.rows, agent)
    return (found != 0 and call_c_1(r.int_to_word, found) == row) or _set_item(reader, r.rows, agent, row)


def push_row(reader, unused, unused_2, objects, n_objects):
    """Appends an agent with its observation to the waiting agents; the agent must have begun. If frames are counted and there is one input,
    the observation of an agent that already waits is replaced in its row.

    The call runs no Python code, so it is atomic under the GIL. The agent id must be exactly of type int or str.

    Args:
      objects: the agent and its observation; if frames are counted, also the frame of the push (int) and the `threading.RLock` that guards
        the waiting agents.
    Returns:
      1; 0 if Python must take the general path. Dicts are then unchanged.
    """
    r = Reader(reader)
    if r.accepts == 0 or word(r.writer, 0) != 0:
        return 0
    counted = n_objects == 4
    if counted and word(word(objects, 3) + LOCK_OWNER, 0) != 0:
        return 0
    agent, observation, generations = word(objects, 0), word(objects, 1), r.generations
    kind = word(agent + TYPE, 0)
    if kind != r.int_type and kind != r.str_type:
        return 0
    slot = call_c_2(r.dict_get, r.slots, agent)
    if slot == 0:
        return 0
    waits = call_c_2(r.dict_get, generations, agent) != 0
    row = r.first + call_c_1(r.dict_size, generations)
    if waits:
        if not counted or r.n_inputs != 1:
            return 0
        found = call_c_2(r.dict_get, r.rows, agent)
        if found == 0:
            return 0
        row = call_c_1(r.int_to_word, found)
    if row >= r.capacity or not _read(reader, observation, row):
        return 0
    if not waits:
        if r.rows != 0 and not _record_row(reader, agent, row):
            return 0
        if counted and call_c_3(r.dict_set, r.enqueued_frames, agent, word(objects, 2)) != 0:
            call_c_0(r.err_clear)
            return 0
    slot = call_c_1(r.int_to_word, slot)
    return 1 if _set_item(reader, generations, agent, word(word(r.generations_at, 0), slot)) else 0


def stack(context, unused, unused_2, objects, n_objects):
    """Copies separate arrays of one shape and dtype to the rows of one array.

    Args:
      context: STACK of `row_words`.
      objects: the target [N, *shape], then the N parts.
    Returns:
      0; 1 if an array has another shape or dtype. The target is then partly written.
    """
    parts, target = _stack(context), word(word(objects, 0) + DATA, 0)
    row_bytes = parts.row_bytes
    for i in range(1, n_objects):
        part = word(objects, i)
        if not _fits(part, parts.array_type, parts.dtype, parts.rank, parts.more):
            return 1
        copy_row(target, word(part + DATA, 0), row_bytes)
        target += row_bytes
    return 0


@inline
def _pair(column, target, array_type, m, n_rows):
    """Whether two arrays are contiguous, have one dtype, and have shapes [m, …] and [n_rows, …] with equal row shapes."""
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
    """Copies the rows of columns, in order, to the rows of larger arrays where a mask is True; other rows are unchanged.

    Args:
      array_type: address of numpy.ndarray.
      objects: the mask, [n_rows] bool and contiguous; then columns [m, …], each followed by its target [n_rows, …]; not empty, and not of
        dtype object. m is the number of True.
    Returns:
      0; 1 if an array is not contiguous, a column does not fit its target, or n_rows < 2. Nothing is written then.
    """
    mask, m = word(word(objects, 0) + DATA, 0), 0
    for row in range(n_rows):
        m += read_u8(mask, row)
    if n_rows < 2:  # the stride of a single row is not meaningful
        return 1
    for i in range(1, n_objects, 2):
        if not _pair(word(objects, i), word(objects, i + 1), array_type, m, n_rows):
            return 1
    for i in range(1, n_objects, 2):
        source, target = word(word(objects, i) + DATA, 0), word(word(objects, i + 1) + DATA, 0)
        row_bytes = word(word(word(objects, i + 1) + STRIDES, 0), 0)
        row = 0
        while row < n_rows:  # one copy per run of True
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
    """A new array with a copy of row i of a column; 0 if out of memory."""
    f, descr = _functions(functions), word(column + DTYPE, 0)
    call_c_1(f.incref, descr)  # the next call steals a reference
    row = call_c_int_2_int(f.array_empty, read_i32(column + RANK, 0) - 1, word(column + SHAPE, 0) + 8, descr, 0)
    if row != 0:
        copy_bytes(word(row + DATA, 0), word(column + DATA, 0) + i * row_bytes, row_bytes)
    return row


def copy_rows(functions, n_rows, row_bytes, objects, n_objects):
    """Copies the rows of a column, C-contiguous and not of dtype object, to separate arrays.

    Args:
      objects: addresses of the column and of a list of n_rows.
    Returns:
      the number of list items that were set; fewer than n_rows if out of memory.
    """
    f, column, rows = _functions(functions), word(objects, 0), word(objects, 1)
    for i in range(n_rows):
        row = _row_copy(functions, column, i, row_bytes)
        if row == 0:
            call_c_0(f.err_clear)
            return i
        call_c_3(f.list_set_item, rows, i, row)
    return n_rows


def split_rows(functions, n_rows, unused, objects, n_objects):
    """Fills a dict {agent: {output: row}}.

    Args:
      n_rows: at least 2: only then is the first stride of a contiguous array the bytes of a row.
      objects: a tuple of n_rows agents and the dict; then for each output its name and its column: an array [n_rows, ...], C-contiguous,
        not empty and not of dtype object, whose rows are copied, or a list of rows.
    Returns:
      the number of agents in the dict; fewer than n_rows if out of memory, or if an agent is not hashable.
    """
    f = _functions(functions)
    elements, target = f.elements, word(objects, 1)
    ids = word(objects, 0) + elements
    for i in range(n_rows):
        outputs = call_c_0(f.dict_new)
        status = 0 if outputs != 0 else -1
        for k in range(2, n_objects, 2):
            if status == 0:
                name, column = word(objects, k), word(objects, k + 1)
                if word(column + TYPE, 0) == f.list_type:
                    status = call_c_3(f.dict_set, outputs, name, word(word(column + elements, 0), i))
                else:
                    row = _row_copy(functions, column, i, word(word(column + STRIDES, 0), 0))
                    status = -1
                    if row != 0:
                        status = call_c_3(f.dict_set, outputs, name, row)
                        call_c_1(f.decref, row)
        if status == 0:
            status = call_c_3(f.dict_set, target, word(ids, i), outputs)
        if outputs != 0:
            call_c_1(f.decref, outputs)
        if status != 0:
            call_c_0(f.err_clear)
            return i
    return n_rows
