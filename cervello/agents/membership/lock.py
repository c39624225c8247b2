"""Exclusive access to the agents of a policy.

Two kinds of work need it: a change of agents, and a compiled call that runs the wrappers' fused ops. The compiled call relies on slots that
were looked up just before and on slabs that do not move. It runs only if the lock is free, and never waits: it acquires the lock, or, if it
holds the GIL from its check to its end, only checks that the lock is free. A change waits for it: a microsecond for the fast path, up to
the rest of a budget for a batch of a frame.

An interrupt (Ctrl-C) may be raised after any call, and the lock must still be released. It is therefore acquired by one atomic
call inside the `try`, with a unique token. After an exception it is released by checking for that token without another
call, since a call could be interrupted too. The token is the thread's number as a new int object: its value identifies the thread,
its identity the call.

Reading the table of agents needs no lock (`read`), so that a runtime may read it while it holds its own. Order of locks:
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
from cervello.agents.membership.deferred import deferred_calls, run_deferred
from cervello.errors import AgentError

T = TypeVar("T")
_SPINS, _SLEEP_S = 20, 5e-5
_locks: weakref.WeakSet[ExclusiveLock] = weakref.WeakSet()


class ExclusiveLock:
    """The exclusive lock of a policy's agents.

    Attributes:
      state_lock: for storing state; never held while an inferer runs.
      after_fork: called in the child.
      swapping: serializes swaps; decisions do not wait for it.
      holder: {} or {0: token of the holder}.
      writer: the thread that is writing to the table of agents; 0 for none.
      writer_word: [1] int64, the same as `writer`, for compiled code.
      writes: number of such writes so far, including one in progress.
    """

    def __init__(self, policy: str) -> None:
        self.policy = policy
        self.state_lock: Any = threading.RLock()
        self.swapping = threading.RLock()
        self.holder: dict[int, int] = {}
        self.writer = self.writes = 0
        self.writer_word = np.zeros(1, np.int64)
        self.after_fork: Callable[[], None] | None = None
        _locks.add(self)
        deferred.register(self)

    def is_owned(self) -> bool:
        """Whether this thread holds the exclusive lock, or stores state."""
        return self.holder.get(0) == threading.get_ident() or self.state_lock._is_owned()

    def must_defer(self) -> bool:
        """Whether this thread must not wait for the lock: it would wait for itself, or for threads that wait for a lock that it holds."""
        return self.is_owned() or deferred.holds_leaf_lock()

    def check_outside(self) -> None:
        """Raises AgentError if `must_defer` is True."""
        if self.must_defer():
            raise AgentError(f"policy {self.policy!r}: expected agents to begin and end before or after a decision, got a change from "
                             "inside one or from inside another change (a hook, a finalizer or a signal handler); change them outside")

    def exclusive(self, change: Callable[[], T], otherwise: Callable[[], T] | None = None) -> T:
        """Calls `change` while no fast path runs and no other thread changes agents or stores state.

        Args:
          otherwise: called instead if the change would have to wait for this thread; it defers the change.
        Raises:
          AgentError: this thread is inside a decision or a change, or holds the lock of a runtime, and there is no `otherwise`.
        """
        if self.must_defer():
            if otherwise is not None:
                return otherwise()
            self.check_outside()
        holder, lock = self.holder, self.state_lock
        tries = 0
        try:
            while True:
                mine = threading.get_ident()
                locked: list[bool] = []
                try:
                    locked.extend(map(lock.acquire, (otherwise is None,)))  # one call, which records what it acquired
                    if not locked[0] or (otherwise is not None and holder):
                        if otherwise is not None and deferred.holds_lock(self):  # of another policy; other threads may wait for it
                            return otherwise()
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
                time.sleep(0 if tries < _SPINS else _SLEEP_S)  # another thread is in its one compiled call; readers need not wait too
        finally:
            if deferred_calls:
                run_deferred()

    def try_exclusive(self, call: Callable[[], T]) -> T | None:
        """Calls `call` as `exclusive` does; returns None, without a call, while another thread holds the lock. Threads that only read the
        table of agents do not wait meanwhile."""
        holder = self.holder
        owner = mine = threading.get_ident()
        try:
            owner = holder.setdefault(0, mine)
            return call() if owner is mine else None
        finally:
            if owner is mine and 0 in holder and holder[0] is mine:
                del holder[0]
            if deferred_calls:
                run_deferred()

    def write(self, call: Callable[[], T]) -> T:
        """Calls `call`, which writes to the table of agents; this thread holds the exclusive lock. No hook is called inside."""
        me = threading.get_ident()
        try:
            deferred.writers[me] = None
            self.writer = self.writer_word[0] = me  # first: a read that began before detects it by the number, one that begins now waits
            self.writes += 1
            found = call()
            return found
        finally:
            self.writer = self.writer_word[0] = 0
            deferred.writers.pop(me, None)

    def read(self, lookup: Callable[..., T], ids: Any) -> T:
        """Calls `lookup(ids)`, which reads the table of agents, and repeats it if the table was written to meanwhile. Takes no lock."""
        while True:
            writes = self.writes
            writer = self.writer
            if not writer:
                try:
                    found = lookup(ids)
                except Exception:
                    if self.writes == writes:
                        raise
                    continue
                if self.writes == writes:
                    return found
            elif writer == threading.get_ident():  # a finalizer or signal handler, inside the change
                return lookup(ids)
            else:
                time.sleep(0)

    def reset(self) -> None:
        """Clears the lock after a fork: threads that may have held it do not exist in this process."""
        self.state_lock, self.swapping = threading.RLock(), threading.RLock()
        self.holder.clear()
        self.writer = self.writer_word[0] = 0
        if self.after_fork is not None:
            self.after_fork()


def _reset_all() -> None:
    deferred.reset()
    for lock in list(_locks):
        lock.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_all)
