"""Deferred ends of agents: ends requested while their thread is inside an operation that they would change.

Python runs finalizers and signal handlers between any two instructions. A game object's `__del__` may therefore end its agent while its
own thread is inside a decision, a change of agents, or the queues of a runtime. Such an end is recorded for the thread and runs as soon as
the thread has released its last lock. Order of locks: docs/decisions/0018-locks.md.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable
from typing import Any, Protocol

_log = logging.getLogger("cervello.agents")


class OwnedLock(Protocol):
    """A lock that a thread may hold."""

    def is_owned(self) -> bool:
        """Whether this thread holds it."""


deferred_calls: dict[int, dict[Callable[[], None], None]] = {}  # by thread; almost always empty, so that a release only checks this
writers: dict[int, None] = {}  # threads that are writing to a table of agents; such a thread must not wait for anything
_locks: weakref.WeakSet[Any] = weakref.WeakSet()  # of the kind OwnedLock
_leaf_locks: list[weakref.ref[Any]] = []  # the locks of runtimes: a thread that holds one must not wait for another lock
_running: set[int] = set()  # threads that are running their deferred calls


def register(lock: OwnedLock) -> None:
    """Registers a lock for `run_deferred`."""
    _locks.add(lock)


def register_leaf_lock(lock: Any) -> None:
    """Registers a `threading.RLock` that is the last in the order of locks."""
    _leaf_locks[:] = [ref for ref in _leaf_locks if ref() is not None] + [weakref.ref(lock)]


def holds_leaf_lock() -> bool:
    """Whether this thread is writing to a table of agents or holds the lock of a runtime; it must not wait for a policy then."""
    if writers and threading.get_ident() in writers:
        return True
    for ref in _leaf_locks:
        lock = ref()
        if lock is not None and lock._is_owned():
            return True
    return False


def holds_lock(excluding: OwnedLock | None = None) -> bool:
    """Whether this thread holds any lock of a policy or a runtime, except the given one."""
    return holds_leaf_lock() or any(lock.is_owned() for lock in list(_locks) if lock is not excluding)


def defer(call: Callable[[], None]) -> None:
    """Defers a call of `call` until this thread holds no lock. `call` runs once, however often it is deferred until then."""
    deferred_calls.setdefault(threading.get_ident(), {})[call] = None


def run_deferred() -> None:
    """Runs this thread's deferred calls, unless it still holds a lock. Errors are logged, since the original caller has returned."""
    me = threading.get_ident()
    if me not in deferred_calls or me in _running or holds_lock():
        return
    _running.add(me)
    try:
        while calls := deferred_calls.pop(me, None):
            for call in calls:
                try:
                    call()
                except Exception as error:
                    log_error(error)
    finally:
        _running.discard(me)


def log_error(error: Exception) -> None:
    """Logs an error of a deferred end."""
    _log.error("agents that a finalizer or a signal handler has ended: expected hooks that return, got an error", exc_info=error)


def reset() -> None:
    """Clears the state after a fork: other threads do not exist in this process."""
    me = threading.get_ident()
    writers.clear()
    _running.clear()
    for thread in [thread for thread in deferred_calls if thread != me]:
        del deferred_calls[thread]
