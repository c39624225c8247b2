"""`cervello serve` as its users run it: a process, signals, exit codes, clients that outlive it."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import small_models

import cervello
from cervello import bridge, recording

TIME_LIMIT_S = 60.0
needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


@pytest.fixture(scope="module")
def brains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("brains")
    (folder / "sum.onnx").write_bytes(small_models.counter())
    return folder


@contextmanager
def serving(brains: Path, *options: str, listen: str = "tcp://127.0.0.1:0") -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen([sys.executable, "-m", "cervello", "serve", str(brains), "--listen", listen, *options],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("listening "), process.communicate(timeout=TIME_LIMIT_S)
        yield process, line.split()[1]
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=TIME_LIMIT_S)


@needs_signals
def test_a_server_that_goes_away_one_that_dies_and_lost_agents_are_three_errors(brains: Path) -> None:
    row = {"obs": np.ones((1, 1))}
    with serving(brains) as (process, address), bridge.Client(address, connect_timeout_s=5) as client:
        policy = client.policy("sum")
        policy.begin([1])
        assert policy.infer([1], row).result()["action"].tolist() == [[1.0]]
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        with pytest.raises(cervello.DrainingError, match=r"tcp://.*infer"):
            policy.infer([1], row).result(timeout_s=5)
        assert process.wait(TIME_LIMIT_S) == 0
        with pytest.raises(cervello.DrainingError):
            policy.infer([1], row).result()
    with serving(brains) as (process, address), bridge.Client(address, reconnect=True, connect_timeout_s=2) as client:
        policy = client.policy("sum")
        policy.begin([1])
        process.kill()
        process.wait(TIME_LIMIT_S)
        for _ in range(2):
            with pytest.raises(cervello.ServerGoneError, match=r"tcp://.*(infer|connect)"):
                policy.infer([1], row).result(timeout_s=5)
        port = int(address.rpartition(":")[2])
        with (socket.create_server(("127.0.0.1", port)),  # it takes connections and answers nothing
              pytest.raises(cervello.ServerGoneError, match="hello: expected an answer within 2 s")):
            policy.infer([1], row)
        with serving(brains, listen=address):  # the same address, at once
            with pytest.raises(cervello.AgentsLostError, match="1 are lost"):
                policy.infer([1], row)
            with pytest.raises(cervello.RefusedError) as refused:
                policy.infer([1], row).result()
            assert refused.value.code == 5
            policy.begin([1])
            assert policy.infer([1], row).result()["action"].tolist() == [[1.0]]


@needs_signals
def test_a_killed_server_has_recorded_what_it_answered(brains: Path, tmp_path: Path) -> None:
    with serving(brains, "--record", str(tmp_path)) as (process, address), bridge.Client(address) as client:
        policy = client.policy("sum")
        policy.begin([4])
        for _ in range(20):
            policy.infer([4], {"obs": np.ones((1, 1))}).result()
            policy.reward([4], [1.0], wait=True)
        process.kill()
        process.wait(TIME_LIMIT_S)
    episodes = list(recording.read(tmp_path / "sum.log"))
    assert [len(episode) for episode in episodes] == [20]
    assert episodes[0].total_reward == 20.0
    assert not episodes[0].finished


def test_a_busy_port_is_named_and_options_that_make_no_sense_are_refused(brains: Path, tmp_path: Path) -> None:
    def fails(*options: str) -> str:
        found = subprocess.run([sys.executable, "-m", "cervello", "serve", *options], capture_output=True, text=True, timeout=TIME_LIMIT_S)
        assert found.returncode == 2, found
        return found.stderr

    taken = socket.create_server(("127.0.0.1", 0))
    port = taken.getsockname()[1]
    busy = fails(str(brains), "--listen", f"tcp://127.0.0.1:{port}")
    assert busy == (f"cervello: listen tcp://127.0.0.1:{port}: expected a free address, got Address already in use; end the other "
                    "server, or take another port (0 takes a free one)\n")
    taken.close()
    missing = tmp_path / "missing"
    nowhere = fails(str(brains), "--listen", f"unix:{missing}/s")
    assert nowhere == f"cervello: listen unix:{missing}/s: expected a folder '{missing}', found none; make it\n"
    assert "found none; write one with a token a line" in fails(str(brains), "--token-file", str(missing))
    assert "token file" in fails(str(brains), "--listen", "tcp://0.0.0.0:0")
    assert "expected tcp://" in fails(str(brains), "--listen", "http://127.0.0.1:0")
    config = tmp_path / "serve.toml"
    config.write_text("drain = 3\n")
    assert "'drain'" in fails(str(brains), "--config", str(config))
    assert "--busy-poll-us" in fails(str(brains), "--busy-poll-us", "-1")
    config.write_text("[limits]\nagents = -1\n")
    assert "agents" in fails(str(brains), "--config", str(config))


@needs_signals
def test_ready_file_config_and_log_lines(brains: Path, tmp_path: Path) -> None:
    config = tmp_path / "serve.toml"
    config.write_text('ready_file = "ready.json"\nserver = "night"\n[limits]\nagents = 7\n')
    with serving(brains, "--config", str(config)) as (process, address):
        with bridge.Client(address) as client:
            assert client.hello["server"] == "night"
            assert client.hello["limits"]["agents"] == 7
        until = time.monotonic() + 10
        while not (tmp_path / "ready.json").exists():
            assert time.monotonic() < until
        assert json.loads((tmp_path / "ready.json").read_text()) == [address]
        process.send_signal(signal.SIGINT)
        _, log = process.communicate(timeout=TIME_LIMIT_S)
        assert process.returncode == 0
        assert all(json.loads(line)["level"] == "info" for line in log.splitlines())


def test_nobody_there_and_somebody_else_there_are_told_apart() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"tcp://127.0.0.1:{mute.getsockname()[1]}"
        start = time.monotonic()
        with pytest.raises(cervello.ServerGoneError, match="hello: expected an answer within"):
            bridge.Client(address, connect_timeout_s=0.3)
        assert time.monotonic() - start < 3
    with pytest.raises(cervello.ServerGoneError, match="connect: expected a server"):
        bridge.Client(address, connect_timeout_s=0.3)
    with pytest.raises(cervello.ConfigurationError, match="expected tcp://"):
        bridge.Client("http://127.0.0.1:1")


def test_a_future_never_blocks_the_frame_and_bad_columns_are_refused_here(brains: Path) -> None:
    with serving(brains) as (_, address), bridge.Client(address) as client:
        policy = client.policy("sum")
        policy.begin([1, 2], streams=[5, 6])
        with pytest.raises(cervello.InputError, match="obs"):
            policy.infer([1, 2], {"obs": np.ones((1, 1))})
        with pytest.raises(cervello.InputError, match="smell"):
            policy.infer([1], {"obs": np.ones((1, 1)), "smell": np.ones((1, 1))})
        pending = policy.infer([2, 1], {"obs": [[1.0], [2.0]]}, tick=9)
        try:
            answer = pending.result(timeout_s=0.0)
        except cervello.LateAnswerError:
            answer = pending.result(timeout_s=10)
        assert answer.agents.tolist() == [2, 1]
        assert answer["action"].tolist() == [[1.0], [2.0]]
        assert answer.tick == 9
        policy.reward(answer.agents, [1.0, 2.0])
        policy.end([1], terminated=True, inputs={"obs": [[0.0]]})
        with pytest.raises(cervello.RefusedError, match="code 5"):
            policy.end([1], wait=True)


def test_damaged_frames_are_answered_or_close_and_log_no_error() -> None:
    script = Path(__file__).resolve().parents[2] / "scripts" / "fuzz_bridge.py"
    found = subprocess.run([sys.executable, str(script), "--frames", "5000"], capture_output=True, text=True, timeout=TIME_LIMIT_S)
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_client_for_asyncio(brains: Path) -> None:
    async def play(address: str) -> None:
        async with await bridge.AsyncClient.connect(address) as client:
            policy = await client.policy("sum")
            assert (await policy.begin([1, 2])).shape == (2,)
            answers = await asyncio.gather(*(policy.infer([agent], {"obs": [[float(agent)]]}) for agent in (1, 2)))
            assert [answer["action"].tolist() for answer in answers] == [[[1.0]], [[2.0]]]
            await policy.reward([1], [0.5])
            await policy.end([1], terminated=True)
            with pytest.raises(cervello.RefusedError, match="code 5"):
                await policy.infer([1], {"obs": [[0.0]]})
        with pytest.raises(cervello.ServerGoneError):
            await policy.begin([3])
        with pytest.raises(cervello.ServerGoneError, match="connect"):
            await bridge.AsyncClient.connect("tcp://127.0.0.1:1", connect_timeout_s=1)

    with serving(brains) as (_, address):
        asyncio.run(play(address))
