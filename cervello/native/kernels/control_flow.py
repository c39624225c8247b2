"""Branches and loops: steps that say where the program goes on.

A status of JUMP + d goes on at the step d words behind this one, see `execution.walk`. A loop's counter holds two numbers: the turn and
how many there are. Positions are kept inside their sequence whatever the counter holds: a profile runs steps one by one.
"""

from __future__ import annotations

from cervello.codegen.compiler import inline
from cervello.codegen.memory import read_i64, read_u8, word, write_i64, write_u8
from cervello.native.kernels.abi import CTX_ITERATIONS, JUMP
from cervello.native.kernels.copies import copy_strided

MOST_TURNS = 1_000_000  # of all loops of a run together: a condition that never fails must not hang a game


@inline
def _operand(step, ctx, i):
    return word(ctx, word(step, 2 + 2 * i)) + word(step, 3 + 2 * i)


def here(step, ctx):
    """A place to jump to."""
    return 0


def jump(step, ctx):
    """Words: where to."""
    return JUMP + word(step, 2)


def branch(step, ctx):
    """Words: condition; where to go on when it is false."""
    return 0 if read_u8(_operand(step, ctx, 0), 0) != 0 else JUMP + word(step, 4)


def begin(step, ctx):
    """Words: number of turns, condition; counter, condition of the turn; where to go on when there is none."""
    turns, going = read_i64(_operand(step, ctx, 0), 0), read_u8(_operand(step, ctx, 1), 0)
    counter = _operand(step, ctx, 2)
    write_i64(counter, 0, 0)
    write_i64(counter, 1, turns)
    write_u8(_operand(step, ctx, 3), 0, going)
    return 0 if turns > 0 and going != 0 else JUMP + word(step, 10)


def again(step, ctx):
    """Words: condition; counter, condition of the turn; where the next turn begins."""
    going, counter = read_u8(_operand(step, ctx, 0), 0), _operand(step, ctx, 1)
    turn = read_i64(counter, 0) + 1
    write_i64(counter, 0, turn)
    write_u8(_operand(step, ctx, 2), 0, going)
    if turn >= read_i64(counter, 1) or going == 0:
        return 0
    spent = word(ctx, CTX_ITERATIONS) + 1
    write_i64(ctx, CTX_ITERATIONS, spent)
    return JUMP + word(step, 8) if spent < MOST_TURNS else 3


@inline
def _position(step, ctx):
    """Bytes to the element of this turn; words from 8: elements, bytes from one to the next, whether from the last to the first."""
    turn, length = read_i64(_operand(step, ctx, 1), 0), word(step, 8)
    turn = turn if turn >= 0 and turn < length else 0
    return (length - 1 - turn if word(step, 10) != 0 else turn) * word(step, 9)


def take(step, ctx):
    """Words: sequence, counter, element; see `_position`; then `copy_strided`'s."""
    if word(step, 8) > 0:  # else no turn runs, but a profile does
        copy_strided(_operand(step, ctx, 0) + _position(step, ctx), _operand(step, ctx, 2), step + 11 * 8)
    return 0


def put(step, ctx):
    """Words: element, counter, sequence; see `_position`; then `copy_strided`'s."""
    if word(step, 8) > 0:
        copy_strided(_operand(step, ctx, 0), _operand(step, ctx, 2) + _position(step, ctx), step + 11 * 8)
    return 0
