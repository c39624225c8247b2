"""Servers that start, or say why they cannot."""

from __future__ import annotations

import json
import socket
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgpack
import pytest
import small_models
from serving import Running, served

import cervello
from cervello import recording
from cervello.bridge import Options, compiled_answer
from cervello.bridge.tokens import Tokens
from cervello.errors import ConfigurationError, MissingFileError, RecordingError


def policy(data: bytes, **options: Any) -> cervello.Policy:
    return cervello.load(data, **{"wrappers": "auto", **options})


def test_a_policy_that_cannot_be_served_and_files_that_are_not_there_are_refused_at_start(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(MissingFileError, match="found none"):
        Running(Options(empty, listen=["tcp://127.0.0.1:0"])).__enter__()
    (empty / "p.onnx").write_bytes(small_models.feed_forward())
    (empty / "p.toml").write_text("sed = 7\n")
    with pytest.raises(ConfigurationError, match="'sed'"):
        Running(Options(empty, listen=["tcp://127.0.0.1:0"])).__enter__()
    (empty / "p.toml").write_text("seed = 7\n")
    with pytest.raises(ConfigurationError, match="token file"):
        Running(Options(empty, listen=["tcp://0.0.0.0:0"])).__enter__()
    with Running(Options(empty, listen=["tcp://127.0.0.1:0"], ready_file=tmp_path / "ready")) as running:
        assert json.loads((tmp_path / "ready").read_text()) == running.server.addresses
        assert running.server.state.policies["p"].policy.seed == 7
        with pytest.raises(OSError, match=running.address.rsplit(":", 1)[1]):
            Running(Options(empty, listen=[running.address])).__enter__()


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no Unix sockets")
def test_unix_sockets_replace_a_file_on_which_nobody_answers(tmp_path: Path) -> None:
    path = tmp_path / "s"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    brains = {"sum": policy(small_models.counter())}
    with served(brains, tmp_path, listen=[f"unix:{path}"]):
        live = socket.socket(socket.AF_UNIX)
        live.connect(str(path))
        body = msgpack.packb([0, 1, "hello", [{"version": 1, "client": "a"}]])
        live.sendall(struct.pack("<I", len(body)) + body)
        assert live.recv(4)
        live.close()
        with pytest.raises(OSError, match="in use"):
            served({"sum": policy(small_models.counter())}, tmp_path, listen=[f"unix:{path}"]).__enter__()
    assert not path.exists()


def test_a_server_that_cannot_write_its_ready_file_or_recordings_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    n_threads = threading.active_count()
    for options, words in (({"ready_file": tmp_path / "missing" / "ready"}, "ready file '.*ready': expected a file that can be written"),
                           ({"record": tmp_path / "file"}, "record '.*file': expected a folder")):
        with pytest.raises(ConfigurationError, match=words):
            served({"sum": policy(small_models.counter())}, tmp_path, listen=[f"tcp://127.0.0.1:{port}"],
                   **options).__enter__()
        with socket.create_server(("127.0.0.1", port)):
            pass
    (tmp_path / "logs" / "b.log").mkdir(parents=True)
    with pytest.raises(RecordingError, match=r"b\.log"):
        served({name: policy(small_models.counter()) for name in "ab"}, tmp_path, record=tmp_path / "logs").__enter__()
    recording.Writer(tmp_path / "logs" / "a.log").close()
    until = time.monotonic() + 10
    while threading.active_count() > n_threads:
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_policy_whose_name_is_not_utf_8_is_refused_at_start(tmp_path: Path) -> None:
    try:
        (tmp_path / "bad\udcff.onnx").write_bytes(small_models.feed_forward())
    except (OSError, UnicodeError):
        pytest.skip("the file system takes no such name")
    with pytest.raises(ConfigurationError, match=r"bad.*\.onnx'*: expected a name of UTF-8"):
        Running(Options(tmp_path, listen=["tcp://127.0.0.1:0"])).__enter__()


def test_a_token_file_of_a_windows_editor_is_read(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_bytes(b"\xef\xbb\xbffirst\r\nsecond infer\r\n")
    tokens = Tokens(tmp_path / "tokens")
    assert tokens.roles("first") == ("infer", "record", "admin")
    assert tokens.roles("second") == ("infer",)


def test_without_the_package_websockets_the_extra_is_named_and_the_port_is_free_again(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setitem(sys.modules, "cervello.bridge.websocket_listener", None)
    monkeypatch.delattr(cervello.bridge, "websocket_listener", raising=False)
    with pytest.raises(ConfigurationError, match="expected the package websockets, found none; install the extra 'serve'"):
        served({"sum": policy(small_models.counter())}, tmp_path, listen=[f"ws://127.0.0.1:{port}"]).__enter__()
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_a_server_whose_kernels_do_not_compile_leaves_no_recording_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ConfigurationError("no folder for compiled code")

    monkeypatch.setattr(compiled_answer, "link_kernels", fail)
    options = Options(tmp_path, listen=["tcp://127.0.0.1:0"], record=tmp_path / "logs")
    with pytest.raises(ConfigurationError, match="no folder"):
        Running(options, {"sum": (policy(small_models.counter()), tmp_path / "sum.onnx")}).__enter__()
    assert not (tmp_path / "logs").exists()
