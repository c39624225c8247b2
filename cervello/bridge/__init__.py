"""The bridge: game engines and simulators talk to policies over a socket. docs/protocol.md fixes the wire."""

from cervello.bridge.limits import Limits
from cervello.bridge.server import Options, Server

__all__ = ["Limits", "Options", "Server"]
