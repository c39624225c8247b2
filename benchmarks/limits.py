"""What this machine allows one core: the rate of multiply-adds on registers alone, and the bandwidth of reads by footprint.

Run as a program it prints both. The kernels here are compiled as the package's own are.
"""

from __future__ import annotations

import statistics
import time
from functools import cache

import numpy as np

from cervello.compiled import entry
from cervello.compiled.lanes import fma, lane, load, splat
from cervello.compiled.memory import write_f32

LANES = 16
_CHAINS = 12  # more independent chains than a multiply-add's latency times its units
FOOTPRINTS = tuple(1 << k for k in range(14, 29))


def multiply_add(target, repeats):
    """Twelve independent chains of multiply-adds on registers."""
    x = splat(np.float32(1.0000001))
    y = splat(np.float32(1e-7))
    a, b, c, d, e, f = y, y + y, x, x + y, x + x, x - y
    g, h, i, j, k, m = y * y, y + x, x * x, x * y, x - x, y - x
    for _ in range(repeats):
        a, b, c = fma(a, x, y), fma(b, x, y), fma(c, x, y)
        d, e, f = fma(d, x, y), fma(e, x, y), fma(f, x, y)
        g, h, i = fma(g, x, y), fma(h, x, y), fma(i, x, y)
        j, k, m = fma(j, x, y), fma(k, x, y), fma(m, x, y)
    write_f32(target, 0, lane(((a + b) + (c + d)) + ((e + f) + (g + h)) + ((i + j) + (k + m)), 0))
    return 0


def read(source, n_bytes, repeats, target):
    """Sums an array with eight accumulators."""
    zero = splat(np.float32(0))
    a, b, c, d, e, f, g, h = zero, zero, zero, zero, zero, zero, zero, zero
    for _ in range(repeats):
        at = source
        end = source + n_bytes
        while at < end:
            a, b = a + load(at), b + load(at + 64)
            c, d = c + load(at + 128), d + load(at + 192)
            e, f = e + load(at + 256), f + load(at + 320)
            g, h = g + load(at + 384), h + load(at + 448)
            at += 512
    write_f32(target, 0, lane(((a + b) + (c + d)) + ((e + f) + (g + h)), 0))
    return 0


def _median(call, rounds=9):
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


@cache
def flops() -> float:
    """Multiply-adds per second times two, on registers."""
    run, target, repeats = entry.ints("limits:multiply_add"), np.zeros(16, np.float32), 400_000
    return 2 * LANES * _CHAINS * repeats / _median(lambda: run(target.ctypes.data, repeats))


@cache
def bandwidths() -> dict[int, float]:
    """Bytes per second read again and again from a footprint, by footprint."""
    run, target = entry.ints("limits:read"), np.zeros(16, np.float32)
    found = {}
    for n_bytes in FOOTPRINTS:
        raw = np.zeros(n_bytes + 64, np.uint8)
        start, repeats = raw.ctypes.data + -raw.ctypes.data % 64, max(1, (1 << 27) // n_bytes)
        found[n_bytes] = n_bytes * repeats / _median(lambda start=start, n=n_bytes, r=repeats: run(start, n, r, target.ctypes.data), 5)
    return found


def bandwidth(n_bytes: int) -> float:
    """Bytes per second at a footprint."""
    measured = bandwidths()
    return measured[min((size for size in measured if size >= n_bytes), default=FOOTPRINTS[-1])]



if __name__ == "__main__":
    print(f"multiply-adds on registers: {flops() / 1e9:.0f} GFLOP/s")
    for size, rate in bandwidths().items():
        print(f"reads from {size // 1024:>7} KiB: {rate / 1e9:6.1f} GB/s")
