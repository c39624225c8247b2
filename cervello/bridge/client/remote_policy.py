"""A policy of a server, as a blocking client has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cervello.bridge.client import requests
from cervello.bridge.client.columns import Columns, Flags, Ids, ids_of
from cervello.spec import Array

if TYPE_CHECKING:
    from cervello.bridge.client.blocking import Client
    from cervello.bridge.client.pending import Pending


class RemotePolicy:
    """A policy of a server, for the agents of one connection. Made by `Client.policy`.

    Attributes:
      name: of the policy.
      columns: its inputs, outputs and constants.
    """

    def __init__(self, client: Client, columns: Columns):
        self._client, self.columns = client, columns
        self.name = columns.name

    def _known(self) -> set[int]:
        return self._client._agents.setdefault(self.name, set())

    def begin(self, agents: Ids, streams: Sequence[int] | Array | None = None, *, timeout_s: float | None = None) -> Array:
        """Agents begin; waits.

        Args:
          agents: [n] ids.
          streams: [n] of noise; None lets the server derive them.
          timeout_s: seconds to wait; None takes the connection's.
        Returns:
          [n] uint64, the streams.
        """
        params = requests.begin(self.columns, agents, streams)
        found = self._client._send("begin", params).result(timeout_s)
        self._known().update(params["agents"])
        return np.frombuffer(found["streams"], "<u8")

    def infer(self, agents: Ids, inputs: Mapping[str, Any], *, begin: bool = False, deterministic: Flags = False, deadline_us: int = 0,
              outputs: Sequence[str] | None = None, tick: int | None = None) -> Pending:
        """Asks for decisions; the answer is `result()` of what this returns, an `Answer`.

        Args:
          agents: [n] ids. inputs: columns [n, …] by name.
          begin: those that have not begun begin with it.
          deterministic: one flag for all, or [n] bool.
          deadline_us: agents that are not run by then are skipped. outputs: names wanted. tick: comes back with the answer.
        Raises:
          InputError: columns that do not fit; nothing was sent.
        """
        params = requests.infer(self.columns, agents, inputs, begin, deterministic, deadline_us, outputs, tick)
        pending = self._client._send("infer", params, self.columns)
        if begin:
            self._known().update(params["agents"])
        return pending

    def reward(self, agents: Ids, rewards: Any, *, actions: Mapping[str, Any] | None = None, tick: int | None = None,
               wait: bool = False) -> None:
        """Rewards of the agents' last decisions, or of those with a tick; `wait` asks whether the server took them.

        Args:
          agents: [n] ids.
          rewards: [n] numbers, none of them NaN.
          actions: columns [n, …] by output, what the game really did where that differs.
          tick: of the decision that is rewarded; None is the last one.
          wait: whether to wait for the server's answer.
        """
        self._tell("reward", requests.reward(self.columns, agents, rewards, actions, tick), wait)

    def end(self, agents: Ids, *, terminated: Flags = False, truncated: Flags = False, inputs: Mapping[str, Any] | None = None,
            wait: bool = False) -> None:
        """Agents end, with their final observations; `wait` asks whether the server did it.

        Args:
          agents: [n] ids.
          terminated, truncated: one flag for all, or [n] bool.
          inputs: columns [n, …] by name, the final observations; they are recorded and never run.
          wait: whether to wait for the server's answer.
        """
        params = requests.end(self.columns, agents, terminated, truncated, inputs)
        self._tell("end", params, wait)
        self._known().difference_update(params["agents"])

    def snapshot(self, agents: Ids | None = None, *, timeout_s: float | None = None) -> bytes:
        """Agents of this connection as bytes; waits.

        Args:
          agents: [n] ids; None takes all.
          timeout_s: seconds to wait; None takes the connection's.
        """
        params: dict[str, Any] = {"policy": self.name}
        if agents is not None:
            params["agents"] = ids_of(agents)
        state: bytes = self._client._send("snapshot", params).result(timeout_s)["state"]
        return state

    def restore(self, state: bytes, *, keep: bool = False, timeout_s: float | None = None) -> int:
        """Agents of a snapshot begin where it has them, in place of this connection's, or beside them; returns how many.

        Args:
          state: bytes that `snapshot` gave.
          keep: whether other agents of this connection go on.
          timeout_s: seconds to wait; None takes the connection's.
        """
        n: int = self._client._send("restore", {"policy": self.name, "state": state, "keep": keep}).result(timeout_s)["restored"]
        return n

    def swap(self, path: str, *, timeout_s: float | None = None) -> int:
        """Another file of the served folder decides; returns the version.

        Args:
          path: of the file, relative to the served folder.
          timeout_s: seconds to wait; None takes the connection's.
        """
        version: int = self._client._send("swap", {"policy": self.name, "path": path}).result(timeout_s)["version"]
        return version

    def _tell(self, method: str, params: dict[str, Any], wait: bool) -> None:
        if wait:
            self._client._send(method, params).result()
        else:
            self._client._notify(method, params)
