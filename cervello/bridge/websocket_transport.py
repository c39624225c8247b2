"""Messages over WebSockets, with the package `websockets`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from cervello.bridge.framing import LENGTH
from cervello.bridge.message_transport import MessageTransport
from cervello.bridge.request_layout import MOST_BYTES
from cervello.bridge.server_state import ServerState
from cervello.bridge.stream_transport import set_socket_options
from cervello.errors import ConfigurationError
from cervello.spec import Array

try:
    from websockets.asyncio.server import ServerConnection, serve
    from websockets.exceptions import NegotiationError
    from websockets.frames import Opcode
    from websockets.protocol import State
    from websockets.typing import Origin, Subprotocol

    _DATA = (Opcode.BINARY, Opcode.TEXT, Opcode.CONT)
except ImportError:
    serve = None

PROTOCOL = "cervello.1"


class WebSocketTransport:
    """One WebSocket. Mutable.

    Args:
      socket: a server's connection that passes its data frames to `receive`.
      received: [bytes] uint8, the buffer in which transports of a loop build the TCP frame of a body for a compiled answer.
    Attributes:
      receive_buffer: the same buffer.
      partial_since_s: as in `StreamTransport`.
    """

    def __init__(self, server: ServerState, socket: Any, received: Array):
        self._server, self._socket = server, socket
        self.receive_buffer: Array | None = received
        self._received = received.data
        self._begun: bytearray | None = None  # of a message in several frames, what has come
        self._is_text = False
        self._closing: asyncio.Task[None] | None = None
        self._heard_s = time.monotonic()
        self.session = server.connect(self)

    @property
    def partial_since_s(self) -> float | None:
        """Start of an incomplete message, on `time.monotonic`; None without one."""
        protocol = self._socket.protocol
        partial = _waits_for(protocol.parser) != "at_eof" or getattr(protocol, "current_size", None) is not None
        if not partial:
            self._heard_s = time.monotonic()
        return self._heard_s if partial else None

    def receive(self, frame: Any, alone: bool) -> None:
        """Receives a data frame; `alone`: no other came with it. The package has checked its order and the length of the message."""
        received_s = time.perf_counter()
        if frame.opcode is not Opcode.CONT:
            self._is_text = frame.opcode is Opcode.TEXT
        if frame.fin and self._begun is None:
            data = bytes(frame.data)
        else:
            if self._begun is None:
                self._begun = bytearray()
            self._begun += frame.data
            if not frame.fin:
                return
            data, self._begun = bytes(self._begun), None
        self._heard_s = time.monotonic()
        if self._is_text or not data:
            self.session.bad_frame("expected a binary message that is not empty, got another")
        elif not (alone and self._answer(data, received_s)):
            self.session.receive(data, received_s, alone)

    def _answer(self, body: bytes, received_s: float) -> bool:
        """Answers a body by a compiled call; returns whether it did."""
        n_bytes = LENGTH.size + len(body)
        session = self.session
        compiled = session.compiled.get(n_bytes)
        if compiled is None or session.closed:
            return False
        self._received[:n_bytes] = LENGTH.pack(len(body)) + body
        reply = compiled.answer(n_bytes, received_s)
        if reply is not None:
            self.send(reply[LENGTH.size:])
            compiled.note(received_s)
            self._server.busy_poll.answered()
        elif compiled.is_over:
            del session.compiled[n_bytes]
        return reply is not None

    async def run(self) -> None:
        """Runs until the connection ends."""
        try:
            await self._socket.wait_closed()
        finally:
            self.session.lost()

    def send(self, body: bytes | bytearray) -> None:
        socket = self._socket
        if socket.protocol.state is not State.OPEN or socket.transport.is_closing():
            return
        socket.protocol.send_binary(body)
        socket.send_data()
        waiting = socket.transport.get_write_buffer_size()
        if waiting > self._server.limits.send_bytes:
            self.session.abort(f"expected a client that reads, got {waiting} bytes that wait for it")

    def close(self, reason: int) -> None:
        self._closing = asyncio.create_task(self._socket.close(reason))

    def abort(self) -> None:
        self._socket.transport.abort()


def _waits_for(parser: Any) -> str:
    """The method that the package's parser waits in: between frames for the first byte of one, or for the end, "at_eof".

    The package has no public API for it. Its generators are nested, in some versions deeper than in others.
    """
    while (inner := getattr(parser, "gi_yieldfrom", None)) is not None:
        parser = inner
    return str(getattr(parser, "__name__", "at_eof"))


async def listen(server: ServerState, transports: set[MessageTransport], origins: Sequence[str], **where: Any) -> Any:
    """Starts a WebSocket server at a host and port, or on a socket.

    Raises:
      ConfigurationError: the package `websockets` is not installed. OSError: the address is not available.
    """
    if serve is None:
        raise ConfigurationError("listen ws://: expected the package websockets, found none; install the extra 'serve'")

    received = np.zeros(LENGTH.size + MOST_BYTES + 8, np.uint8)  # compiled code reads up to a multiple of 8

    class Connection(ServerConnection):  # type: ignore[misc]
        """Passes data frames to its transport directly, without a queue and a task."""

        message_transport: WebSocketTransport | None = None

        def __init__(self, *args: Any, **options: Any):
            super().__init__(*args, **options)
            self._frames: list[Any] = []
            self._is_in_handshake = False

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            if server.is_full or server.draining:
                self.transport.abort()
            else:
                self._is_in_handshake = True
                server.n_handshakes += 1

        def connection_lost(self, error: Exception | None) -> None:
            super().connection_lost(error)
            self.end_handshake()

        def end_handshake(self) -> None:
            """Notes that the handshake is done, or has failed."""
            server.n_handshakes -= self._is_in_handshake
            self._is_in_handshake = False

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._frames and self.message_transport is not None:
                self.pass_on()

        def process_event(self, event: Any) -> None:
            if self.request is None or event.opcode not in _DATA:
                super().process_event(event)
            else:  # those of one read are known when all of them have come
                self._frames.append(event)

        def pass_on(self) -> None:
            """Passes frames to the transport."""
            assert self.message_transport is not None
            frames, self._frames = self._frames, []
            for frame in frames:
                self.message_transport.receive(frame, alone=len(frames) == 1)

    async def handle(socket: ServerConnection) -> None:
        assert isinstance(socket, Connection)
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

    def choose(socket: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol:
        if PROTOCOL not in offered:
            raise NegotiationError(f"expected the subprotocol {PROTOCOL}")
        return Subprotocol(PROTOCOL)

    return await serve(handle, create_connection=Connection, origins=[None, *(Origin(origin) for origin in origins)],
                       subprotocols=[Subprotocol(PROTOCOL)], select_subprotocol=choose, compression=None,
                       max_size=server.limits.frame_bytes, max_queue=None, open_timeout=server.limits.frame_timeout_s,
                       ping_interval=None, close_timeout=2, server_header=None, **where)


__all__ = ["PROTOCOL", "WebSocketTransport", "listen"]
