"""Keeps the event loop awake for a moment after an answer, for a client that asks again at once.

A loop that sleeps pays for waking up: the processor leaves its idle state, its caches and branch predictions are cold, and what follows
takes several times as long. A client in lockstep (it steps its game as fast as it gets answers) asks again within some 50 µs. For it the
loop may look at its sockets again and again instead of sleeping, for `LOOK_S` after an answer at most; a game with frames of milliseconds
never makes it do so.

Whether that is faster depends on the machine and on who else computes, so it is measured: some answers with sleep and some with looks,
then many the way that took less time from answer to answer, and so on.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable

LOCKSTEP_S = 0.0005  # from answer to answer, at most
LOOK_S = 0.0002  # after an answer, at most
TRIAL, STINT = 64, 1 << 14  # answers
_FASTER = 0.9  # looks must take at most this part of the time


class Lookout:
    """Looks for the next request of a client in lockstep. Mutable; used on the event loop only.

    Args:
      n_processors: that this process may use, as it finds them itself by default. On one alone, looks would keep the client from asking.
      clock: seconds.
    Attributes:
      is_looking: the loop does not sleep just now.
      n_looks: times that it has looked.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, n_processors: int | None = None, clock: Callable[[], float] = time.perf_counter):
        self._loop, self._clock = loop, clock
        self._is_useful = (_n_processors() if n_processors is None else n_processors) > 1
        self.is_looking = False
        self.n_looks = 0
        self._answered_s = self._until_s = -1.0
        self._may_look = self._is_stint = False
        self._n_left, self._total_s, self._slept_s = TRIAL, 0.0, 0.0

    def answered(self) -> None:
        """A request was answered at once."""
        now = self._clock()
        took_s, self._answered_s = now - self._answered_s, now
        if took_s > LOCKSTEP_S or not self._is_useful:
            return
        self._total_s += took_s
        self._n_left -= 1
        if not self._n_left:
            self._choose()
        if self._may_look:
            self._until_s = now + LOOK_S
            if not self.is_looking:
                self.is_looking = True
                self._loop.call_soon(self._look)

    def _choose(self) -> None:
        """What the next answers are followed by."""
        total_s, self._total_s = self._total_s, 0.0
        if self._is_stint:  # a trial with sleep
            self._is_stint = self._may_look = False
            self._n_left = TRIAL
        elif not self._may_look:  # and one with looks
            self._slept_s = total_s
            self._may_look = True
            self._n_left = TRIAL
        else:
            self._is_stint, self._may_look = True, total_s <= _FASTER * self._slept_s
            self._n_left = STINT

    def _look(self) -> None:
        """The loop has looked at its sockets."""
        self.n_looks += 1
        self.is_looking = self._may_look and self._clock() < self._until_s
        if self.is_looking:
            self._loop.call_soon(self._look)


def _n_processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
