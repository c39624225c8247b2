"""The policies of a runtime by name, and the lock of their queues."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cervello.agents.membership.deferred import deferred_calls, run_deferred, writers
from cervello.agents.policy.core import core_of
from cervello.agents.policy.policy import Policy
from cervello.agents.runtime import calibration
from cervello.agents.runtime.policy_queue import PolicyQueue
from cervello.agents.runtime.ready_queue import ReadyQueue
from cervello.agents.runtime.sized_queue import SizedQueue
from cervello.errors import AgentError, ConfigurationError
from cervello.spec import AgentId


class PolicyRegistry:
    """Policies by name. Mutable; thread-safe.

    Attributes:
      frame: the number of the next frame.
    """

    _lock: Any  # a threading.RLock of queues; released while a policy or the caller's code runs

    def __init__(self) -> None:
        self.frame = 0
        self._queues: dict[str, PolicyQueue] = {}
        self._policies: dict[str, Policy] = {}
        self._ready_queue: ReadyQueue[PolicyQueue] = ReadyQueue()
        self._added = 0  # policies so far
        self._skipped: dict[str, tuple[AgentId, ...]] = {}

    @property
    def policies(self) -> dict[str, Policy]:
        """The policies by name."""
        policies = self._policies
        return {name: policies[name] for name in self._queues if name in policies}  # another thread may be adding or removing one

    def __len__(self) -> int:
        return len(self._queues)

    def __bool__(self) -> bool:
        """Always True: `if runtime:` asks whether there is a runtime, not whether it has policies."""
        return True

    def __contains__(self, name: str) -> bool:
        return name in self._queues

    def __repr__(self) -> str:
        return f"Runtime({list(self._queues)}, frame={self.frame})"

    def add(self, name: str, policy: Policy, *, measure: bool = True) -> None:
        """Adds a policy.

        Args:
          measure: time a few batches of synthetic agents now, so that costs are known from the first frame on. Otherwise, and if a custom
            part cannot be cloned or the policy rejects observations of zeros, the first row that runs is the measurement.
        Raises:
          ConfigurationError: the name is taken, or this is no policy.
        """
        if not isinstance(name, str) or not name:
            raise ConfigurationError(f"runtime, add: expected a name, got {name!r}")
        if not isinstance(policy, Policy):
            raise ConfigurationError(f"runtime, add {name!r}: expected a cervello.Policy, got {policy!r}; cervello.load makes one")
        core = core_of(policy)
        make = SizedQueue if any(spec.open_axes for spec in core.all_inputs.values()) else PolicyQueue
        queue = make(name, core, self._ready_queue, calibration.measure if measure else None)
        core.swap_listeners.add(queue)
        costs = queue.costs  # of the measured model, in case another one replaces it meanwhile
        if measure and (measured := calibration.measure(core)) is not None:
            costs.initialize(*measured)
        with self._locked("add"):
            if name in self._queues:
                raise ConfigurationError(f"runtime, add: expected a new name, got {name!r}; remove the other first, or replace its model")
            if any(core is other.policy for other in self._queues.values()):
                raise ConfigurationError(f"runtime, add {name!r}: expected a policy of its own, got one that is here under another name; "
                                         "make a second Policy of the same model, the weights are shared")
            self._added += 1
            queue.enter(self._added)
            self._policies = {**self._policies, name: policy}
            self._queues = {**self._queues, name: queue}

    def remove(self, name: str) -> tuple[AgentId, ...]:
        """Removes the policy `name`; it keeps its agents.

        Returns:
          agents whose queued observations are dropped.
        """
        with self._locked("remove"):
            queue = self._queue_of(name)
            self._queues = {key: other for key, other in self._queues.items() if key != name}
            self._policies = {key: other for key, other in self._policies.items() if key != name}
            self._skipped.pop(name, None)
            orphans = queue.wait_queue.queue.ids
            queue.leave()
        return orphans

    def clear(self) -> dict[str, tuple[AgentId, ...]]:
        """Removes all policies; returns the agents with dropped observations by policy."""
        with self._locked("clear"):
            queues, self._queues, self._policies = self._queues, {}, {}
            self._skipped.clear()
            orphans = {name: queue.wait_queue.queue.ids for name, queue in queues.items() if len(queue.wait_queue)}
            for queue in queues.values():
                queue.leave()
        return orphans

    @contextmanager
    def _locked(self, what: str) -> Iterator[None]:
        """Holds the lock, and runs deferred work after its release.

        Raises:
          AgentError: as `_check_outside`.
        """
        self._check_outside(what)
        try:
            with self._lock:
                yield
        finally:
            if deferred_calls:
                run_deferred()

    def _check_outside(self, what: str) -> None:
        """Raises AgentError if this thread is inside this runtime's queues, or inside a change of agents."""
        if self._lock._is_owned() or threading.get_ident() in writers:
            raise AgentError(f"runtime, {what}: expected a call outside of other calls, got one from a finalizer or a signal handler that "
                             "interrupted another call of this thread; set a flag there and call afterwards")

    def _queue_of(self, name: str) -> PolicyQueue:
        queue = self._queues.get(name) if isinstance(name, str) else None
        if queue is None:
            raise ConfigurationError(f"runtime: expected a policy among {list(self._queues)}, got {name!r}; add it first")
        return queue
