"""Random numbers for kernels: sixty-four elements of one agent, or four elements of sixteen agents.

`key`, `high`, `step`, `site` and `block` are int64 words; `reference` defines their meaning and every number.
A block is the elements 64 * block to 64 * block + 63 in order, as four f32x16.
"""

from __future__ import annotations

from typing import Any

from cervello.codegen.compiler import inline
from cervello.codegen.functions import log
from cervello.codegen.literals import constant
from cervello.codegen.simd import fma, lane_index, splat_int, sqrt, to_float
from cervello.noise.lane_ops import interleave_high, interleave_low
from cervello.noise.philox import philox
from cervello.noise.reference import FAST_SCALE
from cervello.noise.sincos_turns import sine_cosine_of_turn


@inline
def block_words(key: Any, high: Any, step: Any, site: Any, block: Any) -> Any:
    """Four i32x16: lane l holds the four words of elements 64 * block + 4 * l to 64 * block + 4 * l + 3."""
    quad = splat_int(block * 16) + lane_index()
    last = splat_int(high ^ (step >> 32))
    return philox(quad, splat_int(site), splat_int(step), last, splat_int(key), splat_int(key >> 32))


@inline
def in_order(a: Any, b: Any, c: Any, d: Any) -> Any:
    """Turns element j of lane l, for four j, into element 4 * l + j."""
    even, odd = interleave_low(a, c), interleave_low(b, d)
    even_above, odd_above = interleave_high(a, c), interleave_high(b, d)
    return (interleave_low(even, odd), interleave_high(even, odd),
            interleave_low(even_above, odd_above), interleave_high(even_above, odd_above))


@inline
def normal_pair(for_radius: Any, for_angle: Any) -> Any:
    """Two f32x16 of standard normals from two i32x16 of random words (Box-Muller)."""
    share = fma(to_float(for_radius >> splat_int(1)), constant(2.0**-31), constant(2.0**-32))
    radius = sqrt(constant(-2.0) * log(share))
    sine, cosine = sine_cosine_of_turn(for_angle)
    return radius * cosine, radius * sine


@inline
def normals_of_words(w0: Any, w1: Any, w2: Any, w3: Any) -> Any:
    a, b = normal_pair(w0, w1)
    c, d = normal_pair(w2, w3)
    return a, b, c, d


@inline
def _byte_sum(words: Any) -> Any:
    mask = splat_int(0x00FF00FF)
    halves = (words & mask) + ((words >> splat_int(8)) & mask)
    return (halves & splat_int(0xFFFF)) + (halves >> splat_int(16)) - splat_int(510)


@inline
def fast_normals_of_words(w0: Any, w1: Any, w2: Any, w3: Any) -> Any:
    a, b, c, d = _byte_sum(w0), _byte_sum(w1), _byte_sum(w2), _byte_sum(w3)
    sum_ab, less_ab, sum_cd, less_cd = a + b, a - b, c + d, c - d
    scale = constant(FAST_SCALE)
    return (to_float(sum_ab + sum_cd) * scale, to_float(less_ab + less_cd) * scale,
            to_float(sum_ab - sum_cd) * scale, to_float(less_ab - less_cd) * scale)


@inline
def _unit(words: Any) -> Any:
    return to_float(words >> splat_int(8)) * constant(2.0**-24)


@inline
def uniforms_of_words(w0: Any, w1: Any, w2: Any, w3: Any) -> Any:
    return _unit(w0), _unit(w1), _unit(w2), _unit(w3)


def _in_blocks(of_words: Any) -> Any:
    """A function of a block's coordinates that gives its sixty-four numbers in order, four f32x16."""
    @inline
    def draw(key: Any, high: Any, step: Any, site: Any, block: Any) -> Any:
        w0, w1, w2, w3 = block_words(key, high, step, site, block)
        a, b, c, d = of_words(w0, w1, w2, w3)
        return in_order(a, b, c, d)

    return draw


normals = _in_blocks(normals_of_words)
"""Standard normals: 24-bit fractions, tails to 6.66 standard deviations."""
fast_normals = _in_blocks(fast_normals_of_words)
"""Nearly normal numbers; `reference.fast_normal` describes their quality."""
uniforms = _in_blocks(uniforms_of_words)
"""Uniforms in [0, 1), multiples of 2**-24."""
