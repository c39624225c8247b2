"""Binary operations on vectors, and reductions over the sixteen lanes of a vector in one fixed tree on every CPU (law 1)."""

from __future__ import annotations

import operator

from cervello.codegen.compiler import inline
from cervello.codegen.simd import fabs, fma, lane, rotate_1, rotate_2, rotate_4, rotate_8, select


@inline
def maximum(a, b):  # a NaN in either operand gives NaN, as in numpy and onnxruntime
    return select(a != a, a, select(a > b, a, b))


@inline
def minimum(a, b):
    return select(a != a, a, select(a < b, a, b))


@inline
def fast_max(a, b):  # one instruction; a NaN in a is dropped, as by x86 maxps
    return select(a > b, a, b)


@inline
def add_square(a, x):
    return fma(x, x, a)


@inline
def add_absolute(a, x):
    return a + fabs(x)


def _tree(combine):
    @inline
    def tree(x):
        x = combine(x, rotate_8(x))
        x = combine(x, rotate_4(x))
        x = combine(x, rotate_2(x))
        x = combine(x, rotate_1(x))
        return lane(x, 0)

    return tree


sum_lanes, product_lanes, max_lanes, min_lanes = (_tree(combine) for combine in (operator.add, operator.mul, maximum, minimum))
