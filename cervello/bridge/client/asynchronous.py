"""A client for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np

from cervello.bridge.addresses import parse
from cervello.bridge.client import requests
from cervello.bridge.client.columns import Answer, Columns, Flags, Ids
from cervello.bridge.client.replies import error_of, notify, reply, request
from cervello.bridge.codes import BadFrame, Code
from cervello.bridge.framing import Deframer, framed
from cervello.bridge.limits import Limits
from cervello.bridge.stream_transport import set_socket_options
from cervello.errors import BridgeError, ConfigurationError, DrainingError, LateAnswerError, ServerGoneError
from cervello.spec import Array

_CHUNK = 1 << 16  # bytes of one receive call


class _Stream(asyncio.BufferedProtocol):
    """The bytes of one connection. Mutable.

    Attributes:
      deframer: cuts what comes into bodies; its limit is the server's.
      on_body: called with each body. on_end: called with the reason when the connection ends; the first reason counts.
      closed: done when the connection is closed.
    """

    def __init__(self, on_body: Callable[[bytes], None], on_end: Callable[[BridgeError], None]):
        self.deframer = Deframer(Limits().frame_bytes)
        self.on_body, self.on_end = on_body, on_end
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: Any = None
        self._received = memoryview(bytearray(_CHUNK))
        self._room: asyncio.Future[None] | None = None  # while what was written waits for a slow server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        set_socket_options(transport.get_extra_info("socket"))

    def get_buffer(self, size_hint: int) -> memoryview:
        return self._received

    def buffer_updated(self, n_bytes: int) -> None:
        try:
            for body in self.deframer.feed(self._received[:n_bytes]):
                self.on_body(body)
        except BadFrame as error:
            self.fail(ServerGoneError(f"expected a frame within the server's limit, got something else ({error})"))
        except BridgeError as error:
            self.fail(error)

    def fail(self, error: BridgeError) -> None:
        """Ends the stream when the connection closes."""
        self.on_end(error)
        self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self.on_end(ServerGoneError("the server closed the connection without a reason"))
        self.resume_writing()
        self.closed.set_result(None)

    def pause_writing(self) -> None:
        self._room = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        room, self._room = self._room, None
        if room is not None:
            room.set_result(None)

    async def drain(self) -> None:
        """Waits for room in the send buffer."""
        if self._room is not None:
            await asyncio.shield(self._room)


class AsyncClient:
    """A connection to a server.

        async with await bridge.AsyncClient.connect("tcp://127.0.0.1:5577") as client:
            hunters = await client.policy("hunter")
            await hunters.begin([1, 2])
            answer = await hunters.infer([1, 2], {"obs": observations}, timeout_s=0.004)

    It does not reconnect: make a new client, and begin the agents there.

    Made by `AsyncClient.connect`.

    Attributes:
      address: of the server, as given.
      hello: the server's answer to `hello`.
    """

    def __init__(self, address: str, timeout_s: float):
        self.address, self._timeout_s = address, timeout_s
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._next_id = 0
        self._gone: BridgeError | None = None
        self._loop = asyncio.get_running_loop()
        self.hello: dict[str, Any] = {}
        self._stream = _Stream(self._receive, self._end)

    @classmethod
    async def connect(cls, address: str, *, name: str = "python", token: str | None = None, connect_timeout_s: float = 5.0,
                      timeout_s: float = 10.0) -> AsyncClient:
        """Connects and says hello.

        Args:
          address, name, token, connect_timeout_s, timeout_s: as in `Client`.
        Raises:
          ConfigurationError: an address that is neither tcp:// nor unix:, or that this system lacks.
          ServerGoneError: no server answers.
          RefusedError: the server refuses this client.
        """
        where = parse(address)
        if where.scheme == "ws":
            raise ConfigurationError(f"address {address!r}: expected tcp:// or unix: for this client, got a WebSocket")
        where.check_system()
        client = cls(address, timeout_s)
        loop = client._loop
        opening = (loop.create_unix_connection(lambda: client._stream, where.path) if where.scheme == "unix" else
                   loop.create_connection(lambda: client._stream, where.host, where.port))
        try:
            await asyncio.wait_for(opening, connect_timeout_s)
        except OSError as error:  # a time-out is one too
            raise ServerGoneError(f"{address}, connect: expected a server, got {error.strerror or error or 'no answer in time'}; is it "
                                  "running, and is this its address?") from error
        params: dict[str, Any] = {"version": 1, "client": name}
        if token is not None:
            params["token"] = token
        try:
            client.hello = await client._ask("hello", params, connect_timeout_s)
        except BaseException as error:
            await client.close()
            if isinstance(error, LateAnswerError):
                raise ServerGoneError(f"{address}, hello: expected an answer within {connect_timeout_s} s, got none") from error
            raise
        client._stream.deframer.most = client.hello["limits"]["frame_bytes"]
        return client

    async def close(self) -> None:
        """Ends the connection, and with it all agents that it has begun."""
        self._end(ServerGoneError("expected a connection, got one that was closed here"))
        self._stream.transport.close()
        await asyncio.shield(self._stream.closed)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def policy(self, name: str) -> AsyncPolicy:
        """The server's policy of that name. Errors as of `Client.policy`."""
        return AsyncPolicy(self, Columns(name, await self._ask("spec", {"policy": name})))

    async def stats(self) -> dict[str, Any]:
        """The server's statistics."""
        found: dict[str, Any] = await self._ask("stats", {})
        return found

    async def _ask(self, method: str, params: dict[str, Any], timeout_s: float | None = None) -> Any:
        self._check_open(method)
        self._next_id = number = (self._next_id + 1) % (1 << 32)
        self._put(method, request(number, method, params))
        future = self._waiting[number] = self._loop.create_future()
        allowed = self._timeout_s if timeout_s is None else timeout_s
        late = self._loop.call_later(allowed, _too_late, future)
        try:
            error, result = await future
        except TimeoutError:
            raise LateAnswerError(f"{self.address}, {method}: expected an answer within {allowed} s, got none") from None
        except BridgeError as lost:
            raise type(lost)(f"{self.address}, {method}: {lost}") from None
        finally:
            late.cancel()
            self._waiting.pop(number, None)
        if error is not None:
            raise error_of(self.address, method, error)
        return result

    async def _tell(self, method: str, params: dict[str, Any]) -> None:
        self._check_open(method)
        self._put(method, notify(method, params))
        await self._stream.drain()

    def _put(self, method: str, body: bytes) -> None:
        most = self.hello.get("limits", {}).get("frame_bytes", (1 << 32) - 1)
        if len(body) > most:
            raise ConfigurationError(f"{self.address}, {method}: expected at most {most} bytes, the server's frame_bytes, got {len(body)}")
        self._stream.transport.write(framed(body))

    def _check_open(self, step: str) -> None:
        if self._gone is not None:
            raise type(self._gone)(f"{self.address}, {step}: {self._gone}")

    def _receive(self, body: bytes) -> None:
        """Processes a body.

        Raises:
          BridgeError: the connection has to be closed.
        """
        number, error, result = reply(self.address, body)
        if number is None:
            code, text = (error[0], error[1]) if error is not None else (0, "")
            raise DrainingError(f"the server is going away: {text}") if code == Code.DRAINING else ServerGoneError(
                f"the server refused a frame: {text}")
        future = self._waiting.get(number)
        if future is not None and not future.done():
            future.set_result((error, result))

    def _end(self, error: BridgeError) -> None:
        """Ends the client when the connection closes; the first reason counts."""
        if self._gone is None:
            self._gone = error
        for future in list(self._waiting.values()):
            if not future.done():
                future.set_exception(self._gone)


def _too_late(future: asyncio.Future[Any]) -> None:
    if not future.done():
        future.set_exception(TimeoutError())


class AsyncPolicy:
    """A policy of a server, for the agents of one connection. Made by `AsyncClient.policy`.

    Attributes:
      name: of the policy.
      columns: its inputs, outputs and constants.
    """

    def __init__(self, client: AsyncClient, columns: Columns):
        self._client, self.columns, self.name = client, columns, columns.name

    async def begin(self, agents: Ids, streams: Sequence[int] | Array | None = None, *, timeout_s: float | None = None) -> Array:
        """Begins agents; returns their streams, [n] uint64.

        Args:
          agents, streams, timeout_s: as in `RemotePolicy.begin`.
        """
        found = await self._client._ask("begin", requests.begin(self.columns, agents, streams), timeout_s)
        return np.frombuffer(found["streams"], "<u8")

    async def infer(self, agents: Ids, inputs: Mapping[str, Any], *, begin: bool = False, deterministic: Flags = False,
                    deadline_us: int = 0, outputs: Sequence[str] | None = None, tick: int | None = None,
                    timeout_s: float | None = None) -> Answer:
        """Runs the policy for agents.

        Args:
          agents, inputs, begin, deterministic, deadline_us, outputs, tick: as in `RemotePolicy.infer`.
          timeout_s: seconds to wait for the answer; None takes the connection's.
        Raises:
          InputError: columns that do not fit; nothing was sent.
          LateAnswerError: no answer in time.
        """
        params = requests.infer(self.columns, agents, inputs, begin, deterministic, deadline_us, outputs, tick)
        return Answer(self.columns, await self._client._ask("infer", params, timeout_s))

    async def reward(self, agents: Ids, rewards: Any, *, actions: Mapping[str, Any] | None = None, tick: int | None = None) -> None:
        """Sends rewards of the agents' last decisions, or of those with a tick.

        Args:
          agents, rewards, actions, tick: as in `RemotePolicy.reward`.
        """
        await self._client._tell("reward", requests.reward(self.columns, agents, rewards, actions, tick))

    async def end(self, agents: Ids, *, terminated: Flags = False, truncated: Flags = False,
                  inputs: Mapping[str, Any] | None = None) -> None:
        """Ends agents, with their final observations.

        Args:
          agents, terminated, truncated, inputs: as in `RemotePolicy.end`.
        """
        await self._client._tell("end", requests.end(self.columns, agents, terminated, truncated, inputs))
