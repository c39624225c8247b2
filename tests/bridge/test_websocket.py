"""The same messages over WebSockets."""

from __future__ import annotations

import socket
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import small_models
from serving import TIME_LIMIT_S, Running, served

import cervello
from cervello.bridge import Limits
from cervello.bridge.compiled_answer import CompiledAnswer

pytest.importorskip("websockets")
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect


def running(tmp_path: Path, **options: Any) -> Running:
    return served({"sum": cervello.load(small_models.counter(), wrappers="auto")}, tmp_path, listen=["ws://127.0.0.1:0"], **options)


def opened(address: str, **options: Any) -> Any:
    return connect(address + "/any?thing=1", **{"subprotocols": ["cervello.1"], "compression": None, **options})


def ask(socket: Any, number: int, method: str, params: Any) -> Any:
    socket.send(msgpack.packb([0, number, method, [params]]))
    reply = msgpack.unpackb(socket.recv(timeout=20))
    assert reply[1] == number
    return reply


def test_a_game_over_a_websocket_with_replies_of_a_megabyte(tmp_path: Path) -> None:
    with running(tmp_path) as server, opened(server.address, max_size=None) as socket:
        assert ask(socket, 1, "hello", {"version": 1, "client": "w"})[2] is None
        ids = list(range(60_000))
        rows = np.ones(60_000, "<f4")
        reply = ask(socket, 2, "infer", {"policy": "sum", "agents": ids, "begin": True, "inputs": {"obs": rows.tobytes()}})
        assert reply[3]["outputs"]["action"] == rows.tobytes()
        assert len(msgpack.packb(reply)) > 800_000
        assert len(server.server.state.sessions) == 1


@pytest.mark.parametrize(("options", "status"), [({"subprotocols": None}, 400), ({"subprotocols": ["other"]}, 400),
                                                 ({"origin": "https://evil.example"}, 403), ({"origin": "null"}, 403)])
def test_other_protocols_and_pages_that_are_not_listed_are_refused(tmp_path: Path, options: Any, status: int) -> None:
    with running(tmp_path, allow_origin=["https://game.example"]) as server:
        with pytest.raises(InvalidStatus) as refused:
            opened(server.address, **options)
        assert refused.value.response.status_code == status
        for origin in (None, "https://game.example"):
            with opened(server.address, origin=origin) as socket:
                assert ask(socket, 1, "hello", {"version": 1, "client": "w"})[2] is None


@pytest.mark.parametrize("message", ["text", b"", b"\xc1", b"\x91" * 20])
def test_bad_messages_are_answered_and_close(tmp_path: Path, message: Any) -> None:
    with running(tmp_path) as server, opened(server.address) as socket:
        ask(socket, 1, "hello", {"version": 1, "client": "w"})
        socket.send(message)
        reply = msgpack.unpackb(socket.recv(timeout=20))
        assert (reply[:2], reply[2][0], reply[3]) == ([1, None], 1, None)
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=20)


def test_half_messages_are_closed(tmp_path: Path) -> None:
    with running(tmp_path, limits=Limits(frame_timeout_s=0.3)) as server, opened(server.address) as socket:
        ask(socket, 1, "hello", {"version": 1, "client": "w"})
        socket.socket.sendall(b"\x82\xfe\x10\x00abcd")  # a head that promises 4,096 bytes
        start = time.monotonic()
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=10)
        assert time.monotonic() - start < 3


def test_a_connection_that_says_nothing_between_whole_messages_stays_open(tmp_path: Path) -> None:
    with running(tmp_path, limits=Limits(frame_timeout_s=0.2)) as server, opened(server.address) as socket:
        assert ask(socket, 1, "hello", {"version": 1, "client": "w"})[2] is None
        ping = msgpack.packb([0, 2, "ping", [{}]])
        for message in (ping, [ping[:3], ping[3:]]):  # whole, and in two fragments
            socket.send(message)
            assert msgpack.unpackb(socket.recv(timeout=20))[2] is None
            socket.ping()
            time.sleep(1.0)
        assert ask(socket, 3, "ping", {})[2] is None


def test_requests_of_one_form_are_answered_by_a_compiled_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answered = []
    answer = CompiledAnswer.answer

    def noted(*given: Any) -> Any:
        reply = answer(*given)
        answered.append(reply is not None)
        return reply

    monkeypatch.setattr(CompiledAnswer, "answer", noted)
    with running(tmp_path) as server, opened(server.address) as socket:
        ask(socket, 1, "hello", {"version": 1, "client": "w"})
        ask(socket, 2, "begin", {"policy": "sum", "agents": [5]})
        for n in range(1, 500):
            reply = ask(socket, n, "infer", {"policy": "sum", "agents": [5], "inputs": {"obs": np.ones(1, "<f4").tobytes()}, "tick": n})
            assert reply == [1, n, None, {"agents": [5], "outputs": {"action": np.full(1, n, "<f4").tobytes()}, "skipped": [], "version": 1,
                                          "tick": n}]
        assert any(answered)


def test_requests_that_come_in_one_read_are_one_batch(tmp_path: Path) -> None:
    """As over TCP, also when each of them alone is answered at once."""
    from websockets.frames import Frame, Opcode

    with running(tmp_path) as server, opened(server.address) as socket:
        ask(socket, 1, "hello", {"version": 1, "client": "w"})
        ask(socket, 2, "begin", {"policy": "sum", "agents": [1, 2, 3]})
        bodies = [msgpack.packb([0, len(ids), "infer", [{"policy": "sum", "agents": ids, "inputs": {"obs": bytes(4 * len(ids))}}]])
                  for ids in ([1], [2, 3])]  # of different lengths, so that the forms of both are known
        counts = server.server.state.policies["sum"].counters
        for body in bodies:
            for _ in range(30):
                socket.send(body)
                socket.recv(timeout=20)
        together = b"".join(bytes(Frame(Opcode.BINARY, body).serialize(mask=True)) for body in bodies)
        for _ in range(20):
            before = counts.batches
            socket.socket.sendall(together)
            assert sorted(msgpack.unpackb(socket.recv(timeout=20))[1] for _ in bodies) == [1, 2]
            assert counts.batches - before == 1


class Held(cervello.Clip):
    """A policy that decides when it is told to."""

    gate = threading.Event()
    reached = threading.Event()

    def inward(self, view: Any) -> None:
        self.reached.set()
        self.gate.wait(20)


def test_pings_are_answered_and_nobody_is_dropped_while_a_policy_runs(tmp_path: Path) -> None:
    held = cervello.load(small_models.counter(), wrappers=[Held("action", low=-1e9), cervello.Recurrent()])
    with served({"held": held}, tmp_path, listen=["ws://127.0.0.1:0"], limits=Limits(frame_timeout_s=0.3)) as server, \
            opened(server.address, ping_interval=0.1, ping_timeout=5) as socket, opened(server.address) as other:
        for each in (socket, other):
            assert ask(each, 1, "hello", {"version": 1, "client": "w"})[2] is None
        socket.send(msgpack.packb([0, 2, "infer", [{"policy": "held", "agents": [1], "begin": True, "inputs": {"obs": bytes(4)}}]]))
        assert Held.reached.wait(20)
        until_s = time.monotonic() + 1.0
        while time.monotonic() < until_s:
            for each in (socket, other):
                assert each.ping().wait(20)
            assert ask(other, 3, "ping", {})[2] is None
            time.sleep(0.05)
        Held.gate.set()
        assert msgpack.unpackb(socket.recv(timeout=20))[:3] == [1, 2, None]


def test_draining_closes_with_1001(tmp_path: Path) -> None:
    with running(tmp_path) as server, opened(server.address) as socket:
        ask(socket, 1, "hello", {"version": 1, "client": "w"})
        server.stop()
        assert msgpack.unpackb(socket.recv(timeout=20))[2][0] == 11
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=20)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001


def test_metrics_health_and_readiness(tmp_path: Path) -> None:
    pytest.importorskip("prometheus_client")
    with running(tmp_path, metrics="127.0.0.1:0") as server, opened(server.address) as socket:
        ask(socket, 1, "hello", {"version": 1, "client": "w"})
        ask(socket, 2, "infer", {"policy": "sum", "agents": [1, 2], "begin": True, "inputs": {"obs": bytes(8)}})
        base = server.server.metrics_address
        assert base is not None
        text = urllib.request.urlopen(base + "/metrics", timeout=10).read().decode()
        assert 'cervello_rows_total{policy="sum"} 2.0' in text
        assert 'cervello_agents{policy="sum"} 2.0' in text
        assert 'cervello_batch_rows_bucket{le="2.0",policy="sum"} 1.0' in text
        for page in ("/health", "/ready"):
            assert urllib.request.urlopen(base + page, timeout=10).status == 200


def test_connections_that_send_no_handshake_are_limited(tmp_path: Path) -> None:
    limits = Limits(connections=1, frame_timeout_s=30.0)
    with running(tmp_path, limits=limits) as server:
        host, port = server.address.removeprefix("ws://").rsplit(":", 1)
        silent = [socket.create_connection((host, int(port)), TIME_LIMIT_S) for _ in range(40)]
        ended = 0
        for each in silent:
            each.settimeout(0.2)
            try:
                ended += each.recv(1) == b""
            except TimeoutError:
                pass
            except ConnectionResetError:
                ended += 1
        assert ended == 40 - 2 * limits.connections - 16
        for each in silent:
            each.close()
        time.sleep(0.2)
        with opened(server.address) as again:  # those that have gone leave room
            assert ask(again, 1, "hello", {"version": 1, "client": "w"})[2] is None
