"""`magic`: model and guided importance sampling combining."""

from __future__ import annotations

import numpy as np

from cervello.evaluation.estimators.cwpdis import no_weight
from cervello.evaluation.estimators.wdr import parts, step_sums, wdr
from cervello.evaluation.moments import Moments, blocks_of, sum_of
from cervello.evaluation.table import AnyTable
from cervello.spec import Array
from cervello.statistics.arguments import FEWEST
from cervello.statistics.bootstrap import interval_of

_MOST_LENGTHS = 50


def magic(table: AnyTable, seed: int = 0) -> Moments:
    """The mixture of j-step estimates, from the direct method (j = −1) to WDR (j = L − 1), of least estimated mean squared error.

    b is each one's distance to WDR's 90% percentile bootstrap interval (200 resamples, widened to hold WDR), Ω their covariance,
    n / (n − 1) Σᵢ (gᵢ − ḡ)(gᵢ − ḡ)ᵀ, and x minimises xᵀ (Ω + b bᵀ) x on the simplex. Intervals keep x.

    Source: P. Thomas, E. Brunskill, "Data-efficient off-policy policy evaluation for reinforcement learning", ICML 2016, section 6.
    """
    columns, total = parts(table)
    L, discount = table.n_steps, table.discount  # moments keep the discount, and not the table
    lengths = np.unique(np.linspace(-1, L - 1, min(L + 1, _MOST_LENGTHS)).round().astype(np.int64))

    def partial(sums: Array) -> Array:
        corrections, baselines = step_sums(sums, L)
        return _by_length(corrections, baselines, discount, lengths)

    if (total <= 0).any():
        return Moments(columns, lambda sums: partial(sums)[:, -1], None, no_weight(total))
    n = len(columns)
    sums = sum_of(columns)
    g = partial(sums[None])[0]
    if not np.isfinite(g).all():
        return Moments(columns, lambda sums: partial(sums)[:, -1], None, "returns are larger than a float64 holds; scale the rewards")
    weights = sums[2 * L + 1:3 * L + 1]
    each = np.concatenate([_by_length(block[:, :L] / weights, block[:, L:2 * L + 1] / np.concatenate([sums[-1:], weights]), discount,
                                      lengths) for block in blocks_of(columns)])
    top = wdr(table)
    interval = None if n < FEWEST or top.value is None else interval_of(top.replicates(200, seed), top.value, 0.9, lambda tails: tails)
    low, high = interval or (g[-1], g[-1])
    low, high = min(low, g[-1]), max(high, g[-1])
    bias = np.where(g < low, g - low, np.where(g > high, g - high, 0.0))
    x = _mixture(each, bias)
    return Moments(columns, lambda sums: np.asarray(partial(sums) @ x), None, None,
                   ("the mixture of lengths is kept in resamples; intervals are by the bootstrap",))


def _by_length(corrections: Array, baselines: Array, discount: Array, lengths: Array) -> Array:
    """[B, J] estimates that use weights up to step j and V̂ from there."""
    steps = discount[:-1] * (corrections + baselines[:, :-1])
    upto = np.concatenate([np.zeros((len(steps), 1)), np.cumsum(steps, 1)], 1)
    return np.asarray((upto + discount * baselines)[:, lengths + 1])


def _mixture(each: Array, bias: Array) -> Array:
    """[J] the mixture x of least estimated mean squared error xᵀ (Ω + b bᵀ) x.

    Args:
      each: [n, J] what each unit adds to the J estimates. bias: [J].
    """
    n, J = each.shape
    unit = max(float(np.abs(each).max()), float(np.abs(bias).max())) or 1.0  # of rewards, whose squares may be no float64
    each, bias = each / unit, bias / unit
    off = each - each.mean(0)
    omega = n / (n - 1) * off.T @ off if n > 1 else np.zeros((J, J))
    return simplex_minimum(omega + np.outer(bias, bias))


def simplex_minimum(M: Array) -> Array:
    """x ≥ 0 with sum 1 that minimises xᵀ M x, for M positive semidefinite; the last element alone where M is 0.

    The minimiser of yᵀ M y / 2 − Σ y over y ≥ 0 points the same way, and is a non-negative least squares problem.
    """
    from scipy.optimize import nnls

    scale = float(np.trace(M))
    last = np.zeros(len(M))
    last[-1] = 1.0
    if scale <= 0:
        return last
    upper = np.linalg.cholesky(M / scale + 1e-12 * np.eye(len(M))).T
    y, _ = nnls(upper, np.linalg.solve(upper.T, np.ones(len(M))), maxiter=100 * len(M))
    return np.asarray(y / y.sum()) if y.sum() > 0 else last
