"""The observations that the agents of a runtime decide on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cervello.agents.membership.deferred import deferred_calls, run_deferred, writers
from cervello.agents.membership.ids import Ids, as_id_list, builtin_id
from cervello.agents.runtime.agents import RuntimeAgents
from cervello.errors import ConfigurationError, InputError
from cervello.spec import AgentId, Array

Observation = Mapping[str, Any]


class RuntimeObservations(RuntimeAgents):
    """Observations of agents that wait for the next frame, pushed one by one or as columns. Mutable; thread-safe."""

    def push(self, name: str, agent: AgentId, observation: Observation, deterministic: bool = False) -> None:
        """Queues an agent's newest observation. An agent that is already queued keeps its place and decides on the newest.

        Args:
          name: of the policy.
          agent, observation, deterministic: as in `Policy.infer_single`.
        Raises:
          ConfigurationError: an unknown policy.
          AgentError, InputError: an unknown agent, or an observation that does not fit. Nothing has changed then.
        """
        queue = self._queues.get(name) if type(name) is str else None
        if queue is None or deterministic is not False or not queue.fast_push(agent, observation, self.frame, self._lock):
            self._push(name, agent, observation, deterministic)

    def _push(self, name: str, agent: AgentId, observation: Observation, deterministic: bool) -> None:
        """General path of `push`."""
        queue = self._queue_of(name)
        _check_flag(name, deterministic)
        agent = builtin_id(agent)
        arrays = queue.checked(agent, observation)
        lock = self._lock  # `_locked`, inlined: it would take a tenth of the time
        if lock._is_owned() or writers:
            self._check_outside("push")
        try:
            with lock:
                queue.push(agent, arrays, self.frame, bool(deterministic))
        finally:
            if deferred_calls:
                run_deferred()

    def push_batch(self, name: str, ids: Ids, inputs: Mapping[str, Any], deterministic: bool = False) -> None:
        """Queues the newest observations of many agents, as columns: row i belongs to ids[i]. All are queued or none.

        Args:
          name: of the policy.
          ids, inputs, deterministic: as in `Policy.infer_batch`.
        """
        queue, names = self._queue_of(name), as_id_list(ids)
        _check_flag(name, deterministic)
        arrays = queue.fitted(names, inputs)
        with self._locked("push_batch"):
            queue.push_batch(names, arrays, self.frame, bool(deterministic))

    def waiting(self, name: str) -> tuple[AgentId, ...]:
        """Waiting agents of the policy `name`, in their current order of urgency."""
        queue = self._queue_of(name)
        with self._locked("waiting"):
            agents = queue.wait_queue.queue.ids
            if queue.is_sorted:
                return agents
            urgencies = queue.urgencies(self.frame)
            return tuple(agent for _, agent in sorted(zip(urgencies, agents, strict=True), key=lambda pair: -pair[0]))

    def infer_single(self, name: str, agent: AgentId, observation: Observation, deterministic: bool = False) -> dict[str, Array]:
        """Decides for one agent at once, outside of frames; its queued observation stays.

        Args:
          name: of the policy.
          agent, observation, deterministic: as in `Policy.infer_single`.
        Returns:
          {output: row}
        Raises:
          ConfigurationError: an unknown policy.
        """
        policy = self._policies.get(name) if isinstance(name, str) else None
        if policy is None:
            self._queue_of(name)  # raises for an unknown name
            raise ConfigurationError(f"runtime, infer_single: expected a policy of this runtime, got {name!r}, which another thread "
                                     "is removing")
        return policy.infer_single(agent, observation, deterministic)


def _check_flag(name: str, deterministic: Any) -> None:
    if not isinstance(deterministic, (bool, np.bool_)):
        raise InputError(f"policy {name!r}, push, deterministic: expected True or False, got {deterministic!r}")
