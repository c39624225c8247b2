"""Listens for WebSockets, with the package `websockets`."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import NegotiationError
from websockets.frames import Opcode
from websockets.typing import Origin, Subprotocol

from cervello.bridge.framing import LENGTH
from cervello.bridge.message_transport import MessageTransport
from cervello.bridge.request_layout import MOST_BYTES
from cervello.bridge.server_state import ServerState
from cervello.bridge.stream_transport import set_socket_options
from cervello.bridge.websocket_transport import WebSocketTransport

PROTOCOL = "cervello.1"
_DATA = (Opcode.BINARY, Opcode.TEXT, Opcode.CONT)


class _Connection(ServerConnection):  # type: ignore[misc]
    """A connection of the package that passes data frames to its transport directly, without a queue and a task. Mutable.

    Attributes:
      message_transport: the transport; None until the HTTP handshake is done.
    """

    def __init__(self, server_state: ServerState, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.message_transport: WebSocketTransport | None = None
        self._server_state = server_state
        self._frames: list[Any] = []
        self._is_in_handshake = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._server_state.is_full or self._server_state.draining:
            self.transport.abort()
        else:
            self._is_in_handshake = True
            self._server_state.n_handshakes += 1

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self.end_handshake()

    def end_handshake(self) -> None:
        """Notes that the handshake is done, or has failed."""
        self._server_state.n_handshakes -= self._is_in_handshake
        self._is_in_handshake = False

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._frames and self.message_transport is not None:
            self.pass_on()

    def process_event(self, event: Any) -> None:
        if self.request is None or event.opcode not in _DATA:
            super().process_event(event)
        else:  # passed on after the whole read, when it is known whether the frame came alone
            self._frames.append(event)

    def pass_on(self) -> None:
        """Passes frames to the transport."""
        assert self.message_transport is not None
        frames, self._frames = self._frames, []
        for frame in frames:
            self.message_transport.receive(frame, alone=len(frames) == 1)


async def listen(server: ServerState, transports: set[MessageTransport], origins: Sequence[str], **where: Any) -> Any:
    """Starts a WebSocket server at a host and port, or on a socket.

    Raises:
      OSError: the address is not available.
    """
    received = np.zeros(LENGTH.size + MOST_BYTES + 8, np.uint8)  # compiled code reads up to a multiple of 8

    async def handle(socket: ServerConnection) -> None:
        assert isinstance(socket, _Connection)
        socket.end_handshake()
        if server.draining:
            socket.transport.abort()
            return
        set_socket_options(socket.transport.get_extra_info("socket"))
        transport = socket.message_transport = WebSocketTransport(server, socket, received)
        transports.add(transport)
        socket.pass_on()  # frames that came before the transport
        try:
            await transport.run()
        finally:
            transports.discard(transport)

    return await serve(handle, create_connection=functools.partial(_Connection, server),
                       origins=[None, *(Origin(origin) for origin in origins)], subprotocols=[Subprotocol(PROTOCOL)],
                       select_subprotocol=_choose, compression=None, max_size=server.limits.frame_bytes, max_queue=None,
                       open_timeout=server.limits.frame_timeout_s, ping_interval=None, close_timeout=2, server_header=None, **where)


def _choose(socket: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol:
    """The subprotocol of the bridge, which a client must offer."""
    if PROTOCOL not in offered:
        raise NegotiationError(f"expected the subprotocol {PROTOCOL}")
    return Subprotocol(PROTOCOL)
