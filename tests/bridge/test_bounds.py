"""Limits to the byte and to the moment."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import small_models
from serving import Wire, served

import cervello
from cervello.bridge import Limits


class Slow(cervello.Clip):
    """Takes its time."""

    def inward(self, view: Any) -> None:
        time.sleep(0.4)


def brain(*wrappers: Any) -> cervello.Policy:
    return cervello.load(small_models.counter(), wrappers=[*wrappers, cervello.Recurrent()])


def slow() -> cervello.Policy:
    return brain(Slow("action", low=-1e9))


def test_replies_as_long_as_the_client_takes_are_sent_and_one_byte_more_is_refused(tmp_path: Path) -> None:
    with served({"sum": brain()}, tmp_path) as running:
        for n_agents, code in ((125, None), (127, 2)):
            streams = np.arange(n_agents, dtype="<u8").tobytes()
            reply = msgpack.packb([1, 2, None, {"begun": n_agents, "streams": streams}])
            with Wire(running.address, {"client": "a", "frame_bytes": 1024 if n_agents == 125 else len(reply) - 1}) as wire:
                found = wire.ask("begin", {"policy": "sum", "agents": list(range(n_agents)), "streams": streams})
                if code is None:
                    assert len(reply) <= 1024
                    assert found == [1, 2, None, {"begun": n_agents, "streams": streams}]
                else:
                    assert (found[2][0], found[2][2]) == (2, {"field": "frame_bytes"})
                    assert wire.result("stats", {})["agents"] == 0
        with Wire(running.address, {"client": "b"}) as wire:
            wire.result("begin", {"policy": "sum", "agents": list(range(40))})
            whole = len(msgpack.packb(wire.ask("snapshot", {"policy": "sum"})))
        for frame_bytes, fits in ((whole, True), (whole - 1, False)):
            with Wire(running.address, {"client": "b", "frame_bytes": frame_bytes}) as wire:
                wire.result("begin", {"policy": "sum", "agents": list(range(40))})
                assert (wire.ask("snapshot", {"policy": "sum"})[2] is None) is fits


@pytest.mark.parametrize("begin", [False, True])
def test_an_answer_to_infer_as_long_as_the_client_takes_is_sent_and_one_byte_more_is_refused(begin: bool, tmp_path: Path) -> None:
    ids = list(range(240))
    asked: dict[str, Any] = {"policy": "sum", "agents": ids, "begin": begin, "inputs": {"obs": bytes(4 * len(ids))}, "tick": 300}
    with served({"sum": brain()}, tmp_path) as running:
        def answer(frame_bytes: int) -> Any:
            with Wire(running.address, {"client": "c", "frame_bytes": frame_bytes}) as wire:
                for at in range(0, len(ids) if not begin else 0, 60):
                    wire.result("begin", {"policy": "sum", "agents": ids[at:at + 60]})
                return wire.ask("infer", asked)

        whole = len(msgpack.packb(answer(1 << 20)))
        assert answer(whole)[3]["agents"] == ids
        refused = answer(whole - 1)[2]
        assert (refused[0], refused[2]) == (2, {"field": "frame_bytes"})


def test_a_client_that_waits_for_a_slow_policy_is_not_idle(tmp_path: Path) -> None:
    with served({"sum": slow()}, tmp_path, limits=Limits(idle_timeout_s=0.2, frame_timeout_s=0.2)) as running, \
            Wire(running.address, {"client": "a"}) as wire:
        for _ in range(2):
            assert wire.result("infer", {"policy": "sum", "agents": [1], "begin": True, "inputs": {"obs": bytes(4)}})["agents"] == [1]
        assert wire.receive() is None


def test_a_deadline_counts_from_the_last_byte_also_behind_other_frames(tmp_path: Path) -> None:
    with served({"sum": slow()}, tmp_path) as running, Wire(running.address, {"client": "a"}) as wire:
        ask: dict[str, Any] = {"policy": "sum", "begin": True, "inputs": {"obs": bytes(4)}}
        wire.request("infer", {**ask, "agents": [1]})
        time.sleep(0.1)
        wire.request("infer", {**ask, "agents": [2], "deadline_us": 1000})
        first, second = wire.receive(), wire.receive()
        assert first[3]["skipped"] == []
        assert (second[3]["agents"], second[3]["skipped"], second[3]["outputs"]) == ([], [2], {"action": b""})
        assert wire.result("infer", {**ask, "agents": [2]})["streams"] == second[3]["streams"]
