"""Messages over WebSockets, with the package `websockets`."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from websockets.frames import Opcode
from websockets.protocol import State

from cervello.bridge.framing import LENGTH
from cervello.bridge.server_state import ServerState
from cervello.spec import Array


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
        self._fragments: bytearray | None = None  # the received part of a fragmented message
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
        if frame.fin and self._fragments is None:
            data = bytes(frame.data)
        else:
            if self._fragments is None:
                self._fragments = bytearray()
            self._fragments += frame.data
            if not frame.fin:
                return
            data, self._fragments = bytes(self._fragments), None
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
