"""Reductions of [outer, terms, inner] to [outer, inner]: sixteen adjacent results at a time; terms are added in order."""

from __future__ import annotations

import operator

import numpy as np

from cervello.codegen import functions as f
from cervello.codegen.compiler import inline
from cervello.codegen.records import reader
from cervello.codegen.simd import load_masked, splat, sqrt, store_masked
from cervello.native.kernels.lane_trees import add_absolute, add_square, maximum, minimum
from cervello.native.kernels.schemas import INNER

_words = reader(INNER)
_F = np.float32
_INF = _F(np.inf)


def _kernel(start, step_function, finish):
    """A kernel of a reduction: `start` is the initial value, `step_function` adds a term, `finish` gets the number of terms."""
    def kernel(step, ctx):
        w = _words(step, ctx)
        source, target, outer, terms, inner = w.source, w.target, w.outer, w.terms, w.inner
        for o in range(outer):
            i = 0
            while i < inner:
                n = inner - i
                total = splat(start)
                for t in range(terms):
                    total = step_function(total, load_masked(source + ((o * terms + t) * inner + i) * 4, n))
                store_masked(target + (o * inner + i) * 4, finish(total, _F(terms)), n)
                i += 16
        return 0

    return kernel


@inline
def _identity(a, terms):
    return a


@inline
def _mean(a, terms):
    return a / splat(terms)


@inline
def _sqrt(a, terms):
    return sqrt(a)


@inline
def _log(a, terms):
    return f.log(a)


_ZERO, _ONE = _F(0.0), _F(1.0)
sum_, mean, prod = _kernel(_ZERO, operator.add, _identity), _kernel(_ZERO, operator.add, _mean), _kernel(_ONE, operator.mul, _identity)
max_, min_ = _kernel(-_INF, maximum, _identity), _kernel(_INF, minimum, _identity)
sum_square, l2, l1 = _kernel(_ZERO, add_square, _identity), _kernel(_ZERO, add_square, _sqrt), _kernel(_ZERO, add_absolute, _identity)
log_sum = _kernel(_ZERO, operator.add, _log)
