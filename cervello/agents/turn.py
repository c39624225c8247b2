"""Who has the agents of a policy to themselves, for a moment.

Two kinds of work need that: a change of agents, and a compiled call that makes the wrappers' moves, since it trusts slots that were looked
up just before and slabs that stay where they are. Such a call takes its turn only when it is free and never waits; a change waits for it:
a microsecond for the short way, up to what is left of a budget for a batch of a frame.

An interrupt (Ctrl-C) may be raised after any call, and whoever has the turn must still give it back. So it is taken by one atomic
call, inside the `try`, with a word of the taker's own; and given back, when there was an exception, by looking for that word without
another call, since that look could be interrupted too. The word is the thread's number as a fresh int: its value says whose thread has
the turn, its identity which call.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import TypeVar

from cervello.errors import AgentError

T = TypeVar("T")
_BRIEF, _NAP_S = 20, 5e-5
_turns: weakref.WeakSet[Turn] = weakref.WeakSet()


class Turn:
    """The right to have a policy's agents to oneself.

    Attributes:
      lock: for the storing of state; never held while an inferer runs.
      after_fork: called in the child.
      swapping: one swap after the other; decisions do not wait for it.
      holder: {} or {0: word of whoever has the turn}.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self.lock = threading.RLock()
        self.swapping = threading.RLock()
        self.holder: dict[int, int] = {}
        self.after_fork: Callable[[], None] | None = None
        _turns.add(self)

    def alone(self, change: Callable[[], T]) -> T:
        """Calls `change` while no short way is under way and nobody else changes agents or stores state.

        Raises:
          AgentError: this very thread is in the midst of a decision or a change, and would wait for itself.
        """
        holder = self.holder
        tries = 0
        while True:
            owner = mine = threading.get_ident()
            with self.lock:
                try:
                    owner = holder.setdefault(0, mine)
                    if owner is mine:
                        found = change()
                        return found
                    if owner == mine:
                        raise AgentError(f"policy {self.where!r}: expected agents to begin and end before or after a decision, got a "
                                         "change from inside one or from inside another change (a hook, an id's own method, a "
                                         "finalizer or a signal handler); change them outside")
                finally:
                    if 0 in holder and holder[0] is mine:
                        del holder[0]
            tries += 1
            time.sleep(0 if tries < _BRIEF else _NAP_S)  # another thread is in its one compiled call; who only looks need not wait too

    def if_free(self, act: Callable[[], T]) -> T | None:
        """Calls `act` as `alone` does, or nothing and gives None when somebody else has the turn. Nobody who only looks who is there has
        to wait meanwhile."""
        holder = self.holder
        owner = mine = threading.get_ident()
        try:
            owner = holder.setdefault(0, mine)
            return act() if owner is mine else None
        finally:
            if owner is mine and 0 in holder and holder[0] is mine:
                del holder[0]

    def reset(self) -> None:
        """After a fork: the threads that may have had the turn are not in this process."""
        self.lock, self.swapping = threading.RLock(), threading.RLock()
        self.holder.clear()
        if self.after_fork is not None:
            self.after_fork()


def _reset_all() -> None:
    for turn in list(_turns):
        turn.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_all)
