"""A client without threads: it sends at once, and receives during calls that wait and in `poll`."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Any, Self

from cervello.bridge.addresses import parse
from cervello.bridge.client.columns import Columns
from cervello.bridge.client.connection import Connection
from cervello.bridge.client.pending import Pending
from cervello.bridge.client.remote_policy import RemotePolicy
from cervello.bridge.client.replies import error_of, notify, reply, request
from cervello.bridge.codes import Code
from cervello.errors import AgentsLostError, BridgeError, ConfigurationError, DrainingError, LateAnswerError, ServerGoneError

_SLICE_S = 0.05  # interval at which a waiting thread checks for data of other threads to send


class Client:
    """A connection to a server. Methods may be called from several threads.

        with bridge.Client("tcp://127.0.0.1:5577") as client:
            hunters = client.policy("hunter")
            hunters.begin([1, 2])
            answer = hunters.infer([1, 2], {"obs": observations}).result(timeout_s=0.004)

    Attributes:
      address: of the server. hello: the server's answer to `hello`.

    Args:
      address: tcp://host:port or unix:/path.
      name: tells connections apart; noise streams are derived from it where none are given.
      token: for a server that requires one.
      connect_timeout_s: for connecting and `hello`. timeout_s: for calls that wait without a time of their own.
      reconnect: reconnect in the next call after the connection was lost. That call raises AgentsLostError when agents had begun.
    Raises:
      ServerGoneError: no server answers in time. RefusedError: the server refuses. DrainingError: the server is shutting down.
      ConfigurationError: an unknown kind of address, or one that this system lacks.
    """

    def __init__(self, address: str, *, name: str = "python", token: str | None = None, connect_timeout_s: float = 5.0,
                 timeout_s: float = 10.0, reconnect: bool = False):
        self.address = address
        self._where = parse(address)
        if self._where.scheme == "ws":
            raise ConfigurationError(f"address {address!r}: expected tcp:// or unix: for this client, got a WebSocket; the server "
                                     "listens to several addresses")
        self._where.check_system()
        self._name, self._token = name, token
        self._connect_timeout_s, self._timeout_s, self._reconnect = connect_timeout_s, timeout_s, reconnect
        self._lock = threading.RLock()  # not held by a thread that waits for an answer; held while it connects anew
        self._changed = threading.Condition(self._lock)
        self._is_read = False  # a thread waits for the server, on behalf of all
        self._n_others = 0  # threads that wait for that one
        self._agents: dict[str, set[int]] = {}
        self._gone: BridgeError | None = None
        self._connection: Connection | None = None
        self.hello: dict[str, Any] = {}
        self._connect()

    # Connecting ---------------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        until = time.monotonic() + self._connect_timeout_s
        self._connection = Connection(self._where, self._connect_timeout_s, self._receive)
        self._gone = None
        self._pending: dict[int, Pending] = {}
        self._next_id = 0
        params: dict[str, Any] = {"version": 1, "client": self._name}
        if self._token is not None:
            params["token"] = self._token
        try:
            self.hello = self._send("hello", params).result(max(0.0, until - time.monotonic()))
        except LateAnswerError as error:
            self.close()
            raise ServerGoneError(f"{self.address}, hello: expected an answer within {self._connect_timeout_s} s, got none; does a "
                                  "Cervello server listen there?") from error
        except BridgeError:
            self.close()
            raise
        self._connection.deframer.most = self.hello["limits"]["frame_bytes"]

    def close(self) -> None:
        """Ends the connection, and with it all agents that it has begun."""
        with self._lock:
            if self._connection is not None:
                self._drop()
                self._end(ServerGoneError("expected a connection, got one that was closed here"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # Asking -------------------------------------------------------------------------------------------------------------

    @property
    def policies(self) -> list[str]:
        """The names of the server's policies."""
        return list(self.hello["policies"])

    def policy(self, name: str) -> RemotePolicy:
        """A policy of the server; waits for its `spec`."""
        return RemotePolicy(self, Columns(name, self._send("spec", {"policy": name}).result()))

    def stats(self) -> dict[str, Any]:
        """The server's statistics."""
        found: dict[str, Any] = self._send("stats", {}).result()
        return found

    def ping(self, timeout_s: float | None = None) -> float:
        """Seconds of a round trip."""
        start = time.perf_counter()
        self._send("ping", {}).result(timeout_s)
        return time.perf_counter() - start

    def poll(self) -> None:
        """Receives and sends without waiting."""
        with self._lock:
            self._exchange(0.0)

    def _send(self, method: str, params: dict[str, Any], columns: Columns | None = None) -> Pending:
        with self._lock:
            self._check_open(method)
            self._next_id = (self._next_id + 1) % (1 << 32)
            pending = Pending(self, method, columns)
            body = self._checked(method, request(self._next_id, method, params))
            self._pending[self._next_id] = pending
            self._put(body)
            return pending

    def _notify(self, method: str, params: dict[str, Any]) -> None:
        with self._lock:
            self._check_open(method)
            self._put(self._checked(method, notify(method, params)))

    def _put(self, body: bytes) -> None:
        try:
            if self._connection is not None:
                self._connection.send(body)
        except BridgeError as error:
            self._lose(error)

    def _checked(self, method: str, body: bytes) -> bytes:
        """Encodes a body within the server's limit."""
        most = self.hello.get("limits", {}).get("frame_bytes", (1 << 32) - 1)
        if len(body) > most:
            raise ConfigurationError(f"{self.address}, {method}: expected at most {most} bytes, the server's frame_bytes, got {len(body)}; "
                                     "send fewer agents at once")
        return body

    def _check_open(self, step: str) -> None:
        """Raises the error of a lost connection, or reconnects where that is set."""
        if self._connection is None and self._gone is None:
            raise ServerGoneError(f"{self.address}, {step}: expected an open client, got a closed one")
        if self._gone is None:
            self._exchange(0.0)  # the server may have said that it goes away
        if self._gone is None:
            return
        if not self._reconnect:
            raise type(self._gone)(f"{self.address}, {step}: {self._gone}")
        lost = sum(map(len, self._agents.values()))
        try:
            self._connect()
        except BridgeError as error:
            self._gone = error  # the next call tries again
            raise
        self._agents.clear()
        if lost:
            raise AgentsLostError(f"{self.address}, {step}: expected the agents that had begun, got a new connection, where {lost} are "
                                  "lost; begin them again")

    # Receiving ----------------------------------------------------------------------------------------------------------

    def _wait(self, pending: Pending, timeout_s: float | None) -> None:
        allowed = self._timeout_s if timeout_s is None else timeout_s
        until = time.monotonic() + allowed
        with self._lock:
            while not pending._is_done:
                left = until - time.monotonic()
                self._exchange(max(0.0, left))
                if left <= 0 and not pending._is_done:
                    raise LateAnswerError(f"{self.address}, {pending._step}: expected an answer within {allowed} s, got none yet; it may "
                                          "still come, ask again or give the frame up")

    def _exchange(self, wait_s: float) -> None:
        """Waits up to a time, then receives and sends. One thread does it for all; the lock is free meanwhile."""
        connection = self._connection
        if connection is None:
            return
        if self._is_read:
            if wait_s:
                self._n_others += 1
                try:
                    self._changed.wait(wait_s)
                finally:
                    self._n_others -= 1
            return
        self._is_read = True
        try:
            if wait_s:
                self._lock.release()
                try:
                    connection.wait(min(wait_s, _SLICE_S))
                finally:
                    self._lock.acquire()
            if connection is self._connection:  # another thread may have closed it meanwhile
                connection.exchange()
        except BridgeError as error:
            self._lose(error)
        finally:
            self._is_read = False
            if connection is not self._connection:
                connection.close()
            if self._n_others:
                self._changed.notify_all()

    def _receive(self, body: bytes) -> None:
        """Processes a body.

        Raises:
          BridgeError: the connection has to be closed.
        """
        number, error, result = reply(self.address, body)
        if number is None:
            if error is None:
                raise ServerGoneError(f"{self.address}, receive: expected an error with an id of nil, got a result")
            draining = error[0] == Code.DRAINING
            text = f"the server {'is going away' if draining else 'refused a frame'}: {error[1]}"
            raise DrainingError(text) if draining else ServerGoneError(text)
        pending = self._pending.pop(number, None)
        if pending is not None:
            pending._finish(None if error is None else error_of(self.address, pending._step, error), result)

    def _lose(self, error: BridgeError) -> None:
        self._drop()
        self._gone = error
        self._end(error)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and self._is_read:
            connection.stop()  # the thread that waits for it closes it
        elif connection is not None:
            connection.close()

    def _end(self, error: BridgeError) -> None:
        pending, self._pending = list(self._pending.values()), {}
        for each in pending:
            each._finish(type(error)(f"{self.address}, {each._step}: {error}"), None)
