"""Messages over TCP and Unix sockets."""

from __future__ import annotations

import asyncio
import functools
import socket
import time
from typing import Any

import numpy as np

from cervello.bridge.codes import BadFrame
from cervello.bridge.framing import LENGTH, Deframer
from cervello.bridge.message_transport import MessageTransport
from cervello.bridge.server_state import ServerState
from cervello.bridge.session import Session
from cervello.spec import Array

KEEP_ALIVE_S = 60
_LINGER_S = 1.0  # for a client to read the reason


class StreamTransport(asyncio.BufferedProtocol):
    """One connection of a stream. Mutable.

    Args:
      received: [bytes] receive buffer of all transports of a loop. The loop calls `buffer_updated` at once after it has filled the buffer.
    Attributes:
      receive_buffer: `received` as an array.
      partial_since_s: start of an incomplete frame, on `time.monotonic`; None without one.
    """

    def __init__(self, server: ServerState, transports: set[MessageTransport], received: memoryview):
        self._server, self._transports, self._received = server, transports, received
        self.receive_buffer: Array | None = np.frombuffer(received, np.uint8)
        self._session: Session | None = None
        self._transport: Any = None
        self._deframer = Deframer(server.limits.frame_bytes)
        self._finishing = False
        self.partial_since_s: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        if self._server.is_full or self._server.draining:
            transport.abort()  # type: ignore[attr-defined]
            return
        set_socket_options(transport.get_extra_info("socket"))
        transport.set_write_buffer_limits(high=self._server.limits.send_bytes)  # type: ignore[attr-defined]
        self._session = self._server.connect(self)
        self._transports.add(self)

    def get_buffer(self, size_hint: int) -> memoryview:
        return self._received

    def buffer_updated(self, n_bytes: int) -> None:
        session, data = self._session, self._received
        if session is None or session.closed:
            return
        received_s = time.perf_counter()
        deframer = self._deframer
        if not deframer.n_partial:
            compiled = session.compiled.get(n_bytes)
            if compiled is not None:
                reply = compiled.answer(n_bytes, received_s)
                if reply is not None:
                    self._transport.write(reply)
                    compiled.note(received_s)
                    self._server.busy_poll.answered()
                    return
                if compiled.is_over:
                    del session.compiled[n_bytes]
            if 4 < n_bytes <= 4 + deframer.most and n_bytes - 4 == int.from_bytes(data[:4], "little"):
                session.receive(bytes(data[4:n_bytes]), received_s)  # one whole frame, the usual case
                return
        try:
            for body in deframer.feed(data[:n_bytes]):
                self.partial_since_s = None
                session.receive(body, received_s, alone=False)
                if session.closed:
                    return
        except BadFrame as error:
            session.bad_frame(str(error))
            return
        if not deframer.n_partial:
            self.partial_since_s = None
        elif self.partial_since_s is None:
            self.partial_since_s = time.monotonic()

    def pause_writing(self) -> None:
        if self._session is not None:
            self._session.abort(f"expected a client that reads, got {self._transport.get_write_buffer_size()} bytes that wait for it")

    def eof_received(self) -> bool:
        """Ends the session: a client that shuts down its sending side has closed. What is in the send queue is still sent."""
        if self._session is not None:
            self._session.lost()
        if self._transport.get_write_buffer_size():
            self._linger(time.monotonic() + self._server.limits.frame_timeout_s)
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._transports.discard(self)
        if self._session is not None:
            self._session.lost()

    # As a message transport -------------------------------------------------------------------------------------------------------

    @property
    def session(self) -> Session | None:
        return self._session

    def send(self, body: bytes) -> None:
        transport = self._transport
        if not transport.is_closing():
            transport.write(LENGTH.pack(len(body)) + body)

    def close(self, reason: int) -> None:
        if self._finishing or self._transport.is_closing():
            return
        self._finishing = True
        # Further input is read and dropped. Closing at once would reset the connection, and the client would not get the reason.
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._linger(time.monotonic() + self._server.limits.frame_timeout_s)

    def _linger(self, until_s: float) -> None:
        """Aborts some time after the send queue is empty, or when a slow reader has had enough time."""
        is_sent = not self._transport.get_write_buffer_size() or time.monotonic() > until_s
        next_step = self._transport.abort if is_sent else functools.partial(self._linger, until_s)
        asyncio.get_running_loop().call_later(_LINGER_S, next_step)

    def abort(self) -> None:
        self._transport.abort()


def set_socket_options(sock: Any) -> None:
    """Sets TCP_NODELAY and keep-alive; Unix sockets need neither."""
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", KEEP_ALIVE_S), ("TCP_KEEPALIVE", KEEP_ALIVE_S), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):  # macOS has TCP_KEEPALIVE instead of TCP_KEEPIDLE
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
