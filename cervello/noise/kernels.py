"""Fills of float32 rows with noise, and the derivation of keys.

Every kernel has the executor's two words: the address of its block, FILL or DERIVE of `words`, and one that is not used.

Two paths with the same bits: sixty-four elements of one row at a time, or four elements of sixteen rows, for many
narrow rows. The path with fewer draws is chosen.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cervello.codegen.compiler import inline
from cervello.codegen.float_mode import pin_float_mode, restore_float_mode
from cervello.codegen.literals import constant
from cervello.codegen.memory import read_i64, read_u8, write_i64
from cervello.codegen.records import view
from cervello.codegen.simd import as_int, gather, load_bools, scatter, select, splat, splat_int, store_masked
from cervello.noise.draws import fast_normals, fast_normals_of_words, normals, normals_of_words, uniforms, uniforms_of_words
from cervello.noise.lane_ops import gather_by_slot, lane_word
from cervello.noise.philox import philox
from cervello.noise.reference import CHAIN_START
from cervello.noise.words import DERIVE, FILL

Fill, Derive = view(FILL), view(DERIVE)
_START0, _START1, _START2, _START3 = CHAIN_START


@inline
def _by_rows(block: int, draw: Any) -> None:
    """One row after the other, sixty-four elements at a time."""
    w = Fill(block)
    out, row_stride, n_rows, width, slots, keys, steps, site = w.out, w.row_stride, w.n_rows, w.width, w.slots, w.keys, w.steps, w.site
    scale, deterministic = splat(np.float32(w.scale)), w.deterministic
    zero = constant(0.0)
    for row in range(n_rows):
        target = out + row * row_stride
        if deterministic != 0 and read_u8(deterministic, row) != 0:
            for element in range(0, width, 16):
                store_masked(target + 4 * element, zero, width - element)
            continue
        slot = read_i64(slots, row)
        key, high, step = read_i64(keys, 2 * slot), read_i64(keys, 2 * slot + 1), read_i64(steps, slot)
        for element in range(0, width, 64):
            a, b, c, d = draw(key, high, step, site, element >> 6)
            left, here = width - element, target + 4 * element
            store_masked(here, a * scale, left)
            if left > 16:
                store_masked(here + 64, b * scale, left - 16)
                store_masked(here + 128, c * scale, left - 32)
                store_masked(here + 192, d * scale, left - 48)


@inline
def _by_agents(block: int, draw: Any) -> None:
    """Sixteen rows at a time, one per lane, four elements of each."""
    w = Fill(block)
    out, row_stride, n_rows, width, slots, keys, steps = w.out, w.row_stride, w.n_rows, w.width, w.slots, w.keys, w.steps
    site, scale, deterministic = splat_int(w.site), splat(np.float32(w.scale)), w.deterministic
    zero = constant(0.0)
    for row in range(0, n_rows, 16):
        count, target, slot = n_rows - row, out + row * row_stride, slots + 8 * row
        key0, key1 = gather_by_slot(keys, slot, 16, count), gather_by_slot(keys + 4, slot, 16, count)
        step = gather_by_slot(steps, slot, 8, count)
        high = gather_by_slot(keys + 8, slot, 16, count) ^ gather_by_slot(steps + 4, slot, 8, count)
        zeroed = load_bools(slot, 0)  # no row; the address must exist, since a masked fault takes 100 ns
        if deterministic != 0:
            zeroed = load_bools(deterministic + row, count)
        for quad in range((width + 3) >> 2):
            w0, w1, w2, w3 = philox(splat_int(quad), site, step, high, key0, key1)
            a, b, c, d = draw(w0, w1, w2, w3)
            left, here = width - 4 * quad, target + 16 * quad
            scatter(here, row_stride, select(zeroed, zero, a * scale), count)
            if left > 1:
                scatter(here + 4, row_stride, select(zeroed, zero, b * scale), count)
            if left > 2:
                scatter(here + 8, row_stride, select(zeroed, zero, c * scale), count)
            if left > 3:
                scatter(here + 12, row_stride, select(zeroed, zero, d * scale), count)


@inline
def _agents_draw_less(block: int) -> bool:
    n_rows, width = Fill(block).n_rows, Fill(block).width
    return ((n_rows + 15) >> 4) * ((width + 3) >> 2) < n_rows * ((width + 63) >> 6)


@inline
def _fill(block: int, draw_four: Any, draw_block: Any) -> int:
    mode = pin_float_mode()
    if _agents_draw_less(block):
        _by_agents(block, draw_four)
    else:
        _by_rows(block, draw_block)
    restore_float_mode(mode)
    return 0


def fill_normal(block: int, context: int) -> int:
    return _fill(block, normals_of_words, normals)


def fill_fast_normal(block: int, context: int) -> int:
    return _fill(block, fast_normals_of_words, fast_normals)


def fill_uniform(block: int, context: int) -> int:
    return _fill(block, uniforms_of_words, uniforms)


@inline
def _absorb(state: Any, numbers: int, count: int) -> Any:
    """One step of the hash chain: state ^ Philox(state), keyed by the numbers; sixteen states, sixteen adjacent 64-bit numbers."""
    low, high = as_int(gather(numbers, 8, count)), as_int(gather(numbers + 4, 8, count))
    h0, h1, h2, h3 = philox(state[0], state[1], state[2], state[3], low, high)
    return state[0] ^ h0, state[1] ^ h1, state[2] ^ h2, state[3] ^ h3


def derive(block: int, context: int) -> int:
    """Keys of many agents; definition: `reference.agent_key`."""
    w = Derive(block)
    seed, n, keys, slots = w.seed, w.n, w.keys, w.slots
    s0, s1, s2, s3 = splat_int(_START0), splat_int(_START1), splat_int(_START2), splat_int(_START3)
    h0, h1, h2, h3 = philox(s0, s1, s2, s3, splat_int(seed), splat_int(seed >> 32))
    seeded = s0 ^ h0, s1 ^ h1, s2 ^ h2, s3 ^ h3
    for row in range(0, n, 16):
        state = _absorb(seeded, w.streams + 8 * row, n - row)
        state = _absorb(state, w.numbers + 8 * row, n - row)
        state = _absorb(state, w.episodes + 8 * row, n - row)
        for lane in range(min(16, n - row)):
            slot = read_i64(slots, row + lane)
            write_i64(keys, 2 * slot, lane_word(state[0], lane) | lane_word(state[1], lane) << 32)
            write_i64(keys, 2 * slot + 1, lane_word(state[2], lane))
    return 0
