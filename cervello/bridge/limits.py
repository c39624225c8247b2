"""Limits of a server and its clients."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from cervello.errors import ConfigurationError

LARGEST = 2**53 - 1  # an integer that every decoder holds exactly
LEAST_FRAME = 1024  # bytes; an error reply is never longer


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one server, as in the answer to `hello`.

    Attributes:
      frame_bytes: of one body, in both directions.
      in_flight: requests of one connection without a reply.
      queued_bytes: of unfinished bodies of one connection.
      agents: of one connection, all policies together.
      connections: open at once.
      send_bytes: of replies that wait for a slow reader; beyond it the connection is closed.
      frame_timeout_s: for a half-sent frame, and for `hello`.
      idle_timeout_s: without a frame; 0 for no limit.
    """

    frame_bytes: int = 16 << 20
    in_flight: int = 256
    queued_bytes: int = 64 << 20
    agents: int = 65_536
    connections: int = 1024
    send_bytes: int = 64 << 20
    frame_timeout_s: float = 10.0
    idle_timeout_s: float = 0.0

    def __post_init__(self) -> None:
        least = {"frame_bytes": LEAST_FRAME, "send_bytes": LEAST_FRAME, "queued_bytes": LEAST_FRAME}
        for name in ("frame_bytes", "in_flight", "queued_bytes", "agents", "connections", "send_bytes"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not least.get(name, 1) <= value < 1 << 32:
                raise ConfigurationError(f"limits, {name}: expected a whole number from {least.get(name, 1)} to 2³² − 1, got {value!r}")
        for name in ("frame_timeout_s", "idle_timeout_s"):
            value = getattr(self, name)
            fits = not isinstance(value, bool) and isinstance(value, (int, float)) and 0 <= value < 1e9
            if not fits or (name == "frame_timeout_s" and not value):
                least_s = "above 0" if name == "frame_timeout_s" else "of at least 0"
                raise ConfigurationError(f"limits, {name}: expected seconds {least_s}, got {value!r}")

    @property
    def values(self) -> int:
        """Values in one message, at most: twice the agents and 4096 more."""
        return 2 * self.agents + 4096

    def as_map(self) -> dict[str, Any]:
        """The limits in the answer to `hello`."""
        return asdict(self)
