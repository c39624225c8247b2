"""Messages over WebSockets, with the package `websockets`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from cervello.bridge.core import Core
from cervello.bridge.stream_carrier import tune
from cervello.errors import ConfigurationError

try:
    from websockets.asyncio.server import ServerConnection, serve
    from websockets.exceptions import ConnectionClosed, NegotiationError
    from websockets.typing import Origin, Subprotocol
except ImportError:
    serve = None

PROTOCOL = "cervello.1"


class WebSocketCarrier:
    """One WebSocket. Mutable.

    Attributes:
      partial_s: as in `StreamCarrier`.
    """

    def __init__(self, core: Core, socket: Any):
        self._core, self._socket = core, socket
        self._queue: asyncio.Queue[bytes | int] = asyncio.Queue()
        self._waiting_bytes = 0
        self.session = core.connect(self)
        self._heard_s = time.monotonic()

    @property
    def partial_s(self) -> float | None:
        """Since when a message is half sent; None when none is."""
        protocol = self._socket.protocol
        partial = _waits_for(protocol.parser) != "at_eof" or getattr(protocol, "current_size", None) is not None
        if not partial:
            self._heard_s = time.monotonic()
        return self._heard_s if partial else None

    async def run(self) -> None:
        """Until the connection ends."""
        writer = asyncio.create_task(self._write())
        try:
            async for message in self._socket:
                self._heard_s = time.monotonic()
                if isinstance(message, str) or not message:
                    self.session.bad_frame("expected a binary message that is not empty, got another")
                else:
                    self.session.receive(message, time.perf_counter())
                if self.session.closed:
                    break
            if self.session.closed:
                await asyncio.wait({writer}, timeout=5)
        except ConnectionClosed:
            pass
        finally:
            writer.cancel()
            self.session.lost()

    async def _write(self) -> None:
        try:
            while True:
                body = await self._queue.get()
                if isinstance(body, int):
                    await self._socket.close(body)
                    return
                await self._socket.send(body)
                self._waiting_bytes -= len(body)
        except ConnectionClosed:
            return

    def send(self, body: bytes) -> None:
        self._waiting_bytes += len(body)
        self._queue.put_nowait(body)
        if self._waiting_bytes > self._core.limits.send_bytes:
            self.session.abort(f"expected a client that reads, got {self._waiting_bytes} bytes that wait for it")

    def finish(self, reason: int) -> None:
        self._queue.put_nowait(reason)

    def abort(self) -> None:
        self._socket.transport.abort()


def _waits_for(parser: Any) -> str:
    """What the package's parser waits for: between frames for the first byte of one, or for the end, "at_eof". It has no public word for it,
    and its generators wait for each other, more of them in some versions than in others."""
    while (inner := getattr(parser, "gi_yieldfrom", None)) is not None:
        parser = inner
    return str(getattr(parser, "__name__", "at_eof"))


async def listen(core: Core, carriers: set[Any], origins: Sequence[str], **where: Any) -> Any:
    """A WebSocket server at a host and port, or at a socket.

    Raises:
      ConfigurationError: the package `websockets` is not there. OSError: the address cannot be had.
    """
    if serve is None:
        raise ConfigurationError("listen ws://: expected the package websockets, found none; pip install 'cervello[serve]'")

    async def handle(socket: ServerConnection) -> None:
        if core.is_crowded or core.draining:
            socket.transport.abort()
            return
        tune(socket.transport.get_extra_info("socket"))
        carrier = WebSocketCarrier(core, socket)
        carriers.add(carrier)
        try:
            await carrier.run()
        finally:
            carriers.discard(carrier)

    def choose(socket: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol:
        if PROTOCOL not in offered:
            raise NegotiationError(f"expected the subprotocol {PROTOCOL}")
        return Subprotocol(PROTOCOL)

    return await serve(handle, origins=[None, *(Origin(origin) for origin in origins)], subprotocols=[Subprotocol(PROTOCOL)],
                       select_subprotocol=choose, compression=None, max_size=core.limits.frame_bytes, max_queue=16,
                       open_timeout=core.limits.frame_timeout_s, ping_interval=None, close_timeout=2, server_header=None, **where)


__all__ = ["PROTOCOL", "WebSocketCarrier", "listen"]
