"""A WebSocket that leads to a TCP server of the bridge's frames: for clients that can open no TCP socket."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from golden import frame
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve


@contextmanager
def relayed(address: str) -> Iterator[str]:
    """The `ws://` address of a relay to `tcp://host:port`: a frame's body is a message; an end of one side ends the other."""
    host, port = address.removeprefix("tcp://").rsplit(":", 1)

    def forward(web: ServerConnection) -> None:
        with socket.create_connection((host, int(port))) as peer:
            back = threading.Thread(target=answer, args=(web, peer), daemon=True)
            back.start()
            with contextlib.suppress(ConnectionClosed, OSError):
                for message in web:
                    assert isinstance(message, bytes)
                    peer.sendall(frame(message))
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
            back.join()

    def answer(web: ServerConnection, peer: socket.socket) -> None:
        with contextlib.suppress(ConnectionClosed, OSError), peer.makefile("rb") as stream:
            while len(head := stream.read(4)) == 4:
                web.send(stream.read(int.from_bytes(head, "little")))
        web.close()

    with serve(forward, "127.0.0.1", 0, subprotocols=["cervello.1"], compression=None, max_size=None) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            server.shutdown()
            thread.join()
