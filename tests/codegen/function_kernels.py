"""One kernel per function under test, `kernel(target, source, count)`, and a digest of all results.

Kernels are cached by name; the cache's key does not cover this file, so rename a kernel whose meaning changes.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from cervello.codegen import entry, functions
from cervello.codegen.simd import load, load_masked, store, store_masked

UNARY = ("acos", "acosh", "asin", "asinh", "atan", "atanh", "cos", "cosh", "erf", "exp", "expm1", "log", "log1p", "mish", "sigmoid", "sin",
         "sinh", "softplus", "tan", "tanh")
Floats = np.ndarray[Any, np.dtype[np.float32]]


def _kernel_of(function: Any) -> Any:
    def kernel(target, source, count):
        i = 0
        while i + 16 <= count:
            store(target + i * 4, function(load(source + i * 4)))
            i += 16
        if i < count:
            store_masked(target + i * 4, function(load_masked(source + i * 4, count - i)), count - i)
        return 0

    return kernel


cos, erf, exp, expm1 = (_kernel_of(f) for f in (functions.cos, functions.erf, functions.exp, functions.expm1))
exp_nonpositive, expm1_nonpositive = _kernel_of(functions.exp_nonpositive), _kernel_of(functions.expm1_nonpositive)
log, log1p, mish = (_kernel_of(f) for f in (functions.log, functions.log1p, functions.mish))
sigmoid, sin, softplus, tanh = (
    _kernel_of(f) for f in (functions.sigmoid, functions.sin, functions.softplus, functions.tanh))
acos, acosh, asin, asinh = (_kernel_of(f) for f in (functions.acos, functions.acosh, functions.asin, functions.asinh))
atan, atanh, cosh, sinh, tan = (_kernel_of(f) for f in (functions.atan, functions.atanh, functions.cosh, functions.sinh, functions.tan))


def power(target, base, exponent, count):
    i = 0
    while i < count:
        n = min(count - i, 16)
        value = functions.power(load_masked(base + i * 4, n), load_masked(exponent + i * 4, n))
        store_masked(target + i * 4, value, n)
        i += 16
    return 0


def poisoned(n: int) -> Floats:
    """An output buffer whose every float is a NaN no function returns."""
    return np.full(n, 0x7FDEADBE, np.uint32).view(np.float32)


def run(name: str, *arguments: Floats) -> Floats:
    """The function over whole arrays of one length, [n] float32, contiguous."""
    target = poisoned(len(arguments[0]))
    call = entry.fastcall_ints(f"{__name__}:{name}")
    call(target.ctypes.data, *(a.ctypes.data for a in arguments), len(target))
    return target


def bits(values: Floats) -> np.ndarray[Any, np.dtype[np.uint32]]:
    """The bits of floats, with one bit pattern for all NaN: the payload depends on the CPU."""
    return np.where(np.isnan(values), np.float32(np.nan), values).view(np.uint32)


def digest() -> str:
    """A hash of every function's results on a fixed sample of all float32."""
    x = (np.arange(65520, dtype=np.uint64) * 65551).astype(np.uint32).view(np.float32)
    y = np.ascontiguousarray(np.roll(x, 12345))
    near = np.random.default_rng(7).uniform(-12, 12, len(x)).astype(np.float32)
    digest = hashlib.sha256()
    for name in UNARY:
        digest.update(bits(run(name, x)).tobytes() + bits(run(name, near)).tobytes())
    digest.update(bits(run("power", x, y)).tobytes() + bits(run("power", np.abs(near), y)).tobytes())
    digest.update(bits(run("power", x, near)).tobytes() + bits(run("power", x, np.rint(near))).tobytes())
    return digest.hexdigest()
