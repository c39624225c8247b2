"""The arrays of a run: checks them, looks them up by name, and allocates outputs.

The check reads numpy's array struct directly (data, nd, dimensions, descr and flags are part of numpy's stable ABI), because reading an
array's address in Python takes 1 µs.
"""

from __future__ import annotations

from cervello.codegen.compiler import inline, noinline
from cervello.codegen.memory import call_c_0, call_c_1, call_c_2, call_c_3, call_c_4, call_c_int_2_int, read_i32, word, write_i64
from cervello.native.kernels.abi import MAX_DIMS
from cervello.native.kernels.views import ARGUMENT_BYTES, Argument, Arguments, Context, argument
from cervello.noise.lane_ops import stack_words
from cervello.noise.layout import DATA, DTYPE, FLAGS, RANK, SHAPE, TYPE


@inline
def _fits(entry, array, array_type, n_rows):
    """Whether an object is an array with the dtype, flags and shape of the record; a size of -1 stands for n_rows."""
    expected = Argument(entry)
    if word(array + TYPE, 0) != array_type:
        return False
    dtype = word(array + DTYPE, 0)
    if dtype != expected.dtype and dtype != expected.second_dtype:
        return False
    flags = expected.flags
    if read_i32(array + FLAGS, 0) & flags != flags:
        return False
    rank = expected.rank
    if read_i32(array + RANK, 0) != rank:
        return False
    sizes = word(array + SHAPE, 0)
    for d in range(rank):
        size = word(expected.sizes_at, d)
        if word(sizes, d) != (n_rows if size < 0 else size):
            return False
    return True


@inline
def _is_apart(arguments, port, n_rows):
    """Whether this array overlaps no array before it, in pairs with an output: a program may write an output before it reads an input."""
    this = Argument(argument(arguments, port))
    start, output = this.base, this.output
    end = start + n_rows * this.row_bytes + this.fixed_bytes
    for i in range(port):
        other = Argument(argument(arguments, i))
        if output + other.output == 0:
            continue
        begin = other.base
        if begin < end and start < begin + n_rows * other.row_bytes + other.fixed_bytes:
            return False
    return True


@noinline
def check_arguments(ctx, objects, n_rows):
    """Checks arrays and stores their addresses; returns 0, or -1 - i if array i cannot be used in place: wrong type, dtype, shape or flags,
    or memory shared with an output."""
    arguments = Context(ctx).arguments
    array_type = Arguments(arguments).array_type
    entry, written = argument(arguments, 0), 0
    for i in range(Arguments(arguments).n_arrays):
        this = Argument(entry)
        if this.hidden == 0:
            array = word(objects, i)
            if not _fits(entry, array, array_type, n_rows):
                return -1 - i
            this.base = word(array + DATA, 0)
            written |= this.output
            if written != 0 and not _is_apart(arguments, i, n_rows):
                return -1 - i
        entry += ARGUMENT_BYTES
    return 0


@inline
def _find_next(ctx, names):
    """Calls PyDict_Next; key and value are stored in the context."""
    context = Context(ctx)
    return call_c_4(context.dict_next, names, context.position_at, context.key_at, context.value_at) != 0


@noinline
def _has_plain_keys(ctx, names):
    """Whether all keys of a dict are exactly of type str: comparing a key of another type may run Python code."""
    context = Context(ctx)
    context.position = 0
    while _find_next(ctx, names):
        if word(context.key + TYPE, 0) != context.str_type:
            return False
    return True


@inline
def _is_given(entry, output):
    """Whether the caller passes this array by name: among the outputs if `output` is 1, else among the inputs."""
    return Argument(entry).hidden == 0 and Argument(entry).output == output


@noinline
def find_in_order(ctx, names, output, arrays):
    """Stores the arrays of a dict whose keys are the str objects of the records, in the same order; compares by identity. Else False."""
    context = Context(ctx)
    context.position = 0
    entry = argument(context.arguments, 0)
    for i in range(Arguments(context.arguments).n_arrays):
        if _is_given(entry, output):
            if not _find_next(ctx, names) or context.key != Argument(entry).name:
                return False
            write_i64(arrays, i, context.value)
        entry += ARGUMENT_BYTES
    return True


@noinline
def find_by_name(ctx, names, output, arrays):
    """Looks up the arrays of a dict and stores them; returns 0, or -1 - i if array i is missing or the dict has unsafe keys."""
    if not _has_plain_keys(ctx, names):
        return -1
    context = Context(ctx)
    entry = argument(context.arguments, 0)
    for i in range(Arguments(context.arguments).n_arrays):
        if _is_given(entry, output):
            found = call_c_2(context.dict_get, names, Argument(entry).name)
            if found == 0:
                return -1 - i
            write_i64(arrays, i, found)
        entry += ARGUMENT_BYTES
    return 0


@noinline
def make_outputs(ctx, names, arrays, n_rows):
    """Allocates arrays of n_rows rows into an empty dict and stores them; False if out of memory."""
    context, sizes = Context(ctx), stack_words(MAX_DIMS)
    entry = argument(context.arguments, 0)
    for i in range(Arguments(context.arguments).n_arrays):
        if _is_given(entry, 1):
            this = Argument(entry)
            rank, dtype = this.rank, this.dtype
            for d in range(rank):
                size = word(this.sizes_at, d)
                write_i64(sizes, d, n_rows if size < 0 else size)
            call_c_1(context.incref, dtype)  # the next call steals a reference
            array = call_c_int_2_int(context.array_empty, rank, sizes, dtype, 0)
            status = 1
            if array != 0:
                status = call_c_3(context.dict_set, names, this.name, array)
                call_c_1(context.decref, array)
            if status != 0:
                call_c_0(context.err_clear)
                return False
            write_i64(arrays, i, array)
        entry += ARGUMENT_BYTES
    return True


@noinline
def count_references(ctx, function):
    """Calls `function`, Py_IncRef or Py_DecRef, for every array that was found by name."""
    arguments = Context(ctx).arguments
    n_arrays = Arguments(arguments).n_arrays
    arrays = argument(arguments, n_arrays)
    for i in range(n_arrays):
        if Argument(argument(arguments, i)).hidden == 0:
            call_c_1(function, word(arrays, i))
