"""Loops around functions of sixteen lanes, for elementwise ops."""

from __future__ import annotations

from cervello.codegen.compiler import inline
from cervello.codegen.memory import word_f32
from cervello.codegen.simd import load, load_masked, splat, store, store_masked


@inline
def _parameter(parameters, i):
    return splat(word_f32(parameters, i))


def elementwise_block(function, n_parameters):
    """A block (target, source, count, address of parameters) that applies a function to sixteen float32 at a time.

    Args:
      function: of a vector x and of up to three float32 parameters, each in all lanes.
    """
    inner = inline(function)
    if n_parameters == 0:
        @inline
        def with_parameters(x, parameters):
            return inner(x)
    elif n_parameters == 1:
        @inline
        def with_parameters(x, parameters):
            return inner(x, _parameter(parameters, 0))
    elif n_parameters == 2:
        @inline
        def with_parameters(x, parameters):
            return inner(x, _parameter(parameters, 0), _parameter(parameters, 1))
    else:
        @inline
        def with_parameters(x, parameters):
            return inner(x, _parameter(parameters, 0), _parameter(parameters, 1), _parameter(parameters, 2))

    return block_of(with_parameters)


def block_of(function):
    """A block that applies an inline function (sixteen float32, address of parameters) to all elements."""
    def block(target, source, count, parameters):
        i = 0
        while i + 16 <= count:
            store(target + i * 4, function(load(source + i * 4), parameters))
            i += 16
        if i < count:
            store_masked(target + i * 4, function(load_masked(source + i * 4, count - i), parameters), count - i)
        return 0

    return block
