"""Tables of agents and rows to fill; every row starts poisoned and has guards to its right."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cervello.noise
from cervello.noise import Streams, derive_keys

sys.path.insert(0, str(Path(__file__).parent))  # samples that several files share

CAPACITY, SEED = 400, 11
POISON = np.float32(-12345.0)


@pytest.fixture
def streams() -> Streams:
    """400 agents, each with a step of its own; a few steps need more than 32 bits, one is negative."""
    keys = np.zeros((CAPACITY, 2), np.uint64)
    slots = np.arange(CAPACITY)
    derive_keys(slots * 3, slots % 5, slots % 7, SEED, slots, keys)
    steps = np.arange(CAPACITY, dtype=np.int64) * 17
    steps[5:9] = (1 << 32) + 3, 3, 1 << 62, -1
    return Streams(keys, steps)


@pytest.fixture(params=["fill_normal", "fill_fast_normal", "fill_uniform"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


Fill = Callable[..., np.ndarray[Any, np.dtype[np.float32]]]


@pytest.fixture
def fill() -> Fill:
    """fill(streams, kind, slots, width, site=1, scale=1.0, deterministic=None): a fresh array, no stray writes."""

    def filled(streams: Streams, kind: str, slots: Any, width: int, site: int = 1, scale: float = 1.0,
               deterministic: Any = None) -> Any:
        slots = np.asarray(slots, np.int64)
        whole = np.full((len(slots) + 1, width + 17), POISON)
        out = whole[:-1, :width]
        getattr(streams, kind)(out, slots, site, scale, deterministic)
        assert (whole[-1] == POISON).all()
        assert (whole[:, width:] == POISON).all()
        assert not (out == POISON).any()
        return out.copy()

    return filled


@pytest.fixture
def environment() -> dict[str, str]:
    """For a child process that imports the same Cervello."""
    return {**os.environ, "PYTHONPATH": str(Path(cervello.noise.__file__).parents[2])}
