"""Benchmark kernels for a core's peak rates: multiply-adds in registers, and repeated reads of a memory range."""

from __future__ import annotations

import numpy as np

from cervello.codegen.memory import write_f32
from cervello.codegen.simd import fma, lane, load, splat


def multiply_add_6(target, repeats):
    """Six independent chains of sixteen lanes, for CPUs with sixteen registers of eight lanes."""
    x = splat(np.float32(1.0000001))
    y = splat(np.float32(1e-7))
    a, b, c, d, e, f = y, y + y, x, x + y, x + x, x - y
    for _ in range(repeats):
        a, b, c = fma(a, x, y), fma(b, x, y), fma(c, x, y)
        d, e, f = fma(d, x, y), fma(e, x, y), fma(f, x, y)
    write_f32(target, 0, lane((a + b) + (c + d) + (e + f), 0))
    return 0


def multiply_add_12(target, repeats):
    """Twelve independent chains, for registers of sixteen lanes: more than latency times throughput of a multiply-add."""
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
    """Sums n_bytes of float32, a multiple of 512, with eight accumulators, `repeats` times."""
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
