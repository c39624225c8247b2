"""Rewards, recordings, swaps, and what limits do."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_models
from server_process import wait_until
from serving import Running, Wire, served

import cervello
from cervello import recording
from cervello.bridge import Limits, Options


def policy(data: bytes, **options: Any) -> cervello.Policy:
    return cervello.load(data, **{"wrappers": "auto", **options})


def floats(*values: float) -> bytes:
    return np.array(values, "<f4").tobytes()


@pytest.mark.parametrize("recorded", [False, True])
def test_rewards_belong_to_the_last_inference_or_to_a_tick_of_the_last_64(tmp_path: Path, recorded: bool) -> None:
    logs = tmp_path / "logs" if recorded else None
    with served({"sum": policy(small_models.counter())}, tmp_path, record=logs) as running, Wire(running.address, {"client": "a"}) as wire:
        wire.result("begin", {"policy": "sum", "agents": [1, 2]})
        assert wire.code("reward", {"policy": "sum", "agents": [1], "reward": floats(1)}) == (2, {"field": "agents"})
        for tick in range(70):
            wire.result("infer", {"policy": "sum", "agents": [1], "inputs": {"obs": floats(1)}, "tick": tick})
        for tick, reward in ((69, 1), (6, 2), (6, 3), (None, 4)):
            assert wire.result("reward", {"policy": "sum", "agents": [1], "reward": floats(reward), "tick": tick}) == {}
        assert wire.code("reward", {"policy": "sum", "agents": [1], "reward": floats(1), "tick": 5}) == (2, {"field": "tick"})
        assert wire.code("reward", {"policy": "sum", "agents": [1], "reward": floats(np.nan)}) == (2, {"field": "reward"})
        assert wire.code("reward", {"policy": "sum", "agents": [1, 2], "reward": floats(1, 1)}) == (2, {"field": "agents"})
        wire.send([2, "reward", [{"policy": "sum", "agents": [1], "reward": floats(8), "actions": {"action": floats(-5)}}]])
        wire.send([2, "reward", [{"policy": "sum", "agents": [9], "reward": floats(8)}]])
        wire.send([2, "begin", [{"policy": "sum", "agents": [9]}]])
        assert wire.result("stats", {})["refused_notifies"] == 2
        ended = wire.result("end", {"policy": "sum", "agents": [1, 2], "terminated": b"\1\0", "inputs": {"obs": floats(7, 7)}})
        assert ended == {"ended": 2}
        wire.result("infer", {"policy": "sum", "agents": [3], "begin": True, "inputs": {"obs": floats(2)}})
    if recorded:
        reader = recording.read(tmp_path / "logs" / "sum.log")
        episodes = list(reader)
        assert [episode.agent for episode in episodes] == [1, 3]  # agent 2 ended before its first inference: nothing, and no crash
        assert reader.n_empty == 1
        first, cut = episodes
        assert first.rewards[[6, 69]].tolist() == [5.0, 13.0]
        assert first.total_reward == 18.0
        assert bool(first.terminations[-1])
        assert not first.final_obs_missing
        assert first.observations["obs"][-1].tolist() == [7.0]
        assert first.actions["action"][-1].tolist() == [-5.0]
        assert first.overridden is not None
        assert first.overridden.tolist() == [False] * 69 + [True]
        assert first.tick is not None
        assert first.tick.tolist() == list(range(70))
        assert cut.final_obs_missing
        assert bool(cut.truncations[-1])


def test_swaps_stay_inside_the_folder_and_keep_the_spec(tmp_path: Path) -> None:
    folder = tmp_path / "brains"
    (folder / "new").mkdir(parents=True)
    (folder / "p.onnx").write_bytes(small_models.with_constant_output())
    (folder / "new" / "p.onnx").write_bytes(small_models.with_constant_output())
    (folder / "new" / "other.onnx").write_bytes(small_models.feed_forward())
    (folder / "new" / "constant.onnx").write_bytes(small_models.scaled(small_models.with_constant_output(), 2.0))
    (tmp_path / "secret.onnx").write_bytes(small_models.with_constant_output())
    (folder / "link.onnx.bin").symlink_to(tmp_path / "secret.onnx")
    tokens = tmp_path / "tokens"
    tokens.write_text("boss\nplayer infer\n# no token\n")
    options = Options(folder, listen=["tcp://127.0.0.1:0"], token_file=tokens, reload_interval_s=60.0)
    with Running(options) as running:
        for token in (None, "boss ", "bos", "BOSS", "# no token", 7):
            with Wire(running.address) as wire:
                assert wire.code("hello", {"version": 1, "client": "a", "token": token})[0] == 6
                assert wire.receive() is None
        with Wire(running.address, {"client": "a", "token": "player"}) as wire:
            assert wire.hello["roles"] == ["infer"]
            assert wire.code("swap", {"policy": "p", "path": "new/p.onnx"})[0] == 6
            assert wire.code("reward", {"policy": "p", "agents": [], "reward": b""})[0] == 6
        with Wire(running.address, {"client": "a", "token": "boss"}) as wire:
            assert wire.result("swap", {"policy": "p", "path": "new/p.onnx"}) == {"version": 2}
            assert wire.code("swap", {"policy": "p", "path": "new/other.onnx"})[0] == 2
            assert wire.code("swap", {"policy": "p", "path": "new/constant.onnx"})[0] == 2
            words = set()
            for path in ("../secret.onnx", str(tmp_path / "secret.onnx"), "new/../../secret.onnx", "link.onnx.bin", "missing.onnx", "new",
                         "", ".", "new//p.onnx", "C:\\x.onnx", "new\\p.onnx", "p.onnx\0", "new/p.onnx/"):
                reply = wire.ask("swap", {"policy": "p", "path": path})
                assert reply[2][0] == 2
                words.add(reply[2][1])
            assert len(words) == 1
            assert wire.result("stats", {})["policies"]["p"]["version"] == 2


def test_a_file_that_is_written_again_decides_and_one_that_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "brains"
    folder.mkdir()
    (folder / "p.onnx").write_bytes(small_models.feed_forward())
    with Running(Options(folder, listen=["tcp://127.0.0.1:0"], reload_interval_s=0.05)) as running, \
            Wire(running.address, {"client": "a"}) as wire:
        def replace(data: bytes) -> None:
            (folder / "beside").write_bytes(data)
            os.replace(folder / "beside", folder / "p.onnx")

        ask = {"policy": "p", "agents": [1], "begin": True, "inputs": {"obs": floats(1, 2, 3, 4, 5, 6)}}
        first = wire.result("infer", ask)
        assert first["version"] == 1
        replace(small_models.with_constant_output())
        time.sleep(0.6)
        assert wire.result("infer", ask)["version"] == 1
        replace(small_models.scaled(small_models.feed_forward(), 0.5))
        until = time.monotonic() + 10
        while (second := wire.result("infer", ask))["version"] == 1:
            assert time.monotonic() < until
        assert second["version"] == 2
        assert second["outputs"] != first["outputs"]
        while not (reloads := wire.result("stats", {})["policies"]["p"]["reloads"]):  # counted after the new version decides
            assert time.monotonic() < until
        assert reloads == 1


def test_half_frames_silence_and_slow_readers_are_closed_and_others_go_on(tmp_path: Path) -> None:
    limits = Limits(frame_timeout_s=0.3, idle_timeout_s=1.0, send_bytes=4096)
    with served({"sum": policy(small_models.counter())}, tmp_path, limits=limits) as running, \
            Wire(running.address) as silent, Wire(running.address, {"client": "half"}) as half, \
            Wire(running.address, {"client": "idle"}) as idle, Wire(running.address, {"client": "good"}) as good:
        half.socket.sendall(b"\x20\x00")
        start = time.monotonic()
        assert silent.receive() is None
        assert half.receive() is None
        assert time.monotonic() - start < 0.9
        while time.monotonic() - start < 1.6:
            good.result("ping", {})
            time.sleep(0.1)
        assert idle.receive() is None
        with Wire(running.address, {"client": "deaf"}) as deaf:
            deaf.socket.settimeout(0.2)
            ended = False
            for _ in range(200_000):
                try:
                    deaf.request("stats", {})
                except (OSError, TimeoutError):
                    ended = True
                    break
            assert ended
        with Wire(running.address, {"client": "new"}) as new:
            assert new.result("ping", {}) == {}


def test_too_many_requests_get_code_seven_and_have_no_effect(tmp_path: Path) -> None:
    class Slow(cervello.Clip):
        def inward(self, view: Any) -> None:
            time.sleep(0.5)

    slow = policy(small_models.counter(), wrappers=[Slow("action", low=-1e9), cervello.Recurrent()])
    with served({"sum": slow}, tmp_path, limits=Limits(in_flight=2, connections=1)) as running, \
            Wire(running.address, {"client": "a"}) as wire:
        with Wire(running.address) as other:
            assert other.code("hello", {"version": 1, "client": "b"})[0] == 7
            assert other.receive() is None
        for agent in range(4):
            wire.request("infer", {"policy": "sum", "agents": [agent], "begin": True, "inputs": {"obs": floats(1)}})
        replies = {reply[1]: reply for reply in (wire.receive() for _ in range(4))}
        assert [replies[i][2] and replies[i][2][0] for i in (2, 3, 4, 5)] == [None, None, 7, 7]
        assert wire.result("stats", {})["agents"] == 2


def test_an_id_in_flight_is_a_bad_frame_and_what_came_before_takes_effect(tmp_path: Path) -> None:
    brain = policy(small_models.counter())
    with served({"sum": brain}, tmp_path, max_wait_us=200_000) as running, Wire(running.address, {"client": "a"}) as wire:
        ask = [{"policy": "sum", "agents": [1], "begin": True, "inputs": {"obs": floats(1)}}]
        wire.send([0, 9, "infer", ask])
        wire.send([0, 9, "infer", ask])
        replies = []
        while (reply := wire.receive()) is not None:
            replies.append(reply)
        assert [1, None] in [reply[:2] for reply in replies]
        assert running.server.state.policies["sum"].counters.rows <= 1


def test_draining_answers_what_is_under_way_and_says_why(tmp_path: Path) -> None:
    with served({"sum": policy(small_models.counter())}, tmp_path, record=tmp_path / "logs", drain_s=4.0) as running:
        wire = Wire(running.address, {"client": "a"})
        wire.result("infer", {"policy": "sum", "agents": [1], "begin": True, "inputs": {"obs": floats(1)}})
        running.stop()
        until = time.monotonic() + 5
        while True:
            reply = wire.ask("infer", {"policy": "sum", "agents": [1], "inputs": {"obs": floats(1)}})
            if reply[2] is not None:
                break
            assert time.monotonic() < until
        assert reply[2][0] == 11
        assert wire.code("hello", {})[0] == 11
        assert wire.receive() is None  # a refused hello closes
        wire.close()
    assert running.drained is True
    assert [episode.finished for episode in recording.read(tmp_path / "logs" / "sum.log")] == [True]


def test_a_client_that_stays_to_the_end_of_a_short_drain_has_its_episodes_ended(tmp_path: Path) -> None:
    with served({"sum": policy(small_models.counter())}, tmp_path, record=tmp_path / "logs", drain_s=0.2) as running:
        wire = Wire(running.address, {"client": "a"})
        wire.result("infer", {"policy": "sum", "agents": [1], "begin": True, "inputs": {"obs": floats(1)}})
    (episode,) = recording.read(tmp_path / "logs" / "sum.log")
    wire.close()
    assert running.drained is True
    assert bool(episode.truncations[-1])
    assert episode.final_obs_missing


def test_a_slow_reader_gets_its_reply_while_the_server_drains(tmp_path: Path) -> None:
    n_agents, n_actions = 40_000, 64  # more than the system's buffers hold
    wide = policy(small_models.feed_forward(actions=n_actions))
    with served({"wide": wide}, tmp_path, drain_s=8.0) as running, Wire(running.address, {"client": "a"}) as wire:
        wire.request("infer", {"policy": "wide", "agents": list(range(n_agents)), "begin": True, "inputs": {"obs": bytes(n_agents * 24)},
                               "outputs": list(wide.outputs)})
        (transport,) = running.server._transports
        wait_until(lambda: transport._transport.get_write_buffer_size() > 0)  # type: ignore[attr-defined]
        running.stop()
        time.sleep(3.0)  # longer than agents may stay, and than a client has to read the reason
        reply = wire.receive()
        assert [len(data) for data in reply[3]["outputs"].values()] == [n_agents * n_actions * 4]
        assert wire.receive()[2][0] == 11
        assert wire.receive() is None
    assert running.drained is True


def test_a_client_that_reads_nothing_and_shuts_down_its_sending_side_has_closed(tmp_path: Path) -> None:
    n_agents, n_actions = 40_000, 64  # more than the system's buffers hold
    wide = policy(small_models.feed_forward(actions=n_actions))
    with served({"wide": wide}, tmp_path, limits=Limits(frame_timeout_s=6.0)) as running, Wire(running.address, {"client": "a"}) as wire, \
            Wire(running.address, {"client": "b"}) as other:
        wire.request("infer", {"policy": "wide", "agents": list(range(n_agents)), "begin": True, "inputs": {"obs": bytes(n_agents * 24)}})
        (transport,) = [each for each in running.server._transports if each.session.client.name == "a"]  # type: ignore[union-attr]
        wait_until(lambda: transport._transport.get_write_buffer_size() > 0)  # type: ignore[attr-defined]
        wire.socket.shutdown(socket.SHUT_WR)
        wait_until(lambda: other.result("stats", {})["policies"]["wide"]["agents"] == 0, 4.0)
        wait_until(lambda: transport not in running.server._transports)
