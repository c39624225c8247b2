"""Runs one batch on several threads: threads claim chunks from a shared counter, so a delayed thread runs fewer of them.

Workers wait in compiled code without the GIL: they spin briefly, then sleep on a lock of Python's thread library. Before a thread sleeps,
it sets its sleeping flag and checks for work once more. The waker publishes the work, clears the sleeping flag and, if it was set,
releases the lock. Both use atomic exchanges, which are full fences, so at least one of the two sees the other's write.
"""

from __future__ import annotations

from cervello.codegen.atomics import add, exchange, load, pause, store
from cervello.codegen.compiler import inline, noinline
from cervello.codegen.float_mode import pin_float_mode, restore_float_mode
from cervello.codegen.memory import call_c_0, call_c_1, call_c_2, word, write_i64
from cervello.native.kernels.abi import CTX
from cervello.native.kernels.runtime.execution import run_chunk
from cervello.native.kernels.views import JOB_WORKER_BYTES, PART_BYTES, Context, Job, JobWorker, Part, Plan, Worker

_SHARED, _SHARED_END = CTX.slots, CTX.deterministic + 1  # range of the words of a context that describe the agents of the batch
_IDLE_SPINS = 1_000  # about 20 µs, the wait for the next batch of the same tick
_LAST_SPINS = 5_000  # about 100 µs, the wait for the last chunks of other threads
_STOP = -1
_EXHAUSTED = 1 << 40


@noinline
def _claim(job, ctx):
    """Claims and runs chunks until none are left. After a failure, no more chunks are claimed."""
    j = Job(job)
    arguments, facts = Context(j.context).arguments, Plan(j.plan)
    n_chunks = facts.n_chunks
    at, begin, first = facts.parts, 0, 0  # address, first chunk and first row of the part that contains the claimed chunk
    while True:
        claimed = add(j.next_at, 0, 1)
        if claimed >= n_chunks:
            return 0
        rows = Plan(Part(at).plan).n_rows
        while claimed - begin >= Part(at).repetitions:
            begin += Part(at).repetitions
            first += Part(at).repetitions * rows
            at += PART_BYTES
            rows = Plan(Part(at).plan).n_rows
        status = run_chunk(ctx, arguments, Part(at).plan, first + (claimed - begin) * rows)
        if status != 0:
            exchange(j.status_at, 0, status)
            add(j.next_at, 0, _EXHAUSTED)


@noinline
def _sleep(sleeping, changed, while_zero, acquire, lock):
    """Sleeps while the word at `changed` is 0 (`while_zero` True) or nonzero (`while_zero` False); spurious wake-ups are possible."""
    exchange(sleeping, 0, 1)
    if (add(changed, 0, 0) == 0) == while_zero or exchange(sleeping, 0, 0) == 0:  # second condition: a waker has cleared the flag
        call_c_2(acquire, lock, 1)
    return 0


@noinline
def _next_job(worker):
    """Waits for the next job of a worker and returns its address."""
    w = Worker(worker)
    while True:
        for _ in range(_IDLE_SPINS):
            if load(w.job_at, 0) != 0:
                job = exchange(w.job_at, 0, 0)
                if job != 0:
                    return job
            pause()
        _sleep(w.sleeping_at, w.job_at, True, w.acquire, w.lock)


@inline
def _wake(sleeping, release, lock):
    """Clears a sleeping flag and, if it was set, releases the lock."""
    if exchange(sleeping, 0, 0) == 1:
        call_c_1(release, lock)


def run_worker(worker):
    """A worker thread's main loop; it returns after `stop`."""
    thread = call_c_0(Worker(worker).save_thread)
    job = _next_job(worker)
    while job != _STOP:
        j, ctx = Job(job), Worker(worker).context
        for i in range(_SHARED, _SHARED_END):
            write_i64(ctx, i, word(j.context, i))
        Context(ctx).all_deterministic = Context(j.context).all_deterministic
        mode = pin_float_mode()
        _claim(job, ctx)
        restore_float_mode(mode)
        lock, release = j.lock, j.release  # read before the decrement: when no worker is pending, the job may be reused
        if add(j.pending_at, 0, -1) == 1:
            _wake(j.sleeping_at, release, lock)
        job = _next_job(worker)
    call_c_1(Worker(worker).restore_thread, thread)
    return 0


def run_parallel(job):
    """Runs a job with its workers; returns 0, or the status of a failed chunk, as from `run_steps`."""
    j = Job(job)
    ctx, n_workers, workers = j.context, j.n_workers, j.workers
    thread = call_c_0(Context(ctx).save_thread)
    store(j.status_at, 0, 0)
    store(j.next_at, 0, 0)
    store(j.pending_at, 0, n_workers)
    for i in range(n_workers):
        entry = JobWorker(workers + i * JOB_WORKER_BYTES)
        w = Worker(entry.worker)
        w.context = entry.context
        exchange(w.job_at, 0, job)
        _wake(w.sleeping_at, j.release, w.lock)
    mode = pin_float_mode()
    _claim(job, ctx)
    restore_float_mode(mode)
    for i in range(n_workers):  # cancels the job for workers that have not started: no chunk is left
        if exchange(Worker(JobWorker(workers + i * JOB_WORKER_BYTES).worker).job_at, 0, 0) == job:
            add(j.pending_at, 0, -1)
    spins = 0
    while load(j.pending_at, 0) != 0:
        spins += 1
        if spins > _LAST_SPINS:
            _sleep(j.sleeping_at, j.pending_at, False, j.acquire, j.lock)
        else:
            pause()
    status = load(j.status_at, 0)
    call_c_1(Context(ctx).restore_thread, thread)
    return status


def stop(worker, release):
    """Stops an idle worker."""
    w = Worker(worker)
    exchange(w.job_at, 0, _STOP)
    _wake(w.sleeping_at, release, w.lock)
    return 0
