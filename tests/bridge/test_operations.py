"""What an operator runs."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
import small_models
from server_process import ServerProcess

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
                found = subprocess.run([sys.executable, str(ROOT / "scripts" / "move_agents.py"), old.address, new.address, "--policy", name,
                                        "--agents", "120", "--pieces", "4", "--check", str(folder / f"{name}.onnx")],
                                       capture_output=True, text=True, timeout=60, check=False)
                assert found.returncode == 0, found.stdout + found.stderr
                assert "120 agents moved in 4 pieces over 6 frames; 0 left behind; 0 frames differ" in found.stdout
        finally:
            stop.set()
            for thread in threads:
                thread.join(20)
