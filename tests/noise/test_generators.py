"""The Epsilon wrapper's generators."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cervello.noise import Constant, FastNormal, Generator, Normal, Streams

SLOTS = np.array([4, 2, 9])


def filled(generator: Generator, streams: Streams, scale: float = 1.0, deterministic: Any = None) -> Any:
    out = np.full((3, 6), np.nan, np.float32)
    generator.fill(out, SLOTS, streams, 5, scale, deterministic)
    return out


@pytest.mark.parametrize(("generator", "name"), [(Normal(), "fill_normal"), (FastNormal(), "fill_fast_normal")])
def test_normal_generators_draw_from_the_streams(streams: Streams, generator: Generator, name: str) -> None:
    truth = np.full((3, 6), np.nan, np.float32)
    getattr(streams, name)(truth, SLOTS, 5, 0.25)
    assert filled(generator, streams, 0.25).tobytes() == truth.tobytes()


def test_constant_zero_gives_zeros(streams: Streams) -> None:
    """cervo's ConstantGenerator::zeros() gives ones."""
    assert not filled(Constant(0.0), streams).any()


@pytest.mark.parametrize("value", [1.0, -0.5, 3.25])
def test_constant_gives_its_value_times_the_scale(streams: Streams, value: float) -> None:
    assert (filled(Constant(value), streams) == value).all()
    assert (filled(Constant(value), streams, 0.5) == value / 2).all()


@pytest.mark.parametrize("generator", [Normal(), FastNormal(), Constant(2.0)])
def test_deterministic_rows_get_zeros(streams: Streams, generator: Generator) -> None:
    out = filled(generator, streams, 1.0, np.array([True, False, True]))
    assert not out[[0, 2]].any()
    assert out[1].all()


def test_a_generator_of_the_users_own_is_one() -> None:
    class Own:
        def fill(self, out: Any, slots: Any, streams: Any, site: int, scale: float, deterministic: Any) -> None:
            out[...] = slots[:, None] * scale

    assert all(isinstance(each, Generator) for each in (Own(), Normal(), FastNormal(), Constant(0.0)))
    assert not isinstance(object(), Generator)


def test_generators_compare_by_value() -> None:
    assert Normal() == Normal()
    assert Constant(1.0) != Constant(2.0)
    assert repr(Constant(1.0)) == "Constant(value=1.0)"
