"""A client without threads: it sends at once, and receives while somebody waits or `poll` is called."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np

from cervello.bridge.addresses import parse
from cervello.bridge.client import requests
from cervello.bridge.client.columns import Answer, Columns, Flags, Ids, ids_of
from cervello.bridge.client.replies import error_of, notify, reply, request
from cervello.bridge.codes import BadFrame, Code
from cervello.bridge.framing import Deframer, framed
from cervello.bridge.stream_carrier import tune
from cervello.errors import AgentsLostError, BridgeError, ConfigurationError, DrainingError, LateAnswerError, ServerGoneError
from cervello.spec import Array

_CHUNK = 1 << 18


class Pending:
    """An answer that may still be on its way. Mutable. Made by the methods of `RemotePolicy`."""

    def __init__(self, client: Client, step: str, columns: Columns | None):
        self._client, self._step, self._columns = client, step, columns
        self._found: Any = None
        self._error: BridgeError | None = None
        self._is_done = False

    def done(self) -> bool:
        """Whether the answer is there; never waits."""
        if not self._is_done:
            self._client.poll()
        return self._is_done

    def result(self, timeout_s: float | None = None) -> Any:
        """The answer.

        Args:
          timeout_s: how long to wait; None for as long as the client was told to.
        Raises:
          LateAnswerError: it has not come; this may be called again. RefusedError, DrainingError, ServerGoneError: there is none.
        """
        self._client._wait(self, timeout_s)
        if self._error is not None:
            raise self._error
        return self._found

    def _settle(self, error: BridgeError | None, result: Any) -> None:
        self._error, self._is_done = error, True
        if error is None:
            self._found = result if self._columns is None else Answer(self._columns, result)


class Client:
    """A connection to a server. Methods may be called from several threads.

        with bridge.Client("tcp://127.0.0.1:5577") as client:
            hunters = client.policy("hunter")
            hunters.begin([1, 2])
            answer = hunters.infer([1, 2], {"obs": observations}).result(timeout_s=0.004)

    Attributes:
      address: of the server. told: the server's answer to `hello`.

    Args:
      address: tcp://host:port or unix:/path.
      name: tells connections apart; noise streams are derived from it where none are given.
      token: where the server asks for one.
      connect_timeout_s: for connecting and `hello`. timeout_s: for calls that wait and are given no time.
      reconnect: connect anew with the next call after the connection was lost. That call raises AgentsLostError when agents had begun.
    Raises:
      ServerGoneError: nobody answers, or not in time. RefusedError: the server refuses. DrainingError: it is going away.
      ConfigurationError: no such kind of address.
    """

    def __init__(self, address: str, *, name: str = "python", token: str | None = None, connect_timeout_s: float = 5.0,
                 timeout_s: float = 10.0, reconnect: bool = False):
        self.address = address
        self._where = parse(address)
        if self._where.scheme == "ws":
            raise ConfigurationError(f"address {address!r}: expected tcp:// or unix: for this client, got a WebSocket; the server "
                                     "listens to several addresses")
        self._name, self._token = name, token
        self._connect_timeout_s, self._timeout_s, self._reconnect = connect_timeout_s, timeout_s, reconnect
        self._lock = threading.RLock()
        self._agents: dict[str, set[int]] = {}
        self._gone: BridgeError | None = None
        self._socket: socket.socket | None = None
        self.told: dict[str, Any] = {}
        self._connect()

    # Connecting ---------------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        until = time.monotonic() + self._connect_timeout_s
        family = socket.AF_UNIX if self._where.scheme == "unix" else None
        try:
            if family is not None:
                sock = socket.socket(family, socket.SOCK_STREAM)
                sock.settimeout(self._connect_timeout_s)
                sock.connect(self._where.path)
            else:
                sock = socket.create_connection((self._where.host, self._where.port), self._connect_timeout_s)
        except OSError as error:
            raise ServerGoneError(f"{self.address}, connect: expected a server, got {error.strerror or error}; is it running, and is this "
                                  "its address?") from error
        tune(sock)
        sock.setblocking(False)
        self._socket, self._gone = sock, None
        self._deframer, self._outgoing = Deframer((1 << 32) - 1), bytearray()
        self._pending: dict[int, Pending] = {}
        self._next_id = 0
        params: dict[str, Any] = {"version": 1, "client": self._name}
        if self._token is not None:
            params["token"] = self._token
        try:
            self.told = self._send("hello", params).result(max(0.0, until - time.monotonic()))
        except LateAnswerError as error:
            self.close()
            raise ServerGoneError(f"{self.address}, hello: expected an answer within {self._connect_timeout_s} s, got none; does a "
                                  "Cervello server listen there?") from error
        except BridgeError:
            self.close()
            raise
        self._deframer.most = self.told["limits"]["frame_bytes"]

    def close(self) -> None:
        """Ends the connection, and with it all agents that it has begun."""
        with self._lock:
            sock, self._socket = self._socket, None
            if sock is not None:
                sock.close()
                self._end(ServerGoneError(f"{self.address}: expected a connection, got one that was closed here"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # Asking -------------------------------------------------------------------------------------------------------------

    @property
    def policies(self) -> list[str]:
        """The names of the server's policies."""
        return list(self.told["policies"])

    def policy(self, name: str) -> RemotePolicy:
        """A policy of the server; waits for its `spec`."""
        return RemotePolicy(self, Columns(name, self._send("spec", {"policy": name}).result()))

    def stats(self) -> dict[str, Any]:
        """What the server says of itself."""
        found: dict[str, Any] = self._send("stats", {}).result()
        return found

    def ping(self, timeout_s: float | None = None) -> float:
        """Seconds of a round trip."""
        start = time.perf_counter()
        self._send("ping", {}).result(timeout_s)
        return time.perf_counter() - start

    def poll(self) -> None:
        """Takes what has come, and sends what is left to send; never waits."""
        with self._lock:
            self._pump(0.0)

    def _send(self, method: str, params: dict[str, Any], columns: Columns | None = None) -> Pending:
        with self._lock:
            self._check_open(method)
            self._next_id = (self._next_id + 1) % (1 << 32)
            pending = Pending(self, method, columns)
            self._put(method, request(self._next_id, method, params))
            self._pending[self._next_id] = pending
            self._flush()
            return pending

    def _notify(self, method: str, params: dict[str, Any]) -> None:
        with self._lock:
            self._check_open(method)
            self._put(method, notify(method, params))
            self._flush()

    def _put(self, method: str, body: bytes) -> None:
        most = self.told.get("limits", {}).get("frame_bytes", (1 << 32) - 1)
        if len(body) > most:
            raise ConfigurationError(f"{self.address}, {method}: expected at most {most} bytes, the server's frame_bytes, got {len(body)}; "
                                     "send fewer agents at once")
        self._outgoing += framed(body)

    def _check_open(self, step: str) -> None:
        """Raises what became of the connection; connects anew where that is wanted."""
        if self._socket is None and self._gone is None:
            raise ServerGoneError(f"{self.address}, {step}: expected an open client, got a closed one")
        if self._gone is None:
            self._pump(0.0)  # the server may have said that it goes away
        if self._gone is None:
            return
        if not self._reconnect:
            raise type(self._gone)(f"{self.address}, {step}: {self._gone}")
        lost = sum(map(len, self._agents.values()))
        self._connect()
        self._agents.clear()
        if lost:
            raise AgentsLostError(f"{self.address}, {step}: expected the agents that had begun, got a new connection, where {lost} are "
                                  "lost; begin them again")

    # Receiving ----------------------------------------------------------------------------------------------------------

    def _wait(self, pending: Pending, timeout_s: float | None) -> None:
        allowed = self._timeout_s if timeout_s is None else timeout_s
        until = time.monotonic() + allowed
        while not pending._is_done:
            left = until - time.monotonic()
            with self._lock:
                if not pending._is_done:
                    self._pump(min(max(0.0, left), 0.05))  # the lock is given back now and then
            if left <= 0 and not pending._is_done:
                raise LateAnswerError(f"{self.address}, {pending._step}: expected an answer within {allowed} s, got none yet; it may still "
                                      "come, ask again or give the frame up")

    def _pump(self, wait_s: float) -> None:
        """Receives and sends what can be, after waiting for it at most so long."""
        sock = self._socket
        if sock is None:
            return
        self._flush()
        if self._socket is None:
            return
        readable, _, _ = select.select([sock], [sock] if self._outgoing else [], [], wait_s)
        try:
            while readable:
                data = sock.recv(_CHUNK)
                if not data:
                    self._lose(ServerGoneError("the server closed the connection without a word"))
                    return
                for body in self._deframer.feed(data):
                    self._take(body)
                    if self._socket is None:
                        return
                if len(data) < _CHUNK:
                    break
        except BlockingIOError:
            pass
        except OSError as error:
            self._lose(ServerGoneError(f"the connection ended: {error.strerror or error}"))
        except BadFrame as error:
            self._lose(ServerGoneError(f"expected a frame, got something else ({error})"))
        except BridgeError as error:
            self._lose(error)
        self._flush()

    def _take(self, body: bytes) -> None:
        number, error, result = reply(self.address, body)
        if number is None:
            if error is None:
                raise ServerGoneError(f"{self.address}, receive: expected an error with an id of nil, got a result")
            draining = error[0] == Code.DRAINING
            text = f"the server {'is going away' if draining else 'refused a frame'}: {error[1]}"
            self._lose(DrainingError(text) if draining else ServerGoneError(text))
            return
        pending = self._pending.pop(number, None)
        if pending is not None:
            pending._settle(None if error is None else error_of(self.address, pending._step, error), result)

    def _flush(self) -> None:
        sock = self._socket
        try:
            while self._outgoing and sock is not None:
                sent = sock.send(self._outgoing)
                del self._outgoing[:sent]
        except BlockingIOError:
            pass
        except OSError as error:
            try:  # why it ended may lie in what was received before
                data = sock.recv(_CHUNK) if sock is not None else b""
                for body in self._deframer.feed(data):
                    self._take(body)
            except (OSError, BadFrame, BridgeError):
                pass
            if self._socket is not None:
                self._lose(ServerGoneError(f"the connection ended: {error.strerror or error}"))

    def _lose(self, error: BridgeError) -> None:
        sock, self._socket = self._socket, None
        if sock is not None:
            sock.close()
        self._gone = error
        self._end(error)

    def _end(self, error: BridgeError) -> None:
        pending, self._pending = list(self._pending.values()), {}
        for each in pending:
            each._settle(type(error)(f"{self.address}, {each._step}: {error}"), None)


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
