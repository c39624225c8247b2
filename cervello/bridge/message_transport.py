"""The interface of the transports of messages: TCP and Unix sockets, and WebSockets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from cervello.spec import Array

if TYPE_CHECKING:
    from cervello.bridge.session import Session


class MessageTransport(Protocol):
    """The transport of one connection's messages.

    Attributes:
      receive_buffer: [bytes] uint8, the buffer that receives frames; None when frames are not received whole.
    """

    receive_buffer: Array | None

    @property
    def session(self) -> Session | None:
        """The session of the connection; None for one that was closed at once."""

    @property
    def partial_since_s(self) -> float | None:
        """Start of an incomplete frame, on `time.monotonic`; None without one."""

    def send(self, body: bytes) -> None:
        """Puts a body into the send queue."""

    def close(self, reason: int) -> None:
        """Closes after the send queue is empty. Args: reason: a WebSocket close code."""

    def abort(self) -> None:
        """Closes at once."""
