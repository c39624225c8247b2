"""One policy's own thread: takes messages in the order they arrived, and runs inferences that are there together as one batch."""

from __future__ import annotations

import logging
import queue
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from cervello.bridge import agent_methods, inference, swapping
from cervello.bridge.codes import Code, Refusal
from cervello.bridge.envelope import answer, refuse
from cervello.bridge.hosted import Hosted
from cervello.bridge.inference import Request
from cervello.bridge.job import Job
from cervello.bridge.link import Link

_log = logging.getLogger("cervello.bridge")
_METHODS: dict[str, Callable[[Hosted, Job], dict[str, Any]]] = {
    "begin": agent_methods.begin, "end": agent_methods.end, "reward": agent_methods.reward, "snapshot": agent_methods.snapshot,
    "restore": agent_methods.restore}
CLOSED = "closed"  # the method of the message that a connection leaves behind


class Worker:
    """The thread of one policy.

    Args:
      hosted: the policy.
      deliver: called with messages that are done, on this thread.
      max_wait_us: how long an inference may wait for company.
    """

    def __init__(self, hosted: Hosted, deliver: Callable[[Sequence[Job]], object], max_wait_us: int):
        self.hosted = hosted
        self._deliver, self._max_wait_s = deliver, max_wait_us / 1e6
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._swapping: set[Link] = set()  # their later messages wait for the swap
        self._thread = threading.Thread(target=self._work, name=f"cervello policy {hosted.name}", daemon=True)
        self._thread.start()

    def put(self, job: Job) -> None:
        """A message has arrived."""
        self._queue.put(job)

    def __len__(self) -> int:
        """Messages that wait."""
        return self._queue.qsize()

    def close(self) -> None:
        """Ends the thread when what has arrived is done, and then the recording."""
        self._queue.put(None)

    def join(self, timeout_s: float) -> bool:
        """Whether the thread has ended within a time."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _work(self) -> None:
        waiting: list[Job] = []
        closing = False
        while True:
            if not closing or self._swapping:
                closing |= self._take(waiting)
            done: list[Job] = []
            try:
                waiting = self._round(waiting, done)
            finally:
                if done:
                    self._deliver(done)
            if closing and not waiting and not self._swapping:
                break
        if self.hosted.recorder is not None:
            self.hosted.recorder.close()

    def _take(self, waiting: list[Job]) -> bool:
        """Adds what has arrived, and waits for something unless there is work; whether that was the last."""
        block = not waiting or all(job.link in self._swapping for job in waiting)
        until: float | None = None
        while True:
            try:
                job = self._queue.get(block, None if until is None else max(0.0, until - time.perf_counter()))
            except queue.Empty:
                return False
            if job is None:
                return True
            if job.method == swapping.DONE:
                self._swapping.discard(job.link)
            else:
                waiting.append(job)
            block = False
            if self._max_wait_s:
                until = self._until(waiting)
                block = until is not None and until > time.perf_counter()

    def _until(self, waiting: Sequence[Job]) -> float | None:
        """How long to wait for company: half of what the most urgent may take at most, so that there is time to run."""
        times = []
        for job in waiting:
            if job.method == "infer":
                deadline_us = job.params.get("deadline_us")
                soon = isinstance(deadline_us, (int, float)) and 0 < deadline_us < 2e9
                times.append(job.received_s + min(self._max_wait_s, deadline_us / 2e6 if soon else self._max_wait_s))  # type: ignore[operator]
        return min(times, default=None)

    def _round(self, waiting: Sequence[Job], done: list[Job]) -> list[Job]:
        """Does what can be done; returns what must wait for the batch of this round, or for a swap."""
        batch: list[Request] = []
        named: dict[Link, set[int]] = {}  # agents of the batch by connection
        blocked: set[Link] = set(self._swapping)
        rest: list[Job] = []
        for job in waiting:
            link = job.link
            if link in blocked:
                rest.append(job)
            elif job.method == "infer":
                mine = named.get(link)
                if mine is not None and not mine.isdisjoint(job.agents or ()):
                    blocked.add(link)
                    rest.append(job)
                    continue
                request = self._attempt(job, lambda job=job: Request(self.hosted, job), done)  # type: ignore[misc]
                if request is not None:
                    batch.append(request)
                    named.setdefault(link, set()).update(job.agents or ())
            elif link in named:  # a change of agents, which comes after the inference before it
                blocked.add(link)
                rest.append(job)
            elif job.method == "swap":
                self._swapping.add(link)
                blocked.add(link)
                threading.Thread(target=self._swap, args=(job,), name=f"cervello swap {self.hosted.name}", daemon=True).start()
            elif job.method == CLOSED:
                self._attempt(job, lambda link=link: agent_methods.close(self.hosted, link), done)  # type: ignore[misc]
                done.append(job)
            else:
                result = self._attempt(job, lambda job=job: _METHODS[job.method](self.hosted, job), done)  # type: ignore[misc]
                if result is not None:
                    self._finish(job, answer(job.id, result) if job.id is not None else None, done)
        if batch:
            self._run(batch, done)
        return rest

    def _run(self, batch: Sequence[Request], done: list[Job]) -> None:
        try:
            found = inference.run(self.hosted, batch)
        except Exception as error:
            for request in batch:
                self._refuse(request.job, error, done)
            return
        for request, outcome in found:
            if isinstance(outcome, Exception):
                self._refuse(request.job, outcome, done)
            else:
                self._finish(request.job, outcome, done)

    def _swap(self, job: Job) -> None:
        """On a thread of its own, since loading takes its time: others go on meanwhile."""
        done: list[Job] = []
        result = self._attempt(job, lambda: swapping.swap(self.hosted, job), done)
        if result is not None:
            self._finish(job, answer(job.id or 0, result), done)
        self._queue.put(Job(job.owner, job.link, None, swapping.DONE, {}, None, 0))
        self._deliver(done)

    def _attempt(self, job: Job, act: Callable[[], Any], done: list[Job]) -> Any:
        """What a method gives; None, and a refusal among those done, when it fails."""
        try:
            return act()
        except Exception as error:
            self._refuse(job, error, done)
            return None

    def _finish(self, job: Job, reply: bytes | None, done: list[Job]) -> None:
        counts = self.hosted.counts
        counts.requests += 1
        counts.latencies_s.append(time.perf_counter() - job.received_s)
        job.reply = reply
        done.append(job)

    def _refuse(self, job: Job, error: Exception, done: list[Job]) -> None:
        self.hosted.counts.errors += 1
        if isinstance(error, Refusal):
            refusal = error
        else:
            name = uuid.uuid4().hex[:12]
            _log.error("internal error %s: policy %s, %s", name, self.hosted.name, job.method, exc_info=error)
            refusal = Refusal(Code.INTERNAL, f"internal error {name}; the server's log has the rest")
        if job.id is None:
            job.link.refused_notifies += job.method != CLOSED
            _log.info("policy %s: %s refused: %s", self.hosted.name, job.method, refusal.text)
        else:
            job.reply = refuse(job.id, refusal.code, refusal.text, refusal.data)
        if job.method != CLOSED:
            done.append(job)
