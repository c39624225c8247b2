"""A server: listeners, time limits of connections, and shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from cervello.agents import Policy
from cervello.bridge.addresses import Address, parse
from cervello.bridge.busy_poll import BUSY_POLL_US
from cervello.bridge.folder import load_all
from cervello.bridge.limits import Limits
from cervello.bridge.listening import BACKLOG, bound, replace_dead
from cervello.bridge.message_transport import MessageTransport
from cervello.bridge.metrics import Metrics
from cervello.bridge.server_state import ServerState
from cervello.bridge.stream_transport import StreamTransport
from cervello.bridge.tokens import Tokens
from cervello.errors import ConfigurationError

_log = logging.getLogger("cervello.bridge")
_TICK_S = 0.1
_RECEIVED_BYTES = 1 << 18  # of one receive call, at most


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a server.

    Attributes:
      folder: the policies. listen: addresses. token_file: tokens with roles. allow_origin: origins of web pages that may connect.
      max_wait_us: microseconds that a request may wait for others to share its batch. record: a folder for recordings.
      ready_file: written with the addresses once all are open. drain_s: seconds for shutdown. metrics: host:port of Prometheus metrics.
      limits: of connections. reload_interval_s: seconds between checks of the files. server: the name in the answer to `hello`.
      busy_poll_us: microseconds that the event loop polls after an answer before it sleeps, at most; 0 switches polling off.
    """

    folder: Path
    listen: Sequence[str] = ("tcp://127.0.0.1:5577",)
    token_file: Path | None = None
    allow_origin: Sequence[str] = ()
    max_wait_us: int = 0
    record: Path | None = None
    ready_file: Path | None = None
    drain_s: float = 5.0
    metrics: str | None = None
    limits: Limits = field(default_factory=Limits)
    reload_interval_s: float = 0.5
    server: str = "cervello"
    busy_poll_us: int = BUSY_POLL_US


class Server:
    """Serves policies until it is told to stop. Made by `Server.start`.

        server = await Server.start(Options(Path("brains"), listen=["tcp://127.0.0.1:0"]))
        print(server.addresses)
        await server.drain()

    Attributes:
      options: as given.
      addresses: where it listens, in the order of `Options.listen`.
      state: the state that connections share.
    """

    def __init__(self, options: Options, state: ServerState):
        self.options, self.state = options, state
        self.addresses: list[str] = []
        self._servers: list[Any] = []
        self._transports: set[MessageTransport] = set()
        self._received = memoryview(bytearray(_RECEIVED_BYTES))
        self._unix: list[tuple[str, int]] = []  # socket files of this server, with their inodes
        self._metrics: Metrics | None = None
        self._clock: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, options: Options, policies: Mapping[str, tuple[Policy, Path]] | None = None) -> Server:
        """Loads the folder, or serves loaded policies, and listens.

        Args:
          options: folder, addresses and limits.
          policies: {name: (policy, its file)} instead of the folder's.
        Raises:
          ConfigurationError, ModelError: a bad option or file. OSError: an address is not available; the message names it.
        """
        addresses = [parse(text) for text in options.listen]
        if not addresses:
            raise ConfigurationError("listen: expected an address, got none")
        tokens = Tokens(options.token_file)
        for address in addresses:
            address.check_system()
            if not address.is_local and not tokens.needed:
                raise ConfigurationError(f"listen {address}: expected a token file for an address that other machines reach, got none; "
                                         "give --token-file, or listen on 127.0.0.1")
        state = ServerState(load_all(options.folder) if policies is None else policies, options.folder, limits=options.limits,
                            tokens=tokens, max_wait_us=options.max_wait_us, record=options.record, name=options.server,
                            busy_poll_us=options.busy_poll_us)
        server = cls(options, state)
        try:
            for address in addresses:
                server.addresses.append(str(await server._listen(address)))
            if options.metrics is not None:
                server._metrics = await Metrics.start(state, options.metrics)
            if options.ready_file is not None:
                _write_ready_file(options.ready_file, server.addresses)
        except BaseException:
            await server._close_listeners()
            if server._metrics is not None:
                await server._metrics.close()
            state.close()
            state.join(1.0)
            raise
        state.start(options.reload_interval_s)
        server._clock = asyncio.create_task(server._watch_connections())
        return server

    @property
    def metrics_address(self) -> str | None:
        """The address of the metrics; None without metrics."""
        return None if self._metrics is None else self._metrics.address

    async def _listen(self, address: Address) -> Address:
        loop = asyncio.get_running_loop()

        def transport() -> StreamTransport:
            return StreamTransport(self.state, self._transports, self._received)

        if address.scheme == "unix":
            replace_dead(address)
            try:
                server: Any = await loop.create_unix_server(transport, address.path, backlog=BACKLOG)
            except OSError as error:
                raise OSError(error.errno, f"listen {address}: expected a path for a socket file, got "
                              f"{os.strerror(error.errno) if error.errno else error}; name another one") from error
            self._servers.append(server)
            self._unix.append((address.path, os.stat(address.path).st_ino))
            return address
        websockets = _websocket_listener() if address.scheme == "ws" else None
        sock = bound(address)
        port = sock.getsockname()[1]
        if websockets is not None:
            server = await websockets.listen(self.state, self._transports, self.options.allow_origin, sock=sock)
        else:
            server = await loop.create_server(transport, sock=sock, backlog=BACKLOG)
        self._servers.append(server)
        return Address(address.scheme, address.host, port)

    async def _watch_connections(self) -> None:
        """Closes connections that send no hello, send half a frame, or are idle for too long."""
        limits = self.state.limits
        while True:
            await asyncio.sleep(min(_TICK_S, limits.frame_timeout_s / 4))
            now = time.monotonic()
            for transport in list(self._transports):
                session = transport.session
                if session is None or session.closed:
                    continue
                session.forget_swapped()
                partial_since_s = transport.partial_since_s
                if session.client is None and now - session.opened_s > limits.frame_timeout_s:
                    session.abort("expected hello in time, got none")
                elif partial_since_s is not None and now - partial_since_s > limits.frame_timeout_s:
                    session.abort("expected the rest of a frame in time, got none")
                elif limits.idle_timeout_s and not session.n_waiting and now - session.heard_s > limits.idle_timeout_s:
                    session.abort("expected a frame in time, got none")

    async def drain(self) -> bool:
        """Shuts down: refuses new requests, answers those in flight, closes recordings.

        Returns:
          True if every request in flight was answered and every thread ended in time.
        """
        began = time.monotonic()
        until = began + self.options.drain_s
        grace = began + min(1.0, self.options.drain_s / 2)  # for clients to end or move their agents
        self.state.draining = True
        await self._close_listeners()
        while time.monotonic() < until:
            now = time.monotonic()
            open_ = [session for session in list(self.state.sessions) if not session.drain(force=now > grace and not session.n_waiting)]
            if not open_ and not self.state.sessions:
                break
            await asyncio.sleep(0.01)
        all_done = not any(session.n_waiting for session in self.state.sessions)
        for session in list(self.state.sessions):
            if not session.closed:
                session.drain(force=True)
            self.state.remove(session)  # its agents end while there are threads to end them, also when the client has not closed yet
        await asyncio.sleep(0)
        if self._clock is not None:
            self._clock.cancel()
        self.state.close()
        left_s = max(0.2, until - time.monotonic())
        all_done &= await asyncio.get_running_loop().run_in_executor(None, self.state.join, left_s)
        for transport in list(self._transports):
            transport.abort()
        if self._metrics is not None:
            await self._metrics.close()
        await asyncio.sleep(0)
        return all_done

    async def _close_listeners(self) -> None:
        for path, inode in self._unix:
            with contextlib.suppress(OSError):
                if os.stat(path).st_ino == inode:
                    os.unlink(path)
        self._unix.clear()
        for server in self._servers:
            if hasattr(server, "connections"):
                server.close(close_connections=False)
            else:
                server.close()
        self._servers.clear()


def _write_ready_file(path: Path, addresses: Sequence[str]) -> None:
    """Writes the addresses beside the file, and renames."""
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        beside.write_text(json.dumps(addresses))
        os.replace(beside, path)
    except OSError as error:
        raise ConfigurationError(f"ready file {str(path)!r}: expected a file that can be written, got {error.strerror or error}; name "
                                 "another one") from error


def _websocket_listener() -> ModuleType:
    """The module that needs the package `websockets`."""
    try:
        from cervello.bridge import websocket_listener
    except ImportError as error:
        raise ConfigurationError("listen ws://: expected the package websockets, found none; install the extra 'serve'") from error
    return websocket_listener
