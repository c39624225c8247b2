"""One client, several threads: whoever waits reads for all, and keeps nobody from sending, looking or closing."""

from __future__ import annotations

import socket
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import small_models
from serving import served

import cervello
from cervello import bridge
from cervello.bridge.framing import Deframer, framed
from cervello.errors import ServerGoneError


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that answers `hello` and nothing else, and reads all."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        deframer = Deframer(1 << 24)
        with connection:
            while data := connection.recv(1 << 16):
                for body in deframer.feed(data):
                    message = msgpack.unpackb(body)
                    if message[2] == "hello":
                        told = {"version": 1, "limits": {"frame_bytes": 1 << 24}, "policies": []}
                        connection.sendall(framed(msgpack.packb([1, message[1], None, told])))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()
    thread.join(10)
    assert not thread.is_alive()


def waits(client: bridge.Client, found: list[Any]) -> threading.Thread:
    """A thread that waits for an answer which does not come."""
    def wait() -> None:
        try:
            client.ping(timeout_s=20)
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    while not client._is_read:
        time.sleep(0.001)
    return thread


def test_a_thread_that_waits_delays_no_other(silent: str) -> None:
    found: list[Any] = []
    with bridge.Client(silent) as client:
        thread = waits(client, found)
        took = []
        for _ in range(50):
            time.sleep(0.005)  # the thread that waits is back where it waits
            start = time.perf_counter()
            client.poll()
            client._send("ping", {})
            took.append(time.perf_counter() - start)
        assert statistics.median(took) < 0.01
    thread.join(10)
    assert not thread.is_alive()


def test_closing_ends_the_wait_of_another_thread(silent: str) -> None:
    found: list[Any] = []
    client = bridge.Client(silent)
    thread = waits(client, found)
    client.close()
    thread.join(10)
    assert not thread.is_alive()
    assert isinstance(found[0], ServerGoneError)
    assert "closed here" in str(found[0])


def test_each_thread_gets_its_own_answers(tmp_path: Path) -> None:
    policy = cervello.load(small_models.counter(), wrappers=[cervello.Recurrent()])
    wrong: list[Any] = []
    with served({"sum": policy}, tmp_path) as running, bridge.Client(running.address) as client:
        remote = client.policy("sum")

        def play(agent: int) -> None:
            remote.begin([agent])
            pending = []
            for step in range(1, 60):
                pending.append(remote.infer([agent], {"obs": np.full((1, 1), agent, np.float32)}))
                if step % 3 == 0:  # three on their way at once
                    answers = [each.result(timeout_s=20)["action"][0, 0] for each in pending]
                    if answers != [agent * back for back in range(step - 2, step + 1)]:
                        wrong.append((agent, step, answers))
                    pending.clear()

        threads = [threading.Thread(target=play, args=(agent,), daemon=True) for agent in range(1, 6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
    assert not wrong
