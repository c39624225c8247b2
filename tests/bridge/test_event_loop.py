"""Batches that are known to be short run on the event loop; all that the protocol says holds there, and on the way there and back."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import small_models
from serving import Wire, served

import cervello
from cervello.bridge.pace import BOUND_S, PROOF, Pace
from cervello.bridge.wire import Ports

ROW = np.ones(1, "<f4").tobytes()
_TRIES = 2000  # on a busy machine some runs take longer than the bound


class Watched(cervello.Clip):
    """Notes which thread runs it, and takes as long as it is told."""

    def __init__(self, output: str, **options: Any):
        super().__init__(output, **options)
        self.times = {"sleep_s": 0.0}  # a policy has a copy of its wrappers, which shares this
        self.threads: list[str] = []

    def inward(self, view: Any) -> None:
        self.threads.append(threading.current_thread().name)
        time.sleep(self.times["sleep_s"])

    def on_loop(self) -> bool:
        """Whether the last batch ran on the event loop."""
        return not self.threads[-1].startswith("cervello policy")


class SlowToBegin(Watched):
    """Takes its time when agents begin."""

    def begin(self, slots: Any) -> None:
        time.sleep(self.times.get("begin_s", 0.0))


def counter(watched_by: type[Watched] = Watched) -> tuple[cervello.Policy, Watched]:
    watched = watched_by("action", low=-1e9)
    return cervello.load(small_models.counter(), wrappers=[watched, cervello.Recurrent()]), watched


def infer(wire: Wire, policy: str = "sum", **more: Any) -> Any:
    return wire.result("infer", {"policy": policy, "agents": [1], "begin": True, "inputs": {"obs": ROW}, **more})


def until_on_loop(wire: Wire, watched: Watched) -> int:
    """Infers until a batch runs on the event loop; how often."""
    for n in range(1, _TRIES):
        infer(wire)
        if watched.on_loop():
            return n
    raise AssertionError("no batch ran on the event loop")


def test_first_batches_run_on_the_policys_thread_and_later_ones_on_the_loop(tmp_path: Path) -> None:
    policy, watched = counter()
    with served({"sum": policy}, tmp_path) as running, Wire(running.address, {"client": "a"}) as wire:
        assert until_on_loop(wire, watched) > PROOF
        assert all(name.startswith("cervello policy") for name in watched.threads[:PROOF])


def test_a_policy_that_becomes_slow_leaves_the_loop(tmp_path: Path) -> None:
    policy, watched = counter()
    other = cervello.load(small_models.counter(), wrappers=[cervello.Recurrent()])
    with served({"sum": policy, "other": other}, tmp_path) as running, Wire(running.address, {"client": "a"}) as wire, \
            Wire(running.address, {"client": "b"}) as beside:
        until_on_loop(wire, watched)
        watched.times["sleep_s"] = 0.05
        while True:  # the last batches on the loop, until one of them is slow there
            infer(wire)
            if watched.on_loop():
                break
            watched.times["sleep_s"] = 0.0
            until_on_loop(wire, watched)
            watched.times["sleep_s"] = 0.05
        watched.times["sleep_s"] = 1.0
        for _ in range(2):
            number = wire.request("infer", {"policy": "sum", "agents": [1], "inputs": {"obs": ROW}})
            start = time.monotonic()
            beside.result("ping", {})
            infer(beside, "other")
            assert time.monotonic() - start < 0.8
            assert wire.receive()[1] == number
            assert not watched.on_loop(), watched.threads[-5:]


def test_agents_that_begin_slowly_delay_no_other_policy(tmp_path: Path) -> None:
    policy, watched = counter(SlowToBegin)
    other = cervello.load(small_models.counter(), wrappers=[cervello.Recurrent()])
    with served({"sum": policy, "other": other}, tmp_path) as running, Wire(running.address, {"client": "a"}) as wire, \
            Wire(running.address, {"client": "b"}) as beside:
        for method, more in (("begin", {}), ("infer", {"inputs": {"obs": ROW}, "begin": True})):
            watched.times["begin_s"] = 0.0
            until_on_loop(wire, watched)
            watched.times["begin_s"] = 0.5
            number = wire.request(method, {"policy": "sum", "agents": [len(method) + 90], **more})
            start = time.monotonic()
            beside.result("ping", {})
            infer(beside, "other")
            assert time.monotonic() - start < 0.4, method
            assert wire.receive()[1] == number


def test_a_worker_that_is_closed_does_what_has_gathered(tmp_path: Path) -> None:
    policy, watched = counter()
    with served({"sum": policy}, tmp_path) as running, Wire(running.address, {"client": "a"}) as wire:
        until_on_loop(wire, watched)
        worker = running.server.core.workers["sum"]
        put = worker.put

        def put_and_close(job: Any) -> None:
            put(job)
            worker.close()

        worker.put = put_and_close
        assert np.frombuffer(infer(wire)["outputs"]["action"], "<f4")[0] > 0


def test_effects_keep_their_order_when_the_place_changes(tmp_path: Path) -> None:
    """Many messages without waiting, between runs that send the policy back to its thread: every sum is that of one after the other."""
    policy, watched = counter()
    with served({"sum": policy}, tmp_path) as running, Wire(running.address, {"client": "a"}) as wire:
        until_on_loop(wire, watched)
        watched.threads.clear()
        for burst in range(30):
            watched.times["sleep_s"] = 2 * BOUND_S if burst % 3 == 0 else 0.0
            asked = [wire.request("begin", {"policy": "sum", "agents": [7]})]
            for _ in range(5):
                asked.append(wire.request("infer", {"policy": "sum", "agents": [7], "inputs": {"obs": ROW}}))
                wire.send([2, "reward", [{"policy": "sum", "agents": [7], "reward": ROW}]])
            asked.append(wire.request("snapshot", {"policy": "sum", "agents": [7]}))  # never on the loop
            asked.append(wire.request("infer", {"policy": "sum", "agents": [7], "inputs": {"obs": ROW}}))
            asked.append(wire.request("end", {"policy": "sum", "agents": [7]}))
            replies = {reply[1]: reply for reply in (wire.receive() for _ in asked)}
            assert all(reply[2] is None for reply in replies.values()), replies
            sums = [np.frombuffer(replies[number][3]["outputs"]["action"], "<f4")[0] for number in (*asked[1:6], asked[7])]
            assert sums == [1, 2, 3, 4, 5, 6]
            watched.times["sleep_s"] = 0.0
            until_on_loop(wire, watched)
        assert wire.result("stats", {})["refused_notifies"] == 0


def test_deadlines_hold_on_the_loop(tmp_path: Path) -> None:
    policy, watched = counter()
    with served({"sum": policy}, tmp_path) as running, Wire(running.address, {"client": "a"}) as wire:
        until_on_loop(wire, watched)
        for _ in range(_TRIES):
            before = np.frombuffer(infer(wire)["outputs"]["action"], "<f4")[0]
            n_batches = len(watched.threads)
            if not watched.on_loop():
                continue
            held = threading.Event()
            running.loop.call_soon_threadsafe(lambda held=held: held.wait(5.0))  # the frame's bytes wait in the socket: that does not count
            number = wire.request("infer", {"policy": "sum", "agents": [1], "inputs": {"obs": ROW}, "deadline_us": 1_000_000})
            time.sleep(0.01)
            held.set()
            reply = wire.receive()
            assert reply[1] == number
            assert reply[3]["skipped"] == []
            assert len(watched.threads) == n_batches + 1
            assert np.frombuffer(reply[3]["outputs"]["action"], "<f4")[0] == before + 1
            # The loop is kept busy between the frame's last byte and its run.
            worker = running.server.core.workers["sum"]
            put = worker.put

            def late(job: Any, put: Any = put) -> None:
                put(job)
                time.sleep(0.005)

            worker.put = late
            found = infer(wire, deadline_us=1000, tick=5)
            worker.put = put
            assert found["skipped"] == [1]
            assert found["agents"] == []
            assert found["tick"] == 5
            assert np.frombuffer(infer(wire)["outputs"]["action"], "<f4")[0] == before + 2
            return
        raise AssertionError("no batch ran on the event loop")


def test_the_pace_is_of_a_version_and_a_size() -> None:
    pace = Pace()
    for n in range(PROOF):
        assert not pace.allows(1, 1, 16), n
        pace.ran(1, 1, 16, BOUND_S, on_loop=False)
    assert pace.allows(1, 1, 16)
    assert pace.allows(1, 3, 0)
    assert not pace.allows(1, 1, 1000)
    assert not pace.allows(2, 1, 16)
    pace.ran(1, 1, 1000, 2 * BOUND_S, on_loop=False)  # a larger batch that is slow says nothing of smaller ones
    assert pace.allows(1, 1, 16)
    pace.ran(1, 1, 16, 2 * BOUND_S, on_loop=True)
    assert not pace.allows(1, 1, 16)
    pace.ran(2, 1, 16, 0.0, on_loop=False)
    assert not pace.allows(2, 1, 16)


def test_a_very_slow_batch_on_the_loop_makes_the_proof_longer() -> None:
    pace = Pace()
    for _ in range(PROOF):
        pace.ran(1, 1, 1, 0.0, on_loop=False)
    pace.ran(1, 1, 1, 1.0, on_loop=True)
    for _ in range(8 * PROOF - 1):
        pace.ran(1, 1, 1, 0.0, on_loop=False)
    assert not pace.allows(1, 1, 1)
    pace.ran(1, 1, 1, 0.0, on_loop=False)
    assert pace.allows(1, 1, 1)


def test_rows_have_the_policys_own_dtype() -> None:
    """Not an equal one, with which a policy takes ten times as long."""
    policy = cervello.load(small_models.feed_forward())
    row = Ports("p", policy).inputs["obs"]
    rows = row.column(row.read("inputs.obs", bytes(row.n_bytes), 1))
    assert rows.dtype is np.dtype(np.float32)
