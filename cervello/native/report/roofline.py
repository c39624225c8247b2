"""Limits of one core of this machine, measured once per process: the rate of multiply-adds on registers, and the read bandwidth.

The least time of a piece of work is the larger of two: its multiply-adds at the register-only rate, and its bytes at the bandwidth
that the same number of bytes has when it is read again and again. Source: S. Williams et al., "Roofline", CACM 52(4), 2009.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache

import numpy as np

from cervello.codegen import entry

_KERNELS = "cervello.native.kernels.roofline"
REFERENCES = tuple(f"{_KERNELS}:{name}" for name in ("multiply_add_6", "multiply_add_12", "read"))
FOOTPRINTS = tuple(step << k for k in range(13, 28) for step in (2, 3))[:-1]  # bytes; smaller and larger ones count as first and last
_LANES = 16
_REPEATS = 400_000
_READ_BYTES = 1 << 27  # bytes per measurement


def _least(call: Callable[[], object], rounds: int) -> float:
    """Seconds of the fastest call: other programs only make calls slower."""
    call()
    measured = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        measured.append(time.perf_counter() - start)
    return min(measured)


@cache
def flops() -> float:
    """Multiply-adds per second of one core, times two, on registers alone."""
    target = np.zeros(_LANES, np.float32)
    address, rates = target.ctypes.data, []
    for chains in (6, 12):  # CPUs differ in their number of registers
        run = entry.fastcall_ints(f"{_KERNELS}:multiply_add_{chains}")
        rates.append(2 * _LANES * chains * _REPEATS / _least(lambda run=run: run(address, _REPEATS), 9))  # type: ignore[misc]
    return max(rates)


@cache
def _read(footprint: int) -> float:
    run, target = entry.fastcall_ints(f"{_KERNELS}:read"), np.zeros(_LANES, np.float32)
    raw = np.zeros(footprint + 64, np.uint8)
    start, repeats = raw.ctypes.data + -raw.ctypes.data % 64, max(1, _READ_BYTES // footprint)
    return footprint * repeats / _least(lambda: run(start, footprint, repeats, target.ctypes.data), 5)


def bandwidth(n_bytes: int) -> float:
    """Bytes per second at which one core reads n_bytes again and again, by the next larger footprint of `FOOTPRINTS`."""
    return _read(min((size for size in FOOTPRINTS if size >= n_bytes), default=FOOTPRINTS[-1]))


def bandwidths() -> dict[int, float]:
    """Bytes per second by footprint."""
    return {size: _read(size) for size in FOOTPRINTS}


def least_s(multiply_adds: int, n_bytes: int) -> float:
    """Seconds that one core needs at least for multiply-adds on n_bytes."""
    return max(2 * multiply_adds / flops() if multiply_adds else 0.0, n_bytes / bandwidth(n_bytes) if n_bytes else 0.0)
