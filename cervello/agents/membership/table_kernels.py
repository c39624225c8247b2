"""Compiled loops over slots and ids."""

from __future__ import annotations

from cervello.agents.membership.words import PREPARED, RESTART, SLAB_ROWS, SLABS
from cervello.codegen.memory import call_block_2, call_kernel, copy_bytes, read_i64, word, write_i64
from cervello.codegen.records import view
from cervello.native.kernels.readiness_words import READINESS
from cervello.native.kernels.runtime.readiness import ready_plan
from cervello.noise.kernels import Derive
from cervello.noise.lane_ops import stack_words
from cervello.noise.layout import DATA, SHAPE, TYPE
from cervello.noise.words import DERIVE

_DERIVE_WORDS, _SLAB_BYTES = DERIVE.n_words, SLAB_ROWS.n_bytes
_restart, _slabs, _slab, _prepared, _readiness = view(RESTART), view(SLABS), view(SLAB_ROWS), view(PREPARED), view(READINESS)


def advance(steps, slots, n_rows):
    """Increments the step counter of every agent of a batch; `slots` is the address of an int64 array object."""
    at = read_i64(slots + DATA, 0)
    for i in range(n_rows):
        slot = read_i64(at, i)
        write_i64(steps, slot, read_i64(steps, slot) + 1)
    return 0


def equal_ids(size_at, inline, unused, objects, n_objects):
    """Compares a list with another, or a tuple with another, element by element, without calling the elements.

    Args:
      size_at: bytes from an object to its length; the elements, or the address of them, follow.
      inline: 1 for tuples, whose elements lie in the object itself.
    Returns:
      2 if they hold the same objects, 1 if they hold objects of the same types, else 0, also if
      the second object is of another type than the first.
    """
    a, b = word(objects, 0), word(objects, 1)
    n = word(a + size_at, 0)
    if word(b + TYPE, 0) != word(a + TYPE, 0) or word(b + size_at, 0) != n:
        return 0
    a, b = a + size_at + 8, b + size_at + 8
    if inline == 0:
        a, b = word(a, 0), word(b, 0)
    found = 2
    for i in range(n):
        left, right = word(a, i), word(b, i)
        if left != right:
            if word(left + TYPE, 0) != word(right + TYPE, 0):
                return 0
            found = 1
    return found


def restart_in_place(context, begun, slabs, objects, n_objects):
    """Begins the next episodes in the same slots: new noise key, step 0, generation, initial rows.

    Args:
      context: RESTART of `words`.
      begun: agents so far.
      slabs: address of SLABS.
      objects: slots, numbers, streams, episodes, int64 or uint64 arrays of one length.
    """
    slots, streams, episodes = word(word(objects, 0) + DATA, 0), word(word(objects, 2) + DATA, 0), word(word(objects, 3) + DATA, 0)
    n = word(word(word(objects, 0) + SHAPE, 0), 0)
    c, block = _restart(context), stack_words(_DERIVE_WORDS)
    w = Derive(block)
    w.seed, w.numbers, w.streams, w.episodes = c.seed, word(word(objects, 1) + DATA, 0), streams, episodes
    w.slots, w.n, w.keys = slots, n, c.keys
    call_kernel(c.derive, block, 0)
    for i in range(n):
        slot = word(slots, i)
        write_i64(c.steps, slot, 0)
        write_i64(c.streams, slot, word(streams, i))
        write_i64(c.episodes, slot, word(episodes, i))
        write_i64(c.generations, slot, begun + 1 + i)
    for k in range(_slabs(slabs).n_slabs):
        slab = _slab(_slabs(slabs).more + k * _SLAB_BYTES)
        rows, initial, row_bytes = slab.rows, slab.initial, slab.row_bytes
        for i in range(n):
            copy_bytes(rows + word(slots, i) * row_bytes, initial, row_bytes)
    return 0


def prepare(block, unused, unused_too, objects, n_objects):
    """Sets the agents that `decide_prepared` decides for.

    Args:
      block: PREPARED of `words`.
      objects: list or tuple of ids, and the arrays slots, steps, keys; the caller keeps them alive.
    """
    p = _prepared(block)
    p.ids, p.slots, p.steps, p.keys = word(objects, 0), word(objects, 1), word(objects, 2), word(objects, 3)
    r = _readiness(p.readiness)
    r.slots_version = word(r.versions, 0)
    return 0


def decide_prepared(block, membership_version, unused, objects, n_objects):
    """Runs a batch of the prepared agents.

    Args:
      block: PREPARED of `words`.
      membership_version: the one that the caller expects; -1 for any.
      objects: list or tuple of ids, inputs and outputs as `control.run_named` takes them; deterministic flags [N or more], if any
        row is deterministic.
    Returns:
      the status of `control.run_named`; -1 also for other agents, or if another path is needed for any other reason. No agent has changed
      then; outputs may have been filled.
    """
    p, ids = _prepared(block), word(objects, 0)
    last = p.ids
    if last == 0 or word(ids + TYPE, 0) != word(last + TYPE, 0):
        return -1
    size_at = p.size_at
    n = word(ids + size_at, 0)
    if word(last + size_at, 0) != n:
        return -1
    if membership_version >= 0 and membership_version != word(_readiness(p.readiness).versions, 1):
        return -1
    plan = ready_plan(p.readiness, n)
    if plan == 0:
        return -1
    a, b = ids + size_at + 8, last + size_at + 8
    if word(ids + TYPE, 0) == p.list_type:
        a, b = word(a, 0), word(b, 0)
    for i in range(n):
        if word(a, i) != word(b, i):
            return -1
    given = stack_words(7)
    write_i64(given, 0, word(objects, 1))
    write_i64(given, 1, word(objects, 2))
    write_i64(given, 2, p.slots)
    write_i64(given, 3, p.steps)
    write_i64(given, 4, p.keys)
    n_given = 5
    if n_objects == 4:  # flags, and any object to say that the wrappers' fused ops run
        if word(word(word(objects, 3) + SHAPE, 0), 0) < n:
            return -1
        write_i64(given, 5, word(objects, 3))
        write_i64(given, 6, word(objects, 3))
        n_given = 7
    return call_block_2(p.run, p.context, plan, n, given, n_given)
