"""The loop of a frame: runs one batch after another, on one thread or several."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager

from cervello.agents.membership.deferred import deferred_calls, run_deferred
from cervello.agents.runtime.frame import Frame
from cervello.agents.runtime.scheduler import Picked

_WORTH_HELP_S = 1e-3  # minimum work for a second thread: waking one through Python takes a tenth of that


class Workers:
    """Runs the chosen batches. Mutable; one frame at a time.

    Args:
      lock: of the queues; released while a policy runs.
      threads: number of policies that may run in parallel.
    """

    def __init__(self, lock: AbstractContextManager[object], threads: int):
        self._lock, self._threads = lock, threads
        self._helpers: ThreadPoolExecutor | None = None

    def run(self, frame: Frame, picks: Iterator[Picked], deadline: float | None, expected_s: float) -> None:
        """Runs all `picks` of the `frame`. The caller requeues batches that an interrupt has left in flight.

        Args:
          deadline: on the clock `time.perf_counter`; None for none.
          expected_s: seconds of work; helper threads are woken if it is long enough.
        """
        helpers: list[Future[None]] = []
        if self._threads > 1 and expected_s > _WORTH_HELP_S and (deadline is None or deadline - time.perf_counter() > _WORTH_HELP_S):
            if self._helpers is None:
                self._helpers = ThreadPoolExecutor(self._threads - 1, "cervello runtime helper")
            helpers = [self._helpers.submit(self._work, frame, picks, deadline) for _ in range(self._threads - 1)]
        try:
            self._work(frame, picks, deadline)
            for helper in helpers:
                helper.result()
        finally:
            if helpers:
                for helper in helpers:
                    helper.cancel()
                wait(helpers)

    def _work(self, frame: Frame, picks: Iterator[Picked], deadline: float | None) -> None:
        """Runs the next pick until none is left."""
        while True:
            if deadline is None:
                picked = next(picks, None)  # all are chosen already
            else:
                with self._lock:
                    picked = next(picks, None)
                if deferred_calls:
                    run_deferred()
            if picked is None:
                return
            queue, in_flight = picked
            try:
                ids, columns = queue.decide(in_flight)
            except Exception as error:
                with self._lock:
                    frame.fail(queue, queue.failed(in_flight, frame.number), error)
                if deferred_calls:
                    run_deferred()
                continue
            with self._lock:
                queue.decided(in_flight, ids, columns, frame.number)
                frame.add(queue, ids, columns)
                if deadline is not None and in_flight.ids:
                    in_flight.ended_s = time.perf_counter()
            if deferred_calls:
                run_deferred()

    def close(self) -> None:
        """Ends the threads; a later frame creates new ones."""
        if self._helpers is not None:
            self._helpers.shutdown()
            self._helpers = None
