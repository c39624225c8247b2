"""Adaptive busy polling: after an answer the event loop may poll its sockets for a short time instead of sleeping.

A loop that sleeps pays for waking up: the processor leaves its idle state, its caches and branch predictions are cold, and the code that
follows takes several times as long. A client in lockstep (it steps its game as fast as it gets answers) sends its next request within some
50 µs. For such a client the loop polls for up to `BUSY_POLL_US` after each answer. A game with frames of milliseconds never causes polling.

Which way is faster depends on the machine and on its load, so it is measured. A trial of `TRIAL` answers with sleep and one of `TRIAL`
answers with polling compare the time from answer to answer. The next `STINT` answers use the faster way; then the trials repeat.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable

BUSY_POLL_US = 200  # default: polling time after an answer, at most
LOCKSTEP_S = 0.0005  # time from answer to answer, at most
TRIAL, STINT = 64, 1 << 14  # answers
_FASTER = 0.9  # polling must take at most this part of the time


class BusyPoll:
    """Polls for the next request of a client in lockstep. Mutable; used on the event loop only.

    Args:
      loop: the event loop that polls.
      poll_us: microseconds to poll after an answer, at most; 0 switches polling off.
      n_processors: processors that this process may use; by default the operating system's count. With one processor polling is off,
        since it would take the processor from the client.
      clock: seconds.
    Attributes:
      is_polling: the loop polls now.
      n_polls: polls so far.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, poll_us: int = BUSY_POLL_US, n_processors: int | None = None,
                 clock: Callable[[], float] = time.perf_counter):
        self._loop, self._clock, self._poll_s = loop, clock, poll_us * 1e-6
        self._is_useful = poll_us > 0 and (_n_processors() if n_processors is None else n_processors) > 1
        self.is_polling = False
        self.n_polls = 0
        self._answered_s = self._until_s = -1.0
        self._may_poll = self._is_stint = False
        self._n_left, self._total_s, self._slept_s = TRIAL, 0.0, 0.0

    def answered(self) -> None:
        """Notes that a request was answered at once, and starts polling where it is faster."""
        if not self._is_useful:
            return
        now = self._clock()
        took_s, self._answered_s = now - self._answered_s, now
        if took_s > LOCKSTEP_S:
            return
        self._total_s += took_s
        self._n_left -= 1
        if not self._n_left:
            self._choose()
        if self._may_poll:
            self._until_s = now + self._poll_s
            if not self.is_polling:
                self.is_polling = True
                self._loop.call_soon(self._poll)

    def _choose(self) -> None:
        """Starts the next trial or stint."""
        total_s, self._total_s = self._total_s, 0.0
        if self._is_stint:  # next: a trial with sleep
            self._is_stint = self._may_poll = False
            self._n_left = TRIAL
        elif not self._may_poll:  # next: a trial with polling
            self._slept_s = total_s
            self._may_poll = True
            self._n_left = TRIAL
        else:
            self._is_stint, self._may_poll = True, total_s <= _FASTER * self._slept_s
            self._n_left = STINT

    def _poll(self) -> None:
        """Counts one poll of the sockets, and asks the loop for another until the time is over."""
        self.n_polls += 1
        self.is_polling = self._may_poll and self._clock() < self._until_s
        if self.is_polling:
            self._loop.call_soon(self._poll)


def _n_processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
