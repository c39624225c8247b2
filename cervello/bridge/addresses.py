"""Addresses of servers: TCP, Unix sockets and WebSockets."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from cervello.errors import ConfigurationError

_HOST_AND_PORT = re.compile(r"(?!(?:tcp|ws|wss|http|https):)([\w.-]+|\[[0-9a-fA-F:.]+\]):[0-9]+")
_OUTSIDE = re.compile(r"(?:tcp|ws)://[^/]+:([0-9]+)(?:/.*)?")  # the port of an address that `urlsplit` refuses


@dataclass(frozen=True, slots=True)
class Address:
    """An address: tcp://host:port, unix:/path or ws://host:port.

    Attributes:
      scheme: "tcp", "unix" or "ws". host, port: of TCP and WebSockets. path: of a Unix socket.
    """

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.scheme == "unix":
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the address."""
        if self.scheme == "unix" or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def check_system(self) -> None:
        """Raises ConfigurationError for a Unix socket on a system without them, as Windows."""
        if self.scheme == "unix" and not hasattr(socket, "AF_UNIX"):
            raise ConfigurationError(f"address {str(self)!r}: expected tcp://host:port or ws://host:port, since this system has no Unix "
                                     "sockets; take tcp://127.0.0.1:5577")


def parse(text: str) -> Address:
    """Parses an address.

    Raises:
      ConfigurationError: the text is no address.
    """
    expected = f"address {text!r}: expected tcp://host:port, unix:/path or ws://host:port, got"
    wrong = ConfigurationError(f"{expected} something else")
    if not isinstance(text, str):
        raise wrong
    if text.startswith("unix:"):
        path = text[5:]
        if path.startswith("//"):
            path = path[2:]
        if not path or "\0" in path:
            raise wrong
        return Address("unix", path=path)
    if _HOST_AND_PORT.fullmatch(text):
        raise ConfigurationError(f"{expected} no scheme; did you mean tcp://{text}?")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        if outside := _OUTSIDE.fullmatch(text):
            raise ConfigurationError(f"address {text!r}, port: expected 0 to 65535, got {outside[1]}") from None
        raise wrong from None
    if parts.scheme not in ("tcp", "ws") or not parts.hostname or port is None or parts.username is not None or (
            parts.scheme == "tcp" and (parts.path not in ("", "/") or parts.query)):
        raise wrong
    return Address(parts.scheme, parts.hostname, port)
