"""What operating systems lack or name otherwise, and processes with many open files."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import small_models
from serving import served

import cervello
from cervello import bridge
from cervello.bridge import Options, Server
from cervello.bridge.stream_transport import set_socket_options


def test_unix_sockets_are_refused_by_name_where_there_are_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def refused() -> None:
        monkeypatch.delattr(socket, "AF_UNIX", raising=False)
        words = r"unix:.*expected tcp://host:port or ws://host:port, since this system has no Unix sockets"
        with pytest.raises(cervello.ConfigurationError, match=words):
            await Server.start(Options(tmp_path, listen=["unix:/run/s"]))
        with pytest.raises(cervello.ConfigurationError, match=words):
            await bridge.AsyncClient.connect("unix:/run/s")
        with pytest.raises(cervello.ConfigurationError, match=words):
            bridge.Client("unix:/run/s")

    asyncio.run(refused())


@pytest.mark.parametrize("name", ["TCP_KEEPIDLE", "TCP_KEEPALIVE"])  # as Linux and Windows call it, and as macOS does
def test_silent_connections_are_probed_after_a_minute(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for each in ("TCP_KEEPIDLE", "TCP_KEEPALIVE"):
        monkeypatch.delattr(socket, each, raising=False)
    monkeypatch.setattr(socket, name, 1234, raising=False)

    class Socket:
        family = socket.AF_INET

        def __init__(self) -> None:
            self.options: list[tuple[int, int, int]] = []

        def setsockopt(self, level: int, option: int, value: int) -> None:
            self.options.append((level, option, value))

    sock = Socket()
    set_socket_options(sock)
    assert (socket.IPPROTO_TCP, 1234, 60) in sock.options
    assert (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1) in sock.options


@pytest.fixture
def many_files() -> Iterator[None]:
    """More open files than `select` can number."""
    resource = pytest.importorskip("resource", reason="POSIX limits")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2048:
        pytest.skip(f"the system allows {hard} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (2048, hard))
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    yield
    for each in files:
        os.close(each)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.skipif(sys.platform == "win32", reason="its select numbers no files")
def test_a_client_works_in_a_process_with_many_open_files(tmp_path: Path, many_files: None) -> None:
    policy = cervello.load(small_models.counter(), wrappers="auto")
    with served({"sum": policy}, tmp_path) as running, bridge.Client(running.address) as client:
        remote = client.policy("sum")
        remote.begin([1])
        assert remote.infer([1], {"obs": np.ones((1, 1))}).result()["action"].tolist() == [[1.0]]
