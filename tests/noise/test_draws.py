"""Device functions for random ops inside a graph give the bits of the fills."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cervello.noise import Streams


@pytest.mark.parametrize("name", ["normals", "fast_normals", "uniforms"])
def test_a_block_of_a_device_function_is_a_slice_of_a_fill(streams: Streams, fill: Any, name: str) -> None:
    import numba

    from cervello.codegen.simd import store
    from cervello.noise import draws

    draw = getattr(draws, name)

    @numba.njit
    def run(key, high, step, site, block, target):  # type: ignore[no-untyped-def]
        a, b, c, d = draw(key, high, step, site, block)
        store(target, a)
        store(target + 64, b)
        store(target + 128, c)
        store(target + 192, d)

    for slot in (3, 5, 8):
        truth = fill(streams, f"fill_{name.removesuffix('s')}", [slot], 200, site=2**32 - 9)
        key, high = streams.keys[slot].view(np.int64).tolist()
        for block in range(3):
            out = np.full(64, np.nan, np.float32)
            run(key, high, int(streams.steps[slot]), 2**32 - 9, block, out.ctypes.data)
            assert out.tobytes() == truth[0, 64 * block : 64 * block + 64].tobytes()
