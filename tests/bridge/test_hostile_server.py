"""What the Python clients do with a server that sends too much."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

import cervello
from cervello import bridge
from cervello.bridge import Limits


@contextmanager
def answering(act: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that accepts a connection, reads `hello` and does something."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                act(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(20)
        assert not thread.is_alive()


@pytest.mark.parametrize("connect", [lambda address: bridge.Client(address, connect_timeout_s=10),
                                     lambda address: asyncio.run(bridge.AsyncClient.connect(address, connect_timeout_s=10))])
def test_before_hello_is_answered_a_frame_over_the_default_limit_ends_the_connection(connect: Callable[[str], object]) -> None:
    def act(connection: socket.socket) -> None:
        connection.sendall(struct.pack("<I", Limits().frame_bytes + 1))
        assert connection.recv(1) == b""

    start_s = time.monotonic()
    with answering(act) as address, pytest.raises(cervello.ServerGoneError, match=f"got {Limits().frame_bytes + 1}"):
        connect(address)
    assert time.monotonic() - start_s < 5
