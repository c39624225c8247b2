"""Ratios of visits as sums of Gaussian kernels, for `mis`: the flow of features, summed over all logged steps by compiled loops."""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from cervello.codegen import linker
from cervello.codegen.float64_tile import BLOCK_TERMS, TILE_COLUMNS, TILE_ROWS
from cervello.native.kernels.flow_words import FLOW
from cervello.spec import Array

if TYPE_CHECKING:
    from cervello.evaluation.estimators.mis import Flow

_CHUNK = 1 << 13  # rows whose sums are made by one thread; chunks are added up in order, whatever the number of threads
_BLOCK = 256  # rows of kernels at a time: they stay in the cache
_NOTHING = -1e300  # exp of it is 0: kernels of columns that are only there to fill registers


def fit_kernels(blocks: Callable[[], Iterator[tuple[Array, Flow]]], centres: Array, threads: int,
                pool: ThreadPoolExecutor | None = None) -> Callable[[Array], Array]:
    """w = 1 + Σ α k that solves the flow of visits of each candidate; see `fit_visits`.

    Args:
      blocks: states [rows, d] and their flow, made anew in every pass. centres: [F, d]. threads: that share the rows.
      pool: of so many threads, which may have other work; None for an own one.
    Returns:
      states [rows, d] ▸ [K, rows] ratios.
    """
    kernels = Kernels(centres)
    F = kernels.n
    gaps = np.zeros((0, F, F + 1))
    n = 0.0
    with _threads(threads, pool) as workers:
        for states, flow in blocks():
            if not gaps.size:
                gaps = np.zeros((len(flow.onward), F, F + 1))
            n += float(flow.start.sum())
            jobs = (partial(_flow_sums, kernels, states, flow, first) for first in range(0, len(states), _CHUNK))
            for found in in_order(workers, jobs, threads):
                gaps += found
    ridge = 1e-3 * n * np.eye(F)
    alphas = np.stack([np.linalg.solve(each[:, :F] + ridge, each[:, F]) for each in gaps], 1)

    def ratios(states: Array) -> Array:
        found = np.empty((alphas.shape[1], len(states)))

        def fill(first: int) -> None:
            phi = np.empty((_BLOCK, kernels.columns))
            for start in range(first, min(first + _CHUNK, len(states)), _BLOCK):
                some = states[start:min(start + _BLOCK, first + _CHUNK)]
                kernels.fill(some, phi)
                found[:, start:start + len(some)] = 1 + (phi[:len(some), :F] @ alphas).T

        with _threads(threads, pool) as workers:
            deque(in_order(workers, (partial(fill, first) for first in range(0, len(states), _CHUNK)), threads), 0)
        return found

    return ratios


def _threads(threads: int, pool: ThreadPoolExecutor | None) -> AbstractContextManager[ThreadPoolExecutor]:
    return ThreadPoolExecutor(threads, "cervello-mis") if pool is None else nullcontext(pool)


class Kernels:
    """exp(−|s − c|² / 2 h) for n centres c, with h the median of the squared distances between them. Immutable."""

    def __init__(self, centres: Array):
        """centres: [F, d]."""
        self.n = len(centres)
        self._mean = centres.mean(0) if len(centres) else 0.0  # taken off first: products of states far from 0 would cancel
        centres = centres - self._mean
        squares = (centres**2).sum(1)
        gaps = np.maximum(squares[:, None] + squares - 2 * centres @ centres.T, 0.0)[np.triu_indices(self.n, 1)]
        gaps = gaps[gaps > 1e-12 * squares.max()]  # below is rounding: the same state
        width = float(np.median(gaps)) if len(gaps) else 1.0
        self.columns = -(-(self.n + 1) // TILE_COLUMNS) * TILE_COLUMNS  # of features, one more at least, whole tiles
        self._whole = np.zeros((centres.shape[1] + 2, self.columns))  # −|s − c|² / 2 = s·c − |s|² / 2 − |c|² / 2
        self._whole[:-2, :self.n] = centres.T / width
        self._whole[-2, :self.n] = -0.5 / width
        self._whole[-1] = _NOTHING
        self._whole[-1, :self.n] = squares / (-2 * width)

    def fill(self, states: Array, out: Array) -> None:
        """Writes those of [rows, d] states to the first rows of out, [rows or more, columns]; 0 to the columns behind the first n."""
        found, states = out[:len(states)], states - self._mean
        np.matmul(np.concatenate([states, (states**2).sum(1, keepdims=True), np.ones((len(states), 1))], 1), self._whole, out=found)
        np.minimum(found, 0.0, out=found)
        _function("exponentials")(found.ctypes.data, found.size)


def _flow_sums(kernels: Kernels, states: Array, flow: Flow, first: int) -> Array:
    """[K, F, F + 1] Σ φ(sₜ) (γᵗ k(sₜ) − onwardₜ₋₁ k(sₜ₋₁))ᵀ over a chunk's rows, and behind it what w = 1 leaves of the flow."""
    K, F, width = len(flow.onward), kernels.n, kernels.columns
    high = -(-F // TILE_ROWS) * TILE_ROWS
    stop = min(first + _CHUNK, len(states))
    sums, scratch = np.zeros((K, high, width)), np.empty((high + width) * BLOCK_TERMS)
    onward = np.zeros((K, stop - first))  # of the row before; nothing comes before the first one of all
    onward[:, 0 if first else 1:] = flow.onward[:, max(first - 1, 0):stop - 1]
    discount, begun = np.ascontiguousarray(flow.discount[first:stop]), np.ascontiguousarray(flow.start[first:stop])
    phi = np.zeros((_BLOCK + 1, width))  # the row before first
    if first:
        kernels.fill(states[first - 1:first], phi)
    for start in range(0, stop - first, _BLOCK):
        some = states[first + start:min(first + start + _BLOCK, stop)]
        kernels.fill(some, phi[1:])
        words = np.array(FLOW.filled(
            phi=phi.ctypes.data, d=discount[start:].ctypes.data, b=begun[start:].ctypes.data, o=onward[:, start:].ctypes.data,
            scratch=scratch.ctypes.data, sums=sums.ctypes.data, rows=len(some), features=F, width=width, high=high, candidates=K,
            stride=onward.shape[1]), np.int64)
        _function("add_flow")(words.ctypes.data)
        phi[0] = phi[len(some)]
    return sums[:, :F, :F + 1]


def in_order(pool: ThreadPoolExecutor, jobs: Iterable[Callable[[], Any]], threads: int) -> Iterator[Any]:
    """Results of jobs in their order; few are kept at a time."""
    running: deque[Future[Any]] = deque()
    for job in jobs:
        running.append(pool.submit(job))
        if len(running) > 2 * threads:
            yield running.popleft().result()
    while running:
        yield running.popleft().result()


@cache
def _function(name: str) -> Callable[..., Any]:
    """A compiled function of words; other Python threads run meanwhile. Nobody reads its result and its error."""
    found = linker.linked(f"cervello.native.kernels.visit_flow:{name}")
    kind = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.POINTER(ctypes.c_int64), ctypes.c_void_p, *[ctypes.c_int64] * found.arity)
    return partial(kind(found.address), ctypes.byref(ctypes.c_int64()), ctypes.byref(ctypes.c_void_p()))
