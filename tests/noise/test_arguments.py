"""What fits is filled, however unusual; what does not is refused by name and changes nothing."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from cervello.errors import InputError
from cervello.noise import Streams, layout


class Child(np.ndarray):  # type: ignore[type-arg]
    pass


def unaligned(shape: tuple[int, int]) -> Any:
    array = np.zeros(shape[0] * shape[1] * 4 + 1, np.uint8)[1:].view(np.float32).reshape(shape)
    assert not array.flags.aligned
    return array


def test_arrays_are_read_in_place_here() -> None:
    assert layout.is_known()


@pytest.mark.parametrize("out", [
    np.zeros((6, 9), np.float32)[::2, 1:6],
    np.zeros((3, 5), np.float32)[::-1],
    np.zeros((3, 10), np.float32)[:, ::2],
    np.zeros((5, 3), np.float32).T,
    np.zeros((3, 5), np.float32).view(Child),
    unaligned((3, 5)),
    np.lib.stride_tricks.as_strided(np.zeros(15, np.float32), (3, 5), (20, 4)),
], ids=["rows apart", "backward", "columns apart", "fortran", "subclass", "unaligned", "strided"])
def test_any_layout_is_filled(streams: Streams, kind: str, out: Any) -> None:
    plain = np.zeros((3, 5), np.float32)
    slots = np.array([4, 2, 9])
    getattr(streams, kind)(plain, slots, 1)
    out[...] = np.nan
    getattr(streams, kind)(out, slots, 1)
    assert np.asarray(out).tobytes() == plain.tobytes()


@pytest.mark.parametrize(("slots", "scale", "deterministic"), [
    ([4, 2, 9], 0.5, None),
    (np.array([4, 2, 9], np.uint16), 0.5, None),
    (np.array([4, 0, 2, 0, 9])[::2], 0.5, None),
    (np.array([4, 2, 9]), np.float32(0.5), None),
    (np.array([4, 2, 9]), 0.5, [False, False, False]),
    (np.array([4, 2, 9]), 0.5, np.zeros(6, np.bool_)[::2]),
])
def test_unusual_arguments_are_converted(
        streams: Streams, kind: str, slots: Any, scale: Any, deterministic: Any) -> None:
    plain, out = np.zeros((3, 5), np.float32), np.full((3, 5), np.nan, np.float32)
    getattr(streams, kind)(plain, np.array([4, 2, 9]), 1, 0.5)
    getattr(streams, kind)(out, slots, 1, scale, deterministic)
    assert out.tobytes() == plain.tobytes()


def test_without_a_known_layout_the_bits_are_the_same(
        streams: Streams, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, out = np.zeros((20, 5), np.float32), np.full((20, 5), np.nan, np.float32)
    slots, deterministic = np.arange(20), np.arange(20) < 3
    getattr(streams, kind)(plain, slots, 1, 0.5, deterministic)
    monkeypatch.setattr(layout, "is_known", lambda: False)
    getattr(Streams(streams.keys, streams.steps), kind)(out, slots, 1, 0.5, deterministic)
    assert out.tobytes() == plain.tobytes()


def read_only() -> Any:
    array = np.zeros((3, 5), np.float32)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(("change", "message"), [
    ({"out": np.zeros((3, 5))}, "noise out: expected a writeable float32 (n, width) array, got float64 (3, 5)"),
    ({"out": np.zeros(3, np.float32)}, "noise out: expected a writeable float32 (n, width) array, got float32 (3,)"),
    ({"out": read_only()}, "noise out: expected a writeable float32 (n, width) array, got float32 (3, 5)"),
    ({"out": [[0.0]]}, "noise out: expected a writeable float32 (n, width) array, got list"),
    ({"out": np.zeros((3, 5), ">f4")}, "noise out: expected a writeable float32 (n, width) array, got >f4 (3, 5)"),
    ({"slots": np.arange(2)}, "noise slots: expected int64 (3,), got int64 (2,)"),
    ({"slots": np.zeros((3, 1), np.int64)}, "noise slots: expected int64 (3,), got int64 (3, 1)"),
    ({"slots": np.zeros(3)}, "noise slots: expected int64 (3,), got float64 (3,)"),
    ({"slots": np.array([0, 400, 1])}, "noise slots: expected 0 <= slot < 400, got 400"),
    ({"slots": np.array([0, 1, -1])}, "noise slots: expected 0 <= slot < 400, got -1"),
    ({"slots": np.array([0, 2**63 - 1, 1])}, "noise slots: expected 0 <= slot < 400, got 9223372036854775807"),
    ({"slots": np.array([0, 2**63 + 5, 1], np.uint64)}, "noise slots: expected 0 <= slot < 400, got 92233720368547758"),
    ({"deterministic": np.zeros(2, np.bool_)}, "noise deterministic: expected bool (3,), got bool (2,)"),
    ({"deterministic": np.zeros(3, np.int8)}, "noise deterministic: expected bool (3,), got int8 (3,)"),
    ({"site": -1}, "noise site: expected 0 <= site < 2**32, got -1"),
    ({"site": 1 << 32}, "noise site: expected 0 <= site < 2**32, got 4294967296"),
])
def test_arguments_that_do_not_fit_are_refused(
        streams: Streams, kind: str, change: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"out": np.full((3, 5), 8.0, np.float32), "slots": np.arange(3), "site": 1}
    given.update(change)
    before = np.array(given["out"])
    with pytest.raises(InputError, match=re.escape(message)):
        getattr(streams, kind)(**given)
    assert (np.array(given["out"]) == before).all()


KEYS, STEPS = np.zeros((4, 2), np.uint64), np.zeros(4, np.int64)


@pytest.mark.parametrize(("keys", "steps", "message"), [
    (KEYS.astype(np.int64), STEPS, "noise keys: expected a writeable contiguous uint64 (n, 2) array, got int64 (4, 2)"),
    (np.zeros((4, 3), np.uint64), STEPS, "noise keys: expected a writeable contiguous uint64 (n, 2) array"),
    (np.zeros((2, 4), np.uint64).T, STEPS, "noise keys: expected a writeable contiguous uint64 (n, 2) array"),
    (KEYS, np.zeros(5, np.int64), "noise steps: expected a contiguous int64 (4,) array, got int64 (5,)"),
    (KEYS, STEPS.astype(np.int32), "noise steps: expected a contiguous int64 (4,) array, got int32 (4,)"),
    (KEYS, np.zeros(8, np.int64)[::2], "noise steps: expected a contiguous int64 (4,) array"),
])
def test_tables_that_do_not_fit_are_refused(keys: Any, steps: Any, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        Streams(keys, steps)


def test_the_tables_outlive_the_callers_names() -> None:
    streams = Streams(np.ones((3, 2), np.uint64), np.ones(3, np.int64))
    out = np.full((3, 4), np.nan, np.float32)
    streams.fill_uniform(out, np.arange(3), 1)
    assert (out == out[0]).all()
