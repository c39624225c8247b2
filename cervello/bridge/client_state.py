"""The state of a connection that policies' threads use."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from cervello.bridge.client_agents import ClientAgents
from cervello.bridge.codes import bad_request


@dataclass(eq=False, slots=True)
class ClientState:
    """One connection after `hello`. Mutable.

    Attributes:
      name: the client's, from `hello`. n_earlier: connections that said hello with that name before.
      frame_bytes: the longest body that it accepts.
      records: whether its episodes are recorded.
      max_agents: agents that it may have at once.
      agents_by_policy: its agents by policy; each is used by one thread at a time, that which runs the policy.
      n_agents: its agents of all policies.
      refused_notifies: so far.
    """

    name: str
    n_earlier: int
    frame_bytes: int
    records: bool
    max_agents: int
    agents_by_policy: dict[str, ClientAgents] = field(default_factory=dict)
    n_agents: int = 0
    refused_notifies: int = 0
    _lock: Any = field(default_factory=threading.Lock)

    def agents_of(self, policy: str) -> ClientAgents:
        """The agents of this connection in a policy."""
        found = self.agents_by_policy.get(policy)
        if found is None:  # the event loop and the policy's thread may ask at the same time
            found = self.agents_by_policy.setdefault(policy, ClientAgents())
        return found

    def reserve(self, n: int, ending: int = 0) -> None:
        """Adds n to the number of agents; n may be negative.

        Args:
          ending: agents among them that end afterwards.
        Raises:
          Refusal: the number exceeds `max_agents`.
        """
        with self._lock:
            total = self.n_agents + n - ending
            if n > 0 and total > self.max_agents:
                raise bad_request("agents", f"expected at most {self.max_agents} agents of one connection, got {total}")
            self.n_agents += n
