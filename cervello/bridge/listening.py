"""Sockets that listen at an address."""

from __future__ import annotations

import errno
import os
import socket
import stat

from cervello.bridge.addresses import Address
from cervello.errors import ConfigurationError

BACKLOG = 512


def bound(address: Address) -> socket.socket:
    """A socket that listens at a host and port.

    Raises:
      OSError: the address is not available; the message names it.
    """
    try:
        return _listening(address)
    except OSError as error:
        raise OSError(error.errno,
                      f"listen {address}: expected a free address, got {error.strerror or error}; {_remedy(error)}") from error


def _listening(address: Address) -> socket.socket:
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, where = found[0]
    sock = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # reuses the address of a killed server at once; on Windows the option has another meaning
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(where)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _remedy(error: OSError) -> str:
    """What to do when an address cannot be had."""
    if error.errno == errno.EADDRINUSE:
        return "end the other server, or take another port (0 takes a free one)"
    if error.errno == errno.EACCES:
        return "take a port of 1024 or more (0 takes a free one)"
    return "name an address of this machine"


def replace_dead(address: Address) -> None:
    """Removes a socket file without a listening server.

    Raises:
      ConfigurationError: its folder does not exist. OSError: a server listens there, or the file is no socket.
    """
    try:
        mode = os.stat(address.path).st_mode
    except FileNotFoundError:
        if not os.path.isdir(folder := os.path.dirname(address.path) or "."):
            raise ConfigurationError(f"listen {address}: expected a folder {folder!r}, found none; make it") from None
        return
    busy = OSError(errno.EADDRINUSE, f"listen {address}: expected a free address, got one that is in use; end the other server, or take "
                   "another path")
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, f"listen {address}: expected a socket file or nothing, got another file; take another path")
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    probe.settimeout(1.0)
    try:
        probe.connect(address.path)
    except ConnectionRefusedError:
        os.unlink(address.path)
        return
    except OSError as error:
        raise busy from error
    finally:
        probe.close()
    raise busy
