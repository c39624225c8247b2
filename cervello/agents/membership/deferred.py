"""Ends that cannot be done at once, because their thread is in the middle of something that they would change.

Python runs finalizers and signal handlers between any two instructions, so a game object's `__del__` may end its agent while its own thread
is inside a decision, a change of agents, or the queues of a runtime. Such an end is noted for the thread. It is done as soon as the thread
has given back the last lock that it holds. Order of locks: docs/decisions/0018-locks.md.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable
from typing import Any, Protocol

_log = logging.getLogger("cervello.agents")


class Held(Protocol):
    """A lock that a thread may hold."""

    def is_mine(self) -> bool:
        """Whether this thread holds it."""


notes: dict[int, dict[Callable[[], None], None]] = {}  # by thread; empty nearly always, so that a release only looks here
writers: dict[int, None] = {}  # threads that are writing to a table of agents; such a thread must not wait for anything
_locks: weakref.WeakSet[Any] = weakref.WeakSet()  # of the kind Held
_last: list[weakref.ref[Any]] = []  # the locks of runtimes: a thread that holds one must not wait for another lock
_working: set[int] = set()  # threads that are doing what they noted


def register(lock: Held) -> None:
    """Lets `catch_up` know of a lock."""
    _locks.add(lock)


def register_last(lock: Any) -> None:
    """Lets this module know of a `threading.RLock` that is the last in the order of locks."""
    _last[:] = [ref for ref in _last if ref() is not None] + [weakref.ref(lock)]


def holds_last() -> bool:
    """Whether this thread is writing to a table of agents, or holds the lock of a runtime: it must not wait for a policy then."""
    if writers and threading.get_ident() in writers:
        return True
    for ref in _last:
        lock = ref()
        if lock is not None and lock._is_owned():
            return True
    return False


def holds_any(but: Held | None = None) -> bool:
    """Whether this thread holds any lock of a policy or a runtime, one excepted."""
    return holds_last() or any(lock.is_mine() for lock in list(_locks) if lock is not but)


def note(act: Callable[[], None]) -> None:
    """Has `act` called when this thread holds no lock any more; once, however often it is noted until then."""
    notes.setdefault(threading.get_ident(), {})[act] = None


def catch_up() -> None:
    """Does what this thread has noted, unless it still holds a lock. What fails is logged: the caller whose business it was is gone."""
    me = threading.get_ident()
    if me not in notes or me in _working or holds_any():
        return
    _working.add(me)
    try:
        while acts := notes.pop(me, None):
            for act in acts:
                try:
                    act()
                except Exception as error:
                    log(error)
    finally:
        _working.discard(me)


def log(error: Exception) -> None:
    """Says what went wrong at an end that nobody waits for."""
    _log.error("agents that a finalizer or a signal handler has ended: expected hooks that return, got an error", exc_info=error)


def reset() -> None:
    """After a fork: other threads are not in this process."""
    me = threading.get_ident()
    writers.clear()
    _working.clear()
    for thread in [thread for thread in notes if thread != me]:
        del notes[thread]
