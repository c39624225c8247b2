"""The state of a runtime's frames: one is in flight at a time, is closed when it is over, and is recovered after an interrupt."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np

from cervello.agents.membership import deferred
from cervello.agents.membership.deferred import deferred_calls, register_leaf_lock, run_deferred, writers
from cervello.agents.runtime.frame import Frame
from cervello.agents.runtime.observations import RuntimeObservations
from cervello.agents.runtime.policy_queue import PolicyQueue
from cervello.errors import ConfigurationError

Flight = FrameType | Future[Frame]
Pause = tuple[Future[None], int]  # completed when frames may run again, and the thread that completes it


class FrameState(RuntimeObservations):
    """Policies, agents, observations, and the frame in flight. Mutable; thread-safe. `Runtime` runs the frames."""

    def __init__(self) -> None:
        super().__init__()
        self._closing_s = 5e-5  # recent seconds to close a frame

    def _initialize(self) -> None:
        """Sets the state without threads and frames in flight: initially, and in the child of a fork."""
        self._lock = threading.RLock()
        register_leaf_lock(self._lock)
        self._flight: Flight | None = None  # the frame in flight
        self._pause: Pause | None = None  # the save or restore in progress
        self._recover()

    def _open(self, budget_s: float | None, rows: int | None, flight: Flight) -> Frame:
        if budget_s is not None and not _above_zero(budget_s):
            raise ConfigurationError(f"runtime, budget_s: expected seconds above 0, got {budget_s!r}; None is no budget")
        if rows is not None and (isinstance(rows, bool) or not isinstance(rows, (int, np.integer)) or rows < 1):
            raise ConfigurationError(f"runtime, rows: expected at least 1, got {rows!r}; None is no limit")
        if self._lock._is_owned() or writers:
            self._check_outside("run")
        while True:
            with self._lock:
                pause = self._pause
                if pause is None:
                    frame = self._opened(budget_s, flight)
                    return frame
            self._wait_for(pause, "run")

    def _opened(self, budget_s: float | None, flight: Flight) -> Frame:
        if self._flight is not None:
            if _is_in_flight(self._flight):
                raise ConfigurationError("runtime: expected one frame at a time, got a second while one is under way; wait for its future")
            self._recover()  # an interrupt came before the frame could be closed
        if len(self._ready_queue.members) != len(self._queues):
            self._ready_queue.keep(list(self._queues.values()))
            self._skipped = {name: agents for name, agents in self._skipped.items() if name in self._queues}
        frame = Frame(self.frame, None if budget_s is None else float(budget_s), self._queues)
        self.frame += 1  # later pushes are for the next frame
        self._flight = flight
        return frame

    def _recover(self) -> None:
        """Requeues agents that were dequeued and have not decided."""
        self._flight = None
        for queue in self._ready_queue.open:
            queue.read_in_place = False
        for queue in list(self._ready_queue.dirty):
            if queue.in_flight:
                for in_flight in queue.in_flight[::-1]:
                    queue.requeue(in_flight, None)

    def _close(self, frame: Frame) -> None:
        """Records skipped agents and held decisions."""
        with self._lock:
            start = time.perf_counter()
            self._recover()
            if frame.budget_s is None:
                self._ready_queue.finalize_and_open()
            else:
                self._ready_queue.collect_pushed()
            frame.skipped = self._skipped.copy()  # as in the last frame, except policies that changed
            for queue in list(self._ready_queue.changed):
                if not frame.skip(queue):
                    queue.mark_reported()
            self._skipped = frame.skipped.copy()
            self._closing_s += 0.1 * (time.perf_counter() - start - self._closing_s)
        if deferred_calls:
            run_deferred()

    @contextmanager
    def _paused(self, what: str) -> Iterator[list[PolicyQueue]]:
        """The policies, while no frame is in flight and none can begin. Holds no lock, since policies call hooks inside."""
        self._check_outside(what)
        while True:
            with self._lock:
                other = self._pause
                if other is None:
                    if self._flight is not None and _is_in_flight(self._flight):
                        raise ConfigurationError(f"runtime, {what}: expected no frame under way, got one; wait for its future")
                    pause = self._pause = Future(), threading.get_ident()
                    queues = list(self._queues.values())
                    break
            self._wait_for(other, what)
        try:
            yield queues
        finally:
            self._pause = None
            pause[0].set_result(None)
            if deferred_calls:
                run_deferred()

    @staticmethod
    def _wait_for(pause: Pause, what: str) -> None:
        """Waits until another thread has saved or restored the runtime.

        Raises:
          ConfigurationError: the other thread waits for this one.
        """
        if pause[1] == threading.get_ident() or deferred.holds_lock():
            raise ConfigurationError(f"runtime, {what}: expected a call outside of other calls, got one from a hook, a finalizer or a "
                                     "signal handler while the runtime is saved or restored; call afterwards")
        pause[0].result()


def _is_in_flight(flight: Flight) -> bool:
    """Whether a frame is still in flight: its future is not done, or its call is on the stack of some thread."""
    if isinstance(flight, Future):
        return not flight.done()
    for top in sys._current_frames().values():
        call: FrameType | None = top
        while call is not None:
            if call is flight:
                return True
            call = call.f_back
    return False


def _above_zero(seconds: Any) -> bool:
    number = isinstance(seconds, (int, float, np.integer, np.floating)) and not isinstance(seconds, bool)
    return bool(number and seconds > 0 and math.isfinite(seconds))
