"""Stores of narrow integers write as many elements as they say, also where the compiler knows how many."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # kernels are found by module name

import integer_kernels

from cervello.codegen import entry


@pytest.mark.parametrize("count", [-1, 0, 1, 2, 15, 16, 17])
@pytest.mark.parametrize("name", integer_kernels.BYTES)
def test_a_known_number_of_narrow_integers_leaves_what_lies_behind_them(name: str, count: int) -> None:
    n_bytes = integer_kernels.BYTES[name]
    source = np.arange(0x12345678, 0x12345678 + 16, dtype=np.int32)
    target, expected = (np.full(96, 0xAB, np.uint8) for _ in range(2))
    written = source.view(np.uint8).reshape(16, 4)[:max(0, count), :n_bytes].reshape(-1)
    expected[32:32 + len(written)] = written
    entry.fastcall_ints(f"integer_kernels:{name}_{count}".replace("-", "minus_"))(target.ctypes.data + 32, source.ctypes.data)
    np.testing.assert_array_equal(target, expected)
