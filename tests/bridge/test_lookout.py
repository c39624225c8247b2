"""For a client in lockstep the loop does not sleep, where that is faster."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import numpy as np
import pytest
import small_models
from serving import Wire, served

import cervello
from cervello.bridge.lookout import LOCKSTEP_S, LOOK_S, STINT, TRIAL, Lookout


class World:
    """A loop that looks when it is told to, and a client that takes its time from answer to answer."""

    def __init__(self, slept_s: float, looked_s: float, n_processors: int = 2):
        self.now_s = 0.0
        self.loop = asyncio.new_event_loop()
        self.lookout = Lookout(self.loop, n_processors, lambda: self.now_s)
        self.slept_s, self.looked_s = slept_s, looked_s

    def turn(self) -> bool:
        """One answer; whether the loop looked when the request came."""
        looked = self.lookout.is_looking
        self.now_s += self.looked_s if looked else self.slept_s
        self.lookout.answered()
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()
        return looked


@pytest.mark.parametrize(("slept_s", "looked_s", "looks"), [(1e-4, 5e-5, True), (1e-4, 9.5e-5, False), (5e-5, 1e-4, False)])
def test_a_stint_goes_the_way_that_took_less_time(slept_s: float, looked_s: float, looks: bool) -> None:
    world = World(slept_s, looked_s)
    turns = [world.turn() for _ in range(3 * (2 * TRIAL + STINT))]
    assert STINT - 2 <= sum(turns[2 * TRIAL + 2:2 * TRIAL + STINT]) <= STINT if looks else not any(turns[2 * TRIAL + 2:2 * TRIAL + STINT])
    rest = turns[2 * TRIAL + STINT:]
    assert TRIAL - 2 <= sum(rest[:2 * TRIAL + 1]) <= TRIAL + 2, "another trial of both ways"
    world.loop.close()


def test_a_client_that_takes_its_time_makes_the_loop_look_at_nothing() -> None:
    world = World(1.1 * LOCKSTEP_S, 1.1 * LOCKSTEP_S)
    assert not any(world.turn() for _ in range(10 * TRIAL))
    assert not world.lookout.n_looks
    world.loop.close()


def test_looks_end_when_nothing_comes() -> None:
    world = World(1e-4, 5e-5)
    while not world.turn():
        pass
    assert world.lookout.is_looking
    world.now_s += 1.1 * LOOK_S
    world.loop.call_soon(world.loop.stop)
    world.loop.run_forever()
    assert not world.lookout.is_looking
    n_looks = world.lookout.n_looks
    world.loop.call_soon(world.loop.stop)
    world.loop.run_forever()
    assert world.lookout.n_looks == n_looks
    world.loop.close()


def test_on_one_processor_the_loop_always_sleeps() -> None:
    world = World(1e-4, 5e-5, n_processors=1)
    assert not any(world.turn() for _ in range(4 * TRIAL))
    world.loop.close()


def test_a_server_sleeps_again_when_its_client_rests(tmp_path: Path) -> None:
    policy = cervello.load(small_models.counter(), wrappers=[cervello.Recurrent()])
    with served({"sum": policy}, tmp_path) as running, Wire(running.address, {"client": "a"}) as wire:
        lookout = running.server.core.lookout = Lookout(running.loop, 2, Clock())
        wire.result("begin", {"policy": "sum", "agents": [1]})
        total = 0.0
        for _ in range(4 * TRIAL + 100):
            total += 1
            reply = wire.result("infer", {"policy": "sum", "agents": [1], "inputs": {"obs": np.ones(1, "<f4").tobytes()}})
            assert np.frombuffer(reply["outputs"]["action"], "<f4")[0] == total
        assert lookout.n_looks > 0
        until_s = time.monotonic() + 10
        while lookout.is_looking and time.monotonic() < until_s:
            time.sleep(0.001)
        assert not lookout.is_looking


class Clock:
    """Goes on a little at every look at it, so that requests come in lockstep however busy the machine is."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += LOOK_S / 8
        return self.now_s
