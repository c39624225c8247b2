"""Busy polling: for a client in lockstep the loop does not sleep, where that is faster."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import small_models
from serving import Wire, served

import cervello
from cervello.bridge import Options, busy_poll, config
from cervello.bridge.busy_poll import BLOCK, BUSY_POLL_US, COUNTED, LOCKSTEP_S, SHORT_S, STINT, TRIALS, BusyPoll, new_event_loop
from cervello.cli import main, serve

has_selector = pytest.mark.skipif(sys.platform == "win32", reason="its event loop has no selector")


class World:
    """An event loop, and a client with a fixed time from answer to answer for each way."""

    def __init__(self, slept_s: float, polled_s: float, n_processors: int = 2, poll_us: int = BUSY_POLL_US):
        self.now_s = 0.0
        self.loop = asyncio.new_event_loop()
        self.busy_poll = BusyPoll(self.loop, poll_us, n_processors, lambda: self.now_s)
        self.slept_s, self.polled_s = slept_s, polled_s

    def turn(self) -> bool:
        """One answer; True if the loop was polling when the request came."""
        polled = self.busy_poll.is_polling
        self.now_s += self.polled_s if polled else self.slept_s
        self.busy_poll.answered()
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()
        return polled


@pytest.mark.parametrize(("slept_s", "polled_s", "polls"), [(1e-4, 5e-5, True), (1e-4, 9.5e-5, False), (8e-5, 1e-4, False)])
def test_a_stint_goes_the_way_that_took_less_time(slept_s: float, polled_s: float, polls: bool) -> None:
    world = World(slept_s, polled_s)
    n_trials, n_stint = TRIALS * BLOCK, STINT * BLOCK
    assert not any(world.turn() for _ in range(BLOCK)), "cold answers"
    turns = [world.turn() for _ in range(3 * (n_trials + n_stint))]
    stint = turns[n_trials + 2:n_trials + n_stint]
    assert n_stint - 2 <= sum(stint) <= n_stint if polls else not any(stint)
    trials = turns[n_trials + n_stint:][:n_trials + 1]
    assert n_trials / 2 - 2 <= sum(trials) <= n_trials / 2 + 2, "other trials of both ways"
    world.loop.close()


def test_slow_first_answers_do_not_count_against_sleep() -> None:
    world = World(8e-5, 9e-5)
    for _ in range(BLOCK):
        world.now_s += 3e-4  # cold code
        world.busy_poll.answered()
    turns = [world.turn() for _ in range((TRIALS + STINT) * BLOCK)]
    assert not any(turns[TRIALS * BLOCK + 2:][:(STINT - 1) * BLOCK])
    world.loop.close()


def test_slow_answers_at_the_start_of_each_trial_do_not_count() -> None:
    """The system moves the client or the server to another processor, which takes it some milliseconds."""
    world = World(1e-4, 5e-5)
    for _ in range((1 + TRIALS) * BLOCK):
        world.now_s += 3e-4 if world.busy_poll._may_poll and world.busy_poll._n_left > COUNTED else 0
        world.turn()
    assert all(world.turn() for _ in range(10 * BLOCK))
    world.loop.close()


def test_short_answers_need_no_trial_with_polling() -> None:
    world = World(0.9 * SHORT_S, 0.1 * SHORT_S)
    assert not any(world.turn() for _ in range((1 + 2 * STINT) * BLOCK))
    world.loop.close()


@pytest.mark.parametrize(("before", "after", "polls"), [((5e-5, 5e-5), (1e-4, 5e-5), True), ((1e-4, 5e-5), (8e-5, 9e-5), False)])
def test_trials_repeat_when_the_system_has_moved_the_client_or_the_server(before: tuple[float, float], after: tuple[float, float],
                                                                          polls: bool) -> None:
    world = World(*before)
    for _ in range(10 * BLOCK):
        world.turn()
    assert world.busy_poll.is_polling is not polls
    world.slept_s, world.polled_s = after
    for _ in range((3 + TRIALS) * BLOCK):
        world.turn()
    assert world.busy_poll.is_polling is polls
    world.loop.close()


def test_a_client_that_takes_its_time_causes_no_polling() -> None:
    world = World(1.1 * LOCKSTEP_S, 1.1 * LOCKSTEP_S)
    assert not any(world.turn() for _ in range(10 * BLOCK))
    assert not world.busy_poll.n_polls
    world.loop.close()


def test_polls_end_when_nothing_comes() -> None:
    world = World(1e-4, 5e-5)
    while not world.turn():
        pass
    assert world.busy_poll.is_polling
    world.now_s += 1.1e-6 * BUSY_POLL_US
    world.loop.call_soon(world.loop.stop)
    world.loop.run_forever()
    assert not world.busy_poll.is_polling
    n_polls = world.busy_poll.n_polls
    world.loop.call_soon(world.loop.stop)
    world.loop.run_forever()
    assert world.busy_poll.n_polls == n_polls
    world.loop.close()


def test_on_one_processor_the_loop_always_sleeps() -> None:
    world = World(1e-4, 5e-5, n_processors=1)
    assert not any(world.turn() for _ in range(4 * BLOCK))
    world.loop.close()


def test_0_microseconds_switch_polling_off() -> None:
    world = World(1e-4, 5e-5, poll_us=0)
    assert not any(world.turn() for _ in range(4 * BLOCK))
    assert not world.busy_poll.n_polls
    world.loop.close()


def test_a_longer_time_polls_longer() -> None:
    world = World(1e-4, 5e-5, poll_us=10 * BUSY_POLL_US)
    while not world.turn():
        pass
    for now_s, is_polling in ((world.now_s + 9e-6 * BUSY_POLL_US, True), (world.now_s + 11e-6 * BUSY_POLL_US, False)):
        world.now_s = now_s
        world.loop.call_soon(world.loop.stop)
        world.loop.run_forever()
        assert world.busy_poll.is_polling is is_polling
    world.loop.close()


def test_a_server_sleeps_again_when_its_client_rests(tmp_path: Path) -> None:
    policy = cervello.load(small_models.counter(), wrappers=[cervello.Recurrent()])
    with served({"sum": policy}, tmp_path) as running, Wire(running.address, {"client": "a"}) as wire:
        polling = running.server.state.busy_poll = BusyPoll(running.loop, n_processors=2, clock=Clock())
        wire.result("begin", {"policy": "sum", "agents": [1]})
        total = 0.0
        for _ in range(4 * BLOCK + 100):
            total += 1
            reply = wire.result("infer", {"policy": "sum", "agents": [1], "inputs": {"obs": np.ones(1, "<f4").tobytes()}})
            assert np.frombuffer(reply["outputs"]["action"], "<f4")[0] == total
        assert polling.n_polls > 0
        until_s = time.monotonic() + 10
        while polling.is_polling and time.monotonic() < until_s:
            time.sleep(0.001)
        assert not polling.is_polling


@has_selector
def test_a_polling_loop_answers_at_once_and_runs_other_callbacks_first() -> None:
    loop = new_event_loop()
    selector = loop.polling_selector  # type: ignore[attr-defined]
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    order: list[str] = []
    try:
        loop.add_reader(ours, lambda: (order.append(f"read {ours.recv(9).decode()}"), loop.stop()))
        loop.call_soon(order.append, "callback")
        loop.call_later(0.01, order.append, "timer")
        loop.call_later(0.02, theirs.send, b"x")
        selector.until_s = time.perf_counter() + 30
        start_s = time.monotonic()
        loop.run_forever()
        assert time.monotonic() - start_s < 10, "input ends polling"
        assert order == ["callback", "timer", "read x"]
        assert selector.n_polls > 0
        n_polls, selector.until_s = selector.n_polls, -1.0
        loop.call_later(0.01, loop.stop)
        loop.run_forever()
        assert selector.n_polls == n_polls
    finally:
        loop.close()
        ours.close()
        theirs.close()


@has_selector
def test_another_thread_wakes_a_polling_loop() -> None:
    loop = new_event_loop()
    loop.polling_selector.until_s = time.perf_counter() + 30  # type: ignore[attr-defined]
    thread = threading.Timer(0.05, loop.call_soon_threadsafe, [loop.stop])
    thread.start()
    start_s = time.monotonic()
    loop.run_forever()
    loop.close()
    assert time.monotonic() - start_s < 10


@has_selector
def test_polling_in_the_selector_ends_with_the_client() -> None:
    loop = new_event_loop()
    selector = loop.polling_selector  # type: ignore[attr-defined]
    now_s = time.perf_counter()
    polling = BusyPoll(loop, n_processors=2, clock=lambda: now_s)
    for _ in range(2 * BLOCK + 2):
        now_s += 1e-4
        polling.answered()
    assert polling.is_polling
    assert selector.until_s == pytest.approx(now_s + BUSY_POLL_US * 1e-6)
    now_s += 1.1e-6 * BUSY_POLL_US
    assert not polling.is_polling
    loop.close()


@pytest.mark.parametrize(("line", "file", "poll_us"), [
    ([], "", BUSY_POLL_US), ([], "busy_poll_us = 50", 50), (["--busy-poll-us", "0"], "", 0),
    (["--busy-poll-us", "0"], "busy_poll_us = 50", 0)])
def test_the_polling_time_comes_from_the_command_line_then_from_the_file(
        line: list[str], file: str, poll_us: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "serve.toml").write_text(file)
    (tmp_path / "brains").mkdir()
    chosen: list[Options] = []
    monkeypatch.setattr(serve, "_run", lambda options: chosen.append(options) is None)
    assert main(["serve", str(tmp_path / "brains"), "--config", str(tmp_path / "serve.toml"), *line]) == 0
    assert [options.busy_poll_us for options in chosen] == [poll_us]


def test_a_negative_polling_time_is_refused(tmp_path: Path) -> None:
    (tmp_path / "serve.toml").write_text("busy_poll_us = -1")
    with pytest.raises(cervello.ConfigurationError, match="busy_poll_us: expected a number of at least 0, got -1"):
        config.read(tmp_path / "serve.toml")


def test_a_server_told_not_to_poll_never_polls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(busy_poll, "_n_processors", lambda: 2)
    monkeypatch.setattr(busy_poll, "LOCKSTEP_S", 10.0)
    monkeypatch.setattr(busy_poll, "SHORT_S", 0.0)  # polling is tried however fast sleep answers
    for poll_us in (BUSY_POLL_US, 0):
        policy = cervello.load(small_models.counter(), wrappers=[cervello.Recurrent()])
        with served({"sum": policy}, tmp_path, busy_poll_us=poll_us) as running, Wire(running.address, {"client": "a"}) as wire:
            wire.result("begin", {"policy": "sum", "agents": [1]})
            polling = running.server.state.busy_poll
            for i in range(40 * BLOCK):  # on a busy machine some requests are not answered at once, and count for nothing
                wire.result("infer", {"policy": "sum", "agents": [1], "inputs": {"obs": np.ones(1, "<f4").tobytes()}})
                if polling.n_polls or (not poll_us and i > 3 * BLOCK):
                    break
            assert (polling.n_polls > 0) == (poll_us > 0)


class Clock:
    """Advances a little at every reading, so that requests come in lockstep however busy the machine is."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += BUSY_POLL_US * 1e-6 / 3
        return self.now_s


@has_selector
def test_polling_does_not_delay_timers() -> None:
    loop = new_event_loop()
    loop.polling_selector.until_s = time.perf_counter() + 30  # type: ignore[attr-defined]
    start_s = time.monotonic()
    loop.run_until_complete(asyncio.sleep(0.5))
    loop.close()
    assert time.monotonic() - start_s < 0.9
