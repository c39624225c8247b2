"""Requests that are there together run as one batch, and none is another's trouble."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_models
from serving import Wire, served

import cervello
from cervello.bridge import Limits


class Slow(cervello.Clip):
    """Takes a second for each batch."""

    def inward(self, view: Any) -> None:
        time.sleep(1.0)


def policy(data: bytes, **options: Any) -> cervello.Policy:
    return cervello.load(data, **{"wrappers": "auto", **options})


def test_a_policy_that_takes_a_second_delays_no_ping_and_no_other_policy(tmp_path: Path) -> None:
    slow = policy(small_models.feed_forward(), wrappers=[Slow("action", low=-2.0)])
    with served({"fast": policy(small_models.feed_forward()), "slow": slow}, tmp_path, limits=Limits(frame_timeout_s=0.4)) as running, \
            Wire(running.address, {"client": "a"}) as wire, Wire(running.address, {"client": "b"}) as other:
        row = np.ones(6, "<f4").tobytes()
        number = wire.request("infer", {"policy": "slow", "agents": [1], "begin": True, "inputs": {"obs": row}})
        for each in (wire, other):
            start = time.monotonic()
            each.result("ping", {})
            each.result("infer", {"policy": "fast", "agents": [1], "begin": True, "inputs": {"obs": row}})
            assert time.monotonic() - start < 0.8
        assert wire.receive()[1] == number


def test_values_on_which_a_model_fails_are_one_requests_trouble(tmp_path: Path) -> None:
    with served({"table": policy(small_models.lookup())}, tmp_path, max_wait_us=100_000) as running:
        wires = [Wire(running.address, {"client": str(i)}) for i in range(4)]
        for i, wire in enumerate(wires):
            index = np.array([i if i != 2 else 99], "<i8").tobytes()
            wire.request("infer", {"policy": "table", "agents": [0], "begin": True, "inputs": {"index": index}})
        replies = [wire.receive() for wire in wires]
        for i, reply in enumerate(replies):
            if i == 2:
                assert reply[2][0] == 2
                assert reply[2][2] == {"field": "inputs"}
            else:
                assert np.frombuffer(reply[3]["outputs"]["action"], "<f4").tolist() == [2 * i, 2 * i + 1]
        assert [wire.result("stats", {})["agents"] for wire in wires] == [1, 1, 0, 1]  # begun with a refused request: not begun
        for wire in wires:
            wire.close()


def test_requests_of_several_connections_run_as_one_batch_with_the_same_bits(tmp_path: Path) -> None:
    local = policy(small_models.feed_forward())
    rng = np.random.default_rng(3)
    with served({"p": policy(small_models.feed_forward())}, tmp_path, max_wait_us=300_000) as running:
        wires = [Wire(running.address, {"client": str(i)}) for i in range(8)]
        for wire in wires:
            wire.result("begin", {"policy": "p", "agents": [1, 2]})
        rows = [rng.standard_normal((2, 6)).astype("<f4") for _ in wires]
        for wire, each in zip(wires, rows, strict=True):
            wire.request("infer", {"policy": "p", "agents": [1, 2], "inputs": {"obs": each.tobytes()}})
        local.begin_agents([1, 2])
        for wire, each in zip(wires, rows, strict=True):
            assert wire.receive()[3]["outputs"]["action"] == local.infer_batch([1, 2], {"obs": each})["action"].astype("<f4").tobytes()
        stats = wires[0].result("stats", {})["policies"]["p"]
        assert stats["rows"] == 16
        assert stats["batches"] < 8
        for wire in wires:
            wire.close()


def test_agents_over_their_deadline_are_skipped_and_as_if_not_named(tmp_path: Path) -> None:
    slow = policy(small_models.counter(), wrappers=[Slow("action", low=-1e9), cervello.Recurrent()])
    with served({"sum": slow}, tmp_path) as running, Wire(running.address, {"client": "a"}) as wire:
        row = np.ones(1, "<f4").tobytes()
        wire.request("infer", {"policy": "sum", "agents": [1], "begin": True, "inputs": {"obs": row}})
        time.sleep(0.1)
        late = {"policy": "sum", "inputs": {"obs": row}, "deadline_us": 1000, "tick": 5}
        wire.request("infer", {**late, "agents": [1]})
        wire.request("infer", {**late, "agents": [2], "begin": True})
        found = {reply[1]: reply[3] for reply in (wire.receive() for _ in range(3))}
        assert found[3]["agents"] == []
        assert found[3]["skipped"] == [1]
        assert found[3]["outputs"] == {"action": b""}
        assert found[3]["tick"] == 5
        assert found[4]["skipped"] == [2]
        assert len(found[4]["streams"]) == 8
        assert wire.code("reward", {"policy": "sum", "agents": [1], "reward": row, "tick": 5}) == (2, {"field": "tick"})
        found = wire.result("infer", {"policy": "sum", "agents": [1, 2], "inputs": {"obs": row * 2}})
        assert np.frombuffer(found["outputs"]["action"], "<f4").tolist() == [2.0, 1.0]


def test_a_reply_that_is_too_long_is_refused_before_the_run(tmp_path: Path) -> None:
    with served({"sum": policy(small_models.counter())}, tmp_path) as running, \
            Wire(running.address, {"client": "a", "frame_bytes": 1024}) as wire:
        ids, rows = list(range(200)), np.ones(200, "<f4").tobytes()
        wire.result("begin", {"policy": "sum", "agents": ids[:100]})
        wire.result("begin", {"policy": "sum", "agents": ids[100:]})
        assert wire.code("infer", {"policy": "sum", "agents": ids, "inputs": {"obs": rows}}) == (2, {"field": "frame_bytes"})
        assert wire.result("infer", {"policy": "sum", "agents": ids, "inputs": {"obs": rows}, "outputs": []})["outputs"] == {}
        found = wire.result("infer", {"policy": "sum", "agents": ids[:100], "inputs": {"obs": rows[:400]}})
        assert np.frombuffer(found["outputs"]["action"], "<f4").tolist() == [2.0] * 100  # the refused run did not count
        assert wire.code("begin", {"policy": "sum", "agents": list(range(1000, 1200))}) == (2, {"field": "frame_bytes"})
        assert wire.result("stats", {})["agents"] == 200


@pytest.mark.parametrize("given", [True, b"\x01\x01", "\x01\x01"], ids=["flag", "bin", "str"])
def test_deterministic_rows_draw_nothing(tmp_path: Path, given: Any) -> None:
    with served({"noisy": policy(small_models.noise_alone())}, tmp_path) as running, Wire(running.address, {"client": "a"}) as wire:
        params = {"policy": "noisy", "agents": [1, 2], "begin": True, "inputs": {"obs": bytes(32)}}
        assert wire.result("infer", {**params, "deterministic": given})["outputs"]["action"] == bytes(32)
        some = wire.result("infer", {**params, "deterministic": b"\x01\x00"})["outputs"]["action"]
        assert some[:16] == bytes(16)
        assert some[16:] != bytes(16)


def test_rows_on_another_axis_are_sent_row_by_row(tmp_path: Path) -> None:
    data = small_models.stacked_state()
    local = policy(data, wrappers=())
    local.begin_agents([1, 2, 3])
    rng = np.random.default_rng(4)
    rows = {name: rng.standard_normal((3, *spec.shape)).astype("<f4") for name, spec in local.inputs.items()}
    columns = {name: np.moveaxis(rows[name], 0, spec.batch_axis or 0) for name, spec in local.inputs.items()}
    expected = local.infer_batch([1, 2, 3], columns)
    with served({"p": policy(data, wrappers=())}, tmp_path) as running, Wire(running.address, {"client": "a"}) as wire:
        found = wire.result("infer", {"policy": "p", "agents": [1, 2, 3], "begin": True,
                                      "inputs": {name: each.tobytes() for name, each in rows.items()}})
        for name, spec in local.outputs.items():
            assert found["outputs"][name] == np.ascontiguousarray(np.moveaxis(expected[name], spec.batch_axis or 0, 0)).tobytes()


def test_constants_are_told_once_and_never_inferred(tmp_path: Path) -> None:
    with served({"p": policy(small_models.with_constant_output())}, tmp_path) as running, Wire(running.address, {"client": "a"}) as wire:
        told = wire.result("spec", {"policy": "p"})
        assert told["constants"] == {"version": {"shape": [1], "dtype": "float32", "value": np.float32(3).tobytes()}}
        params = {"policy": "p", "agents": [1], "begin": True, "inputs": {"obs": bytes(16)}}
        assert list(wire.result("infer", params)["outputs"]) == ["action"]
        assert wire.code("infer", {**params, "outputs": ["version"]}) == (2, {"field": "outputs.version"})
