"""Answers a request frame with a reply frame: compares the constant bytes, copies the variable bytes, and runs the batch."""

from __future__ import annotations

from cervello.codegen.compiler import inline, noinline
from cervello.codegen.memory import call_block_2, copy_bytes, read_u8, word, write_u8
from cervello.codegen.records import view
from cervello.native.kernels.abi import NONFINITE
from cervello.native.kernels.frame_words import COPY, FRAME, ID_END
from cervello.native.kernels.runtime.readiness import ready_plan

Frame, _copy = view(FRAME), view(COPY)
_COPY_BYTES = COPY.n_bytes


@noinline
def _read_big_endian(at, n_bytes):
    """An unsigned big-endian integer."""
    value = 0
    for i in range(n_bytes):
        value = value << 8 | read_u8(at, i)
    return value


@inline
def _packed_bytes(value):
    """The number of bytes of an integer below 2³² in msgpack."""
    if value < 128:
        return 1
    if value < 256:
        return 2
    return 3 if value < 65536 else 5


@noinline
def _pack(at, value):
    """Writes an integer below 2³² in msgpack's shortest form; returns the number of bytes."""
    n_bytes = _packed_bytes(value)
    if n_bytes > 1:
        write_u8(at, 0, 0xCC if n_bytes == 2 else 0xCD if n_bytes == 3 else 0xCE)
        for i in range(1, n_bytes):
            write_u8(at, i, (value >> 8 * (n_bytes - 1 - i)) & 255)
    else:
        write_u8(at, 0, value)
    return n_bytes


@noinline
def _make_copies(block, first, end):
    """Makes the copies first … end of a block."""
    for i in range(first, end):
        copy = _copy(Frame(block).more + i * _COPY_BYTES)
        copy_bytes(copy.target, copy.source, copy.n_bytes)


def answer_frame(block, plan, n_bytes, objects, n_objects):
    """Answers a frame of the format that a block describes.

    Args:
      block: address of the words FRAME of `frame_words`.
      plan, objects, n_objects: as in `control.run_named`; a plan of 0 stands for the plan of the batch, if the batch is ready. With any
        other plan, the caller holds the exclusive lock of the agents.
      n_bytes: of the received frame.
    Returns:
      0 if the frame has another format or the batch does not run; nothing is changed then. Else start * 2 + end * 32, with the byte range
      [start, end) of the reply frame, plus 1 if nonfinite state must be reported.
    """
    w = Frame(block)
    frame = w.frame
    if n_bytes != w.frame_bytes:
        return 0
    expected, mask = w.expected, w.mask
    different = 0
    for i in range((n_bytes + 7) // 8):
        different |= (word(frame, i) ^ word(expected, i)) & word(mask, i)
    if different != 0:
        return 0
    if plan == 0:
        plan = ready_plan(w.readiness, w.rows)
        if plan == 0:
            return 0
    n_inputs = w.n_inputs
    _make_copies(block, 0, n_inputs)
    status = call_block_2(w.run, w.context, plan, w.rows, objects, n_objects)
    if status != 0 and status != NONFINITE:
        return 0
    reply = w.reply
    _make_copies(block, n_inputs, w.n_copies)
    number = _read_big_endian(frame + w.id_at, w.id_bytes)
    w.id = number
    start = ID_END - _packed_bytes(number)
    _pack(reply + start, number)
    start -= 6
    end = w.tick_to
    n_tick = w.tick_bytes
    if n_tick != 0:
        tick = _read_big_endian(frame + w.tick_at, n_tick)
        w.tick = tick
        end += _pack(reply + end, tick)
    after = w.after_bytes
    if after != 0:
        copy_bytes(reply + end, w.after, after)
        end += after
    length = end - start - 4
    for i in range(4):
        write_u8(reply, start + i, (length >> 8 * i) & 255)
    write_u8(reply, start + 4, 0x94)
    write_u8(reply, start + 5, 1)
    return start * 2 + end * 32 + (1 if status == NONFINITE else 0)
