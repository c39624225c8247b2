"""What a session asks of its transport."""

from __future__ import annotations

from typing import Protocol

from cervello.spec import Array


class Carrier(Protocol):
    """The transport of a session's messages.

    Attributes:
      received: [bytes] uint8, the buffer that receives frames; None when frames are not received whole.
    """

    received: Array | None

    def send(self, body: bytes) -> None:
        """Puts a body into the send queue."""

    def finish(self, reason: int) -> None:
        """Closes after the send queue is empty. Args: reason: a WebSocket close code."""

    def abort(self) -> None:
        """Closes at once."""
