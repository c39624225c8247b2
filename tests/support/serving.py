"""Servers in this process, on a thread of their own, and connections that speak bytes."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from pathlib import Path
from typing import Any, Self

import msgpack

from cervello.bridge import Options, Server

TIME_LIMIT_S = 20.0


class Running:
    """A server that runs until the block ends."""

    def __init__(self, options: Options, policies: Any = None):
        self._options, self._policies = options, policies
        self._ready = threading.Event()
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._error: BaseException | None = None
        self.drained: bool | None = None

    async def _run(self) -> None:
        try:
            self.loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            self.server = await Server.start(self._options, self._policies)
        except BaseException as error:
            self._error = error
            self._ready.set()
            return
        self._ready.set()
        await self._stop.wait()
        self.drained = await self.server.drain()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(60)
        if self._error is not None:
            raise self._error
        return self

    def stop(self) -> None:
        """Begins to drain."""
        assert self._stop is not None
        self.loop.call_soon_threadsafe(self._stop.set)

    def __exit__(self, *_: object) -> None:
        if self._thread.is_alive():
            self.stop()
        self._thread.join(TIME_LIMIT_S)
        assert not self._thread.is_alive()

    @property
    def address(self) -> str:
        return self.server.addresses[0]


class Wire:
    """A connection that sends and receives values, or bytes that are none."""

    def __init__(self, address: str, hello: dict[str, Any] | None = None):
        host, port = address.removeprefix("tcp://").rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), TIME_LIMIT_S)
        self.next_id = 0
        if hello is not None:
            self.hello = self.ask("hello", {"version": 1, **hello})[3]

    def send(self, value: Any) -> None:
        self.send_body(msgpack.packb(value))

    def send_body(self, body: bytes) -> None:
        self.socket.sendall(struct.pack("<I", len(body)) + body)

    def request(self, method: str, params: Any) -> int:
        self.next_id += 1
        self.send([0, self.next_id, method, [params]])
        return self.next_id

    def receive(self) -> Any:
        """A reply; None when the server has closed."""
        head = self._exactly(4)
        if head is None:
            return None
        body = self._exactly(struct.unpack("<I", head)[0])
        assert body is not None
        return msgpack.unpackb(body)

    def _exactly(self, n: int) -> bytes | None:
        data = b""
        while len(data) < n:
            try:
                more = self.socket.recv(n - len(data))
            except ConnectionResetError:
                more = b""
            if not more:
                assert not data
                return None
            data += more
        return data

    def ask(self, method: str, params: Any) -> Any:
        number = self.request(method, params)
        reply = self.receive()
        assert reply[:2] == [1, number]
        return reply

    def result(self, method: str, params: Any) -> Any:
        reply = self.ask(method, params)
        assert reply[2] is None, reply
        return reply[3]

    def code(self, method: str, params: Any) -> tuple[int, dict[str, Any]]:
        reply = self.ask(method, params)
        assert reply[2] is not None, reply
        assert reply[3] is None
        return reply[2][0], reply[2][2]

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def served(policies: dict[str, Any], tmp_path: Path, **options: Any) -> Running:
    """A server of policies that are loaded, on a free port."""
    folder = tmp_path / "brains"
    folder.mkdir(exist_ok=True)
    for name in policies:
        if not (folder / f"{name}.onnx").exists():
            (folder / f"{name}.onnx").write_bytes(b"")
    return Running(Options(folder, **{"listen": ["tcp://127.0.0.1:0"], "reload_interval_s": 60.0, **options}),
                   {name: (policy, folder / f"{name}.onnx") for name, policy in policies.items()})
