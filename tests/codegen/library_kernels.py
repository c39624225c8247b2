"""Kernels that call functions: of the package, and a user's own."""

from __future__ import annotations

import numba

from cervello.codegen.compiler import inline, noinline
from cervello.codegen.memory import read_f64, write_f64


@inline
def _add_one(x):
    return x + 1.0


@noinline
def _add_two(x):
    return _add_one(_add_one(x))


def nested(address):
    """Adds 2 to a float64."""
    write_f64(address, 0, _add_two(read_f64(address, 0)))
    return 0


@numba.njit
def twice(x):
    """2 x, also for Python."""
    return x * 2.0


def doubled(address):
    """Doubles a float64."""
    write_f64(address, 0, twice(read_f64(address, 0)))
    return 0
