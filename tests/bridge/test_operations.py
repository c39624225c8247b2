"""What an operator runs."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest
import small_models
from server_process import ServerProcess, wait_until

import cervello
from cervello import bridge

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_agents_move_from_one_server_to_another_under_load_bitwise(tmp_path: Path) -> None:
    folder = tmp_path / "brains"
    folder.mkdir()
    for name, data in (("noisy", small_models.noisy()), ("sum", small_models.counter())):
        (folder / f"{name}.onnx").write_bytes(data)
    stop = threading.Event()

    def load(address: str) -> None:
        with bridge.Client(address, name="load") as client:
            policies = [client.policy(name) for name in ("noisy", "sum")]
            while not stop.is_set():
                for policy, width in zip(policies, (6, 1), strict=True):
                    policy.infer(range(50), {"obs": [[0.5] * width] * 50}, begin=True).result()

    with ServerProcess(folder) as old, ServerProcess(folder) as new:
        threads = [threading.Thread(target=load, args=(each.address,)) for each in (old, new)]
        for thread in threads:
            thread.start()
        try:
            for name in ("noisy", "sum"):
                command = [sys.executable, str(ROOT / "scripts" / "move_agents.py"), old.address, new.address, "--policy", name]
                found = subprocess.run([*command, "--agents", "120", "--pieces", "4", "--check", str(folder / f"{name}.onnx")],
                                       capture_output=True, text=True, timeout=60, check=False)
                assert found.returncode == 0, found.stdout + found.stderr
                assert "120 agents moved in 4 pieces over 6 frames; 0 left behind; 0 frames differ" in found.stdout
        finally:
            stop.set()
            for thread in threads:
                thread.join(20)


def test_options_of_the_command_do_what_they_say(tmp_path: Path) -> None:
    """Those that other tests do not start a process for: --token-file, --metrics, --drain-s, --max-wait-us, --ready-file, --log-level."""
    pytest.importorskip("prometheus_client")
    folder = tmp_path / "brains"
    folder.mkdir()
    (folder / "sum.onnx").write_bytes(small_models.counter())
    (folder / "sum.toml").write_text('rename = {obs = "sight"}\n')
    (tmp_path / "tokens").write_text("player infer\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    options = ["--token-file", str(tmp_path / "tokens"), "--metrics", f"127.0.0.1:{port}", "--drain-s", "3", "--max-wait-us", "300000",
               "--ready-file", str(tmp_path / "ready"), "--log-level", "warning"]
    with ServerProcess(folder, *options, listen=["tcp://0.0.0.0:0"]) as server:
        address = server.address.replace("0.0.0.0", "127.0.0.1")
        assert json.loads((tmp_path / "ready").read_text()) == [server.address]
        with pytest.raises(cervello.RefusedError, match="code 6"):
            bridge.Client(address, token="guess")
        with bridge.Client(address, token="player") as client:
            assert client.hello["roles"] == ["infer"]
            policy = client.policy("sum")
            start = time.monotonic()
            assert policy.infer([1], {"sight": [[2.0]]}, begin=True).result()["action"].tolist() == [[2.0]]
            assert time.monotonic() - start > 0.25  # it waited for company
            pages = {page: urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=10).read() for page in ("metrics", "ready")}
            assert b'cervello_rows_total{policy="sum"} 1.0' in pages["metrics"]
            assert pages["ready"] == b"ready\n"
            server.process.terminate()
            wait_until(lambda: server.process.poll() is not None)
            with pytest.raises(cervello.DrainingError):
                policy.infer([1], {"sight": [[2.0]]}).result()
        assert server.log() == ""
