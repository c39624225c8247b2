"""A policy of a server, for the blocking client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cervello.bridge import client_snapshot
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
        """Begins agents; waits.

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
        """Requests decisions; `result()` of the returned future is an `Answer`.

        Args:
          agents: [n] ids. inputs: columns [n, …] by name.
          begin: agents that have not begun begin with this request.
          deterministic: one flag for all, or [n] bool.
          deadline_us: agents that are not run by then are skipped. outputs: requested names. tick: returned with the answer.
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
        """Sends rewards of the agents' last decisions, or of those with a tick.

        Args:
          agents: [n] ids.
          rewards: [n] numbers, none of them NaN.
          actions: columns [n, …] by output, the executed actions where they differ.
          tick: of the decision that is rewarded; None is the last one.
          wait: whether to wait for the server's answer.
        """
        self._tell("reward", requests.reward(self.columns, agents, rewards, actions, tick), wait)

    def end(self, agents: Ids, *, terminated: Flags = False, truncated: Flags = False, inputs: Mapping[str, Any] | None = None,
            wait: bool = False) -> None:
        """Ends agents, with their final observations.

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
        """A snapshot of agents of this connection, as bytes; waits.

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
        """Begins the agents of a snapshot in its state, instead of this connection's agents or in addition; returns their number.

        Args:
          state: bytes of `snapshot`.
          keep: whether other agents of this connection continue.
          timeout_s: seconds to wait; None takes the connection's.
        """
        n: int = self._client._send("restore", {"policy": self.name, "state": state, "keep": keep}).result(timeout_s)["restored"]
        if not keep:
            self._known().clear()
        self._known().update(client_snapshot.unpack(self.name, state)[0])
        return n

    def swap(self, path: str, *, timeout_s: float | None = None) -> int:
        """Changes the policy to another file of the served folder; returns the version.

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
