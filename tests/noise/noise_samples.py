"""Draws at any coordinates, and two bad sources of them: a test of quality that lets those pass shows nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from cervello.noise import Streams, agent_number, derive_keys, reference

KINDS = ("normal", "fast_normal", "uniform")
FAST_VALUES = (np.arange(16 * 255 + 1) - 16 * 127.5) * reference.FAST_SCALE  # what a signed sum of 16 centred bytes can be
ROUNDS = 3  # of the bad Philox; seven are said to be enough, ten are used


def fast_odds() -> Any:
    """The exact probabilities of `FAST_VALUES`: a sum of 16 independent uniform bytes, by convolution."""
    odds = np.ones(1)
    for _ in range(16):
        odds = np.convolve(odds, np.full(256, 1 / 256))
    return odds


def named(n: int) -> Any:
    """[n] uint64, the numbers of string ids that differ in their last digits."""
    return np.array([agent_number(f"walker_{i}") for i in range(n)], np.uint64)


def draws(kind: str, width: int, *, seed: Any = 7, stream: Any = 5, agent: Any = 5, episode: Any = 5, step: Any = 5,
          site: Any = 1) -> Any:
    """[n, width] float64: a row per element of the coordinates that are arrays of [n]."""
    every = np.broadcast_arrays(*map(np.atleast_1d, (seed, stream, agent, episode, step, site)))
    seeds, streams, agents, episodes, steps, sites = map(np.ascontiguousarray, every)
    keys, out = np.zeros((len(seeds), 2), np.uint64), np.full((len(seeds), width), np.nan, np.float32)
    for one in np.unique(seeds):
        rows = np.flatnonzero(seeds == one)
        derive_keys(agents[rows], streams[rows], episodes[rows], int(one), rows, keys)
    table = Streams(keys, steps.astype(np.int64))
    for one in np.unique(sites):
        rows = np.flatnonzero(sites == one)
        part = np.full((len(rows), width), np.nan, np.float32)
        getattr(table, f"fill_{kind}")(part, rows, int(one))
        out[rows] = part
    return out.astype(np.float64)


def counted(kind: str, width: int, **coordinates: Any) -> Any:
    """Bad: the sum of the coordinates times the golden ratio. No row has gaps, but rows are shifts of one another."""
    total = sum(_columns(coordinates)) + np.arange(width, dtype=np.uint64)
    return _of_words(kind, total * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(32))


def hardly_mixed(kind: str, width: int, **coordinates: Any) -> Any:
    """Bad: Philox as in the definition, but of few rounds, and the agent's key is not hashed."""
    seed, stream, agent, episode, step, site = _columns(coordinates)
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    quad = np.arange((width + 3) // 4, dtype=np.uint64)
    c0, c1, c2, c3, k0, k1 = np.broadcast_arrays(quad, site, step & low, seed + stream, agent & low, episode)
    (m0, m1), (s0, s1) = (map(np.uint64, pair) for pair in (reference.MULTIPLIERS, reference.KEY_STEPS))
    for _ in range(ROUNDS):
        product0, product1 = m0 * c0, m1 * c2
        c0, c1, c2, c3 = product1 >> half ^ c1 ^ k0, product1 & low, product0 >> half ^ c3 ^ k1, product0 & low
        k0, k1 = k0 + s0 & low, k1 + s1 & low
    return _of_words(kind, np.stack([c0, c1, c2, c3], -1).reshape(len(c0), -1)[:, :width])


def _columns(given: dict[str, Any]) -> Any:
    """Coordinates as [n, 1] uint64; those that are not given are as in `draws`."""
    whole = {"seed": 7, "stream": 5, "agent": 5, "episode": 5, "step": 5, "site": 1} | given
    return [column[:, None].astype(np.uint64) for column in np.broadcast_arrays(*map(np.atleast_1d, whole.values()))]


def _of_words(kind: str, words: Any) -> Any:
    if kind == "uniform":
        return (words >> np.uint64(8)).astype(np.float64) * 2.0**-24
    from scipy.special import ndtri

    return ndtri((words.astype(np.float64) + 0.5) * 2.0**-32)
