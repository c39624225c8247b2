"""Worker threads for large batches: one pool per process; idle workers sleep in compiled code.

A batch uses the workers that are idle and never waits for busy ones. Without idle workers it runs on the caller's thread.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from cervello.codegen import entry
from cervello.native.execution.c_api import api
from cervello.native.kernels import abi

if TYPE_CHECKING:
    from cervello.native.execution.context import ExecutionContext
    from cervello.native.program.encode import Plan

Array = np.ndarray[Any, Any]
_KERNELS = "cervello.native.kernels.runtime.thread_pool"
_JOB = abi.JOB.index
REFERENCES = tuple(f"{_KERNELS}:{name}" for name in ("run_worker", "run_parallel", "stop"))


def _lock() -> int:
    """An acquired lock of Python's thread library; never freed, because compiled code may still read it."""
    allocate, acquire = ctypes.pythonapi.PyThread_allocate_lock, ctypes.pythonapi.PyThread_acquire_lock
    allocate.restype, acquire.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_int]
    lock = allocate()
    if not lock:
        raise MemoryError("threads: expected a lock of Python's thread library, got none")
    acquire(lock, 1)
    return int(lock)


def _block(words: Sequence[int]) -> Array:
    """Words on cache lines of their own; never freed."""
    raw = np.zeros(len(words) + 16, np.int64)
    _keepalive.append(raw)
    start = -(raw.ctypes.data // 8) % 8
    block = raw[start:start + len(words)]
    block[:] = words
    return block


class Worker:
    """A worker thread and its words; it waits for jobs."""

    def __init__(self) -> None:
        words = _block(abi.WORKER.filled(lock=_lock(), acquire=api("PyThread_acquire_lock"), save_thread=api("PyEval_SaveThread"),
                                         restore_thread=api("PyEval_RestoreThread")))
        self.address: int = words.ctypes.data
        run_worker = entry.fastcall_ints(f"{_KERNELS}:run_worker")
        self._thread = threading.Thread(target=run_worker, args=(self.address,), name="cervello", daemon=True)
        self._thread.start()
        self._avoided = -1

    def avoid(self, cpu: int) -> None:
        """Excludes the calling thread's CPU from this worker's affinity: Linux often wakes a thread on its waker's CPU, which is busy."""
        if cpu != self._avoided:
            self._avoided = cpu
            others = os.sched_getaffinity(0) - {cpu}
            if others and self._thread.native_id is not None:
                with suppress(OSError):  # the affinity is only an optimisation
                    os.sched_setaffinity(self._thread.native_id, others)


class _Job:
    """The words that the calling thread shares with its workers."""

    def __init__(self, n_workers: int) -> None:
        self.words = _block(abi.JOB.filled(lock=_lock(), acquire=api("PyThread_acquire_lock"), release=api("PyThread_release_lock"),
                                           workers=(0,) * (abi.JOB_WORKER.n_words * n_workers)))
        self.address: int = self.words.ctypes.data
        self.capacity = n_workers


_current_cpu = getattr(ctypes.CDLL(None), "sched_getcpu", None) if hasattr(os, "sched_setaffinity") else None
_keepalive: list[Array] = []
_idle: list[Worker] = []
_spawned: list[Worker] = []
_jobs: list[_Job] = []
_spawning = threading.Lock()
_last_s = 0.0  # estimated end of the last shareable batch below WAKING_WORK
WAKING_WORK = 30_000_000  # multiply-adds from which waking a worker with a cold cache is worth it
_MOST_GAP_S = 1e-4
_S_PER_WORK = 1.2e-11


def claim(plan: Plan) -> list[Worker]:
    """Idle workers for a plan; spawns more while the process has fewer than `plan.helpers`. Return them with `give_back`.

    The list is empty for a batch that ends before a worker wakes, unless such batches follow each other closely.
    """
    global _last_s
    if plan.work < WAKING_WORK:
        now_s, before_s = time.perf_counter(), _last_s
        _last_s = now_s + plan.work * _S_PER_WORK  # estimated end
        if now_s - before_s > _MOST_GAP_S:
            return []
    workers: list[Worker] = []
    while len(workers) < plan.helpers:
        try:
            workers.append(_idle.pop())
        except IndexError:
            with _spawning:
                if len(_spawned) >= plan.helpers:
                    break
                try:
                    worker = Worker()
                except RuntimeError:  # no more threads available: the batch runs with fewer
                    break
                _spawned.append(worker)
            workers.append(worker)
    return workers


def give_back(workers: list[Worker]) -> None:
    """Makes workers idle again."""
    _idle.extend(workers)


def run_parallel(workers: list[Worker], runs: Sequence[ExecutionContext], plan: Plan) -> int:
    """Runs a plan's chunks on the arrays noted in the first context; each worker needs one more context.

    Returns:
      0, or the status of a failed chunk, as from `ExecutionContext.call`.
    """
    try:
        job = _jobs.pop()
    except IndexError:
        job = _Job(len(workers))
    if job.capacity < len(workers):
        job = _Job(len(workers))
    if _current_cpu is not None:
        cpu = _current_cpu()
        for worker in workers:
            worker.avoid(cpu)
    words = job.words
    words[_JOB.plan], words[_JOB.context], words[_JOB.n_workers] = plan.address, runs[0].address, len(workers)
    for i, (worker, run) in enumerate(zip(workers, runs[1:], strict=True)):
        words[_JOB.workers + 2 * i:][:2] = worker.address, run.address  # JOB_WORKER
    try:
        return entry.fastcall_ints(f"{_KERNELS}:run_parallel")(job.address)
    finally:
        _jobs.append(job)


def _dismiss() -> None:
    """Ends idle worker threads before the interpreter frees the memory they read."""
    while _idle:
        entry.fastcall_ints(f"{_KERNELS}:stop")(_idle.pop().address, api("PyThread_release_lock"))


def _forget() -> None:
    """Resets the pool in a forked child: a fork copies memory but not threads. Workers held by the parent's threads are leaked."""
    global _spawning
    _spawning = threading.Lock()
    for pool in (_idle, _spawned, _jobs):
        pool.clear()


atexit.register(_dismiss)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
