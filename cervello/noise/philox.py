"""Philox4x32-10 on sixteen lanes, each with a counter and a key of its own. Definition: `reference.philox`."""

from __future__ import annotations

from typing import Any

from cervello.codegen.compiler import inline
from cervello.codegen.simd import splat_int
from cervello.noise.lane_ops import mul_wide
from cervello.noise.reference import KEY_STEPS, MULTIPLIERS, ROUNDS

_M0, _M1 = MULTIPLIERS
_K0, _K1 = KEY_STEPS


@inline
def philox(c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any) -> Any:
    """Four i32x16 of random words from a counter of four i32x16 and a key of two."""
    m0, m1, s0, s1 = splat_int(_M0), splat_int(_M1), splat_int(_K0), splat_int(_K1)
    for _ in range(ROUNDS):
        low0, high0 = mul_wide(c0, m0)
        low1, high1 = mul_wide(c2, m1)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = k0 + s0, k1 + s1
    return c0, c1, c2, c3
