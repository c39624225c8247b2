"""What a policy's thread knows of a connection."""

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
      frame_bytes: the longest body that it takes.
      records: whether its episodes are recorded.
      most_agents: it may have begun at once.
      crowds: its agents by policy; each is used by one thread at a time, that which runs the policy.
      n_agents: begun, of all policies.
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
        """Its agents of a policy."""
        found = self.crowds.get(policy)
        if found is None:
            found = self.crowds[policy] = Crowd()
        return found

    def reserve(self, n: int, ending: int = 0) -> None:
        """Counts n more agents, or fewer.

        Args:
          ending: of those counted, how many end afterwards.
        Raises:
          Refusal: more than it may have.
        """
        with self._lock:
            if n > 0 and self.n_agents + n - ending > self.most_agents:
                raise bad("agents", f"expected at most {self.most_agents} agents of one connection, got {self.n_agents + n - ending}")
            self.n_agents += n
