"""Processes the waiting messages of a policy: changes of agents in order, inferences as one batch."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from cervello.bridge import agent_methods, inference
from cervello.bridge.client_state import ClientState
from cervello.bridge.codes import Code, Refusal
from cervello.bridge.envelope import answer, refuse
from cervello.bridge.inference import Request
from cervello.bridge.job import Job
from cervello.bridge.request_layout import RequestLayout
from cervello.bridge.served_policy import ServedPolicy

_log = logging.getLogger("cervello.bridge")
_METHODS: dict[str, Callable[[ServedPolicy, Job], dict[str, Any]]] = {
    "begin": agent_methods.begin, "end": agent_methods.end, "reward": agent_methods.reward, "snapshot": agent_methods.snapshot,
    "restore": agent_methods.restore}
CLOSED = "closed"  # method of the message that ends the agents of a closed connection


class Dispatcher:
    """Processes messages in rounds. Mutable; used by one thread at a time, the one that runs the policy.

    Args:
      served: the policy.
      start_swap: starts a swap on a separate thread.
    Attributes:
      swapping: connections whose later messages wait for a swap.
    """

    def __init__(self, served: ServedPolicy, start_swap: Callable[[Job], object]):
        self.served, self._start_swap = served, start_swap
        self.swapping: set[ClientState] = set()

    def run(self, waiting: Sequence[Job], done: list[Job]) -> list[Job]:
        """Processes messages; returns those that must wait for the batch of this round, or for a swap."""
        if waiting and not self.swapping and self.served.recorder is None and inference.run_known(self.served, waiting):
            done += waiting
            return []
        batch: list[Request] = []
        named: dict[ClientState, list[Sequence[int]]] = {}  # agents of the batch by connection
        blocked: set[ClientState] = set(self.swapping)
        deferred: list[Job] = []
        for job in waiting:
            client = job.client
            if client in blocked or (client in named and _must_follow(job, named[client])):
                blocked.add(client)
                deferred.append(job)
            elif job.method == "infer":
                try:
                    batch.append(Request.of_layout(self.served, job))
                except Exception as error:
                    self._refuse(job, error, done)
                else:
                    named.setdefault(client, []).append(job.agents or ())
            elif job.method == "swap":
                self.swapping.add(client)
                blocked.add(client)
                self._start_swap(job)
            else:
                self._act(job, done)
        if batch:
            self._run(batch, done)
        return deferred

    def _act(self, job: Job, done: list[Job]) -> None:
        """Processes a change of agents."""
        if job.method == CLOSED:
            self.attempt(job, lambda: agent_methods.end_all(self.served, job.client), done)
            done.append(job)
            return
        result = self.attempt(job, lambda: _METHODS[job.method](self.served, job), done)
        if result is not None:
            self.finish(job, answer(job.id, result) if job.id is not None else None, done)

    def _run(self, batch: Sequence[Request], done: list[Job]) -> None:
        """Runs the batch."""
        try:
            found = inference.run(self.served, batch)
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
                job.layout = RequestLayout.of(self.served, request, job.body)
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
        counters = self.served.counters
        counters.requests += 1
        counters.latencies_s.append(time.perf_counter() - job.received_s)
        job.reply = reply
        done.append(job)

    def _refuse(self, job: Job, error: Exception, done: list[Job]) -> None:
        self.served.counters.errors += 1
        if isinstance(error, Refusal):
            refusal = error
        else:
            name = uuid.uuid4().hex[:12]
            _log.error("internal error %s: policy %s, %s", name, self.served.name, job.method, exc_info=error)
            refusal = Refusal(Code.INTERNAL, f"internal error {name}; the server's log has the rest")
        if job.id is None:
            job.client.refused_notifies += job.method != CLOSED
            _log.info("policy %s: %s refused: %s", self.served.name, job.method, refusal.text)
        else:
            job.reply = refuse(job.id, refusal.code, refusal.text, refusal.data)
        if job.method != CLOSED:
            done.append(job)


def _must_follow(job: Job, named: Sequence[Sequence[int]]) -> bool:
    """Whether a message comes after the batch: a change of agents, or another inference of the same agents.

    Args:
      named: agents of each request of the batch from the same connection.
    """
    return job.method != "infer" or not all(map(set(job.agents or ()).isdisjoint, named))
