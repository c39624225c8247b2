"""Runs one batch on several threads: threads take chunks from a shared counter, so a delayed thread takes fewer.

Workers wait in compiled code without the GIL: they spin briefly, then sleep on a lock of Python's thread library. A thread that goes to
sleep sets its sleeping flag and then checks for work once more. The waker publishes the work, clears the sleeping flag and, if it was set,
releases the lock. Both use atomic exchanges, which are full fences, so at least one of the two sees the other.
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

_IDLE_SPINS = 1_000  # about 20 µs: waits for the next batch of the same tick
_LAST_SPINS = 5_000  # about 100 µs: waits for the last chunks of other threads
_STOP = -1
_NO_MORE = 1 << 40


@noinline
def _claim(job, ctx):
    """Runs chunks until none are left."""
    plan, door = word(job, JOB_PLAN), word(word(job, JOB_CONTEXT), CTX_ARGUMENTS)
    n_pieces = word(plan, PLAN_PIECES)
    at, begin, first = plan + PLAN_WORDS * 8, 0, 0  # the chunk's part, and the part's first chunk and row
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
    """Sleeps while word `changed` of a block is 0 (`unchanged` True) or nonzero (False); spurious wake-ups are possible."""
    exchange(block, sleeping, 1)
    if (add(block, changed, 0) == 0) == unchanged or exchange(block, sleeping, 0) == 0:  # the second case: a waker has cleared the flag
        call_c_2(acquire, lock, 1)
    return 0


@noinline
def _offer(worker):
    """Waits for the next job of a worker and takes it."""
    while True:
        for _ in range(_IDLE_SPINS):
            if load(worker, WORKER_JOB) != 0:
                job = exchange(worker, WORKER_JOB, 0)
                if job != 0:
                    return job
            pause()
        _sleep(worker, WORKER_SLEEPING, WORKER_JOB, True, word(worker, WORKER_ACQUIRE), word(worker, WORKER_LOCK))


def work(worker):
    """A worker thread's main loop; it returns after `stop`."""
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
    """Runs a job with its workers; returns 0, or the status of a failed chunk, as from `run_steps`."""
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
    for i in range(n_workers):  # takes the job back from workers that have not begun: no chunk is left
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
    """Stops an idle worker."""
    exchange(worker, WORKER_JOB, _STOP)
    if exchange(worker, WORKER_SLEEPING, 0) == 1:
        call_c_1(release, word(worker, WORKER_LOCK))
    return 0
