"""A client for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np

from cervello.bridge.addresses import parse
from cervello.bridge.client import requests
from cervello.bridge.client.columns import Answer, Columns, Flags, Ids
from cervello.bridge.client.replies import error_of, notify, reply, request
from cervello.bridge.codes import Code
from cervello.bridge.framing import framed
from cervello.bridge.stream_carrier import tune
from cervello.errors import BridgeError, ConfigurationError, DrainingError, LateAnswerError, ServerGoneError
from cervello.spec import Array


class AsyncClient:
    """A connection to a server.

        async with await bridge.AsyncClient.connect("tcp://127.0.0.1:5577") as client:
            hunters = await client.policy("hunter")
            await hunters.begin([1, 2])
            answer = await hunters.infer([1, 2], {"obs": observations}, timeout_s=0.004)

    It does not connect anew: make another one, and begin the agents there.

    Made by `AsyncClient.connect`.

    Attributes:
      address: of the server, as given.
      told: what the server said in answer to `hello`.
    """

    def __init__(self, address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, timeout_s: float):
        self.address, self._timeout_s = address, timeout_s
        self._reader, self._writer = reader, writer
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._next_id = 0
        self._gone: BridgeError | None = None
        self.told: dict[str, Any] = {}
        self._task = asyncio.get_running_loop().create_task(self._receive())

    @classmethod
    async def connect(cls, address: str, *, name: str = "python", token: str | None = None, connect_timeout_s: float = 5.0,
                      timeout_s: float = 10.0) -> AsyncClient:
        """Connects and says hello.

        Args:
          address, name, token, connect_timeout_s, timeout_s: as of `Client`.
        Raises:
          ConfigurationError: an address that is neither tcp:// nor unix:.
          ServerGoneError: nobody answers there.
          RefusedError: the server refuses this client.
        """
        where = parse(address)
        if where.scheme == "ws":
            raise ConfigurationError(f"address {address!r}: expected tcp:// or unix: for this client, got a WebSocket")
        opening = asyncio.open_unix_connection(where.path) if where.scheme == "unix" else asyncio.open_connection(where.host, where.port)
        try:
            reader, writer = await asyncio.wait_for(opening, connect_timeout_s)
        except OSError as error:  # a time-out is one too
            raise ServerGoneError(f"{address}, connect: expected a server, got {error.strerror or error or 'no answer in time'}; is it "
                                  "running, and is this its address?") from error
        tune(writer.get_extra_info("socket"))
        client = cls(address, reader, writer, timeout_s)
        params: dict[str, Any] = {"version": 1, "client": name}
        if token is not None:
            params["token"] = token
        try:
            client.told = await client._ask("hello", params, connect_timeout_s)
        except BaseException as error:
            await client.close()
            if isinstance(error, LateAnswerError):
                raise ServerGoneError(f"{address}, hello: expected an answer within {connect_timeout_s} s, got none") from error
            raise
        return client

    async def close(self) -> None:
        """Ends the connection, and with it all agents that it has begun."""
        if self._gone is None:
            self._gone = ServerGoneError("expected a connection, got one that was closed here")
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._fail(self._gone)
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def policy(self, name: str) -> AsyncPolicy:
        """The server's policy of that name. Errors as of `Client.policy`."""
        return AsyncPolicy(self, Columns(name, await self._ask("spec", {"policy": name})))

    async def stats(self) -> dict[str, Any]:
        """What the server says of itself."""
        found: dict[str, Any] = await self._ask("stats", {})
        return found

    async def _ask(self, method: str, params: dict[str, Any], timeout_s: float | None = None) -> Any:
        self._check_open(method)
        self._next_id = number = (self._next_id + 1) % (1 << 32)
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._put(method, request(number, method, params))
        allowed = self._timeout_s if timeout_s is None else timeout_s
        try:
            error, result = await asyncio.wait_for(future, allowed)
        except TimeoutError:
            raise LateAnswerError(f"{self.address}, {method}: expected an answer within {allowed} s, got none") from None
        except BridgeError as lost:
            raise type(lost)(f"{self.address}, {method}: {lost}") from None
        finally:
            self._waiting.pop(number, None)
        if error is not None:
            raise error_of(self.address, method, error)
        return result

    async def _tell(self, method: str, params: dict[str, Any]) -> None:
        self._check_open(method)
        self._put(method, notify(method, params))
        with contextlib.suppress(OSError):
            await self._writer.drain()

    def _put(self, method: str, body: bytes) -> None:
        most = self.told.get("limits", {}).get("frame_bytes", (1 << 32) - 1)
        if len(body) > most:
            raise ConfigurationError(f"{self.address}, {method}: expected at most {most} bytes, the server's frame_bytes, got {len(body)}")
        self._writer.write(framed(body))

    def _check_open(self, step: str) -> None:
        if self._gone is not None:
            raise type(self._gone)(f"{self.address}, {step}: {self._gone}")

    async def _receive(self) -> None:
        lost: BridgeError = ServerGoneError("the server closed the connection without a word")
        try:
            while True:
                length = struct.unpack("<I", await self._reader.readexactly(4))[0]
                if length > self.told.get("limits", {}).get("frame_bytes", 1 << 24):
                    raise ServerGoneError(f"expected a frame within the server's limit, got one of {length} bytes")
                number, error, result = reply(self.address, await self._reader.readexactly(length))
                if number is None:
                    code, text = (error[0], error[1]) if error is not None else (0, "")
                    lost = DrainingError(f"the server is going away: {text}") if code == Code.DRAINING else ServerGoneError(
                        f"the server refused a frame: {text}")
                    break
                future = self._waiting.get(number)
                if future is not None and not future.done():
                    future.set_result((error, result))
        except (OSError, asyncio.IncompleteReadError):
            pass
        except BridgeError as error:
            lost = error
        if self._gone is None:
            self._gone = lost
        self._fail(lost)

    def _fail(self, error: BridgeError) -> None:
        for future in list(self._waiting.values()):
            if not future.done():
                future.set_exception(error)


class AsyncPolicy:
    """A policy of a server, for the agents of one connection. Made by `AsyncClient.policy`.

    Attributes:
      name: of the policy.
      columns: its inputs, outputs and constants.
    """

    def __init__(self, client: AsyncClient, columns: Columns):
        self._client, self.columns, self.name = client, columns, columns.name

    async def begin(self, agents: Ids, streams: Sequence[int] | Array | None = None, *, timeout_s: float | None = None) -> Array:
        """Agents begin; gives their streams, [n] uint64.

        Args:
          agents, streams, timeout_s: as in `RemotePolicy.begin`.
        """
        found = await self._client._ask("begin", requests.begin(self.columns, agents, streams), timeout_s)
        return np.frombuffer(found["streams"], "<u8")

    async def infer(self, agents: Ids, inputs: Mapping[str, Any], *, begin: bool = False, deterministic: Flags = False,
                    deadline_us: int = 0, outputs: Sequence[str] | None = None, tick: int | None = None,
                    timeout_s: float | None = None) -> Answer:
        """Decisions of agents.

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
        """Rewards of the agents' last decisions, or of those with a tick.

        Args:
          agents, rewards, actions, tick: as in `RemotePolicy.reward`.
        """
        await self._client._tell("reward", requests.reward(self.columns, agents, rewards, actions, tick))

    async def end(self, agents: Ids, *, terminated: Flags = False, truncated: Flags = False,
                  inputs: Mapping[str, Any] | None = None) -> None:
        """Agents end, with their final observations.

        Args:
          agents, terminated, truncated, inputs: as in `RemotePolicy.end`.
        """
        await self._client._tell("end", requests.end(self.columns, agents, terminated, truncated, inputs))
