"""A real server in a process of its own, driven by the Python client: what it answers is bit for bit what the policy decides here."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_models

import cervello
from cervello import bridge
from cervello.demo import policy_path
from cervello.errors import BridgeError, ConfigurationError, InputError, RefusedError

OBSERVATIONS = np.random.default_rng(0).standard_normal((8, 9)).astype(np.float32)


class Served:
    """A running `cervello serve`."""

    def __init__(self, folder: Path, *arguments: str):
        environment = {**os.environ, "PYTHONPATH": str(Path(cervello.__file__).parent.parent)}
        command = [sys.executable, "-m", "cervello", "serve", str(folder), "--listen", "tcp://127.0.0.1:0", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("listening tcp://127.0.0.1:"), (line, self.process.stderr.read() if self.process.stderr else "")
        self.address = line.split()[1]

    def stop(self, how: int = signal.SIGTERM) -> tuple[int, str]:
        """(exit status, log)."""
        self.process.send_signal(how)
        _, log = self.process.communicate(timeout=60)
        return self.process.returncode, log


@pytest.fixture
def brains(tmp_path: Path) -> Path:
    folder = tmp_path / "brains"
    folder.mkdir()
    shutil.copy(policy_path("hunter"), folder / "hunter.onnx")
    (folder / "hunter.toml").write_text('wrappers = "auto"\nseed = 5\n', encoding="utf-8")
    (folder / "plain.onnx").write_bytes(small_models.feed_forward())
    return folder


@pytest.fixture
def served(brains: Path) -> Iterator[Served]:
    server = Served(brains)
    yield server
    if server.process.poll() is None:
        status, log = server.stop()
        assert status == 0, log
        assert "Traceback" not in log, log


def local() -> Any:
    return cervello.load(policy_path("hunter"), wrappers="auto", seed=5)


def test_replies_are_the_local_policy_s_bit_for_bit(served: Served) -> None:
    ids = list(range(8))
    policy = local()
    policy.begin_agents(ids, stream=3, episode=0)
    with bridge.Client(served.address, connect_timeout_s=20) as client:
        hunters = client.policy("hunter")
        hunters.begin(ids, streams=[3] * 8)
        for _ in range(3):
            answer = hunters.infer(ids, {"obs": OBSERVATIONS}).result(timeout_s=20)
            assert list(answer.agents) == ids
            assert answer["action"].tobytes() == policy.infer_batch(ids, {"obs": OBSERVATIONS})["action"].tobytes()
        hunters.end(ids)


def test_clients_do_not_meet(served: Served) -> None:
    policy = local()
    policy.begin_agents([0, 1], stream=0, episode=0)
    expected = [policy.infer_batch([0, 1], {"obs": OBSERVATIONS[:2]})["action"].tobytes() for _ in range(2)]
    with bridge.Client(served.address, connect_timeout_s=20) as one, bridge.Client(served.address, connect_timeout_s=20) as two:
        sides = [one.policy("hunter"), two.policy("hunter")]
        for side in sides:
            side.begin([0, 1], streams=[0, 0])
        for step in range(2):
            pending = [side.infer([0, 1], {"obs": OBSERVATIONS[:2]}) for side in sides]
            assert [each.result(timeout_s=20)["action"].tobytes() for each in pending] == [expected[step]] * 2


def test_refusals_name_what_is_wrong_and_change_nothing(served: Served) -> None:
    with bridge.Client(served.address, connect_timeout_s=20) as client:
        hunters = client.policy("hunter")
        hunters.begin([1])
        for code, act in ((9, lambda: hunters.begin([1])), (5, lambda: hunters.infer([2], {"obs": OBSERVATIONS[:1]}).result(timeout_s=20))):
            with pytest.raises(RefusedError) as refused:
                act()
            assert refused.value.code == code
        with pytest.raises(InputError, match="nothing"):
            hunters.infer([1], {"nothing": OBSERVATIONS[:1]})
        assert hunters.infer([1], {"obs": OBSERVATIONS[:1]}).result(timeout_s=20)["action"].shape == (1, 2)


def test_a_server_that_drains_says_so_and_a_dead_one_is_told_apart(brains: Path) -> None:
    server = Served(brains)
    client = bridge.Client(server.address, connect_timeout_s=20)
    plain = client.policy("plain")
    plain.begin([1])
    status, log = server.stop()
    assert status == 0, log
    with pytest.raises(BridgeError):
        plain.infer([1], {"obs": np.zeros((1, 6), np.float32)}).result(timeout_s=20)
    client.close()
    with pytest.raises(BridgeError, match=r"127\.0\.0\.1"):
        bridge.Client(server.address, connect_timeout_s=2)


def test_a_folder_that_is_not_there_is_the_user_s_error(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cervello", "serve", str(tmp_path / "nothing")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60,
                          env={**os.environ, "PYTHONPATH": str(Path(cervello.__file__).parent.parent)})
    assert done.returncode == 2
    assert "nothing" in done.stderr
    assert "Traceback" not in done.stderr


def test_addresses_are_checked() -> None:
    with pytest.raises(ConfigurationError):
        bridge.Client("udp://127.0.0.1:1")
