"""Runs one policy: processes messages in their order of arrival, and runs waiting inferences as one batch.

Each policy has a thread. Batches that are known to be short run on the event loop instead, when the thread is idle: two hand-overs
between threads would cost more than the batch.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence

from cervello.bridge import inference, swapping
from cervello.bridge.client_state import ClientState
from cervello.bridge.dispatcher import Dispatcher
from cervello.bridge.envelope import answer
from cervello.bridge.job import Job
from cervello.bridge.loop_budget import BOUND_S, BatchTimes
from cervello.bridge.request_layout import RequestLayout
from cervello.bridge.served_policy import ServedPolicy

_ON_LOOP = frozenset({"infer", "reward"})  # begins and ends are excluded: they run hooks of wrappers, and tables may grow
_ALONE = 16  # consecutive messages of one connection, after which no other connection is expected
_MOST_OTHERS = 256  # agents that get rewards in one call on the event loop


class Worker:
    """Runs one policy, on its thread or on the event loop.

    A policy that is recorded, or whose requests wait for others (`max_wait_us`), always runs on its thread.

    Args:
      served: the policy.
      deliver: called with this and messages that are done, on the policy's thread; it calls `done` with them on the event loop.
      max_wait_us: microseconds that a request may wait for others to share its batch.
    Attributes:
      times: of its batches. may_run_on_loop: whether a batch may run on the event loop.
      gathered: arrived messages that are not dispatched yet, on the event loop. n_passed: messages that the thread has.
      swapping: connections whose later messages wait for a swap. closing: nothing more runs on the loop.
    """

    def __init__(self, served: ServedPolicy, deliver: Callable[[Worker, Sequence[Job]], object], max_wait_us: int):
        self.served = served
        self.times = BatchTimes()
        self.may_run_on_loop = not max_wait_us and served.recorder is None
        self.gathered: list[Job] = []
        self.n_passed = self._n_swaps = 0
        self._last: ClientState | None = None  # the connection of the last message
        self._n_same = 0  # messages of that connection in a row, without the last one
        self.closing = False
        self._deliver, self._max_wait_s = deliver, max_wait_us / 1e6
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._dispatcher = Dispatcher(served, self._start_swap)
        self.swapping = self._dispatcher.swapping
        self._thread = threading.Thread(target=self._work, name=f"cervello policy {served.name}", daemon=True)
        self._thread.start()

    def put(self, job: Job) -> None:
        """Takes an arrived message; called on the event loop."""
        if job.client is self._last:
            self._n_same += 1
        else:
            self._last, self._n_same = job.client, 0
        if self.gathered:
            self.gathered.append(job)
        elif self.may_run_on_loop and job.method in _ON_LOOP and not self._n_swaps and not self.closing:
            # Messages that the loop reads before this callback make one batch.
            asyncio.get_running_loop().call_soon(self._flush)
            self.gathered.append(job)
        else:
            self._pass_to_thread(job)

    def expects_only(self, client: ClientState) -> bool:
        """Whether no other connection is expected to share a batch: none has agents here, or none has sent a request for a while."""
        return len(self.served.active_clients) == 1 or (self._last is client and self._n_same >= _ALONE)

    def answer_at_once(self, layout: RequestLayout, number: int, body: bytes, received_s: float) -> bytes | None:
        """Answers a request on the event loop at once; None, without any effect, where it may take long or other messages come first."""
        served = self.served
        version = served.policy.version
        if (self.n_passed or self.gathered or not self.may_run_on_loop or self.closing or self.swapping
                or not self.times.allows_size(version, layout.size) or not layout.is_current()):
            return None
        began_s = time.perf_counter()
        reply = inference.run_at_once(served, layout, number, body, received_s, began_s)
        took_s = time.perf_counter() - began_s
        if took_s > BOUND_S:  # a size that is proven needs no more proof
            self.times.ran(version, 1, len(layout.agents), took_s, on_loop=True)
        return reply

    def done(self, jobs: Sequence[Job]) -> None:
        """Returns finished messages to their sessions; called on the event loop."""
        self.n_passed -= len(jobs)
        for job in jobs:
            self._n_swaps -= job.method == "swap"
            job.session.done(job)
        if self.gathered:
            self._flush()

    def _pass_to_thread(self, job: Job) -> None:
        """Passes messages to the policy's thread."""
        self.n_passed += 1
        self._n_swaps += job.method == "swap"
        self._queue.put(job)

    def _flush(self) -> None:
        """Runs the gathered messages, or passes them to the thread; on the event loop.

        Messages that may run here wait while the thread has others; on the thread they would wait for the same ones. Once the thread is
        idle, all earlier messages have taken effect.
        """
        jobs = self.gathered
        if not jobs:
            return
        n_rows, n_others, known = self._count(jobs)
        if (self.closing or self._n_swaps or self.swapping or n_others > _MOST_OTHERS or not known
                or not self.times.allows(self.served.policy.version, len(jobs), n_rows)):
            self.gathered = []
            for job in jobs:
                self._pass_to_thread(job)
            return
        if self.n_passed:
            return  # `done` calls this again
        done: list[Job] = []
        self.gathered = self._timed(jobs, done, on_loop=True)
        if self.gathered:
            asyncio.get_running_loop().call_soon(self._flush)
        for job in done:
            job.session.done(job)

    def _count(self, jobs: Sequence[Job]) -> tuple[int, int, bool]:
        """The number of agents that messages infer, the number that they name otherwise, and whether all may run on the event loop and
        begin no agent."""
        n_rows = n_others = 0
        known = True
        for job in jobs:
            layout = job.layout
            if layout is not None and not self.n_passed and layout.is_current():
                n_rows += len(layout.agents)
                continue
            rows, others = _rows([job])
            n_rows, n_others, known = n_rows + rows, n_others + others, known and self._is_known(job)
        return n_rows, n_others, known

    def _is_known(self, job: Job) -> bool:
        """Whether a message is of a kind that may run on the event loop and begins no agent."""
        if job.method not in _ON_LOOP:
            return False
        begun = job.client.agents_of(self.served.name).by_id
        return not job.params.get("begin") or all(agent in begun for agent in job.agents or ())

    def __len__(self) -> int:
        """Number of waiting messages."""
        return self._queue.qsize() + len(self.gathered)

    def close(self) -> None:
        """Ends the thread after all arrived messages, and then the recording."""
        self.closing = True
        gathered, self.gathered = self.gathered, []
        for job in gathered:
            self._pass_to_thread(job)
        self._queue.put(None)

    def join(self, timeout_s: float) -> bool:
        """Whether the thread ends within a time."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _work(self) -> None:
        waiting: list[Job] = []
        closing = False
        while True:
            if not closing or self.swapping:
                closing |= self._receive(waiting)
            done: list[Job] = []
            try:
                waiting = self._timed(waiting, done, on_loop=False)
            finally:
                if done:
                    self._deliver(self, done)
            if closing and not waiting and not self.swapping:
                break
        if self.served.recorder is not None:
            self.served.recorder.close()

    def _receive(self, waiting: list[Job]) -> bool:
        """Adds arrived messages, and waits for one unless there is work; returns whether the thread is to end."""
        block = not waiting or all(job.client in self.swapping for job in waiting)
        until: float | None = None
        while True:
            try:
                job = self._queue.get(block, None if until is None else max(0.0, until - time.perf_counter()))
            except queue.Empty:
                return False
            if job is None:
                return True
            if job.method == swapping.DONE:
                self.swapping.discard(job.client)
            else:
                waiting.append(job)
            block = False
            if self._max_wait_s:
                until = self._until(waiting)
                block = until is not None and until > time.perf_counter()

    def _until(self, waiting: Sequence[Job]) -> float | None:
        """Time to wait for more requests: at most half of the earliest deadline, so that there is time to run."""
        times = []
        for job in waiting:
            if job.method == "infer":
                deadline_us = job.params.get("deadline_us")
                soon = isinstance(deadline_us, (int, float)) and 0 < deadline_us < 2e9
                times.append(job.received_s + min(self._max_wait_s, deadline_us / 2e6 if soon else self._max_wait_s))  # type: ignore[operator]
        return min(times, default=None)

    def _timed(self, waiting: Sequence[Job], done: list[Job], on_loop: bool) -> list[Job]:
        """Runs a round and notes its time."""
        counters, version = self.served.counters, self.served.policy.version
        n_rows, began_s = counters.rows, time.perf_counter()
        left = self._dispatcher.run(waiting, done)
        took_s = time.perf_counter() - began_s
        asked, _ = _rows(done)
        # Skipped or refused rows give no measurement. Messages without rows are measured on the loop alone.
        if (took_s > BOUND_S and (asked or on_loop)) or (asked and counters.rows - n_rows == asked):
            self.times.ran(version, len(done), asked, took_s, on_loop)
        return left

    def _start_swap(self, job: Job) -> None:
        """Starts a swap on a separate thread, since loading takes long; other requests continue meanwhile."""
        threading.Thread(target=self._swap, args=(job,), name=f"cervello swap {self.served.name}", daemon=True).start()

    def _swap(self, job: Job) -> None:
        done: list[Job] = []
        result = self._dispatcher.attempt(job, lambda: swapping.swap(self.served, job), done)
        if result is not None:
            self._dispatcher.finish(job, answer(job.id or 0, result), done)
        self._queue.put(Job(job.session, job.client, None, swapping.DONE, {}, None, 0, time.perf_counter()))
        self._deliver(self, done)


def _rows(jobs: Sequence[Job]) -> tuple[int, int]:
    """The number of agents that messages infer, and the number that they name otherwise."""
    rows = others = 0
    for job in jobs:
        n = 0 if job.agents is None else len(job.agents)
        if job.method == "infer":
            rows += n
        else:
            others += n
    return rows, others
