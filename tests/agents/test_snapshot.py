"""Agents as bytes and back."""

from __future__ import annotations

import struct
from typing import Any

import msgpack
import numpy as np
import pytest
import small_models
from hypothesis import given, settings
from hypothesis import strategies as st
from stacks import STACKS, Averaged, Pairwise, model

import cervello
from cervello import AgentError, Epsilon, Fill, InputError, Policy, Recurrent, SnapshotError, WrapperError
from cervello.agents.policy import snapshot_format
from cervello.inferers.testing import same_bits, sample_columns
from cervello.spec import PolicySpec, Wrapper
from cervello.wrappers import Passive

SAVABLE = [name for name, (_, wrappers) in STACKS.items() if not any(isinstance(w, Averaged) for w in wrappers)]


def make(stack: str = "recurrent_epsilon", seed: int = 3) -> Policy:
    arguments, wrappers = STACKS[stack]
    return Policy(model(*arguments), wrappers=wrappers, seed=seed)


def tick(policy: Policy, agents: Any, step: int) -> Any:
    numbers = [agent if isinstance(agent, int) else sum(agent.encode()) for agent in agents]
    return policy.infer_batch(list(agents), sample_columns(policy.inputs, numbers, step))


def same(a: Any, b: Any) -> bool:
    return a.keys() == b.keys() and all(same_bits(a[name], b[name]) for name in a)


@pytest.mark.parametrize("stack", SAVABLE)
def test_after_a_restore_everything_is_decided_again_bit_for_bit(stack: str) -> None:
    policy = make(stack)
    policy.begin_agents([4, 9], stream=2, episode=5)
    policy.begin_agents(["x", "y"])
    everybody = [4, 9, "x", "y"]
    tick(policy, everybody, 0)
    tick(policy, [9, "x"], 1)
    state = policy.snapshot()
    first = [tick(policy, everybody, step) for step in (2, 3)]
    policy.end_agents([4, "y"])
    policy.begin_agents(range(20, 120))
    tick(policy, policy.agents, 4)
    for target in (policy, make(stack)):
        target.restore(state)
        assert target.agents == (4, 9, "x", "y")
        assert all(same(tick(target, everybody, step), expected) for step, expected in zip((2, 3), first, strict=True))
        target.restart_agents([9])
    assert same(tick(policy, [9], 0), tick(target, [9], 0))


def test_a_snapshot_of_some_agents_leaves_the_others_alone() -> None:
    policy, twin = make(), make()
    for each in (policy, twin):
        each.begin_agents(range(6))
        tick(each, range(6), 0)
    state = policy.snapshot([1, 4])
    tick(policy, [1, 4, 5], 1)
    policy.end_agent(4)
    policy.restore(state)
    tick(twin, [5], 1)
    assert set(policy.agents) == set(range(6))
    assert same(tick(policy, range(6), 2), tick(twin, range(6), 2))


def test_an_agent_moves_to_another_policy() -> None:
    here, there = make(), make()
    for each in (here, there):
        each.begin_agents([1, 2])
    here.begin_agent("wanderer", stream=7, episode=2)
    tick(here, [1, 2, "wanderer"], 0)
    twin = make()
    twin.restore(here.snapshot())
    there.restore(here.snapshot(["wanderer"]))
    here.end_agent("wanderer")
    assert same(tick(there, ["wanderer"], 1), tick(twin, ["wanderer"], 1))
    assert set(there.agents) == {1, 2, "wanderer"}


def test_a_snapshot_outlives_a_swap_of_the_model() -> None:
    policy = make()
    policy.begin_agents(range(3))
    tick(policy, range(3), 0)
    state = policy.snapshot()
    expected = tick(policy, range(3), 1)
    policy.replace(small_models.full())
    policy.restore(state)
    assert same(tick(policy, range(3), 1), expected)


def test_it_is_written_to_a_buffer_of_ones_own() -> None:
    policy = make()
    policy.begin_agents(range(10))
    expected = policy.snapshot()
    for room in (bytearray(len(expected)), bytearray(3 * len(expected)), np.zeros(len(expected), np.uint8)):
        written = policy.snapshot(out=room)
        assert bytes(written) == expected == bytes(memoryview(room)[:len(expected)])
        policy.restore(written)
    with pytest.raises(InputError, match=f"snapshot, out: expected a writeable buffer of at least {len(expected)} bytes, got 9"):
        policy.snapshot(out=bytearray(9))
    with pytest.raises(InputError, match="got a read-only one"):
        policy.snapshot(out=bytes(10_000))
    with pytest.raises(InputError, match="expected a contiguous buffer of bytes, got list"):
        policy.snapshot(out=[])


def test_equal_agents_give_equal_bytes_whatever_became_of_others() -> None:
    first, second = make(), make()
    second.begin_agents(range(100))
    second.end_agents(range(100))
    for each in (first, second):
        each.begin_agents([3, 1, 2], episode=0)
        tick(each, [1, 2, 3], 0)
    assert first.snapshot([3, 1, 2]) == second.snapshot([3, 1, 2])


def test_it_takes_few_bytes() -> None:
    policy = cervello.load(small_models.feed_forward())
    policy.begin_agents(range(1000))
    assert len(policy.snapshot()) < 6 * 1000  # ids of two bytes; stream, episode and step of one
    policy = make("recurrent")
    policy.begin_agents(range(1000))
    assert len(policy.snapshot()) < (6 + 4) * 1000


def test_an_empty_policy_has_a_snapshot_too() -> None:
    policy = make()
    state = policy.snapshot()
    policy.begin_agents(range(3))
    policy.restore(state)
    assert policy.agents == ()
    policy.restore(policy.snapshot([]))


def test_unknown_agents_have_no_snapshot() -> None:
    policy = make()
    policy.begin_agent(1)
    with pytest.raises(AgentError, match="expected agents that have begun, got 2"):
        policy.snapshot([1, 2])


def test_the_golden_bytes_of_version_2() -> None:
    policy = cervello.load(small_models.counter(), wrappers=[Recurrent()], seed=5)
    policy.begin_agents([4, "four"], episode=[0, 8])
    policy.end_agents([4, "four"])
    policy.begin_agents([7, 300], stream=1)
    policy.infer_batch([7, 300], {"obs": np.array([[1], [2]], np.float32)})
    state = bytes(policy.snapshot())
    header = msgpack.packb({
        "policy": "model", "model": "9c5eb53e21123cacc07626a4ed52ca4e", "wrappers": ["Recurrent"], "seed": 5, "whole": True, "n": 2,
        "ids": None, "floor": 0, "past": [[[], []], [[4, "four"], [1, 9]]], "blocks": [
        ["ids", "<u2", [2]], ["streams", "|u1", [2]], ["episodes", "|u1", [2]], ["steps", "|u1", [2]], ["state 0 h_in", "<f4", [2, 1]]]})
    assert state[:8] == b"CRVS\x02\x00\x00\x00"
    assert state[24:28] == struct.pack("<I", len(header))
    assert state[28:28 + len(header)] == header
    blocks = state[28 + len(header):]
    start = -(28 + len(header)) % 64
    assert blocks[start:start + 4] == struct.pack("<2H", 7, 300)
    assert [blocks[start + 64 * k:start + 64 * k + 2] for k in (1, 2, 3)] == [b"\1\1", b"\0\0", b"\1\1"]
    assert blocks[start + 256:] == struct.pack("<2f", 1, 2)
    assert len(state) == struct.unpack("<Q", state[8:16])[0]


# Bytes that do not fit ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def state() -> bytes:
    policy = make()
    policy.begin_agents(range(5))
    return bytes(policy.snapshot())


def refused(policy: Policy, given: Any, message: str) -> None:
    before = bytes(policy.snapshot())
    with pytest.raises(SnapshotError, match=message):
        policy.restore(given)
    assert bytes(policy.snapshot()) == before


@settings(deadline=None)
@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_changed_bit_is_noticed(at: int, bit: int) -> None:
    policy = make()
    policy.begin_agents(range(5))
    spoilt = bytearray(policy.snapshot())
    spoilt[at % len(spoilt)] ^= 1 << bit
    refused(policy, spoilt, "snapshot: expected")


def test_exchanged_blocks_are_noticed() -> None:
    policy = make("gru")
    policy.begin_agents(range(4000))
    tick(policy, range(4000), 0)
    data = bytearray(policy.snapshot())
    data[40_000:41_000], data[60_000:61_000] = data[60_000:61_000], data[40_000:41_000]
    refused(policy, data, "expected the checksum")


@pytest.mark.parametrize(("change", "message"), [
    (lambda s: s[:-1], "expected [0-9]+ bytes, got [0-9]+; it was cut off"), (lambda s: s + b"\0", "or something was added"),
    (lambda s: b"", "expected bytes that begin with b'CRVS', got 0 bytes"), (lambda s: b"PK" + s[2:], "begin with b'PKVS'"),
    (lambda s: s[:4] + b"\1" + s[5:], "expected version 2, got 1; restore it with the version of Cervello that wrote it"),
    (lambda s: 17, "got int"), (lambda s: [1], "got list")])
def test_what_is_no_snapshot_is_refused(state: bytes, change: Any, message: str) -> None:
    refused(make(), change(state), message)


def forged(state: bytes, **changes: Any) -> bytes:
    """A snapshot with another header and a checksum that fits."""
    n_header = struct.unpack("<I", state[24:28])[0]
    header = msgpack.packb({**msgpack.unpackb(state[28:28 + n_header]), **changes})
    old_start, start = (-(-(28 + n) // 64) * 64 for n in (n_header, len(header)))
    body = struct.pack("<I", len(header)) + header + bytes(start - 28 - len(header)) + state[old_start:]
    length = 24 + len(body)
    return state[:8] + struct.pack("<QQ", length, snapshot_format.checksum(memoryview(body[4:]))) + body


@pytest.mark.parametrize(("changes", "message"), [
    ({"blocks": [["ids", "<u1", [5]]]}, "KeyError: 'streams'"), ({"blocks": [["ids", "|O", [5]]]}, "ValueError: block 'ids' of"),
    ({"blocks": [["ids", "<u8", [5, 1 << 60]]]}, "beyond the end"), ({"blocks": [["ids", "<u1", [-1]]]}, "ValueError"),
    ({"blocks": [["ids", "<u1", ["5"]]]}, "ValueError"), ({"blocks": 3}, "TypeError"), ({"n": 4}, "ValueError"),
    ({"n": None}, "ValueError"),
    ({"model": None}, "fields of other types"), ({"wrappers": "Recurrent"}, "fields of other types"), ({"floor": -1}, "expected a floor"),
    ({"floor": 1 << 63}, "expected a floor"), ({"past": None}, "TypeError"), ({"past": [[[], []]]}, "ValueError"),
    ({"past": [[[], []], [[1], []]]}, "ValueError"), ({"past": [[[], []], [[1], [0]]]}, "two tables of at most"),
    ({"past": [[[1], [1]], [[], []]]}, "older ended agents without newer ones"), ({"past": [[[], []], [[-1], [1]]]}, "agent id: expected"),
    ({"past": [[[], []], [[[1]], [1]]]}, "TypeError"), ({"past": [[[], []], [[1.5], [1]]]}, "agent id: expected"),
    ({"past": [[[], []], [list(range(1 << 15)), [1] * (1 << 15)]]}, "two tables of at most 16384"),
    ({"ids": [1, 2]}, "columns of other lengths"), ({"policy": 3}, "fields of other types"), ({"ids": 4}, "TypeError"),
])
def test_a_header_that_lies_is_refused(state: bytes, changes: Any, message: str) -> None:
    refused(make(), forged(state, **changes), f"expected a header of policy, seed and blocks, got one that fails with .*{message}")


@pytest.mark.parametrize("ids", [[1, 1, 2, 3, 4], [1, 2, 3, 4, -5], [1, 2, 3, 4, None], [1.0, 2, 3, 4, 5], [[1], 2, 3, 4, 5]])
def test_ids_that_name_nobody_are_refused(state: bytes, ids: Any) -> None:
    policy = make()
    policy.begin_agents(range(5))
    before = bytes(policy.snapshot())
    with pytest.raises(SnapshotError, match=r"expected distinct agents, got 1 twice|expected valid ids of agents, got others"):
        policy.restore(forged(state, ids=ids))
    assert bytes(policy.snapshot()) == before


def test_a_snapshot_of_another_policy_is_refused(state: bytes) -> None:
    refused(make(seed=4), state, "policy 'model', restore: expected a snapshot of seed 4, got one of seed 3, whose noise differs")
    refused(make(), forged(state, policy="scout", model="0" * 32),
            "expected a snapshot of a model with the same graph, inputs and outputs, got one of policy 'scout' with others; restore it")
    refused(make(), forged(state, wrappers=["Recurrent"]), r"expected a snapshot of a policy with the wrappers \[.*\], got one with "
            r"\['Recurrent'\]; load the policy with those")
    arguments, _ = STACKS["recurrent_epsilon"]
    refused(Policy(model(*arguments), wrappers=[Epsilon()], seed=3), state, r"state '[01] h_in': expected none, got \(5, 8\) float32")
    refused(Policy(model(*arguments), wrappers=[Fill("mask", True), Recurrent()], seed=3), forged(state, blocks=[
        ["ids", "|u1", [5]], ["streams", "|u1", [5]], ["episodes", "|u1", [5]], ["steps", "|u1", [5]]]),
        r"state '[01] h_in': expected \(5, 8\) float32, got none; the wrappers differ")


# Wrappers of a user's own -------------------------------------------------------------------------------------------------


class Counted(Averaged):
    """State in a way of its own, and the methods to show it."""

    def attach(self, spec: PolicySpec) -> tuple[Wrapper, PolicySpec]:
        super().attach(spec)
        return Counted(self.key), spec

    def get_state(self, slots: Any) -> dict[str, Any]:
        nothing = np.full(6, np.nan, np.float32)
        return {"last": np.array([self.last.get(slot, nothing) for slot in slots.tolist()], np.float32).reshape(len(slots), 6)}

    def set_state(self, slots: Any, state: Any) -> None:
        for slot, row in zip(slots.tolist(), state["last"], strict=True):
            if not np.isnan(row).any():
                self.last[slot] = row.copy()


def test_a_wrapper_with_methods_for_its_state_is_part_of_the_snapshot() -> None:
    policy, twin = (Policy(model("feed_forward"), wrappers=[Counted("obs")]) for _ in range(2))
    for each in (policy, twin):
        each.begin_agents(range(4))
        tick(each, [0, 1], 0)
    state = policy.snapshot()
    expected = tick(policy, range(4), 1)
    policy.restore(state)
    assert same(tick(policy, range(4), 1), expected)
    assert same(tick(twin, range(4), 1), expected)


def test_a_wrapper_that_keeps_its_state_to_itself_is_named() -> None:
    policy = Policy(model("feed_forward"), wrappers=[Averaged("obs")])
    with pytest.raises(WrapperError, match="expected state in slabs, or get_state and set_state"):
        policy.snapshot()

    class Odd(Counted):
        def attach(self, spec: PolicySpec) -> tuple[Wrapper, PolicySpec]:
            return Odd(self.key), spec

        def get_state(self, slots: Any) -> dict[str, Any]:
            return {"last": np.zeros(len(slots) + 1)}

    policy = Policy(model("feed_forward"), wrappers=[Odd("obs")])
    with pytest.raises(WrapperError, match=r"get_state 'last': expected numbers, \(0, ...\), got float64 \(1,\)"):
        policy.snapshot()


def test_a_restore_that_fails_in_a_hook_leaves_everybody_as_before() -> None:
    class Refusing(Passive):
        refuse = False

        def attach(self, spec: PolicySpec) -> tuple[Wrapper, PolicySpec]:
            return self, spec

        def begin(self, slots: Any) -> None:
            if self.refuse:
                raise RuntimeError("no")

        def get_state(self, slots: Any) -> dict[str, Any]:
            return {}

        def set_state(self, slots: Any, state: Any) -> None:
            pass

    refusing = Refusing()
    policy = Policy(model("counter"), wrappers=[refusing, Recurrent()])
    policy.begin_agents([1, 2])
    state = policy.snapshot()
    tick(policy, [1, 2], 0)
    policy.begin_agent(3)
    before = policy.snapshot()
    refusing.refuse = True
    with pytest.raises(RuntimeError, match="no"):
        policy.restore(state)
    assert policy.agents == (1, 2, 3)
    assert policy.snapshot() == before


def test_inferers_of_a_user_hear_of_agents_that_a_restore_brings_and_ends() -> None:
    first = model("feed_forward")
    heard: list[tuple[str, int]] = []

    class Listening(Pairwise):
        def begin_agent(self, slot: int) -> None:
            heard.append(("begin", slot))

        def end_agent(self, slot: int) -> None:
            heard.append(("end", slot))

    policy = Policy(first, inferer=Listening(first))
    policy.begin_agents([1, 2])
    state = policy.snapshot([1])
    policy.restore(state)
    assert heard == [("begin", 0), ("begin", 1), ("begin", 2), ("end", 0)]
