"""Who has the agents of a policy to themselves, for a moment.

Two kinds of work need that: a change of agents, and a compiled call that makes the wrappers' moves, since it trusts slots that were looked
up just before and slabs that stay where they are. Such a call takes its turn only when it is free and never waits; a change waits for it:
a microsecond for the short way, up to what is left of a budget for a batch of a frame.

An interrupt (Ctrl-C) may be raised after any call, and whoever has the turn must still give it back. So it is taken by one atomic
call, inside the `try`, with a word of the taker's own; and given back, when there was an exception, by looking for that word without
another call, since that look could be interrupted too. The word is the thread's number as a fresh int: its value says whose thread has
the turn, its identity which call.

Reading the table of agents takes no lock (`read`), so that a runtime may read it under its own. Order of locks:
docs/decisions/0018-locks.md.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from cervello.agents.membership import deferred
from cervello.agents.membership.deferred import catch_up, notes
from cervello.errors import AgentError

T = TypeVar("T")
_BRIEF, _NAP_S = 20, 5e-5
_turns: weakref.WeakSet[ExclusiveLock] = weakref.WeakSet()


class ExclusiveLock:
    """The right to have a policy's agents to oneself.

    Attributes:
      lock: for the storing of state; never held while an inferer runs.
      after_fork: called in the child.
      swapping: one swap after the other; decisions do not wait for it.
      holder: {} or {0: word of whoever has the turn}.
      writer: the thread that is writing to the table of agents; 0 for none.
      writer_word: [1] int64, the same as `writer`, for compiled code.
      writes: such writes so far, the one under way included.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self.lock: Any = threading.RLock()
        self.swapping = threading.RLock()
        self.holder: dict[int, int] = {}
        self.writer = self.writes = 0
        self.writer_word = np.zeros(1, np.int64)
        self.after_fork: Callable[[], None] | None = None
        _turns.add(self)
        deferred.register(self)

    def is_mine(self) -> bool:
        """Whether this thread has the turn, or stores state."""
        return self.holder.get(0) == threading.get_ident() or self.lock._is_owned()

    def must_defer(self) -> bool:
        """Whether this thread must not wait for its turn: it would wait for itself, or for others that wait for what it holds."""
        return self.is_mine() or deferred.holds_last()

    def check_outside(self) -> None:
        """Raises AgentError when `must_defer` says so."""
        if self.must_defer():
            raise AgentError(f"policy {self.where!r}: expected agents to begin and end before or after a decision, got a change from "
                             "inside one or from inside another change (a hook, a finalizer or a signal handler); change them outside")

    def exclusive(self, change: Callable[[], T], later: Callable[[], T] | None = None) -> T:
        """Calls `change` while no short way is under way and nobody else changes agents or stores state.

        Args:
          later: called instead when the change has to wait for this very thread, which has noted it then.
        Raises:
          AgentError: this very thread is in the midst of a decision or a change, or holds the lock of a runtime, and there is no `later`.
        """
        if self.must_defer():
            if later is not None:
                return later()
            self.check_outside()
        holder, lock = self.holder, self.lock
        tries = 0
        try:
            while True:
                mine = threading.get_ident()
                locked: list[bool] = []
                try:
                    locked.extend(map(lock.acquire, (later is None,)))  # one call, which notes what it has
                    if not locked[0] or (later is not None and holder):
                        if later is not None and deferred.holds_any(self):  # of another policy, for which the others may wait
                            return later()
                        if not locked[0]:
                            locked.clear()
                            locked.extend(map(lock.acquire, (True,)))
                    if holder.setdefault(0, mine) is mine:
                        found = change()
                        return found
                finally:
                    if 0 in holder and holder[0] is mine:
                        del holder[0]
                    if locked and locked[0]:
                        lock.release()
                tries += 1
                time.sleep(0 if tries < _BRIEF else _NAP_S)  # another thread is in its one compiled call; who only looks need not wait too
        finally:
            if notes:
                catch_up()

    def try_exclusive(self, act: Callable[[], T]) -> T | None:
        """Calls `act` as `exclusive` does; gives None, without a call, while another thread has the lock. Threads that only read the table
        of agents need not wait meanwhile."""
        holder = self.holder
        owner = mine = threading.get_ident()
        try:
            owner = holder.setdefault(0, mine)
            return act() if owner is mine else None
        finally:
            if owner is mine and 0 in holder and holder[0] is mine:
                del holder[0]
            if notes:
                catch_up()

    def write(self, act: Callable[[], T]) -> T:
        """Calls `act`, which writes to the table of agents; this thread has the turn. No hook is called inside."""
        me = threading.get_ident()
        try:
            deferred.writers[me] = None
            self.writer = self.writer_word[0] = me  # first: a look that began before is known by the number, one that begins now waits
            self.writes += 1
            found = act()
            return found
        finally:
            self.writer = self.writer_word[0] = 0
            deferred.writers.pop(me, None)

    def read(self, look: Callable[..., T], ids: Any) -> T:
        """Calls `look(ids)`, which reads the table of agents, and again if the table was written to meanwhile. Takes no lock."""
        while True:
            writes = self.writes
            writer = self.writer
            if not writer:
                try:
                    found = look(ids)
                except Exception:
                    if self.writes == writes:
                        raise
                    continue
                if self.writes == writes:
                    return found
            elif writer == threading.get_ident():  # a finalizer or signal handler, in the midst of the change
                return look(ids)
            else:
                time.sleep(0)

    def reset(self) -> None:
        """After a fork: the threads that may have had the turn are not in this process."""
        self.lock, self.swapping = threading.RLock(), threading.RLock()
        self.holder.clear()
        self.writer = self.writer_word[0] = 0
        if self.after_fork is not None:
            self.after_fork()


def _reset_all() -> None:
    deferred.reset()
    for turn in list(_turns):
        turn.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_all)
