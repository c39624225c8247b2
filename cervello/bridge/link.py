"""The state of a connection that policies' threads use."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from cervello.bridge.codes import bad
from cervello.bridge.crowd import Crowd


@dataclass(eq=False, slots=True)
class Link:
    """One connection after `hello`. Mutable.

    Attributes:
      client: its name. before: connections that said hello with that name before.
      frame_bytes: the longest body that it accepts.
      records: whether its episodes are recorded.
      most_agents: agents that it may have at once.
      crowds: its agents by policy; each is used by one thread at a time, that which runs the policy.
      n_agents: its agents of all policies.
      refused_notifies: so far.
    """

    client: str
    before: int
    frame_bytes: int
    records: bool
    most_agents: int
    crowds: dict[str, Crowd] = field(default_factory=dict)
    n_agents: int = 0
    refused_notifies: int = 0
    _lock: Any = field(default_factory=threading.Lock)

    def crowd(self, policy: str) -> Crowd:
        """The agents of this connection in a policy."""
        found = self.crowds.get(policy)
        if found is None:
            found = self.crowds[policy] = Crowd()
        return found

    def reserve(self, n: int, ending: int = 0) -> None:
        """Adds n to the number of agents; n may be negative.

        Args:
          ending: agents among them that end afterwards.
        Raises:
          Refusal: the number exceeds `most_agents`.
        """
        with self._lock:
            if n > 0 and self.n_agents + n - ending > self.most_agents:
                raise bad("agents", f"expected at most {self.most_agents} agents of one connection, got {self.n_agents + n - ending}")
            self.n_agents += n
