"""The bridge: game engines and simulators talk to policies over a socket. docs/protocol.md fixes the wire.

`Server` serves a folder of policies, as `cervello serve` does; `Client` and `AsyncClient` are for Python.
"""

from cervello.bridge.client import Answer, AsyncClient, AsyncPolicy, Client, Pending, RemotePolicy
from cervello.bridge.limits import Limits
from cervello.bridge.server import Options, Server

__all__ = ["Answer", "AsyncClient", "AsyncPolicy", "Client", "Limits", "Options", "Pending", "RemotePolicy", "Server"]
