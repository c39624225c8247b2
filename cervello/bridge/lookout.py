"""Keeps the event loop awake for a moment after an answer, for a client that asks again at once.

A loop that sleeps pays for waking up: the processor leaves its idle state, its caches and branch predictions are cold, and what follows
takes several times as long. A client in lockstep (it steps its game as fast as it gets answers) asks again after some 50 µs. For it the
loop looks at its sockets again and again instead of sleeping, for `LIMIT_S` after an answer at most; a game with frames of milliseconds
never makes it do so. Where looking was in vain, or another process wants the processor, the next answers are not looked after, each time
twice as many, so that a busy machine is left alone.
"""

from __future__ import annotations

import asyncio
import os
import time

LIMIT_S = 0.0002  # how long to look after an answer, and how soon after one a request must have come for it
_MOST_SKIPPED = 1 << 12  # answers that are not looked after


class Lookout:
    """Looks for the next request of a client in lockstep. Mutable; used on the event loop only.

    Args:
      n_processors: that this process may use; on one alone, looking would keep the client from asking.
    Attributes:
      n_looks: times that it has looked.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, n_processors: int | None = None):
        self._loop = loop
        self._is_useful = (_n_processors() if n_processors is None else n_processors) > 1
        self._answered_s = self._until_s = self._looked_s = 0.0
        self._is_looking = False
        self._skipped = self._to_skip = 0
        self.n_looks = 0

    def answered(self, received_s: float) -> None:
        """A request was answered at once.

        Args:
          received_s: when its last byte had come, on `time.perf_counter`.
        """
        if not self._is_useful:
            return
        waited_s = received_s - self._answered_s
        now = self._answered_s = time.perf_counter()
        if waited_s > LIMIT_S:
            return
        if self._is_looking:  # it came while this looked
            self._skipped = 0
            self._until_s = now + LIMIT_S
            self._looked_s = now
        elif self._to_skip:
            self._to_skip -= 1
        else:
            self._is_looking = True
            self._until_s = now + LIMIT_S
            self._looked_s = now
            self._loop.call_soon(self._look)

    def _look(self) -> None:
        """The loop has looked at its sockets."""
        self.n_looks += 1
        now = time.perf_counter()
        if now < self._until_s:
            self._loop.call_soon(self._look)
            return
        self._is_looking = False
        self._skipped = self._to_skip = min(2 * self._skipped or 8, _MOST_SKIPPED)


def _n_processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
