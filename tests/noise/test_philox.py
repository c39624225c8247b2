"""Philox against Random123's published answers, in plain Python and on sixteen lanes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cervello.noise.reference import philox

KNOWN = [  # Random123 1.14, kat_vectors, "philox4x32 10"
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0),
     (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
]


@pytest.fixture(scope="module")
def lanes() -> Any:
    """Philox on sixteen lanes: [6, 16] uint32 counters and keys in, [4, 16] uint32 words out."""
    import numba

    from cervello.codegen.simd import as_float, as_int, load, store
    from cervello.noise import philox as compiled

    block = compiled.philox

    @numba.njit
    def run(source, target):  # type: ignore[no-untyped-def]
        a, b, c = as_int(load(source)), as_int(load(source + 64)), as_int(load(source + 128))
        d, e, f = as_int(load(source + 192)), as_int(load(source + 256)), as_int(load(source + 320))
        w0, w1, w2, w3 = block(a, b, c, d, e, f)
        store(target, as_float(w0))
        store(target + 64, as_float(w1))
        store(target + 128, as_float(w2))
        store(target + 192, as_float(w3))

    def call(given: Any) -> Any:
        given, words = np.ascontiguousarray(given, np.uint32), np.full((4, 16), 0xDEADBEEF, np.uint32)
        run(given.ctypes.data, words.ctypes.data)
        return words

    return call


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_definition_gives_the_published_answers(counter: Any, key: Any, answer: Any) -> None:
    assert philox(counter, key[0] | key[1] << 32) == answer


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_lanes_give_the_published_answers(lanes: Any, counter: Any, key: Any, answer: Any) -> None:
    assert (lanes(np.repeat([[x] for x in counter + key], 16, axis=1)) == np.array(answer)[:, None]).all()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**64 - 1))
def test_every_lane_agrees_with_the_definition(lanes: Any, seed: int) -> None:
    given = np.random.default_rng(seed).integers(0, 1 << 32, (6, 16), dtype=np.uint32)
    words = lanes(given)
    for lane, (c0, c1, c2, c3, k0, k1) in enumerate(given.T.tolist()):
        assert philox((c0, c1, c2, c3), k0 | k1 << 32) == tuple(words[:, lane].tolist())
