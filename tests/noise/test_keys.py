"""Keys of agents: sensitive to everything, the same everywhere, and equal in bulk and one by one."""

from __future__ import annotations

import itertools
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from cervello.errors import AgentError, ConfigurationError, InputError
from cervello.noise import agent_key, agent_number, derive_keys

BASE = (7, 1, 42, 3)


def joined(key: tuple[int, int]) -> int:
    return key[0] | key[1] << 64


def test_golden_keys() -> None:
    assert agent_key(0, 0, 0, 0) == (0xDE4BDF044A2FA1D8, 0xFFA0AE41)
    assert agent_key(7, 1, 42, 3) == (0x45CA639D2B89A28A, 0x75ED332D)
    assert agent_key(7, 1, agent_number("walker_0"), 3) == (0xE990653C86E76A85, 0xEAAFE25E)


@pytest.mark.parametrize("position", range(4))
def test_every_bit_of_every_number_changes_about_half_of_the_key(position: int) -> None:
    reference, changes = joined(agent_key(*BASE)), []
    for bit in range(64):
        numbers = list(BASE)
        numbers[position] ^= 1 << bit
        changes.append((joined(agent_key(*numbers)) ^ reference).bit_count())
    assert min(changes) > 24
    assert 44 < sum(changes) / 64 < 52


def test_the_four_numbers_are_not_interchangeable() -> None:
    assert len({agent_key(*order) for order in itertools.permutations((1, 2, 3, 4))}) == 24


def test_small_numbers_give_no_equal_keys() -> None:
    every = list(itertools.product(range(3), range(4), range(12), range(12)))
    assert len({agent_key(*numbers)[0] for numbers in every}) == len(every)


@pytest.mark.parametrize("position", range(4))
@pytest.mark.parametrize("number", [-1, 1 << 64])
def test_numbers_beyond_64_bits_are_refused(position: int, number: int) -> None:
    numbers = list(BASE)
    numbers[position] = number
    name = ("seed", "stream", "agent", "episode")[position]
    with pytest.raises(ConfigurationError, match=rf"noise {name}: expected 0 <= {name} < 2\*\*64, got {number}"):
        agent_key(*numbers)


def test_an_int_is_its_own_number() -> None:
    assert [agent_number(i) for i in (0, 5, 2**63 - 1)] == [0, 5, 2**63 - 1]
    assert agent_number(np.int32(9)) == 9  # type: ignore[arg-type]


def test_strings_never_equal_ints_and_survive_processes(environment: dict[str, str]) -> None:
    names = ["", "walker_0", "walker_1", "0", "agent é", "\udc80"]
    numbers = [agent_number(name) for name in names]
    assert len(set(numbers)) == len(names)
    assert all(1 << 63 <= number < 1 << 64 for number in numbers)
    code = "from cervello.noise.reference import agent_number; print(agent_number('walker_0'))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert int(ran.stdout) == numbers[1]


def test_strings_that_say_they_are_equal_have_their_own_numbers() -> None:
    class Same(str):
        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 1

    names = ["walker_0", "walker_1"]
    assert [agent_number(Same(name)) for name in names] == [agent_number(name) for name in names]


@pytest.mark.parametrize("agent", [-1, 2**63, 1.0, None, True, b"walker"])
def test_other_ids_are_refused(agent: Any) -> None:
    with pytest.raises(AgentError, match="agent id: expected an int 0 <= id < 2\\*\\*63 or a string, got"):
        agent_number(agent)


@pytest.mark.parametrize("n", [0, 1, 15, 16, 17, 50])
@pytest.mark.parametrize("seed", [0, 7, 2**64 - 1])
def test_bulk_equals_one_by_one(n: int, seed: int) -> None:
    rng = np.random.default_rng(n)
    numbers = rng.integers(0, 2**64, n, np.uint64)
    streams, episodes = rng.integers(0, 2**63, n), rng.integers(0, 5, n)
    slots = rng.permutation(64)[:n].astype(np.int64)
    keys = np.full((64, 2), 99, np.uint64)
    derive_keys(numbers, streams, episodes, seed, slots, keys)
    for row, slot in enumerate(slots):
        key = agent_key(seed, int(streams[row]), int(numbers[row]), int(episodes[row]))
        assert tuple(keys[slot].tolist()) == key
    others = np.ones(64, bool)
    others[slots] = False
    assert (keys[others] == 99).all()


def test_unusual_arrays_give_the_same_keys() -> None:
    plain, odd = np.zeros((8, 2), np.uint64), np.zeros((8, 2), np.uint64)
    numbers, slots = np.arange(4), np.arange(4)
    derive_keys(numbers, np.zeros(4, np.int64), np.full(4, 2), 7, slots, plain)
    derive_keys(np.arange(8, dtype=np.int16)[::2] // 2, 0, np.uint8(2), 7, slots.astype(np.int32), odd)  # type: ignore[arg-type]
    assert (plain == odd).all()
    assert plain[:4].all()


@pytest.mark.parametrize(("change", "message"), [
    ({"seed": -1}, "noise seed: expected 0 <= seed"),
    ({"numbers": np.zeros(3, np.int64)}, r"noise numbers: expected int64 or uint64 \(2,\), got int64 \(3,\)"),
    ({"streams": np.zeros(2, np.float32)}, r"noise streams: expected int64 or uint64 \(2,\), got float32 \(2,\)"),
    ({"episodes": np.zeros((2, 1), np.int64)}, r"noise episodes: expected int64 or uint64 \(2,\), got int64 \(2, 1\)"),
    ({"slots": np.array([0, 8])}, "noise slots: expected 0 <= slot < 8, got 8"),
    ({"slots": np.array([-1, 0])}, "noise slots: expected 0 <= slot < 8, got -1"),
    ({"slots": np.array([-(2**63), 0])}, "noise slots: expected 0 <= slot < 8, got -9223372036854775808"),
    ({"slots": np.array([0.0, 1.0])}, r"noise slots: expected int64 \(2,\), got float64 \(2,\)"),
    ({"keys": np.zeros((8, 2), np.int64)}, r"noise keys: expected a writeable contiguous uint64 \(n, 2\) array"),
    ({"keys": np.zeros((8, 4), np.uint64)[:, ::2]}, "noise keys: expected a writeable contiguous"),
])
def test_arguments_that_do_not_fit_are_refused(change: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {
        "numbers": np.arange(2), "streams": np.arange(2), "episodes": np.arange(2), "seed": 7, "slots": np.arange(2),
        "keys": np.zeros((8, 2), np.uint64)}
    given.update(change)
    with pytest.raises((InputError, ConfigurationError), match=message):
        derive_keys(**given)
    assert not given["keys"].any()
