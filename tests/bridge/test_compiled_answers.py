"""A compiled answer has addresses of memory that others move, free or change between two requests."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from known_requests import IDS, TRIES, Seen, asked, body, counter, until
from serving import TIME_LIMIT_S, Running, Wire, served

from cervello.agents.policy.core import PolicyCore, core_of
from cervello.bridge.framing import framed
from cervello.bridge.loop_budget import BOUND_S, PROOF


class Game:
    """A served policy whose requests are answered by a compiled call.

    Attributes:
      total: [3], sums that the policy must have. version: that it must have.
      n_looked_up: compiled answers that took the lock and looked their agents up.
    """

    def __init__(self, running: Running, wire: Wire, seen: Seen, policy: Any, monkeypatch: pytest.MonkeyPatch):
        self.running, self.wire, self.seen, self.policy = running, wire, seen, policy
        self.core, self.served, self.worker = core_of(policy), running.server.state.policies["sum"], running.server.state.workers["sum"]
        self.total, self.version, self.n_looked_up = np.zeros(3, np.float32), 1, 0
        run_repeated = PolicyCore.run_repeated

        def noted(*given: Any) -> Any:
            self.n_looked_up += 1
            return run_repeated(*given)

        monkeypatch.setattr(PolicyCore, "run_repeated", noted)
        (self.session,) = running.server.state.sessions
        self.until_ready()

    def check(self, reply: bytes, number: int = 1) -> None:
        self.total += (1, 2, 3)
        found = msgpack.unpackb(reply)
        assert found[:3] == [1, number, None]
        assert found[3]["outputs"]["action"] == self.total.tobytes()
        assert found[3]["version"] == self.version

    def step(self) -> bool:
        """Infers; whether a compiled call answered."""
        before = self.seen.n_compiled
        self.check(asked(self.wire, body(1, [1, 2, 3])))
        return self.seen.n_compiled > before

    def until_ready(self) -> None:
        """Until a compiled call answers without a lock and without a look-up."""
        def ready() -> bool:
            before = self.n_looked_up
            return self.step() and self.n_looked_up == before

        for _ in range(4 * TRIES):  # cold code on a busy machine takes many
            if ready():
                return
        raise AssertionError("no request was answered by a compiled call")

    def on_loop(self, act: Callable[[], None]) -> None:
        """Calls something on the event loop, before its next request."""
        done = threading.Event()

        def run() -> None:
            act()
            done.set()

        self.running.loop.call_soon_threadsafe(run)
        assert done.wait(TIME_LIMIT_S)


@pytest.fixture
def game(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Game]:
    policy, seen = counter(), Seen(monkeypatch)
    with served({"sum": policy}, tmp_path) as running, Wire(running.address, {"client": "a"}) as wire:
        wire.result("begin", {"policy": "sum", "agents": IDS})
        yield Game(running, wire, seen, policy, monkeypatch)


def steadily(act: Callable[[], bool]) -> bool:
    """Whether it is true one of a few times: a slow batch on a busy machine is another reason to leave the event loop."""
    return any(act() for _ in range(5))


def test_a_revoked_proof_ends_compiled_answers_until_the_size_is_proven_again(game: Game) -> None:
    times = game.worker.times
    compiled = dict(game.session.compiled)
    for n_rows in (3, 1000):  # of this size, and of a larger one on the event loop, which revokes all
        game.until_ready()
        game.on_loop(lambda n_rows=n_rows: times.ran(1, 1, n_rows, 2 * BOUND_S, on_loop=n_rows > 3))  # type: ignore[misc]
        n_alone = game.seen.n_alone
        assert not any(game.step() for _ in range(PROOF))
        assert game.seen.n_alone == n_alone, "they ran on the policy's thread"
        until(lambda: game.step(), lambda: None)
    assert compiled.items() <= game.session.compiled.items(), "the same compiled calls"


def test_a_proof_of_a_larger_size_that_is_revoked_on_the_thread_ends_nothing(game: Game) -> None:
    def revoke_and_step() -> bool:
        game.until_ready()
        game.on_loop(lambda: game.worker.times.ran(1, 1, 1000, 2 * BOUND_S, on_loop=False))
        return game.step()

    assert steadily(revoke_and_step)


def test_a_table_that_grows_between_two_answers_is_looked_up_again(game: Game) -> None:
    """Slots, step counters, noise keys and the rows of the state move to other memory."""
    for n_agents in (5, 100, 1000, 10_000):  # the first few need no other memory
        def grow_and_step(n_agents: int = n_agents) -> bool:
            game.until_ready()
            before, steps = game.n_looked_up, game.core.table.steps.ctypes.data
            keys = game.served.new_keys(list(range(n_agents)))
            game.policy.begin_agents(keys)
            compiled = game.step()
            assert not compiled or game.n_looked_up > before
            moved = game.core.table.steps.ctypes.data != steps
            game.policy.end_agents(keys)
            game.step()
            return compiled and moved

        assert grow_and_step() or n_agents < 10_000
    game.until_ready()


def test_agents_that_restart_in_their_slots_start_anew_without_a_look_up(game: Game) -> None:
    def restart_and_step() -> bool:
        game.until_ready()
        before, slots = game.n_looked_up, dict(game.core.table.slots)
        game.policy.restart_agents(list(game.core.table.slots))
        assert game.core.table.slots == slots
        game.total[:] = 0
        return game.step() and game.n_looked_up == before

    assert steadily(restart_and_step)


def test_other_sizes_that_take_the_plan_s_place_are_noticed(game: Game) -> None:
    """The plan of the compiled answer is evicted, and its memory is free for others."""
    keys = game.served.new_keys(list(range(200)))
    game.policy.begin_agents(keys)
    for _ in range(3):
        game.until_ready()
        before = game.n_looked_up
        for n_rows in range(1, 200):
            game.policy.infer_batch(keys[:n_rows], {"obs": np.ones((n_rows, 1), np.float32)})
        if game.step():
            assert game.n_looked_up > before
        game.step()
    game.policy.end_agents(keys)


def test_while_another_thread_has_the_exclusive_lock_the_general_path_answers(game: Game) -> None:
    for _ in range(3):
        game.until_ready()
        held, free = threading.Event(), threading.Event()

        def hold(held: threading.Event = held, free: threading.Event = free) -> bool:
            held.set()
            return free.wait(TIME_LIMIT_S)

        holder = threading.Thread(target=game.core.lock.try_exclusive, args=(hold,))
        holder.start()
        try:
            assert held.wait(TIME_LIMIT_S)
            assert not game.step()
            assert not game.step()
        finally:
            free.set()
            holder.join(TIME_LIMIT_S)
    game.until_ready()


@pytest.mark.parametrize("change", ["replace", "update_weights"])
def test_the_first_answer_after_a_swap_is_the_new_version_s(game: Game, change: str) -> None:
    for _ in range(3):
        compiled = set(game.session.compiled.values())
        if change == "replace":
            game.policy.replace(game.policy.model)
        else:
            game.policy.update_weights({})
        game.version += 1
        game.step()
        assert compiled.isdisjoint(game.session.compiled.values())
        game.until_ready()


def test_frames_in_pieces_and_together_are_answered_in_their_order(game: Game) -> None:
    frame, other = framed(body(1, [1, 2, 3])), framed(body(2, [1, 2, 3]))
    for cut in (1, 3, 4, 5, 20, len(frame) - 1):
        game.until_ready()
        game.wire.socket.sendall(frame[:cut])
        until_s = time.monotonic() + TIME_LIMIT_S
        (transport,) = game.running.server._transports
        while transport._deframer.n_partial != cut:
            assert time.monotonic() < until_s
            time.sleep(0.001)
        game.wire.socket.sendall(frame[cut:] + frame[:cut])  # as long as a whole frame
        game.check(reply_of(game.wire))
        game.wire.socket.sendall(frame[cut:] + other)
        game.check(reply_of(game.wire))
        game.check(reply_of(game.wire), 2)
        assert transport.partial_since_s is None


def reply_of(wire: Wire) -> bytes:
    """The body of the next reply."""
    head = wire._exactly(4)
    assert head is not None
    found = wire._exactly(struct.unpack("<I", head)[0])
    assert found is not None
    return found


def test_websocket_messages_in_fragments_and_beside_pings_are_answered_in_their_order(tmp_path: Path,
                                                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("websockets")
    from websockets.sync.client import connect

    seen, total = Seen(monkeypatch), np.zeros(3, np.float32)
    with served({"sum": counter()}, tmp_path, listen=["ws://127.0.0.1:0"]) as running, \
            connect(running.address, subprotocols=["cervello.1"], compression=None) as socket:  # type: ignore[list-item]
        def ask(number: int, method: str, params: dict[str, Any]) -> None:
            socket.send(msgpack.packb([0, number, method, [params]]))
            assert msgpack.unpackb(socket.recv(timeout=TIME_LIMIT_S))[2] is None

        def check() -> None:
            total[:] += (1, 2, 3)
            reply = msgpack.unpackb(socket.recv(timeout=TIME_LIMIT_S))
            assert reply[3]["outputs"]["action"] == total.tobytes()

        def step() -> None:
            socket.send(body(1, [1, 2, 3]))
            check()

        ask(1, "hello", {"version": 1, "client": "w"})
        ask(2, "begin", {"policy": "sum", "agents": IDS})
        sent = body(1, [1, 2, 3])
        for cut in (1, 4, len(sent) - 1):
            before = seen.n_compiled
            until(lambda before=before: seen.n_compiled > before, step)  # type: ignore[misc]
            socket.send([sent[:cut], sent[cut:]])
            check()
            socket.ping()
            step()
