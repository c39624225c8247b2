"""Batches that are known to be short run on the event loop; all that the protocol says holds there, and on the way there and back."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import small_models
from serving import TIME_LIMIT_S, Wire, served

import cervello
from cervello.bridge import loop_budget
from cervello.bridge.loop_budget import BOUND_S, PROOF, BatchTimes
from cervello.bridge.wire import Signature

ROW = np.ones(1, "<f4").tobytes()
_TRIES = 2000  # on a busy machine some runs take longer than the bound


@pytest.fixture(autouse=True)
def patient(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stops the loop for a while, since others compute, makes no later proof longer."""
    if "proof_longer" not in request.node.name:
        monkeypatch.setattr(loop_budget, "_SEVERE_S", 1e9)


class Gate:
    """Where a policy waits until it is opened."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()

    def wait(self) -> None:
        """As the policy."""
        self.reached.set()
        self.opened.wait(TIME_LIMIT_S)


class Watched(cervello.Clip):
    """Notes which thread runs it, takes as long as it is told, and waits where there is a gate for it."""

    def __init__(self, output: str, **options: Any):
        super().__init__(output, **options)
        self.times = {"sleep_s": 0.0}  # a policy has a copy of its wrappers, which shares these
        self.gates: dict[str, Gate] = {}
        self.threads: list[str] = []

    def inward(self, view: Any) -> None:
        self.threads.append(threading.current_thread().name)
        time.sleep(self.times["sleep_s"])
        self.wait("run")

    def wait(self, what: str) -> None:
        """Until the gate opens, if there is one."""
        if what in self.gates:
            self.gates[what].wait()

    def on_loop(self) -> bool:
        """Whether the last batch ran on the event loop."""
        return not self.threads[-1].startswith("cervello policy")


class SlowToBegin(Watched):
    """Waits where there is a gate when agents begin."""

    def begin(self, slots: Any) -> None:
        self.wait("begin")


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
        for _ in range(2):
            gate = watched.gates["run"] = Gate()
            number = wire.request("infer", {"policy": "sum", "agents": [1], "inputs": {"obs": ROW}})
            assert gate.reached.wait(TIME_LIMIT_S)
            beside.result("ping", {})  # both are answered while the policy waits
            infer(beside, "other")
            gate.opened.set()
            assert wire.receive()[1] == number
            assert not watched.on_loop(), watched.threads[-5:]


def test_agents_that_begin_slowly_delay_no_other_policy(tmp_path: Path) -> None:
    policy, watched = counter(SlowToBegin)
    other = cervello.load(small_models.counter(), wrappers=[cervello.Recurrent()])
    with served({"sum": policy, "other": other}, tmp_path) as running, Wire(running.address, {"client": "a"}) as wire, \
            Wire(running.address, {"client": "b"}) as beside:
        for method, agent, more in (("begin", 90, {}), ("infer", 91, {"inputs": {"obs": ROW}, "begin": True})):
            until_on_loop(wire, watched)
            gate = watched.gates["begin"] = Gate()
            number = wire.request(method, {"policy": "sum", "agents": [agent], **more})
            assert gate.reached.wait(TIME_LIMIT_S)
            beside.result("ping", {})  # both are answered while the policy waits
            infer(beside, "other")
            gate.opened.set()
            assert wire.receive()[1] == number
            del watched.gates["begin"]


def test_a_worker_that_is_closed_does_what_has_gathered(tmp_path: Path) -> None:
    policy, watched = counter()
    with served({"sum": policy}, tmp_path) as running, Wire(running.address, {"client": "a"}) as wire:
        until_on_loop(wire, watched)
        worker, session = running.server.state.workers["sum"], next(iter(running.server.state.sessions))
        before = np.frombuffer(infer(wire)["outputs"]["action"], "<f4")[0]
        request = msgpack.packb([0, 77, "infer", [{"policy": "sum", "agents": [1], "inputs": {"obs": ROW}}]])
        gathered = []

        def receive_and_close() -> None:
            session.receive(request, time.perf_counter(), alone=False)
            gathered.append(len(worker.gathered))
            worker.close()

        running.loop.call_soon_threadsafe(receive_and_close)
        reply = wire.receive()
        assert gathered == [1]
        assert reply[:3] == [1, 77, None]
        assert np.frombuffer(reply[3]["outputs"]["action"], "<f4")[0] == before + 1


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
        n_late = 0
        for _ in range(_TRIES):
            before = np.frombuffer(infer(wire)["outputs"]["action"], "<f4")[0]
            n_batches = len(watched.threads)
            if not watched.on_loop():
                continue
            held = threading.Event()
            running.loop.call_soon_threadsafe(held.wait, TIME_LIMIT_S)  # the frame's bytes wait in the socket: that does not count
            number = wire.request("infer", {"policy": "sum", "agents": [1], "inputs": {"obs": ROW}, "deadline_us": 300_000})
            time.sleep(0.35)
            held.set()
            reply = wire.receive()
            assert reply[1] == number
            if reply[3]["skipped"] and n_late < 5:  # the machine was busy for so long; not always
                n_late += 1
                continue
            assert reply[3]["skipped"] == []
            assert len(watched.threads) == n_batches + 1
            assert np.frombuffer(reply[3]["outputs"]["action"], "<f4")[0] == before + 1
            # The loop is kept busy between the frame's last byte and its run.
            worker = running.server.state.workers["sum"]
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


def test_the_proof_is_of_a_version_and_a_size() -> None:
    found = BatchTimes()
    for n in range(PROOF):
        assert not found.allows(1, 1, 16), n
        found.ran(1, 1, 16, BOUND_S, on_loop=False)
    assert found.allows(1, 1, 16)
    assert found.allows(1, 3, 0)
    assert not found.allows(1, 1, 1000)
    assert not found.allows(2, 1, 16)
    found.ran(1, 1, 1000, 2 * BOUND_S, on_loop=False)  # a larger batch that is slow says nothing of smaller ones
    assert found.allows(1, 1, 16)
    found.ran(1, 1, 16, 2 * BOUND_S, on_loop=True)
    assert not found.allows(1, 1, 16)
    found.ran(2, 1, 16, 0.0, on_loop=False)
    assert not found.allows(2, 1, 16)


def test_a_very_slow_batch_on_the_loop_makes_the_proof_longer() -> None:
    found = BatchTimes()
    for _ in range(PROOF):
        found.ran(1, 1, 1, 0.0, on_loop=False)
    found.ran(1, 1, 1, 1.0, on_loop=True)
    for _ in range(8 * PROOF - 1):
        found.ran(1, 1, 1, 0.0, on_loop=False)
    assert not found.allows(1, 1, 1)
    found.ran(1, 1, 1, 0.0, on_loop=False)
    assert found.allows(1, 1, 1)


def test_rows_have_the_policys_own_dtype() -> None:
    """Not an equal one, with which a policy takes ten times as long."""
    policy = cervello.load(small_models.feed_forward())
    row = Signature("p", policy).inputs["obs"]
    rows = row.column(row.read("inputs.obs", bytes(row.n_bytes), 1))
    assert rows.dtype is np.dtype(np.float32)
