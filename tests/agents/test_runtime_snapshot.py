"""A runtime as bytes and back: frames by rows are played again bit for bit, and what cannot be restored changes nothing."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
import pytest
import small_models
from hypothesis import given, settings
from hypothesis import strategies as st
from stacks import model

from cervello import Epsilon, Policy, PreviousAction, Recurrent, Runtime, SnapshotError
from cervello.agents.policy import snapshot_format
from cervello.agents.runtime import snapshot
from cervello.inferers.testing import same_bits, sample_row
from cervello.spec import PolicySpec, Wrapper
from cervello.wrappers import Passive

NAMES = ("noisy", "counter")
AGENTS = [1, 2, 3, "x", "y"]


def make(seed: int = 5, names: Any = NAMES, extra: Any = ()) -> Runtime:
    """Two policies: one with noise and memory, one that sums observations; `extra` wrappers go around the second."""
    runtime = Runtime()
    for name in names:
        if name == "noisy":
            policy = Policy(model("full"), wrappers=[Recurrent(), Epsilon(), PreviousAction("prev_action", "action")], seed=seed)
        else:
            policy = Policy(model("counter"), wrappers=[*extra, Recurrent()], seed=seed)
        runtime.add(name, policy, measure=False)
    return runtime


def push(runtime: Runtime, name: str, agent: Any, step: int, deterministic: bool = False) -> None:
    number = agent if isinstance(agent, int) else ord(agent)
    inputs = runtime.policies[name].inputs
    runtime.push(name, agent, {key: sample_row(spec, number, step) for key, spec in inputs.items()}, deterministic)


def tick(runtime: Runtime, step: int, rows: int | None = 4) -> Any:
    """Most agents push, some frames leave agents waiting; everything that a frame says."""
    for name in NAMES:
        for k, agent in enumerate(AGENTS):
            if (k + step) % 4 and agent in runtime.policies[name]:
                push(runtime, name, agent, step, deterministic=(k + step) % 3 == 0)
    frame = runtime.run(rows=rows)
    decided = {name: {agent: {key: np.array(value) for key, value in row.items()} for agent, row in frame[name].items()} for name in frame}
    return frame.number, decided, frame.skipped, frame.n_rows


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return same_bits(a, b) if isinstance(a, np.ndarray) else bool(a == b)


def played(runtime: Runtime, steps: int = 7) -> Runtime:
    """A runtime in the middle of things: levels, held decisions, agents that wait and that rest."""
    for name in NAMES:
        runtime.begin_agents(name, AGENTS, stream=2, episode=3)
        runtime.set_level(name, 1, every=3, hold="last")
        runtime.set_level(name, "x", every=2, hold="last")
        runtime.set_level(name, 3, priority=0.3)
    for step in range(steps):
        tick(runtime, step)
    push(runtime, "noisy", 2, 99, deterministic=True)
    push(runtime, "noisy", 1, 99)
    return runtime


# Played again -------------------------------------------------------------------------------------------------------------


def test_frames_after_a_restore_are_bitwise_those_that_followed() -> None:
    runtime = played(make())
    state = runtime.snapshot()
    assert all(runtime.waiting(name) for name in NAMES)
    expected = [tick(runtime, step) for step in range(7, 19)]
    runtime.end_agents("noisy", [1, "y"])
    runtime.begin_agents("noisy", range(100, 140))
    runtime.set_level("counter", 2, every=8)
    for target in (runtime, make()):  # another runtime with the same policies, too
        target.restore(state)
        assert target.frame == 7
        assert target.snapshot() == state
        assert all(same(tick(target, step), then) for step, then in zip(range(7, 19), expected, strict=True))


def test_levels_holds_and_flags_are_part_of_it() -> None:
    runtime = make()
    runtime.begin_agent("counter", 1, every=4, hold="last")
    runtime.begin_agents("noisy", [1, 2])
    push(runtime, "counter", 1, 0)
    held = runtime.run()["counter"][1]["action"]
    push(runtime, "noisy", 2, 1, deterministic=True)
    push(runtime, "noisy", 1, 1)
    push(runtime, "counter", 1, 1)
    twin = make()
    twin.restore(runtime.snapshot())
    assert twin.waiting("noisy") == (2, 1)
    first, second = runtime.run(), twin.run()
    assert second.skipped == {"counter": (1,)}
    assert same_bits(second["counter"][1]["action"], held)
    assert all(same_bits(first["noisy"][agent]["action"], second["noisy"][agent]["action"]) for agent in (1, 2))
    for agent in (10, 11):  # the phases of those who come later, too
        for each in (runtime, twin):
            each.begin_agent("counter", agent, every=4)
    for step in range(2, 10):
        for each in (runtime, twin):
            for agent in (1, 10, 11):
                push(each, "counter", agent, step)
        assert set(runtime.run()["counter"]) == set(twin.run()["counter"])


def test_a_level_that_changed_before_its_agent_ever_decided_is_saved_too() -> None:
    runtime = make()
    runtime.begin_agent("counter", 1, every=4)
    runtime.set_level("counter", 1, every=1, priority=4.0)  # as if it had decided three frames before the first
    state = runtime.snapshot()
    twin = make()
    twin.restore(state)
    assert twin.snapshot() == state


def test_who_waits_longest_is_remembered() -> None:
    runtime = make()
    for name, agent in (("counter", 3), ("noisy", 2), ("counter", 1)):
        runtime.begin_agent(name, agent)
        push(runtime, name, agent, 0)
        runtime.frame += 1
    twin = make()
    twin.restore(runtime.snapshot())
    order = [next((name, agent) for name, actions in twin.run(rows=1).items() for agent in actions) for _ in range(3)]
    assert order == [("counter", 3), ("noisy", 2), ("counter", 1)]


def test_a_snapshot_outlives_a_swap() -> None:
    runtime = played(make())
    state = runtime.snapshot()
    expected = tick(runtime, 7)
    runtime.policies["counter"].replace(small_models.counter())
    runtime.restore(state)
    assert same(tick(runtime, 7), expected)


def test_ids_of_numpy_are_saved_as_the_ints_that_they_are() -> None:
    runtime = make()
    one, two = np.arange(1, 3)
    runtime.begin_agent("counter", one, every=2, hold="last")
    runtime.begin_agent("counter", two)
    push(runtime, "counter", int(one), 0)
    runtime.run()
    runtime.push_batch("counter", [two, one], {"obs": np.ones((2, 1))})
    twin = make()
    twin.restore(runtime.snapshot())
    assert twin.waiting("counter") == (2,)
    assert twin.snapshot() == runtime.snapshot()


def test_agents_that_ended_behind_the_runtimes_back_are_left_out() -> None:
    runtime = played(make())
    for agent in AGENTS:
        push(runtime, "counter", agent, 8)
    runtime.policies["counter"].end_agents([1, 2])
    runtime.policies["counter"].restart_agents(["y"])
    state = runtime.snapshot()
    expected = tick(runtime, 9, None)[1]
    runtime.restore(state)
    assert not {1, 2, "y"} & set(runtime.waiting("counter"))
    assert same(tick(runtime, 9, None)[1], expected)


# What is refused ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def state() -> bytes:
    return played(make()).snapshot()


def refused(runtime: Runtime, given: Any, message: str = "restore") -> None:
    """A SnapshotError that changes no policy, no queue, no level, and not the frame's number."""
    before, waiting = runtime.snapshot(), [runtime.waiting(name) for name in runtime.policies]
    with pytest.raises(SnapshotError, match=message):
        runtime.restore(given)
    assert runtime.snapshot() == before
    assert waiting == [runtime.waiting(name) for name in runtime.policies]


def sealed(tree: Any) -> bytes:
    """Forged bytes whose checksum fits."""
    return snapshot_format.sealed(snapshot.MAGIC, snapshot.VERSION, msgpack.packb(tree))


def otherwise() -> Runtime:
    """Not where `state` was taken, so that any change shows."""
    runtime = played(make(), 4)
    runtime.end_agent("noisy", 2)
    return runtime


@settings(max_examples=150, deadline=None)
@given(at=st.integers(0, 1 << 16), bit=st.integers(0, 7))
def test_a_changed_bit_is_noticed(state: bytes, at: int, bit: int) -> None:
    spoilt = bytearray(state)
    spoilt[at % len(spoilt)] ^= 1 << bit
    with pytest.raises(SnapshotError, match="snapshot: expected"):
        make().restore(spoilt)


def test_every_bit_of_the_head_counts(state: bytes) -> None:
    runtime = otherwise()
    for at in range(28):
        spoilt = bytearray(state)
        spoilt[at] ^= 1
        refused(runtime, spoilt, "snapshot: expected")


@pytest.mark.parametrize(("change", "message"), [
    (lambda s: s[:-1], "it was cut off"), (lambda s: s[:40], "it was cut off"), (lambda s: s + b"\0", "or something was added"),
    (lambda s: b"", "expected bytes that begin with b'CRVR', got 0 bytes"), (lambda s: s[:4] + b"\1" + s[5:], "expected version 2, got 1"),
    (lambda s: 17, "expected the bytes that Runtime.snapshot"), (lambda s: None, "got NoneType"),
    (lambda s: bytes(make().policies["noisy"].snapshot()), "begin with b'CRVS'")])
def test_what_is_no_snapshot_changes_nothing(state: bytes, change: Any, message: str) -> None:
    refused(otherwise(), change(state), message)


def test_other_policies_or_another_order_are_named(state: bytes) -> None:
    refused(make(names=("counter", "noisy")), state, r"expected a snapshot of the policies \['counter', 'noisy'\], got one of "
            r"\['noisy', 'counter'\]; add the same ones in the same order")
    refused(make(names=("noisy",)), state, r"of the policies \['noisy'\], got")
    refused(make(names=("noisy", "counter", "more")), state, "got one of")
    refused(make(seed=6), state, "expected a snapshot of seed 6, got one of seed 5")
    swapped = Runtime()
    for name, other in zip(NAMES, NAMES[::-1], strict=True):
        swapped.add(name, make().policies[other], measure=False)
    refused(swapped, state)


PLACES: dict[str, Any] = {
    "frame": (), "brains": (), "policy": ("brains", 1), "name": ("brains", 0), "waiting": ("brains", 1), "resting": ("brains", 0),
    "levels": ("brains", 1), "phases": ("brains", 1), "held": ("brains", 0), "last_frame": ("brains", 1), "ids": ("brains", 1, "waiting"),
    "since": ("brains", 1, "waiting"), "deterministic": ("brains", 0, "waiting"), "rows": ("brains", 1, "waiting")}
WRONG = [None, -2, 1 << 63, 1.5, "x", b"abc", [99], [[]], [[1, 2]], {"a": 1}, [[99, 2, 0, 1.0, "none", 0]], [[1, 0, 0, 1.0, "none", 0]],
         [[1, 2, 0, 1.0, "none", 0]] * 2, [[1, 2, 0, -1.0, "none", 0]], [[1, 2, 0, 1.0, "some", 0]], [[1, 2, -1, 1.0, "none", 0]],
         [["<f4", [1], b"abcd"]], [["|O", [5, 1], b""]], [[1, [["action", "<f8", [1], bytes(8)]]]],
         [["x", [["other", "<f4", [1], bytes(4)]]]]]


@pytest.mark.parametrize("place", PLACES)
def test_forged_parts_are_refused_and_change_nothing(state: bytes, place: str) -> None:
    runtime = otherwise()
    for wrong in WRONG:
        tree = msgpack.unpackb(state[28:])
        part = tree
        for key in PLACES[place]:
            part = part[key]
        part[place] = wrong
        refused(runtime, sealed(tree), "restore|snapshot")
        del part[place]
        refused(runtime, sealed(tree), "restore")


@pytest.mark.parametrize(("place", "number"), [(("frame",), 1 << 62), (("brains", 0, "last_frame"), 1 << 63),
                                              (("brains", 0, "levels", 0, 1), 1 << 40), (("brains", 1, "levels", 0, 5), 1 << 63),
                                              (("brains", 0, "waiting", "since", 0), -1),
                                              (("brains", 0, "waiting", "deterministic", 0), 1)])
def test_forged_numbers_that_no_frame_reaches_are_refused(state: bytes, place: Any, number: int) -> None:
    tree = msgpack.unpackb(state[28:])
    part = tree
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = number
    refused(otherwise(), sealed(tree), "expected what Runtime.snap")


# Hooks that fail half-way -------------------------------------------------------------------------------------------------


class Moody(Passive):
    """Fails where it is told to."""

    fail = ""

    def attach(self, spec: PolicySpec) -> tuple[Wrapper, PolicySpec]:
        return self, spec

    def _maybe(self, where: str) -> None:
        if self.fail == where:
            raise RuntimeError(where)

    def begin(self, slots: Any) -> None:
        self._maybe("begin")

    def end(self, slots: Any) -> None:
        self._maybe("end")

    def get_state(self, slots: Any) -> dict[str, Any]:
        return {}

    def set_state(self, slots: Any, state: Any) -> None:
        self._maybe("state")


@pytest.mark.parametrize("where", ["begin", "end", "state"])
def test_a_hook_that_fails_in_the_second_policy_leaves_everything_as_before(where: str) -> None:
    moody, calm = Moody(), Moody()
    state = played(make(extra=[Moody()])).snapshot()
    runtime, twin = played(make(extra=[moody]), 4), played(make(extra=[calm]), 4)
    before = runtime.snapshot()
    moody.fail = where
    with pytest.raises(RuntimeError, match=where):
        runtime.restore(state)
    moody.fail = ""
    assert runtime.snapshot() == before == twin.snapshot()
    assert all(same(tick(runtime, step), tick(twin, step)) for step in range(4, 12))
    runtime.restore(state)
    assert runtime.snapshot() == state


def test_rows_stay_with_their_agents_when_a_restore_fails_after_one_of_them_has_ended() -> None:
    moody = Moody()
    runtime = make(extra=[moody])
    for name in NAMES:
        runtime.begin_agents(name, [1, 2, 3])
    state = runtime.snapshot()
    for name in NAMES:
        for agent in (1, 2, 3):
            push(runtime, name, agent, 0)
    for name in NAMES:
        runtime.policies[name].end_agent(1)
    moody.fail = "begin"
    with pytest.raises(RuntimeError, match="begin"):
        runtime.restore(state)
    moody.fail = ""
    for name in NAMES:
        runtime.begin_agents(name, [4])
        push(runtime, name, 4, 0)
    frame = runtime.run()
    for name in NAMES:
        twin = make()
        twin.begin_agents(name, [2, 3, 4])
        for agent in (2, 3, 4):
            push(twin, name, agent, 0)
        expected = twin.run()[name]
        assert set(frame[name]) == {2, 3, 4}
        assert all(same(dict(frame[name][agent]), dict(expected[agent])) for agent in (2, 3, 4))
        assert set(frame[name].errors) == {1}
