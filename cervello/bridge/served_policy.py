"""One policy of a server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cervello.agents import Policy
from cervello.agents.policy.core import core_of
from cervello.bridge.client_agents import ClientAgents
from cervello.bridge.policy_counters import PolicyCounters
from cervello.bridge.recorder import Recorder
from cervello.bridge.wire import Signature
from cervello.errors import ConfigurationError
from cervello.native import Model


class ServedPolicy:
    """A policy, and the keys of its agents. Each agent of each connection has a unique key in the policy; its noise depends on its id.

    Attributes:
      name: its name for clients. path: its file. folder: swaps may load files of this folder only.
      signature: its inputs and outputs. counters: of its work.
      recorder: writes its episodes; None when nothing is recorded.
      n_agents: agents of all connections. active_clients: agents of each connection that has some in this policy.
    Raises:
      ConfigurationError: a policy that cannot be served.
    """

    def __init__(self, name: str, policy: Policy, path: Path, folder: Path, record: Path | None, server_id: int):
        self.name, self.policy, self.path, self.folder = name, policy, path, folder
        self.signature = Signature(name, policy)
        self.counters = PolicyCounters()
        self.n_agents = 0
        self.active_clients: set[ClientAgents] = set()
        self._numbers: dict[Any, int] = {}
        self._next_key = 0
        core_of(policy).number_by(self._numbering)
        self.recorder = None if record is None else Recorder(record / f"{name}.log", name, policy, self.signature, server_id)

    def count_agents(self, client_agents: ClientAgents, n: int) -> None:
        """Updates the number of agents after a change of one connection."""
        self.n_agents += n
        (self.active_clients.add if client_agents.by_id else self.active_clients.discard)(client_agents)

    def new_keys(self, ids: Sequence[int]) -> list[int]:
        """Makes keys for agents that begin."""
        keys = list(range(self._next_key, self._next_key + len(ids)))
        self._next_key += len(ids)
        self._numbers.update(zip(keys, ids, strict=True))
        return keys

    def forget_keys(self, keys: Sequence[int]) -> None:
        """Ends agents."""
        for key in keys:
            self._numbers.pop(key, None)

    def _numbering(self, keys: Sequence[Any]) -> Any:
        return np.array([self._numbers[key] for key in keys], np.uint64)

    def check_successor(self, model: Model) -> None:
        """Raises ConfigurationError when another model would change `spec`; shapes and types `Policy.replace` checks."""
        old = self.policy.model
        for what, now, was in (("constants", model.constants, old.constants),
                               ("defaults", _defaults(model), _defaults(old))):
            if now.keys() != was.keys() or any(np.asarray(now[name]).tobytes() != np.asarray(was[name]).tobytes() for name in now):
                raise ConfigurationError(f"policy {self.name!r}, {what}: expected those of the policy that is served, got others, which "
                                         "clients have not seen; serve it under a name of its own")

    def stats(self) -> dict[str, Any]:
        """Its part of the answer to `stats`, without the queue length."""
        counters = self.counters
        recent = np.array(list(counters.latencies_s)) * 1e6
        p50, p90, p99 = np.percentile(recent, (50, 90, 99)).round(1).tolist() if len(recent) else (0.0, 0.0, 0.0)
        return {"version": self.policy.version, "agents": self.n_agents, "requests": counters.requests, "rows": counters.rows,
                "skipped": counters.skipped, "errors": counters.errors, "reloads": counters.reloads, "batches": counters.batches,
                "latency_us": {"p50": p50, "p90": p90, "p99": p99}}


def _defaults(model: Model) -> dict[str, Any]:
    return {name: spec.default for name, spec in model.inputs.items() if spec.default is not None}
