"""A fill's numbers are the definition's, and depend on agent, step, site and element alone."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cervello.noise import Streams, agent_key, derive_keys, reference

WIDTHS = [1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 33, 48, 49, 63, 64, 65, 130]


def defined(streams: Streams, kind: str, slots: Any, width: int, site: int) -> Any:
    element_of = getattr(reference, kind.removeprefix("fill_"))
    return np.array([[element_of(int(streams.keys[s, 0]), int(streams.keys[s, 1]), int(streams.steps[s]), site, e)
                      for e in range(width)] for s in slots]).reshape(len(slots), width)


def by_rows(fill: Any, streams: Streams, kind: str, slots: Any, width: int, **more: Any) -> Any:
    return np.concatenate([fill(streams, kind, [slot], width, **more) for slot in slots])


@pytest.mark.parametrize(("n", "width"), [(1, 1), (1, 36), (2, 130), (3, 64), (9, 5), (40, 2), (33, 3)])
@pytest.mark.parametrize("site", [0, 2**32 - 1])
def test_compiled_fill_equals_the_definition(
        fill: Any, streams: Streams, kind: str, n: int, width: int, site: int) -> None:
    slots = np.random.default_rng(n).integers(0, 400, n)
    slots[: min(n, 4)] = (5, 6, 7, 8)[: min(n, 4)]  # the unusual steps
    truth = defined(streams, kind, slots, width, site)
    found = fill(streams, kind, slots, width, site)
    if kind == "fill_uniform":
        assert (found == truth).all()
    else:
        ulp = np.abs(found - truth) / np.spacing(np.abs(truth).astype(np.float32))
        assert ulp.max() < (4.0 if kind == "fill_normal" else 1.0)


def test_normals_stay_within_five_ulp_over_many_draws(fill: Any, streams: Streams) -> None:
    slots = np.arange(200)
    truth = defined(streams, "fill_normal", slots, 64, 4)
    found = fill(streams, "fill_normal", slots, 64, 4)
    assert (np.abs(found - truth) / np.spacing(np.abs(truth).astype(np.float32))).max() < 5.0


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("n", [2, 3, 15, 16, 17, 40])
def test_a_batch_gives_every_row_the_bits_it_has_alone(
        fill: Any, streams: Streams, kind: str, n: int, width: int) -> None:
    slots = np.random.default_rng(width).permutation(400)[:n]
    alone = by_rows(fill, streams, kind, slots, width)
    assert fill(streams, kind, slots, width).tobytes() == alone.tobytes()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 70), st.integers(0, 140), st.integers(0, 2**32 - 1))
def test_order_and_width_do_not_matter(fill: Any, streams: Streams, kind: str, n: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    slots, deterministic = rng.integers(0, 400, n), rng.random(n) < 0.3
    order = rng.permutation(n)
    whole = fill(streams, kind, slots, 140, scale=0.7, deterministic=deterministic)
    part = fill(streams, kind, slots[order], width, scale=0.7, deterministic=deterministic[order])
    assert part.tobytes() == np.ascontiguousarray(whole[order, :width]).tobytes()


@pytest.mark.parametrize(("n", "width"), [(1, 7), (5, 70), (37, 3)])
def test_deterministic_rows_are_zero_and_the_others_unchanged(
        fill: Any, streams: Streams, kind: str, n: int, width: int) -> None:
    slots = np.arange(n)
    deterministic = np.arange(n) % 3 == 0
    free, mixed = fill(streams, kind, slots, width), fill(streams, kind, slots, width, deterministic=deterministic)
    assert (mixed[deterministic].view(np.uint32) == 0).all()
    assert (mixed[~deterministic] == free[~deterministic]).all()
    none = fill(streams, kind, slots, width, deterministic=np.zeros(n, np.bool_))
    assert none.tobytes() == free.tobytes()
    assert not fill(streams, kind, slots, width, deterministic=np.ones(n, np.bool_)).any()


def test_zero_rows_and_zero_width_do_nothing(fill: Any, streams: Streams, kind: str) -> None:
    assert fill(streams, kind, [], 5).shape == (0, 5)
    assert fill(streams, kind, [3, 4], 0).shape == (2, 0)
    empty = Streams(np.zeros((0, 2), np.uint64), np.zeros(0, np.int64))
    assert fill(empty, kind, [], 5).shape == (0, 5)


def test_scale_is_one_float32_product(fill: Any, streams: Streams, kind: str) -> None:
    plain = fill(streams, kind, [1, 2, 3], 20)
    assert (fill(streams, kind, [1, 2, 3], 20, scale=0.3) == plain * np.float32(0.3)).all()
    assert not fill(streams, kind, [1, 2, 3], 20, scale=0.0).any()


def test_replay_gives_the_same_bits_and_nothing_advances(fill: Any, streams: Streams, kind: str) -> None:
    keys, steps = streams.keys.copy(), streams.steps.copy()
    first = fill(streams, kind, [3, 1, 3], 12)
    assert fill(streams, kind, [3, 1, 3], 12).tobytes() == first.tobytes()
    assert (first[0] == first[2]).all()
    assert (streams.keys == keys).all()
    assert (streams.steps == steps).all()


@pytest.mark.parametrize("other", ["seed", "stream", "agent", "episode", "step", "step beyond 32 bits", "site"])
def test_every_coordinate_gives_other_numbers(fill: Any, kind: str, other: str) -> None:
    def drawn(seed: int = 7, stream: int = 0, agent: int = 4, episode: int = 0, step: int = 9, site: int = 2) -> Any:
        streams = Streams(np.array([agent_key(seed, stream, agent, episode)], np.uint64), np.array([step]))
        return fill(streams, kind, [0], 64, site)

    change = {"step beyond 32 bits": {"step": 9 + (1 << 32)}}.get(other, {other: 10})
    assert (drawn() != drawn(**change)).mean() > 0.9


def test_golden_uniforms() -> None:
    """The integers behind all noise; a change here breaks every replay."""
    keys, slots = np.zeros((2, 2), np.uint64), np.arange(2)
    derive_keys(np.array([0, 1]), 0, 0, 7, slots, keys)  # type: ignore[arg-type]
    out = np.full((2, 5), np.nan, np.float32)
    Streams(keys, np.array([0, 1 << 33])).fill_uniform(out, slots, 3)
    assert (out * 2**24).astype(int).tolist() == [
        [5564163, 11588222, 4909811, 7970108, 9442341],
        [11595178, 553176, 7392627, 6468074, 13783858],
    ]


def test_golden_normals() -> None:
    keys, slots = np.zeros((2, 2), np.uint64), np.arange(2)
    derive_keys(np.array([0, 1]), 0, 0, 7, slots, keys)  # type: ignore[arg-type]
    out = np.full((2, 3), np.nan, np.float32)
    Streams(keys, np.array([0, 1 << 33])).fill_normal(out, slots, 3)
    assert out.view(np.uint32).tolist() == [[0xBF0A6E33, 0xBFB120E1, 0xBFC63397], [0x3F575864, 0x3E350C7C, 0xBF76905E]]


def test_streams_pickle_and_copy(fill: Any, streams: Streams, kind: str) -> None:
    truth = fill(streams, kind, [4], 9)
    for twin in (pickle.loads(pickle.dumps(streams)), copy.deepcopy(streams)):
        assert fill(twin, kind, [4], 9).tobytes() == truth.tobytes()
