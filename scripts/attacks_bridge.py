"""Attacks on a running server, each with what held.

    python scripts/attacks_bridge.py

Starts `cervello serve` with small limits and a token file, attacks it over real sockets, and checks after each attack that another client
is answered and that the server's memory has not grown by more than was allowed. Linux. Exit status 1 where something did not hold.
"""

from __future__ import annotations

import http.client
import importlib.util
import shutil
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

from server_process import ServerProcess
from serving import Wire

from cervello.demo import policy_path

CONFIG = """token_file = "tokens"
allow_origin = ["https://game.example"]
[limits]
frame_bytes = 1_048_576
in_flight = 32
queued_bytes = 4_194_304
agents = 1000
connections = 24
send_bytes = 1_048_576
frame_timeout_s = 1.0
"""
MIB = 1 << 20
ROW = bytes(36)
INFER = {"policy": "hunter", "begin": True, "inputs": {"obs": ROW}}


class Broken(Exception):
    """An attack that did something."""


def expect(held: bool, what: str) -> None:
    if not held:
        raise Broken(what)


class Target:
    """The server under attack, and a client that must be answered throughout."""

    def __init__(self, server: ServerProcess, folder: Path):
        self.server, self.folder = server, folder
        self.tcp, self.ws = server.addresses[0], server.addresses[-1]
        self.witness = Wire(self.tcp, {"client": "witness", "token": "boss"})

    def wire(self, token: str = "player") -> Wire:
        return Wire(self.tcp, {"client": "attacker", "token": token})

    def stats(self) -> Any:
        return self.witness.result("stats", {})

    def closes(self, wire: Wire, within_s: float = 10.0) -> list[Any]:
        """What the server says before it closes."""
        wire.socket.settimeout(within_s)
        said = []
        try:
            while (reply := wire.receive()) is not None:
                said.append(reply)
        except TimeoutError:
            raise Broken("the connection was still open") from None
        except (ConnectionError, AssertionError):
            pass
        return said


def depth_bomb(target: Target) -> str:
    for bomb in (b"\xdc\x00\x01" * 24_576, b"\x91" * 73_728, b"\x81\xa1x" * 24_576, b"\xdd\xff\xff\xff\xff" * 14_745):
        wire = target.wire()
        wire.send_body(bomb)
        said = target.closes(wire)
        expect(len(said) == 1 and said[0][1] is None and said[0][2][0] == 1, f"expected code 1 and a closed connection, got {said}")
    return "72 KB of nested headers, four kinds: code 1, closed"


def length_bomb(target: Target) -> str:
    wires = []
    for length in (0xFFFFFFFF, MIB + 1, 0):
        wire = target.wire()
        wire.socket.sendall(struct.pack("<I", length))
        expect(target.closes(wire)[0][2][0] == 1, f"a length of {length} was taken")
    for body in (b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdf\x7f\xff\xff\xff"):
        wire = target.wire()
        wire.send_body(b"\x94\x00\x07\xa4ping\x91\x81\xa1x" + body)
        expect(target.closes(wire)[0][2][0] == 1, "lengths inside a frame were believed")
    for _ in range(16):  # a mebibyte promised each, nothing sent
        wires.append(target.wire())
        wires[-1].socket.sendall(struct.pack("<I", MIB))
    time.sleep(0.2)
    for wire in wires:
        wire.close()
    return "lengths of 4 GiB: code 1; lengths promised and not sent cost nothing"


def slow_loris(target: Target) -> str:
    wires = [target.wire() for _ in range(8)]
    start = time.monotonic()
    body = msgpack.packb([0, 2, "ping", [{"x": bytes(300)}]])
    frame = struct.pack("<I", len(body)) + body
    closed: set[int] = set()
    for at in range(60):  # a byte every 50 ms would take 15 s
        for i, wire in enumerate(wires):
            try:
                wire.socket.sendall(frame[at:at + 1])
            except OSError:
                closed.add(i)
        if len(closed) == len(wires):
            break
        time.sleep(0.05)
    for wire in wires:
        target.closes(wire, 5.0)
    took = time.monotonic() - start
    expect(took < 10, f"expected them closed, got {took:.1f} s")
    return f"8 connections that send a byte at a time were closed after {took:.1f} s (frame_timeout_s 1.0)"


def half_frames(target: Target) -> str:
    host, port = target.tcp.removeprefix("tcp://").rsplit(":", 1)
    silent = [socket.create_connection((host, int(port)), 10) for _ in range(8)]
    wires = [target.wire() for _ in range(8)]
    for wire in wires:
        wire.socket.sendall(struct.pack("<I", 4096) + bytes(100))
    for wire in wires:
        target.closes(wire)
    for each in silent:
        each.settimeout(10)
        expect(each.recv(100) == b"", "a connection without hello was answered")
        each.close()
    return "half frames and connections without hello were closed"


def id_flood(target: Target) -> str:
    wire = target.wire()
    wire.result("begin", {"policy": "hunter", "agents": list(range(1000))})
    expect(wire.code("begin", {"policy": "hunter", "agents": [5000]})[0] == 2, "more agents than the limit were begun")
    expect(wire.code("infer", {**INFER, "agents": [5000]})[0] == 2, "more agents than the limit were begun")
    wire.result("end", {"policy": "hunter", "agents": list(range(1000))})
    for start in range(0, 200_000, 1000):
        wire.request("begin", {"policy": "hunter", "agents": list(range(start, start + 1000))})
        wire.request("end", {"policy": "hunter", "agents": list(range(start, start + 1000))})
        wire.receive()
        wire.receive()
    busy = 0
    frames = b"".join(struct.pack("<I", len(body)) + body for body in (
        msgpack.packb([0, 10_000 + i, "infer", [{**INFER, "agents": [1]}]]) for i in range(3000)))
    wire.socket.sendall(frames)
    for _ in range(3000):
        reply = wire.receive()
        busy += reply[2] is not None and reply[2][0] == 7
    body = msgpack.packb([0, 1, "infer", [{**INFER, "agents": [1]}]])
    wire.socket.sendall((struct.pack("<I", len(body)) + body) * 2)
    expect(target.closes(wire)[-1][2][0] == 1, "an id that is in flight was taken again")
    return f"1,000 agents at most; 200,000 ids came and went; of 3,000 requests at once {busy} got code 7 and all were answered"


def path_tricks(target: Target) -> str:
    (target.folder.parent / "secret.onnx").write_bytes(policy_path("hunter").read_bytes())
    (target.folder / "link.bin").symlink_to(target.folder.parent / "secret.onnx")
    words = set()
    tricks = ["../secret.onnx", str(target.folder.parent / "secret.onnx"), "link.bin", "x/../../secret.onnx", "..%2fsecret.onnx", "C:\\x",
              "\\\\host\\share", "hunter.onnx\0.txt", "/etc/passwd", "/proc/self/environ", "./hunter.onnx", "no.onnx", "", "a" * 5000,
              "hunter.toml/../hunter.onnx", "~/secret.onnx"]
    for path in tricks:
        reply = target.witness.ask("swap", {"policy": "hunter", "path": path})
        expect(reply[2] is not None and reply[2][0] == 2, f"{path!r} was taken")
        words.add(reply[2][1])
    expect(len(words) == 1, f"words tell what is there: {words}")
    expect(target.wire().code("swap", {"policy": "hunter", "path": "hunter.onnx"})[0] == 6, "a player swapped")
    return f"{len(tricks)} paths out of the folder: code 2, in the words of a missing file; without the role admin: code 6"


def token_guessing(target: Target) -> str:
    times: dict[str, list[float]] = {"x" * 32: [], "playe" + "x" * 27: []}
    for token in [None, "", "bos", "boss ", "BOSS", "#", 7, b"boss", ["boss"], "player infer"]:
        wire = Wire(target.tcp)
        expect(wire.code("hello", {"version": 1, "client": "a", "token": token})[0] == 6, f"{token!r} was taken")
        expect(wire.receive() is None, "the connection went on")
    for _ in range(100):
        for token, took in times.items():
            wire = Wire(target.tcp)
            start = time.perf_counter()
            wire.ask("hello", {"version": 1, "client": "a", "token": token})
            took.append(time.perf_counter() - start)
            wire.close()
    near, far = (sorted(took)[len(took) // 2] * 1e6 for took in times.values())
    return f"guesses: code 6, closed; a wrong token takes {near:.0f} µs, one with five right letters {far:.0f} µs"


def cross_site(target: Target) -> str:
    host, port = target.ws.removeprefix("ws://").rsplit(":", 1)
    seen = []
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://localhost"},
                    {"Origin": "https://game.example.evil.example"}, {"Origin": "https://game.example", "Sec-WebSocket-Protocol": "other"},
                    {"Origin": "https://game.example"}):
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        connection.request("GET", "/", headers={"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
                                                "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
                                                "Sec-WebSocket-Protocol": "cervello.1", **headers})
        seen.append(connection.getresponse().status)
        connection.close()
    expect(seen == [403, 403, 403, 403, 400, 101], f"expected 403 four times, 400, 101, got {seen}")
    expect(not target.wire().result("ping", {}), "no ping")
    return "pages of other sites: 403; another subprotocol: 400; the listed origin: 101"


def slow_reader(target: Target) -> str:
    wire = target.wire()
    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    wire.socket.settimeout(0.5)
    body = msgpack.packb([0, 7, "spec", [{"policy": "hunter"}]])
    frames = (struct.pack("<I", len(body)) + body) * 100
    asked = 0
    try:
        for _ in range(20_000):
            wire.socket.sendall(frames)
            asked += 100
    except OSError:
        pass
    else:
        raise Broken("a client that never reads was served for ever")
    wire.close()
    return f"a client that reads nothing was closed after {asked:,} requests (send_bytes 1 MiB)"


def kill_mid_frame(target: Target) -> str:
    for cut in (1, 3, 4, 5, 40, 200):
        wire = target.wire()
        wire.result("begin", {"policy": "hunter", "agents": list(range(50))})
        body = msgpack.packb([0, 9, "infer", [{**INFER, "agents": list(range(50)), "inputs": {"obs": ROW * 50}}]])
        wire.socket.sendall((struct.pack("<I", len(body)) + body)[:cut])
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, as of a process that is killed
        wire.close()
    until = time.monotonic() + 10
    while target.stats()["policies"]["hunter"]["agents"]:
        expect(time.monotonic() < until, "agents of killed clients are still there")
    return "clients reset in mid-frame: their agents ended"


# each with the bytes by which the server may grow
ATTACKS: list[tuple[Callable[[Target], str], int]] = [
    (depth_bomb, MIB), (length_bomb, 2 * MIB), (slow_loris, 2 * MIB), (half_frames, 2 * MIB), (id_flood, 16 * MIB), (path_tricks, 2 * MIB),
    (token_guessing, 2 * MIB), (cross_site, 4 * MIB), (slow_reader, 8 * MIB), (kill_mid_frame, 2 * MIB)]


def main() -> int:
    failed = 0
    listen, attacks = ["tcp://127.0.0.1:0", "ws://127.0.0.1:0"], ATTACKS
    if importlib.util.find_spec("websockets") is None:
        print("skipped cross site: the package websockets is not installed")
        listen, attacks = listen[:1], [each for each in ATTACKS if each[0] is not cross_site]
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work, "brains")
        folder.mkdir()
        shutil.copy(policy_path("hunter"), folder)
        Path(work, "tokens").write_text("boss\nplayer infer,record\n")
        Path(work, "serve.toml").write_text(CONFIG)
        with ServerProcess(folder, "--config", str(Path(work, "serve.toml")), listen=listen) as server:
            target = Target(server, folder)
            for _ in range(20):  # what the first connections need is there
                depth_bomb(target)
                target.wire().result("infer", {**INFER, "agents": [1]})
            for attack, allowed in attacks:
                name = attack.__name__.replace("_", " ")
                before = server.resident_bytes
                try:
                    held = attack(target)
                    expect(target.witness.result("ping", {}) == {}, "the other client was not answered")
                    grown = server.resident_bytes - before
                    expect(grown <= allowed, f"memory grew by {grown:,} bytes, allowed {allowed:,}")
                    print(f"held    {name:15} {held}; memory +{max(0, grown) / MIB:.2f} MiB", flush=True)
                except (Broken, AssertionError, OSError) as error:
                    failed += 1
                    print(f"BROKEN  {name:15} {error}", flush=True)
            target.witness.close()
    print(f"{len(attacks) - failed} of {len(attacks)} attacks held; the server ended well and logged no error")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
