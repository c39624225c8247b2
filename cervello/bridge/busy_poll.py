"""Adaptive busy polling: after an answer the event loop may poll its sockets for a short time instead of sleeping.

A loop that sleeps pays for waking up: the processor leaves its idle state, its caches and branch predictions are cold, and the code that
follows takes several times as long. A client in lockstep (it steps its game as fast as it gets answers) sends its next request within some
50 µs. For such a client the loop polls for up to `BUSY_POLL_US` after each answer. A game with frames of milliseconds never causes polling.

Which way is faster depends on the machine and on its load, so it is measured in blocks of `BLOCK` answers, by the time from answer to
answer. Only the last `COUNTED` answers of a block count, since the system may first move the client or the server to another processor.
The first block runs cold and counts for nothing. Trials follow, two with sleep and two with polling in turn; then `STINT` blocks use the
way that took less time in its trials, and the trials repeat. They repeat earlier when a block takes much longer than the trials did: the
system has moved the client or the server. Where the first trial with sleep takes at most `SHORT_S` per answer, there is no wake-up to save
(client and server share a processor, say), and no trial with polling, which would make the system part them.

A loop of `new_event_loop` polls inside its `select`, where no other callback is ready: one poll costs a system call. Any other loop polls
by its own iterations, which cost several times as much.
"""

from __future__ import annotations

import asyncio
import math
import os
import selectors
import sys
import time
from collections.abc import Callable
from typing import Any

BUSY_POLL_US = 200  # default: polling time after an answer, at most
LOCKSTEP_S = 0.0005  # time from answer to answer, at most
BLOCK, COUNTED, STINT = 128, 64, 128  # answers, answers, blocks
SHORT_S = 60e-6
TRIALS = 4  # with sleep, with polling, and both again
_FASTER = 0.9  # polling must take at most this part of the time
_MOVED = 1.4  # times what the trials took

class PollingSelector(selectors.DefaultSelector):
    """A selector that polls before it sleeps, until a given time. Mutable; used by one event loop.

    Attributes:
      until_s: end of polling, on `time.perf_counter`.
      n_polls: polls so far.
    """

    until_s = -1.0
    n_polls = 0

    def select(self, timeout: float | None = None) -> Any:
        select, until_s = super().select, self.until_s
        if until_s > 0 and (timeout is None or timeout > 0):  # the loop has nothing else to do
            clock = time.perf_counter
            over_s = math.inf if timeout is None else clock() + timeout
            while clock() < min(until_s, over_s):
                self.n_polls += 1
                events = select(0)
                if events:
                    return events
            timeout = None if timeout is None else max(0.0, over_s - clock())
        return select(timeout)


class _PollingEventLoop(asyncio.SelectorEventLoop):
    """asyncio's event loop on a `PollingSelector`."""

    def __init__(self) -> None:
        self.polling_selector = PollingSelector()
        super().__init__(self.polling_selector)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Makes asyncio's event loop for this system, with cheap busy polling where the system's loop is built on a selector."""
    return asyncio.new_event_loop() if sys.platform == "win32" else _PollingEventLoop()


class BusyPoll:
    """Polls for the next request of a client in lockstep. Mutable; used on the event loop only.

    Args:
      loop: the event loop that polls.
      poll_us: microseconds to poll after an answer, at most; 0 switches polling off.
      n_processors: processors that this process may use; by default the operating system's count. With one processor polling is off,
        since it would take the processor from the client.
      clock: seconds.
    Attributes:
      n_polls: polls so far.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, poll_us: int = BUSY_POLL_US, n_processors: int | None = None,
                 clock: Callable[[], float] = time.perf_counter):
        self._loop, self._clock, self._poll_s = loop, clock, poll_us * 1e-6
        self._is_useful = poll_us > 0 and (_n_processors() if n_processors is None else n_processors) > 1
        self._selector: PollingSelector | None = getattr(loop, "polling_selector", None)
        self._is_scheduled = False  # the loop's next iteration counts as a poll
        self._n_iterations = 0
        self._answered_s = self._until_s = -1.0
        self._may_poll = False
        self._n_left, self._total_s = BLOCK, 0.0  # answers of this block, and seconds that count
        self._trial, self._n_blocks = TRIALS, 1  # TRIALS during a stint, which has so many blocks left; the cold block is one, too
        self._took_s = [0.0, 0.0]  # all trials with sleep, and with polling
        self._expected_s = math.inf  # of a block of this stint

    def answered(self) -> None:
        """Notes that a request was answered at once, and starts polling where it is faster."""
        if not self._is_useful:
            return
        now = self._clock()
        took_s, self._answered_s = now - self._answered_s, now
        if took_s > LOCKSTEP_S:
            return
        if self._n_left <= COUNTED:
            self._total_s += took_s
        self._n_left -= 1
        if not self._n_left:
            self._choose()
        self._until_s = now + self._poll_s if self._may_poll else 0.0
        if self._selector is not None:
            self._selector.until_s = self._until_s
        elif self._may_poll and not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._poll)

    @property
    def is_polling(self) -> bool:
        """Whether the loop polls now instead of sleeping."""
        return self._is_scheduled if self._selector is None else self._clock() < self._until_s

    @property
    def n_polls(self) -> int:
        return self._n_iterations if self._selector is None else self._selector.n_polls

    def _choose(self) -> None:
        """Ends a block and starts the next: of a trial or of a stint."""
        total_s, self._total_s, self._n_left = self._total_s, 0.0, BLOCK
        if self._trial == TRIALS:
            self._n_blocks -= 1
            if self._n_blocks and total_s <= _MOVED * self._expected_s:
                return
            self._trial, self._took_s = 0, [0.0, 0.0]
        else:
            self._took_s[self._trial % 2] += total_s
            self._trial += 1
        slept_s, polled_s = self._took_s
        if self._trial == 1 and slept_s <= COUNTED * SHORT_S:
            self._begin_stint(False, slept_s)
        elif self._trial == TRIALS:
            polls = polled_s <= _FASTER * slept_s
            self._begin_stint(polls, (polled_s if polls else slept_s) / (TRIALS // 2))
        else:
            self._may_poll = self._trial % 2 == 1

    def _begin_stint(self, polls: bool, expected_s: float) -> None:
        self._may_poll, self._expected_s = polls, expected_s
        self._trial, self._n_blocks = TRIALS, STINT

    def _poll(self) -> None:
        """Counts one poll of the sockets, and asks the loop for another until the time is over."""
        self._n_iterations += 1
        self._is_scheduled = self._clock() < self._until_s
        if self._is_scheduled:
            self._loop.call_soon(self._poll)


def _n_processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
