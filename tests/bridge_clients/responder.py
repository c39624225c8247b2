"""A server made of golden frames: it answers each method with its golden reply, and misbehaves where a policy's name says so."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any

from golden import BOMB, FRAMES, decode, encode, frame

REPLIES: dict[str, Any] = {name: decode(FRAMES[f"{key}.reply"][4:])[3] for name, key in {
    "hello": "hello", "ping": "ping", "spec": "spec", "begin": "begin", "infer": "infer", "reward": "reward.request", "end": "end",
    "snapshot": "snapshot", "restore": "restore", "stats": "stats"}.items()}


class Responder:
    """Listens on a free port of 127.0.0.1 until it is closed.

    Policies by name: `draining` is answered with the server's farewell, `dead` with a closed connection, `silent` not at all, `slow`
    after 0.3 s, `bomb` with nested headers, `long` with a length of 2³¹ - 1, `over` with one over its limit, `half` with half a frame,
    `refused` with code 5, `drip` a byte at a time, `overtaken` after the next request's reply, `restart` with a closed connection that a
    new one replaces.

    Attributes:
      received: every frame's body, in order, of all connections.
      greeting: what `hello` gets: "reply", "silent", "draining" (code 11), "refused" (code 6).
      frame_bytes: the limit that it gets.
    """

    def __init__(self, greeting: str = "reply", frame_bytes: int = 16 << 20) -> None:
        self.received: list[bytes] = []
        self.greeting, self.frame_bytes = greeting, frame_bytes
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Responder:
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._open:
            with contextlib.suppress(OSError):  # not connected, or gone
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rb") as stream:
                held: list[bytes] = []
                while len(head := stream.read(4)) == 4:
                    body = stream.read(int.from_bytes(head, "little"))
                    self.received.append(body)
                    message = decode(body)
                    if message[0] == 0 and not self._answer(connection, message[1], message[2], message[3][0], held):
                        return
        except OSError:
            return  # the test's client has gone, or the test is over

    def _answer(self, connection: socket.socket, request_id: int, method: str, params: dict[str, Any], held: list[bytes]) -> bool:
        """Sends what belongs to a request; False where the connection is to be closed."""
        how = params.get("policy", "") if method != "hello" else "hello." + self.greeting
        result = REPLIES.get(method)
        if method == "hello" and result is not None:
            result = result | {"limits": result["limits"] | {"frame_bytes": self.frame_bytes}}
        reply = frame(encode([1, request_id, None, result]))
        if how in ("silent", "hello.silent"):
            return True
        if how == "hello.refused":
            reply = frame(encode([1, request_id, [6, "token: unknown", {}], None]))
        elif how == "hello.draining":
            reply = frame(encode([1, request_id, [11, "draining", {}], None]))
        elif how == "refused":
            reply = frame(encode([1, request_id, [5, "agents 5, 4", {"agents": [5, 4]}], None]))
        elif how == "draining":
            reply = FRAMES["draining"]
        elif how == "bomb":
            reply = frame(BOMB)
        elif how == "long":
            reply = b"\xff\xff\xff\x7f"
        elif how == "over":
            reply = (self.frame_bytes + 1).to_bytes(4, "little")
        elif how == "half":
            reply = reply[:9]
        elif how == "slow":
            time.sleep(0.3)
        elif how == "overtaken":
            held.append(reply)
            return True
        if how not in ("dead", "restart"):
            pieces = [reply[at:at + 1] for at in range(len(reply))] if how == "drip" else [reply]
            for piece in pieces:
                connection.sendall(piece)
            for late in held:
                connection.sendall(late)
            held.clear()
        return how not in ("dead", "restart", "draining", "half", "hello.refused", "hello.draining")
