"""What the bridge is measured against, as processes of their own, and the clients that measure both."""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import socket
import struct
from collections.abc import Callable
from typing import Any, Self

import numpy as np

import cervello
from cervello.bridge.framing import framed

# Yardsticks -------------------------------------------------------------------------------------------------------------


def echo(port: Any, asked: tuple[bytes, bool]) -> None:
    """Reads a frame, writes a reply of the bridge's length: what asyncio itself costs."""
    reply, fast = asked

    class Echo(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport, self.data = transport, bytearray()
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def data_received(self, data: bytes) -> None:
            self.data += data
            while len(self.data) >= 4 and len(self.data) - 4 >= (n := struct.unpack_from("<I", self.data)[0]):
                del self.data[:4 + n]
                self.transport.write(reply)

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    _on_loop(serve, fast)


def json_loops(port: Any, asked: tuple[str, bool, str]) -> None:
    """The usual way: a loop per client, JSON lines, one run per agent, by Cervello or by onnxruntime with one thread."""
    path, fast, runtime = asked
    run = _onnxruntime(path) if runtime == "onnxruntime" else cervello.Model.load(path).run

    async def loop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):  # clients leave in the middle
            while line := await reader.readline():
                rows = json.loads(line)["obs"]
                actions = [run({"obs": np.array([row], np.float32)})["action"][0].tolist() for row in rows]
                writer.write(json.dumps({"action": actions}).encode() + b"\n")
                await writer.drain()

    async def serve() -> None:
        server = await asyncio.start_server(loop, "127.0.0.1", 0, limit=1 << 20)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    _on_loop(serve, fast)


def _onnxruntime(path: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, inputs), strict=True))


def _on_loop(serve: Callable[[], Any], fast: bool) -> None:
    """On uvloop, or on asyncio's own loop."""
    if not fast:
        asyncio.run(serve())
        return
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


class Beside:
    """A yardstick's process.

    Attributes:
      port: where it listens. pid: its number.
    """

    def __init__(self, serve: Callable[..., None], argument: Any):
        here, there = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("spawn").Process(target=serve, args=(there, argument), daemon=True)
        self._process.start()
        assert here.poll(60)
        self.port: int = here.recv()

        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join(10)


# Clients ----------------------------------------------------------------------------------------------------------------


class Stream:
    """A blocking connection over TCP or a Unix socket."""

    def __init__(self, address: str):
        if address.startswith("unix:"):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(address[5:])
        else:
            host, port = address.removeprefix("tcp://").rsplit(":", 1)
            self.socket = socket.create_connection((host, int(port)))
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, body: bytes) -> bytes:
        self.socket.sendall(framed(body))
        data = self.socket.recv(1 << 16)
        n = struct.unpack_from("<I", data)[0] + 4
        while len(data) < n:
            data += self.socket.recv(1 << 16)
        return data[4:]


class WebSocket:
    """A blocking WebSocket. As with `Stream`, a request that comes again is not packed again."""

    def __init__(self, address: str):
        from websockets.client import ClientProtocol
        from websockets.uri import parse_uri

        host, port = address.removeprefix("ws://").rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        protocol = ClientProtocol(parse_uri(address), subprotocols=["cervello.1"])  # type: ignore[list-item]
        protocol.send_request(protocol.connect())
        self.socket.sendall(b"".join(protocol.data_to_send()))
        while not protocol.events_received():
            protocol.receive_data(self.socket.recv(1 << 16))
        assert protocol.handshake_exc is None
        self._packed: dict[bytes, bytes] = {}

    def ask(self, body: bytes) -> bytes:
        frame = self._packed.get(body)
        if frame is None:
            frame = self._packed[body] = self._frame(body)
        self.socket.sendall(frame)
        data = self.socket.recv(1 << 16)
        first, n = (4, int.from_bytes(data[2:4], "big")) if data[1] == 126 else (2, data[1])
        assert data[0] == 0x82
        assert n < 126 or first == 4
        while len(data) < first + n:
            data += self.socket.recv(1 << 16)
        return data[first:]

    @staticmethod
    def _frame(body: bytes) -> bytes:
        from websockets.frames import Frame, Opcode

        return bytes(Frame(Opcode.BINARY, body).serialize(mask=True))
