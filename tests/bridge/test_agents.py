"""Agents of several connections share a policy and nothing else."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import small_models
from serving import Running, Wire, served

import cervello
from cervello import bridge
from cervello.bridge import Limits, client_state
from cervello.bridge.client_agents import ClientAgents
from cervello.bridge.client_state import ClientState


def policy(data: bytes, **options: Any) -> cervello.Policy:
    return cervello.load(data, wrappers="auto", **options)


def bins(streams: list[int]) -> bytes:
    return np.array(streams, "<u8").tobytes()


def test_noise_is_that_of_the_id_and_stream_whatever_the_connection(tmp_path: Path) -> None:
    ids, streams = [3, 0, (1 << 53) - 1], [7, 7, (1 << 63) - 1]
    rng = np.random.default_rng(1)
    observations = [rng.standard_normal((3, 6)).astype("<f4") for _ in range(3)]
    local = policy(small_models.noisy(), seed=9)
    local.begin_agents(ids, stream=np.array(streams, np.int64), episode=0)
    expected = [local.infer_batch(ids, {"obs": each})["action"].astype("<f4").tobytes() for each in observations]
    with served({"noisy": policy(small_models.noisy(), seed=9)}, tmp_path) as running:
        for _ in range(2):  # the second time other agents of the same ids are there, and a third connection has been
            with Wire(running.address, {"client": "a"}) as one, Wire(running.address, {"client": "b"}) as other:
                for wire in (one, other):
                    assert wire.result("begin", {"policy": "noisy", "agents": ids, "streams": bins(streams)})["streams"] == bins(streams)
                for step, each in enumerate(observations):
                    for wire in (other, one):
                        found = wire.result("infer", {"policy": "noisy", "agents": ids, "inputs": {"obs": each.tobytes()}})
                        assert found["outputs"]["action"] == expected[step]


def test_derived_streams_are_the_same_for_the_same_history_and_differ_otherwise(tmp_path: Path) -> None:
    params = {"policy": "noisy", "agents": [1, 2]}

    def streams(address: str, client: str) -> list[bytes]:
        with Wire(address, {"client": client}) as wire:
            first = wire.result("begin", params)["streams"]
            wire.result("end", params)
            return [first, wire.result("begin", params)["streams"]]

    found = []
    for _ in range(2):
        with served({"noisy": policy(small_models.noisy())}, tmp_path) as running:
            found.append([*streams(running.address, "x"), *streams(running.address, "x"), *streams(running.address, "y")])
    assert found[0] == found[1]
    assert len({each[i:i + 8] for each in found[0] for i in (0, 8)}) == 12
    assert all(int.from_bytes(each[i:i + 8], "little") < 1 << 63 for each in found[0] for i in (0, 8))


def test_end_begin_and_infer_may_be_sent_in_one_frame_of_the_game(tmp_path: Path) -> None:
    with served({"sum": policy(small_models.counter())}, tmp_path) as running, Wire(running.address, {"client": "a"}) as wire:
        one = np.ones(1, "<f4").tobytes()
        wire.result("infer", {"policy": "sum", "agents": [1, 2], "begin": True, "inputs": {"obs": one * 2}})
        infer, first = {"policy": "sum", "inputs": {"obs": one}}, {"policy": "sum", "agents": [1]}
        together = [[0, 3, "infer", [{**infer, "agents": [1]}]], [2, "end", [first]], [0, 4, "begin", [first]],
                    [0, 5, "infer", [{**infer, "agents": [1]}]], [0, 6, "infer", [{**infer, "agents": [2]}]]]
        frames = b"".join(struct.pack("<I", len(body)) + body for body in map(msgpack.packb, together))
        for step in range(2, 12):
            wire.socket.sendall(frames)
            found = {reply[1]: reply for reply in (wire.receive() for _ in range(4))}
            sums = [np.frombuffer(found[number][3]["outputs"]["action"], "<f4")[0] for number in (3, 5, 6)]
            assert sums == [2.0, 1.0, step]  # ends after its inference, begins anew; the absent one is untouched


def test_a_refused_begin_begins_none(tmp_path: Path) -> None:
    with served({"sum": policy(small_models.counter())}, tmp_path, limits=Limits(agents=3)) as running, \
            Wire(running.address, {"client": "a"}) as wire:
        wire.result("begin", {"policy": "sum", "agents": [1, 2]})
        assert wire.code("begin", {"policy": "sum", "agents": [3, 2]}) == (9, {"agents": [2]})
        assert wire.code("begin", {"policy": "sum", "agents": [3, 4]}) == (2, {"field": "agents"})
        assert wire.code("infer", {"policy": "sum", "agents": [1, 3, 4], "begin": True, "inputs": {"obs": bytes(12)}})[0] == 2
        assert wire.code("end", {"policy": "sum", "agents": [1, 3]}) == (5, {"agents": [3]})
        assert wire.result("begin", {"policy": "sum", "agents": [3]})["begun"] == 1
        assert wire.result("stats", {})["agents"] == 3
        assert wire.result("end", {"policy": "sum", "agents": [1, 2, 3]})["ended"] == 3
        assert wire.result("stats", {})["agents"] == 0


def test_a_closed_connection_ends_its_agents(tmp_path: Path) -> None:
    brain = policy(small_models.counter())
    with served({"sum": brain}, tmp_path) as running, Wire(running.address, {"client": "stays"}) as other:
        with Wire(running.address, {"client": "goes"}) as wire:
            wire.result("begin", {"policy": "sum", "agents": list(range(50))})
        while other.result("stats", {})["policies"]["sum"]["agents"]:
            pass
        assert len(brain) == 0


def test_ten_thousand_episodes_leave_nothing_behind(tmp_path: Path) -> None:
    brain = policy(small_models.counter())
    with served({"sum": brain}, tmp_path) as running, Wire(running.address, {"client": "a"}) as wire:
        for start in range(0, 10_000, 500):
            ids = list(range(start, start + 500))
            wire.result("begin", {"policy": "sum", "agents": ids})
            wire.result("end", {"policy": "sum", "agents": ids})
        found = running.server.state.policies["sum"]
        assert len(brain) == found.n_agents == len(found._numbers) == 0
        assert found.policy._core.table.capacity <= 2048


def test_a_crowd_moves_to_another_server_in_pieces_and_goes_on_bitwise(tmp_path: Path) -> None:
    ids = [5, 6, 7, 8]
    rng = np.random.default_rng(2)
    rows = [rng.standard_normal((4, 6)).astype("<f4") for _ in range(4)]

    def ask(wire: Wire, each: Any) -> bytes:
        found: bytes = wire.result("infer", {"policy": "noisy", "agents": ids, "inputs": {"obs": each.tobytes()}})["outputs"]["action"]
        return found

    with served({"noisy": policy(small_models.noisy())}, tmp_path) as first, Wire(first.address, {"client": "a"}) as stays, \
            Wire(first.address, {"client": "b"}) as moves:
        for wire in (stays, moves):
            wire.result("begin", {"policy": "noisy", "agents": ids, "streams": bins([1, 2, 3, 4])})
            ask(wire, rows[0])
        pieces = [moves.result("snapshot", {"policy": "noisy", "agents": piece})["state"] for piece in (ids[:2], ids[2:])]
        with served({"noisy": policy(small_models.noisy())}, tmp_path) as second, Wire(second.address, {"client": "c"}) as there:
            there.result("begin", {"policy": "noisy", "agents": [99]})
            for piece in pieces:
                assert there.result("restore", {"policy": "noisy", "state": piece, "keep": True}) == {"restored": 2}
            for each in rows[1:]:
                assert ask(there, each) == ask(stays, each)
            assert there.result("stats", {})["agents"] == 5
            assert there.result("restore", {"policy": "noisy", "state": pieces[0]}) == {"restored": 2}  # others of the connection end
            assert there.result("stats", {})["agents"] == 2
            bad = bytearray(pieces[0])
            bad[-1] ^= 1
            assert there.code("restore", {"policy": "noisy", "state": bytes(bad)}) == (2, {"field": "state"})
            assert there.result("stats", {})["agents"] == 2
        with served({"noisy": policy(small_models.noisy(), seed=1)}, tmp_path) as other, Wire(other.address, {"client": "c"}) as there:
            assert there.code("restore", {"policy": "noisy", "state": pieces[0]}) == (2, {"field": "state"})


def test_two_threads_that_ask_first_share_a_connections_agents(monkeypatch: pytest.MonkeyPatch) -> None:
    client = ClientState("a", 0, 1 << 20, False, 10)
    elsewhere: list[ClientAgents] = []

    def made() -> ClientAgents:
        if not elsewhere:  # the event loop asks while the policy's thread does
            elsewhere.append(ClientAgents())
            elsewhere[0] = client.agents_of("sum")
        return ClientAgents()

    monkeypatch.setattr(client_state, "ClientAgents", made)
    assert client.agents_of("sum") is elsewhere[0] is client.agents_of("sum")


def lost(client: bridge.Client, running: Running) -> str:
    """The words about agents lost after the server has cut the connection."""
    running.loop.call_soon_threadsafe(lambda: [session.abort("cut") for session in list(running.server.state.sessions)])
    while True:
        try:
            client.stats()
        except cervello.ServerGoneError:  # the one that was on its way
            continue
        except cervello.AgentsLostError as error:
            return str(error)


def test_agents_of_a_restored_state_are_lost_with_their_connection(tmp_path: Path) -> None:
    with served({"sum": policy(small_models.counter())}, tmp_path) as running, \
            bridge.Client(running.address, reconnect=True) as client:
        remote = client.policy("sum")
        remote.begin([1, 2, 3])
        state = remote.snapshot()
        remote.end([1, 2, 3])
        remote.begin([3, 8])
        assert remote.restore(state, keep=True) == 3  # 3 begins anew, 8 stays
        assert "where 4 are lost" in lost(client, running)
        remote.restore(state)
        assert remote.restore(remote.snapshot([1])) == 1  # 2 and 3 end
        assert "where 1 are lost" in lost(client, running)


def test_a_wrapper_that_fails_at_an_end_leaves_the_counts_of_a_restore_right(tmp_path: Path) -> None:
    class Stubborn(cervello.Clip):
        def end(self, slots: Any) -> None:
            if len(slots):
                raise RuntimeError("an end that fails")

    brain = cervello.load(small_models.counter(), wrappers=[Stubborn("action", low=-1e9), cervello.Recurrent()])
    with served({"sum": brain}, tmp_path) as running, Wire(running.address, {"client": "a"}) as wire:
        wire.result("begin", {"policy": "sum", "agents": [1, 2]})
        state = wire.result("snapshot", {"policy": "sum", "agents": [1]})["state"]
        assert wire.code("restore", {"policy": "sum", "state": state})[0] == 8
        assert wire.result("stats", {})["agents"] == len(brain) == running.server.state.policies["sum"].n_agents
