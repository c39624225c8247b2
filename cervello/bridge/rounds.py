"""Processes the waiting messages of a policy: changes of agents in order, inferences as one batch."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from cervello.bridge import agent_methods, inference
from cervello.bridge.codes import Code, Refusal
from cervello.bridge.envelope import answer, refuse
from cervello.bridge.hosted import Hosted
from cervello.bridge.inference import Request
from cervello.bridge.job import Job
from cervello.bridge.layout import Layout
from cervello.bridge.link import Link

_log = logging.getLogger("cervello.bridge")
_METHODS: dict[str, Callable[[Hosted, Job], dict[str, Any]]] = {
    "begin": agent_methods.begin, "end": agent_methods.end, "reward": agent_methods.reward, "snapshot": agent_methods.snapshot,
    "restore": agent_methods.restore}
CLOSED = "closed"  # method of the message that ends the agents of a closed connection


class Rounds:
    """Processes messages in rounds. Mutable; used by one thread at a time, the one that runs the policy.

    Args:
      hosted: the policy.
      start_swap: starts a swap on a separate thread.
    Attributes:
      swapping: connections whose later messages wait for a swap.
    """

    def __init__(self, hosted: Hosted, start_swap: Callable[[Job], object]):
        self.hosted, self._start_swap = hosted, start_swap
        self.swapping: set[Link] = set()

    def run(self, waiting: Sequence[Job], done: list[Job]) -> list[Job]:
        """Processes messages; returns those that must wait for the batch of this round, or for a swap."""
        if waiting and not self.swapping and self.hosted.recorder is None and inference.run_known(self.hosted, waiting):
            done += waiting
            return []
        batch: list[Request] = []
        named: dict[Link, list[Sequence[int]]] = {}  # agents of the batch by connection
        blocked: set[Link] = set(self.swapping)
        deferred: list[Job] = []
        for job in waiting:
            link = job.link
            if link in blocked:
                deferred.append(job)
            elif job.method == "infer":
                mine = named.get(link)
                if mine is not None and not all(map(set(job.agents or ()).isdisjoint, mine)):
                    blocked.add(link)
                    deferred.append(job)
                    continue
                try:
                    batch.append(Request.known(self.hosted, job))
                except Exception as error:
                    self._refuse(job, error, done)
                    continue
                if mine is None:
                    named[link] = [job.agents or ()]
                else:
                    mine.append(job.agents or ())
            elif link in named:  # a change of agents, which comes after the inference before it
                blocked.add(link)
                deferred.append(job)
            elif job.method == "swap":
                self.swapping.add(link)
                blocked.add(link)
                self._start_swap(job)
            elif job.method == CLOSED:
                self.attempt(job, lambda link=link: agent_methods.close(self.hosted, link), done)  # type: ignore[misc]
                done.append(job)
            else:
                result = self.attempt(job, lambda job=job: _METHODS[job.method](self.hosted, job), done)  # type: ignore[misc]
                if result is not None:
                    self.finish(job, answer(job.id, result) if job.id is not None else None, done)
        if batch:
            self._run(batch, done)
        return deferred

    def _run(self, batch: Sequence[Request], done: list[Job]) -> None:
        try:
            found = inference.run(self.hosted, batch)
        except Exception as error:
            for request in batch:
                self._refuse(request.job, error, done)
            return
        for request, outcome in found:
            job = request.job
            if isinstance(outcome, Exception):
                self._refuse(job, outcome, done)
                continue
            if job.body is not None and job.layout is None:
                job.layout = Layout.of(self.hosted, request, job.body)
            self.finish(job, outcome, done)

    def attempt(self, job: Job, act: Callable[[], Any], done: list[Job]) -> Any:
        """The result of a method; None, with a refusal as the reply, when it fails."""
        try:
            return act()
        except Exception as error:
            self._refuse(job, error, done)
            return None

    def finish(self, job: Job, reply: bytes | None, done: list[Job]) -> None:
        """Notes a finished message."""
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
