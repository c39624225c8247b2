"""What a game's frame may rely on, with a server process and real sockets."""

from __future__ import annotations

import os
import signal
import socket
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_models
from server_process import ServerProcess
from serving import served

import cervello
from cervello import bridge

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
FRAME_S = 0.016


@pytest.fixture(scope="module")
def brains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("brains")
    (folder / "sum.onnx").write_bytes(small_models.counter())
    (folder / "walk.onnx").write_bytes(small_models.feed_forward())
    return folder


@pytest.fixture(scope="module")
def server(brains: Path) -> Iterator[ServerProcess]:
    with ServerProcess(brains) as running:
        yield running


@pytest.mark.parametrize("server_does", ["answers", "stops", "dies", "drips"])
def test_poll_returns_within_a_frame_whatever_the_server_does(brains: Path, server_does: str) -> None:
    def poll_many(client: bridge.Client) -> float:
        took = []
        for _ in range(60):
            start = time.perf_counter()
            client.poll()
            took.append(time.perf_counter() - start)
            time.sleep(0.001)
        return statistics.median(took)

    with ServerProcess(brains) as running, bridge.Client(running.address) as client:
        policy = client.policy("sum")
        policy.begin([1])
        if server_does in ("stops", "drips"):
            running.process.send_signal(signal.SIGSTOP)
        if server_does == "dies":
            running.kill()
            with pytest.raises(cervello.ServerGoneError, match=rf"{running.address}, infer"):
                policy.infer([1], {"obs": [[1.0]]})
            assert poll_many(client) < FRAME_S
            return
        pending = [policy.infer([1], {"obs": [[1.0]]}) for _ in range(2000 if server_does == "drips" else 1)]
        assert poll_many(client) < FRAME_S
        if server_does == "stops":
            assert not pending[0].done()
        running.process.send_signal(signal.SIGCONT)
        if server_does != "drips":  # which goes over the limit of requests in flight
            assert pending[0].result(timeout_s=20)["action"].tolist() == [[1.0]]
        else:
            assert poll_many(client) < FRAME_S
            answers, codes = [], set()
            for each in pending:
                try:
                    answers.append(each.result(timeout_s=20)["action"].item())
                except cervello.RefusedError as error:
                    codes.add(error.code)
            assert codes <= {7}  # said, never dropped
            assert answers == [float(i + 1) for i in range(len(answers))]
            assert len(answers) >= 256


def test_a_server_that_never_says_hello_costs_the_time_that_was_given(brains: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        start = time.monotonic()
        with pytest.raises(cervello.ServerGoneError, match=r"tcp://127\.0\.0\.1:\d+, hello: expected an answer within 0\.2 s"):
            bridge.Client(f"tcp://127.0.0.1:{mute.getsockname()[1]}", connect_timeout_s=0.2)
        assert 0.15 < time.monotonic() - start < 5


def test_without_an_answer_there_is_an_error_and_never_a_substitute(brains: Path) -> None:
    with ServerProcess(brains) as running, bridge.Client(running.address) as client:
        policy = client.policy("sum")
        policy.begin([1])
        running.process.send_signal(signal.SIGSTOP)
        pending = policy.infer([1], {"obs": [[1.0]]}, tick=7)
        for timeout_s in (0.0, 0.05):
            with pytest.raises(cervello.LateAnswerError, match=rf"{running.address}, infer: expected an answer within"):
                pending.result(timeout_s=timeout_s)
        running.process.send_signal(signal.SIGCONT)
        assert pending.result(timeout_s=20)["action"].tolist() == [[1.0]]  # the real one, once it is there
        running.process.send_signal(signal.SIGSTOP)
        pending = policy.infer([1], {"obs": [[1.0]]})
        running.kill()
        with pytest.raises(cervello.ServerGoneError, match=f"{running.address}, infer: "):
            pending.result(timeout_s=20)
        with pytest.raises(cervello.ServerGoneError):
            policy.infer([1], {"obs": [[1.0]]}).result()


def test_late_answers_carry_their_tick_and_can_be_dropped(tmp_path: Path) -> None:
    class Slow(cervello.Clip):
        def inward(self, view: Any) -> None:
            time.sleep(0.15)

    slow = cervello.load(small_models.counter(), wrappers=[Slow("action", low=-1e9), cervello.Recurrent()])
    with served({"sum": slow}, tmp_path) as running, bridge.Client(running.address) as client:
        policy = client.policy("sum")
        policy.begin([1])
        sent = []
        for tick in range(4):
            sent.append(policy.infer([1], {"obs": [[1.0]]}, tick=tick))
            time.sleep(0.02)  # the game's frame
        with pytest.raises(cervello.LateAnswerError):
            sent[-1].result(timeout_s=0.001)
        late = [each.result(timeout_s=20) for each in sent]
        assert [answer.tick for answer in late] == [0, 1, 2, 3]
        current = [answer for answer in late if answer.tick == 3]
        assert [answer["action"].item() for answer in current] == [4.0]


def test_replies_and_requests_of_megabytes_arrive_and_longer_ones_name_the_limit(tmp_path: Path) -> None:
    folder = tmp_path / "brains"
    folder.mkdir()
    (folder / "same.onnx").write_bytes(small_models.feed_forward(width=8, hidden=4, actions=8))
    (folder / "wide.onnx").write_bytes(small_models.feed_forward(width=12, hidden=4, actions=2))
    ids = np.arange(40_000)
    rows = np.random.default_rng(0).standard_normal((40_000, 8)).astype(np.float32)
    local = cervello.load(folder / "same.onnx")
    local.begin_agents(ids)
    expected = local.infer_batch(ids, {"obs": rows})["action"].tobytes()
    assert len(expected) > 1 << 20  # requests and replies are longer than msgpack's own default limit
    config = tmp_path / "serve.toml"
    config.write_text("[limits]\nframe_bytes = 1_900_000\n")
    with ServerProcess(folder, "--config", str(config), listen=["tcp://127.0.0.1:0", f"unix:{tmp_path}/s"]) as running:
        for address in running.addresses:
            with bridge.Client(address) as client:
                policy = client.policy("same")
                answer = policy.infer(ids, {"obs": rows}, begin=True).result(timeout_s=30)
                assert answer["action"].tobytes() == expected
                with pytest.raises(cervello.ConfigurationError, match="1900000 bytes, the server's frame_bytes"):
                    client.policy("wide").infer(ids, {"obs": np.zeros((40_000, 12))}).result()
                assert client.ping(timeout_s=20) > 0


def test_no_frame_waits_for_a_delayed_acknowledgement(server: ServerProcess) -> None:
    """A notify and a request are two small writes: with Nagle's algorithm on either end each pair takes 40 ms."""
    with bridge.Client(server.address) as client:
        assert client._connection is not None
        assert client._connection._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        policy = client.policy("sum")
        policy.begin([1])
        took = []
        for _ in range(200):
            start = time.perf_counter()
            pending = policy.infer([1], {"obs": [[1.0]]})
            policy.reward([1], [1.0])
            policy.infer([1], {"obs": [[1.0]]}).result()
            pending.result()
            took.append(time.perf_counter() - start)
        policy.end([1])
    assert statistics.median(took) < 0.02
    assert sorted(took)[197] < 0.04 or os.getloadavg()[0] > 1.0  # p99; a busy machine says nothing about it


def test_the_server_sends_small_frames_at_once(tmp_path: Path) -> None:
    with served({"sum": cervello.load(small_models.counter(), wrappers="auto")}, tmp_path) as running, bridge.Client(running.address):
        (transport,) = running.server._transports
        sock = transport._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_steps_in_lockstep_wait_for_no_clock(server: ServerProcess) -> None:
    with bridge.Client(server.address) as client:
        policy = client.policy("walk")
        policy.begin([1, 2, 3])
        rows = {"obs": np.ones((3, 6))}
        policy.infer([1, 2, 3], rows).result()
        took = []
        for _ in range(300):
            start = time.perf_counter()
            policy.infer([1, 2, 3], rows).result()
            took.append(time.perf_counter() - start)
        assert min(took) < 0.002  # no wait of a tick, a poll or company
        policy.end([1, 2, 3])


def test_many_games_at_once_share_runs_and_each_reply_is_the_local_one(brains: Path) -> None:
    local = cervello.load(brains / "walk.onnx", wrappers="auto")
    local.begin_agents(list(range(5)))
    rng = np.random.default_rng(4)
    with ServerProcess(brains, "--max-wait-us", "20000") as running:
        clients = [bridge.Client(running.address, name=str(i)) for i in range(6)]
        policies = [client.policy("walk") for client in clients]
        for _ in range(10):
            rows = [rng.standard_normal((5, 6)).astype(np.float32) for _ in policies]
            pending = [policy.infer(range(5), {"obs": each}, begin=True) for policy, each in zip(policies, rows, strict=True)]
            for each, answer in zip(rows, [one.result(timeout_s=20) for one in pending], strict=True):
                assert answer["action"].tobytes() == local.infer_batch(list(range(5)), {"obs": each})["action"].tobytes()
        stats = clients[0].stats()["policies"]["walk"]
        assert stats["rows"] == 300
        assert stats["batches"] <= 30
        for client in clients:
            client.close()


def test_a_server_that_dies_or_logs_an_error_fails_its_test(brains: Path) -> None:
    with pytest.raises(AssertionError, match="ends with 0, got -9"), ServerProcess(brains) as running:
        running.process.kill()
    with pytest.raises(AssertionError, match=r"expected no error in the log, got \['\{.*internal error.*Traceback"), \
            ServerProcess(brains) as running:
        os.write(running._log.fileno(), b'{"level": "error", "message": "internal error"}\nTraceback (most recent call last):\n')
    with ServerProcess(brains) as first, ServerProcess(brains) as second:  # side by side
        assert first.address != second.address


def test_a_crowd_of_episodes_leaves_memory_flat(server: ServerProcess) -> None:
    def churn(policy: bridge.RemotePolicy, n: int) -> None:
        for _ in range(n):
            policy.begin(range(500))
            policy.end(range(500), terminated=True, wait=True)

    with bridge.Client(server.address) as client:
        policy = client.policy("sum")
        churn(policy, 40)
        before = server.resident_bytes
        churn(policy, 400)  # 200,000 episodes
        assert server.resident_bytes < 1.05 * before
        assert client.stats()["policies"]["sum"]["agents"] == 0
