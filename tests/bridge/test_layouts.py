"""Requests of a form that has come before are neither decoded nor checked anew; all that the protocol says holds for them too."""

from __future__ import annotations

import struct
import threading
import time
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import small_models
from known_requests import IDS, TRIES, Seen, asked, body, counter, until
from serving import TIME_LIMIT_S, Wire, served

import cervello
from cervello.bridge import Limits, request_layout


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    return Seen(monkeypatch)


@pytest.mark.parametrize("more", [
    {}, {"tick": 5}, {"tick": None}, {"begin": True}, {"begin": True, "tick": 70_000}, {"outputs": []}, {"outputs": ["action"]},
    {"deterministic": True}, {"deterministic": b"\1\0\1"}, {"deadline_us": 10_000_000}])
def test_replies_have_the_bytes_of_a_request_that_is_looked_at(tmp_path: Path, seen: Seen, more: dict[str, Any]) -> None:
    total = np.zeros(3, np.float32)
    with served({"sum": counter()}, tmp_path) as running, Wire(running.address, {"client": "a"}) as wire:
        streams = wire.result("begin", {"policy": "sum", "agents": IDS})["streams"]

        def step(number: int) -> None:
            obs = [float(number % 7), 1.0, -2.0]
            sent = dict(more)
            if "tick" in sent and sent["tick"] is not None:
                sent["tick"] = number
            total[:] += np.array(obs, np.float32)
            result: dict[str, Any] = {"agents": IDS, "outputs": {"action": total.tobytes()}, "skipped": [], "version": 1}
            if more.get("outputs") == []:
                result["outputs"] = {}
            if sent.get("tick") is not None:
                result["tick"] = number
            if "begin" in sent:
                result["streams"] = streams
            assert asked(wire, body(number, obs, **sent)) == msgpack.packb([1, number, None, result])

        for numbers in ((5, 127), (128, 255), (256, 300), (70_000, 70_050)):  # of each length
            for number in numbers:
                step(number)
            for count in ("n_alone", "n_compiled"):
                before = getattr(seen, count)
                until(lambda count=count, before=before: getattr(seen, count) > before,  # type: ignore[misc]
                      lambda numbers=numbers: step(numbers[0]))  # type: ignore[misc]
                for number in numbers:
                    step(number)


def test_agents_that_end_begin_or_restart_are_noticed(tmp_path: Path, seen: Seen) -> None:
    with served({"sum": counter()}, tmp_path) as running, Wire(running.address, {"client": "a"}) as wire:
        wire.result("begin", {"policy": "sum", "agents": IDS})
        until(lambda: seen.n_alone > 0, lambda: asked(wire, body(1, [1, 1, 1])))
        wire.result("end", {"policy": "sum", "agents": IDS[1:2]})
        reply = msgpack.unpackb(asked(wire, body(1, [1, 1, 1])))
        assert reply[2][0] == 5
        assert reply[2][2]["agents"] == IDS[1:2]
        wire.result("begin", {"policy": "sum", "agents": IDS[1:2]})
        sums = np.frombuffer(msgpack.unpackb(asked(wire, body(1, [1, 1, 1])))[3]["outputs"]["action"], "<f4")
        assert sums[1] == 1
        assert sums[0] == sums[2] > 1


def test_a_changed_byte_of_the_form_is_looked_at(tmp_path: Path, seen: Seen) -> None:
    with served({"sum": counter()}, tmp_path) as running, Wire(running.address, {"client": "a"}) as wire:
        wire.result("begin", {"policy": "sum", "agents": IDS})
        sent = body(1, [1, 1, 1], tick=9)
        until(lambda: seen.n_alone > 0, lambda: asked(wire, sent))
        for at in range(len(sent)):
            changed = bytearray(sent)
            changed[at] ^= 0x80
            with Wire(running.address, {"client": "b"}) as fresh:
                fresh.result("begin", {"policy": "sum", "agents": IDS})
                expected = _said(fresh, bytes(changed))
            with Wire(running.address, {"client": "c"}) as known:
                known.result("begin", {"policy": "sum", "agents": IDS})
                for _ in range(3):
                    asked(known, sent)
                found = _said(known, bytes(changed))
            assert _alike(found, expected), (at, found, expected)


def _said(wire: Wire, sent: bytes) -> Any:
    try:
        return msgpack.unpackb(asked(wire, sent))
    except AssertionError:
        return None


def _alike(found: Any, expected: Any) -> bool:
    """Whether two replies say the same; sums differ, since one agent has inferred before."""
    if found is None or expected is None or found[2] is not None:
        return found is not None and expected is not None and found[:2] == expected[:2] and found[2] == expected[2]
    return bool(found[:2] == expected[:2] and expected[2] is None and found[3].keys() == expected[3].keys()
                and found[3]["agents"] == expected[3]["agents"] and found[3].get("tick") == expected[3].get("tick"))


def test_requests_of_several_connections_are_one_batch_and_each_gets_its_own(tmp_path: Path, seen: Seen) -> None:
    with served({"sum": counter()}, tmp_path) as running:
        wires = [Wire(running.address, {"client": f"{i}"}) for i in range(5)]
        for wire in wires:
            wire.result("begin", {"policy": "sum", "agents": IDS})
        totals = np.zeros((5, 3), np.float32)

        def together() -> None:
            held = threading.Event()
            running.loop.call_soon_threadsafe(held.wait, TIME_LIMIT_S)
            for i, wire in enumerate(wires):
                obs = np.array([i, 2 * i, -i], np.float32)
                totals[i] += obs
                wire.send_body(body(40 + i, obs.tolist()))
            held.set()
            for i, wire in enumerate(wires):
                reply = wire.receive()
                assert reply[:3] == [1, 40 + i, None]
                assert reply[3]["agents"] == IDS
                assert reply[3]["outputs"]["action"] == totals[i].tobytes()

        counts = running.server.state.policies["sum"].counters

        def five() -> bool:
            return seen.n_together > 0 and counts.batches - before[0] == 1

        before = [0]

        def act() -> None:
            before[0] = counts.batches
            together()

        until(five, act)
        for wire in wires:
            wire.close()


def test_requests_that_one_connection_sends_at_once_are_one_batch(tmp_path: Path, seen: Seen) -> None:
    with served({"sum": counter()}, tmp_path) as running, Wire(running.address, {"client": "a"}) as wire:
        wire.result("begin", {"policy": "sum", "agents": [1, 2]})
        frames = [msgpack.packb([0, agent, "infer", [{"policy": "sum", "agents": [agent], "inputs": {"obs": bytes(4)}}]])
                  for agent in (1, 2)]
        for frame in frames:
            until(lambda before=seen.n_alone: seen.n_alone > before, lambda frame=frame: asked(wire, frame))  # type: ignore[misc]
        counts, before = running.server.state.policies["sum"].counters, [0]

        def act() -> None:
            before[0] = counts.batches
            wire.socket.sendall(b"".join(struct.pack("<I", len(frame)) + frame for frame in frames))
            assert sorted(wire.receive()[1] for _ in frames) == [1, 2]

        until(lambda: counts.batches - before[0] == 1, act)


def test_rewards_find_the_steps_that_were_only_counted(tmp_path: Path, seen: Seen) -> None:
    with served({"sum": counter()}, tmp_path) as running, Wire(running.address, {"client": "a"}) as wire:
        wire.result("begin", {"policy": "sum", "agents": IDS})
        ticks = iter(range(1000, 1000 + TRIES))
        last = [0]

        def act() -> None:
            last[0] = next(ticks)
            asked(wire, body(1, [1, 1, 1], tick=last[0]))

        until(lambda: seen.n_alone > 100, act)
        reward = {"policy": "sum", "agents": IDS, "reward": bytes(12)}
        assert wire.result("reward", {**reward, "tick": last[0]}) == {}
        assert wire.result("reward", {**reward, "tick": last[0] - 63}) == {}
        assert wire.code("reward", {**reward, "tick": last[0] - 64})[0] == 2
        member = next(iter(running.server.state.sessions)).client.agents_of("sum").by_id[3]
        assert member.n_steps == last[0] - 999


def test_a_swap_tells_its_version_and_limits_hold(tmp_path: Path, seen: Seen) -> None:
    policy = counter()
    with served({"sum": policy}, tmp_path, limits=Limits(in_flight=2)) as running, Wire(running.address, {"client": "a"}) as wire:
        wire.result("begin", {"policy": "sum", "agents": IDS})
        until(lambda: seen.n_alone > 0, lambda: asked(wire, body(1, [1, 1, 1])))
        policy.replace(policy.model)
        assert msgpack.unpackb(asked(wire, body(1, [1, 1, 1])))[3]["version"] == 2
        before = seen.n_alone
        until(lambda: seen.n_alone > before, lambda: asked(wire, body(1, [1, 1, 1])))
        assert msgpack.unpackb(asked(wire, body(1, [1, 1, 1])))[3]["version"] == 2
        with Wire(running.address, {"client": "b"}) as beside:  # so that requests wait for company
            beside.result("begin", {"policy": "sum", "agents": IDS})
            frames = [body(number, [0, 0, 0]) for number in (1, 2, 3)]
            wire.socket.sendall(b"".join(struct.pack("<I", len(frame)) + frame for frame in frames))
            codes = {reply[1]: reply[2] and reply[2][0] for reply in (wire.receive() for _ in frames)}
            assert codes == {1: None, 2: None, 3: 7}
            wire.socket.sendall(b"".join(struct.pack("<I", len(frame)) + frame for frame in (frames[0], frames[0])))
            replies = [wire.receive(), wire.receive()]
            assert [1, None] in [reply and reply[:2] for reply in replies]  # the id is in flight: a bad frame


def test_a_compiled_call_notices_what_others_do(tmp_path: Path, seen: Seen) -> None:
    """Agents of another connection begin, so many that rows move to other memory, and end; then the policy is swapped."""
    policy = counter()
    with served({"sum": policy}, tmp_path) as running, Wire(running.address, {"client": "a"}) as wire, \
            Wire(running.address, {"client": "b"}) as beside:
        wire.result("begin", {"policy": "sum", "agents": IDS})
        total = np.zeros(3, np.float32)
        version = 1

        def step() -> None:
            total[:] += (1, 2, 3)
            reply = msgpack.unpackb(asked(wire, body(1, [1, 2, 3])))[3]
            assert reply["outputs"]["action"] == total.tobytes()
            assert reply["version"] == version

        for n_agents in (10, 100, 1000):
            beside.result("begin", {"policy": "sum", "agents": list(range(n_agents))})
            before = seen.n_compiled
            until(lambda before=before: seen.n_compiled > before, step)  # type: ignore[misc]
            beside.result("infer", {"policy": "sum", "agents": list(range(n_agents)), "inputs": {"obs": bytes(4 * n_agents)}})
            beside.result("end", {"policy": "sum", "agents": list(range(n_agents))})
            step()
        session = next(each for each in running.server.state.sessions if each.client is not None and each.client.name == "a")
        until(lambda: bool(session.compiled), step)
        policy.replace(policy.model)
        until_s = time.monotonic() + TIME_LIMIT_S
        while session.compiled and time.monotonic() < until_s:  # without a request: else the old weights would stay
            time.sleep(0.01)
        assert not session.compiled
        version = 2
        before = seen.n_compiled
        until(lambda: seen.n_compiled > before, step)
        wire.result("end", {"policy": "sum", "agents": IDS[:1]})
        assert msgpack.unpackb(asked(wire, body(1, [1, 2, 3])))[2][2]["agents"] == IDS[:1]


@pytest.mark.filterwarnings("ignore:.*expected finite state")
def test_a_compiled_call_reports_state_that_is_not_finite(tmp_path: Path, seen: Seen) -> None:
    local = counter()
    local.begin_agents([0, 1, 2])
    recurrent = cervello.Recurrent()
    policy = cervello.load(small_models.counter(), wrappers=[recurrent])
    with served({"sum": policy}, tmp_path) as running, Wire(running.address, {"client": "a"}) as wire:
        wire.result("begin", {"policy": "sum", "agents": IDS})

        def step(*obs: float) -> None:
            expected = local.infer_batch([0, 1, 2], {"obs": np.array(obs, np.float32)[:, None]})["action"]
            assert msgpack.unpackb(asked(wire, body(1, list(obs))))[3]["outputs"]["action"] == expected.tobytes()

        until(lambda: seen.n_compiled > 0, lambda: step(1, 2, 3))
        for obs in ((1, np.inf, 3), (1, 2, 3), (np.nan, -np.inf, 1e-45), (1, 2, 3)):
            before = seen.n_compiled
            step(*obs)
            until(lambda before=before: seen.n_compiled > before, lambda: step(1, 2, 3))  # type: ignore[misc]
        until_s = time.monotonic() + TIME_LIMIT_S
        while recurrent.nonfinite_rows < 3 and time.monotonic() < until_s:
            time.sleep(0.01)
        assert recurrent.nonfinite_rows == 3


@pytest.mark.parametrize("name", ["feed_forward", "noise_alone", "lookup", "masked_argmax", "full"])
def test_compiled_calls_of_other_policies_give_the_local_bits(tmp_path: Path, seen: Seen, name: str) -> None:
    model = getattr(small_models, name)()
    wrappers: Any = [] if name == "masked_argmax" else "auto"
    served_policy, local = (cervello.load(model, wrappers=wrappers, seed=3) for _ in range(2))
    streams = np.arange(7, 12, dtype="<i8")
    local.begin_agents(list(range(5)), stream=streams, episode=0)
    rng = np.random.default_rng(0)
    with served({"sum": served_policy}, tmp_path) as running, Wire(running.address, {"client": "a"}) as wire:
        wire.result("begin", {"policy": "sum", "agents": list(range(5)), "streams": streams.tobytes()})
        plain = all(spec.dtype != np.bool_ for spec in local._core.all_inputs.values())
        for _ in range(200):
            rows = {key: (rng.integers(0, 2, spec.batched(5)) if spec.dtype.kind in "bi" else rng.standard_normal(spec.batched(5))
                          ).astype(spec.dtype) for key, spec in local._core.all_inputs.items()}
            reply = wire.result("infer", {"policy": "sum", "agents": list(range(5)), "inputs": {key: each.tobytes()
                                                                                                   for key, each in rows.items()}})
            expected = local.infer_batch(list(range(5)), rows)
            assert reply["outputs"] == {key: each.tobytes() for key, each in expected.items()}
        assert (seen.n_compiled > 0) == plain


def test_few_layouts_of_one_connection_are_kept(tmp_path: Path, seen: Seen) -> None:
    with served({"sum": counter()}, tmp_path) as running, Wire(running.address, {"client": "a"}) as wire:
        for n in range(1, 40):
            wire.result("begin", {"policy": "sum", "agents": [n]})
            ids = list(range(1, n + 1))
            for _ in range(3):
                wire.result("infer", {"policy": "sum", "agents": ids, "inputs": {"obs": bytes(4 * n)}})
        session = next(iter(running.server.state.sessions))
        assert 1 <= len(session._layouts) <= 8
        n = request_layout.MOST_BYTES // 4 + 100  # a long one is not worth it
        many = list(range(1000, 1000 + n))
        wire.result("begin", {"policy": "sum", "agents": many})
        for _ in range(3):
            wire.result("infer", {"policy": "sum", "agents": many, "inputs": {"obs": bytes(4 * n)}})
        assert all(n_bytes <= request_layout.MOST_BYTES for n_bytes in session._layouts._layouts)
