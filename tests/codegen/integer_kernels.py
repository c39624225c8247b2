"""Kernels `kernel(target, source)` that store the low bits of sixteen int32: `store_8_3` stores the first three as bytes.

Kernels are cached by name; the cache's key does not cover this file, so rename a kernel whose meaning changes.
"""

from __future__ import annotations

from typing import Any

from cervello.codegen.integer_lanes import load_i32_masked, store_8_masked, store_16_masked

BYTES = {"store_8": 1, "store_16": 2}


def _kernel_of(store: Any, count: int) -> Any:
    def kernel(target, source):
        store(target, load_i32_masked(source, 16), count)
        return 0

    return kernel


for _name, _store in (("store_8", store_8_masked), ("store_16", store_16_masked)):
    globals().update({f"{_name}_{_count}".replace("-", "minus_"): _kernel_of(_store, _count) for _count in range(-1, 18)})
