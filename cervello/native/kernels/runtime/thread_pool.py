"""Several threads on one batch: pieces are taken from a counter, so who is late or interrupted only takes fewer.

Workers wait in compiled code that holds no lock of the interpreter's: a brief spin, then asleep on a lock of Python's thread library.
Whoever is about to sleep says so first and looks once more; whoever brings news takes the word back and, if it was there, wakes him.
Both do it with exchanges, so one of the two always sees the other.
"""

from __future__ import annotations

from cervello.codegen.atomics import add, exchange, load, pause, store
from cervello.codegen.compiler import noinline
from cervello.codegen.float_mode import pin_float_mode, restore_float_mode
from cervello.codegen.memory import call_c_0, call_c_1, call_c_2, word, write_i64
from cervello.native.kernels.abi import (
    CTX_ALL_DETERMINISTIC,
    CTX_ARGUMENTS,
    CTX_DETERMINISTIC,
    CTX_RESTORE_THREAD,
    CTX_SAVE_THREAD,
    CTX_SLOTS,
    JOB_ACQUIRE,
    JOB_CONTEXT,
    JOB_LOCK,
    JOB_N_WORKERS,
    JOB_NEXT,
    JOB_PENDING,
    JOB_PLAN,
    JOB_RELEASE,
    JOB_SLEEPING,
    JOB_STATUS,
    JOB_WORDS,
    PLAN_PIECES,
    PLAN_ROWS,
    PLAN_WORDS,
    WORKER_ACQUIRE,
    WORKER_CONTEXT,
    WORKER_JOB,
    WORKER_LOCK,
    WORKER_RESTORE_THREAD,
    WORKER_SAVE_THREAD,
    WORKER_SLEEPING,
)
from cervello.native.kernels.runtime.execution import piece

_IDLE_SPINS = 1_000  # about 20 µs: the next batch of the same tick
_LAST_SPINS = 5_000  # about 100 µs: the others' last pieces
_STOP = -1
_NO_MORE = 1 << 40


@noinline
def _claim(job, ctx):
    """Runs pieces until there are none left."""
    plan, door = word(job, JOB_PLAN), word(word(job, JOB_CONTEXT), CTX_ARGUMENTS)
    n_pieces = word(plan, PLAN_PIECES)
    at, begin, first = plan + PLAN_WORDS * 8, 0, 0  # the part that has the piece, and the piece and row it begins with
    while True:
        taken = add(job, JOB_NEXT, 1)
        if taken >= n_pieces:
            return 0
        rows = word(word(at, 0), PLAN_ROWS)
        while taken - begin >= word(at, 1):
            begin += word(at, 1)
            first += word(at, 1) * rows
            at += 16
            rows = word(word(at, 0), PLAN_ROWS)
        status = piece(ctx, door, word(at, 0), first + (taken - begin) * rows)
        if status != 0:
            exchange(job, JOB_STATUS, status)
            add(job, JOB_NEXT, _NO_MORE)


@noinline
def _sleep(block, sleeping, changed, unchanged, acquire, lock):
    """Sleeps while word `changed` of a block is or is not 0, as `unchanged` says; may also wake without a reason."""
    exchange(block, sleeping, 1)
    if (add(block, changed, 0) == 0) == unchanged or exchange(block, sleeping, 0) == 0:  # in the last case somebody is waking us
        call_c_2(acquire, lock, 1)
    return 0


@noinline
def _offer(worker):
    """The next job for a worker; waits for it."""
    while True:
        for _ in range(_IDLE_SPINS):
            if load(worker, WORKER_JOB) != 0:
                job = exchange(worker, WORKER_JOB, 0)
                if job != 0:
                    return job
            pause()
        _sleep(worker, WORKER_SLEEPING, WORKER_JOB, True, word(worker, WORKER_ACQUIRE), word(worker, WORKER_LOCK))


def work(worker):
    """A worker's life: until it is told to stop."""
    thread = call_c_0(word(worker, WORKER_SAVE_THREAD))
    job = _offer(worker)
    while job != _STOP:
        ctx, leader = word(worker, WORKER_CONTEXT), word(job, JOB_CONTEXT)
        for i in range(CTX_SLOTS, CTX_DETERMINISTIC + 1):
            write_i64(ctx, i, word(leader, i))
        write_i64(ctx, CTX_ALL_DETERMINISTIC, word(leader, CTX_ALL_DETERMINISTIC))
        mode = pin_float_mode()
        _claim(job, ctx)
        restore_float_mode(mode)
        lock, release = word(job, JOB_LOCK), word(job, JOB_RELEASE)
        if add(job, JOB_PENDING, -1) == 1 and exchange(job, JOB_SLEEPING, 0) == 1:
            call_c_1(release, lock)
        job = _offer(worker)
    call_c_1(word(worker, WORKER_RESTORE_THREAD), thread)
    return 0


def run_parallel(job):
    """Runs a job with the workers it names; 0, or where a piece failed, as `walk` says."""
    ctx, n_workers, release = word(job, JOB_CONTEXT), word(job, JOB_N_WORKERS), word(job, JOB_RELEASE)
    thread = call_c_0(word(ctx, CTX_SAVE_THREAD))
    store(job, JOB_STATUS, 0)
    store(job, JOB_NEXT, 0)
    store(job, JOB_PENDING, n_workers)
    for i in range(n_workers):
        worker = word(job, JOB_WORDS + 2 * i)
        write_i64(worker, WORKER_CONTEXT, word(job, JOB_WORDS + 2 * i + 1))
        exchange(worker, WORKER_JOB, job)
        if exchange(worker, WORKER_SLEEPING, 0) == 1:
            call_c_1(release, word(worker, WORKER_LOCK))
    mode = pin_float_mode()
    _claim(job, ctx)
    restore_float_mode(mode)
    for i in range(n_workers):  # who has not begun need not: nothing is left
        if exchange(word(job, JOB_WORDS + 2 * i), WORKER_JOB, 0) == job:
            add(job, JOB_PENDING, -1)
    spins = 0
    while load(job, JOB_PENDING) != 0:
        spins += 1
        if spins > _LAST_SPINS:
            _sleep(job, JOB_SLEEPING, JOB_PENDING, False, word(job, JOB_ACQUIRE), word(job, JOB_LOCK))
        else:
            pause()
    status = load(job, JOB_STATUS)
    call_c_1(word(ctx, CTX_RESTORE_THREAD), thread)
    return status


def stop(worker, release):
    """Ends an idle worker's life."""
    exchange(worker, WORKER_JOB, _STOP)
    if exchange(worker, WORKER_SLEEPING, 0) == 1:
        call_c_1(release, word(worker, WORKER_LOCK))
    return 0
