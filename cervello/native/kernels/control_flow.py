"""Branches and loops: steps whose status is a jump.

The status JUMP + d continues at the step d words after this one, see `runtime.execution.run_steps`. A loop's counter holds two int64: the
iteration and the trip count. Scan positions stay within their sequence for any counter, because the profiler runs single steps.
"""

from __future__ import annotations

from cervello.codegen.compiler import inline
from cervello.codegen.memory import read_i64, read_u8, write_i64, write_u8
from cervello.codegen.records import reader
from cervello.native.kernels.abi import JUMP as JUMP_BASE
from cervello.native.kernels.copies import copy_strided
from cervello.native.kernels.schemas import BRANCH, JUMP, LOOP_BEGIN, LOOP_NEXT, SCAN_READ, SCAN_WRITE
from cervello.native.kernels.views import Context

MAX_ITERATIONS = 1_000_000  # over all loops of a run: a loop that never ends fails
_jump, _branch, _loop_begin, _loop_next = reader(JUMP), reader(BRANCH), reader(LOOP_BEGIN), reader(LOOP_NEXT)
_scan_read, _scan_write = reader(SCAN_READ), reader(SCAN_WRITE)


def label(step, ctx):
    """A jump target without effect."""
    return 0


def jump(step, ctx):
    """Jumps unconditionally."""
    return JUMP_BASE + _jump(step, ctx).to


def branch(step, ctx):
    """Jumps if the condition is false."""
    w = _branch(step, ctx)
    return 0 if read_u8(w.condition, 0) != 0 else JUMP_BASE + w.to


def loop_begin(step, ctx):
    """Starts the counter; jumps past the loop if the trip count is not above 0 or the initial condition is false."""
    w = _loop_begin(step, ctx)
    trip_count, going = read_i64(w.trip_count, 0), read_u8(w.condition, 0)
    counter = w.counter
    write_i64(counter, 0, 0)
    write_i64(counter, 1, trip_count)
    write_u8(w.going, 0, going)
    return 0 if trip_count > 0 and going != 0 else JUMP_BASE + w.to


def loop_next(step, ctx):
    """Jumps to the start of the next iteration, if there is one."""
    w = _loop_next(step, ctx)
    going, counter = read_u8(w.condition, 0), w.counter
    iteration = read_i64(counter, 0) + 1
    write_i64(counter, 0, iteration)
    write_u8(w.going, 0, going)
    if iteration >= read_i64(counter, 1) or going == 0:
        return 0
    spent = Context(ctx).iterations + 1
    Context(ctx).iterations = spent
    return JUMP_BASE + w.to if spent < MAX_ITERATIONS else 3


@inline
def _position(w):
    """The byte offset of this iteration's element in the sequence."""
    iteration, length = read_i64(w.counter, 0), w.length
    iteration = iteration if iteration >= 0 and iteration < length else 0
    return (length - 1 - iteration if w.reverse != 0 else iteration) * w.element_by


def scan_read(step, ctx):
    """Copies this iteration's element of a sequence."""
    w = _scan_read(step, ctx)
    if w.length > 0:  # length 0: no iteration runs, but the profiler runs this step
        copy_strided(w.sequence + _position(w), w.element, w)
    return 0


def scan_write(step, ctx):
    """Stores this iteration's element into a sequence."""
    w = _scan_write(step, ctx)
    if w.length > 0:
        copy_strided(w.element, w.sequence + _position(w), w)
    return 0
